"""The field's checkpoints in, whole runs out: `IMPORTERS` by family, `TARGETS` by form."""

from collections.abc import Callable, Sequence

from caselli.interop.card import card
from caselli.interop.dalle import import_dalle
from caselli.interop.diffusers import import_diffusers
from caselli.interop.importing import Imported, import_tokenizer
from caselli.interop.layout import Hints
from caselli.interop.llamagen import import_llamagen
from caselli.interop.push import push
from caselli.interop.taming import import_taming
from caselli.interop.target import Exportable, Target
from caselli.interop.to_diffusers import ToDiffusers
from caselli.interop.to_hub import ToHub
from caselli.interop.to_onnx import ToOnnx
from caselli.interop.to_torch import ToTorch
from caselli.tokenizer import Tokenizer
from caselli.weights import Weights

IMPORTERS: dict[str, Callable[[Sequence[Weights], Hints], Tokenizer]] = {
    "taming": import_taming,
    "llamagen": import_llamagen,
    "diffusers": import_diffusers,
    "dalle": import_dalle,
}
"""Families of checkpoints: the weights of the files given, and hints on what they leave open → tokenizer."""

TARGETS: dict[str, type[Target]] = {
    "diffusers": ToDiffusers,
    "onnx": ToOnnx,
    "torch": ToTorch,
    "hub": ToHub,
}
"""Forms that a run is written in for other tools."""

__all__ = [
    "IMPORTERS",
    "TARGETS",
    "Exportable",
    "Hints",
    "Imported",
    "Target",
    "card",
    "import_tokenizer",
    "push",
]
