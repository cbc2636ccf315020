"""What a model makes beyond pictures of its own size: larger ones, variations, the way between two."""

from caselli.canvas.canvas import Canvas
from caselli.canvas.editing import Redrawing, interpolate, variations
from caselli.canvas.windows import Block, plan

__all__ = ["Block", "Canvas", "Redrawing", "interpolate", "plan", "variations"]
