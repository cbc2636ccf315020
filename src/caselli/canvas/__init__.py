"""Pictures of any size from a model, variations of a picture, and interpolation between two."""

from caselli.canvas.canvas import Canvas
from caselli.canvas.editing import Redrawing, interpolate, interpolated_codes, variations, varied_codes
from caselli.canvas.regions import HALVES, half, placed
from caselli.canvas.upscaling import upscale
from caselli.canvas.windows import CanvasBlock, plan

__all__ = [
    "HALVES",
    "Canvas",
    "CanvasBlock",
    "Redrawing",
    "half",
    "interpolate",
    "interpolated_codes",
    "placed",
    "plan",
    "upscale",
    "variations",
    "varied_codes",
]
