"""The field's checkpoints in, portable programs out: `IMPORTERS` by family, `EXPORTERS` by format."""

from collections.abc import Callable, Sequence

from caselli.interop.dalle import import_dalle
from caselli.interop.diffusers import import_diffusers
from caselli.interop.export import (
    Exported,
    Exporter,
    export_tokenizer,
    run_onnx,
    run_torch,
    write_onnx,
    write_torch,
)
from caselli.interop.importing import Imported, import_tokenizer
from caselli.interop.layout import Hints
from caselli.interop.llamagen import import_llamagen
from caselli.interop.taming import import_taming
from caselli.tokenizer import Tokenizer
from caselli.weights import Weights

IMPORTERS: dict[str, Callable[[Sequence[Weights], Hints], Tokenizer]] = {
    "taming": import_taming,
    "llamagen": import_llamagen,
    "diffusers": import_diffusers,
    "dalle": import_dalle,
}
"""Families of checkpoints: the weights of the files given, and hints on what they leave open → tokenizer."""

EXPORTERS: dict[str, Exporter] = {
    "torch": Exporter(write_torch, run_torch, ".pt2"),
    "onnx": Exporter(write_onnx, run_onnx, ".onnx", ("onnx", "onnxscript", "onnxruntime")),
}
"""Formats of programs by name."""

__all__ = [
    "EXPORTERS",
    "IMPORTERS",
    "Exported",
    "Exporter",
    "Hints",
    "Imported",
    "export_tokenizer",
    "import_tokenizer",
]
