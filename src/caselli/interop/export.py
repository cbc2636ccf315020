"""A tokenizer as programs for elsewhere, each of which is run before it is called done."""

from __future__ import annotations

import copy
import dataclasses
import json
import logging
import warnings
from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn
from torch.export import Dim, ExportedProgram

from caselli.errors import UserError, first_line, is_out_of_memory
from caselli.files import atomic_write, write_text
from caselli.interop.target import Exportable, Target
from caselli.model import load
from caselli.shapes import Float, Int, Tensor
from caselli.tokenizer import Tokenizer

TOLERANCE = 1e-4
"""Largest difference of a picture's numbers, on [−1, 1], between a program and the tokenizer."""
DIFFERING = 0.001
"""Largest share of codes (one is allowed in any case) that may differ: between two that are equally near the
last bit decides."""

ANY_BATCH = {0: Dim("batch", min=1)}
"""An input whose batch may have any size."""
Runner = Callable[[Tensor], Tensor]


class Encoding(nn.Module):
    """Pictures → codes, as one program."""

    noun = "tokenizer"

    def __init__(self, tokenizer: Tokenizer) -> None:
        super().__init__()
        self.encoder, self.quantizer = tokenizer.encoder, tokenizer.quantizer

    def forward(self, pictures: Float[Tensor, "B C H W"]) -> Int[Tensor, "B *S"]:
        return self.quantizer.encode(self.encoder(pictures))


class Decoding(nn.Module):
    """Codes → pictures in [−1, 1], as one program."""

    noun = "tokenizer"

    def __init__(self, tokenizer: Tokenizer) -> None:
        super().__init__()
        self.decoder, self.quantizer = tokenizer.decoder, tokenizer.quantizer

    def forward(self, codes: Int[Tensor, "B *S"]) -> Float[Tensor, "B C H W"]:
        return self.decoder(self.quantizer.decode(codes)).clamp(-1, 1)


@dataclasses.dataclass(frozen=True)
class Exported:
    """Files of an export, and their agreement with the tokenizer."""

    encoder: Path
    """Pictures → codes."""
    decoder: Path
    """Codes → pictures."""
    codes: int
    """Number of codes that were compared."""
    differing: int
    """Codes that the program chose otherwise than the tokenizer."""
    largest_difference: float
    """Largest difference of pictures, on [−1, 1]."""

    def words(self) -> str:
        """The files, and their agreement with the run, for people."""
        return (
            f"{self.encoder} and {self.decoder}: {self.differing} of {self.codes} codes differ "
            f"from the run's, pictures by up to {self.largest_difference:.0e}"
        )

    def agree(self) -> bool:
        """True where the programs agree with the tokenizer, but for rounding."""
        return self.differing <= max(1, DIFFERING * self.codes) and self.largest_difference <= TOLERANCE


class Programs(Target):
    """Encoder and decoder as programs for any batch of pictures of one size, compared with the tokenizer."""

    suffix: ClassVar[str]
    """Ending of the files' names."""

    @abstractmethod
    def save(self, program: ExportedProgram, path: Path) -> None:
        """Writes a program to a file."""

    @abstractmethod
    def read(self, path: Path) -> Runner:
        """A program of one input, in a file, as a function of a tensor."""

    def write(self, run: Exportable, folder: Path) -> str:
        model = load(run.folder)
        return self.tokenizer(model.tokenizer, model.size, folder).words()

    def tokenizer(self, tokenizer: Tokenizer, size: int, folder: Path) -> Exported:
        """Writes `encoder` and `decoder` and `programs.json`, and runs both on batches of other sizes.

        Arguments:
            tokenizer: with its weights.
            size: height and width of the pictures.
            folder: made if need be; files of the same names are replaced.

        Errors: `UserError` for a tokenizer that cannot be written so, or a program that differs from the
        tokenizer; `MissingExtra` without the libraries that are needed.
        """
        self.require()
        tokenizer = copy.deepcopy(tokenizer).cpu().eval()
        pictures = _pictures(tokenizer, size, 2)
        codes = tokenizer.encode(pictures)
        paths = [folder / f"{name}{self.suffix}" for name in ("encoder", "decoder")]
        for path, part, example in zip(paths, (Encoding, Decoding), (pictures, codes), strict=True):
            with atomic_write(path) as temporary, quiet():
                self.save(traced(part(tokenizer), (example,), (ANY_BATCH,)), temporary)
        found = Exported(*paths, *_compare(tokenizer, size, *map(self.read, paths)))
        if not found.agree():
            for path in paths:
                path.unlink()
            raise UserError(
                f"the programs differ from the tokenizer in {found.differing} of {found.codes} codes, "
                f"and by up to {found.largest_difference:.1e} in the pictures",
                f"at most {DIFFERING:.1%} and {TOLERANCE:.0e} were expected",
                "they were removed; try the other --to",
            )
        write_text(
            folder / "programs.json", json.dumps(_description(tokenizer, size, codes, found), indent=2)
        )
        return found


def traced(part: nn.Module, examples: tuple[Tensor, ...], shapes: Any) -> ExportedProgram:
    """The graph of a module.

    Arguments:
        part: what is traced.
        examples: its inputs.
        shapes: the axes of the inputs that may change, as of `torch.export.export`.

    Errors: `UserError` for a module that cannot be followed.
    """
    try:
        with torch.no_grad():
            return torch.export.export(part, examples, dynamic_shapes=shapes)
    except Exception as error:  # whatever of a hundred things the tracer cannot follow
        if is_out_of_memory(error):
            raise
        raise UserError(
            f"this {part.noun} cannot be made a program ({first_line(error)[:200]})",
            "an architecture and a quantizer that torch.export can trace were expected",
        ) from error


def _compare(tokenizer: Tokenizer, size: int, encode: Runner, decode: Runner) -> tuple[int, int, float]:
    """Codes, those that differ, and the largest difference of a picture, over batches of one and of three."""
    total, differing, difference = 0, 0, 0.0
    for batch in (1, 3):
        pictures = _pictures(tokenizer, size, batch)
        codes, found = tokenizer.encode(pictures), encode(pictures)
        same = found == codes if tokenizer.quantizer.sizes else _near(found, codes)
        total, differing = total + same.numel(), differing + int((~same).sum())
        difference = max(difference, (decode(codes) - tokenizer.decode(codes)).abs().max().item())
    return total, differing, difference


def _near(a: Tensor, b: Tensor) -> Tensor:
    return (a - b).abs() <= TOLERANCE * b.abs().max().clamp_min(1)


def _pictures(tokenizer: Tokenizer, size: int, batch: int) -> Tensor:
    """Noise that is the same at every call; smooth and rough."""
    source = torch.Generator().manual_seed(batch)
    noise = torch.rand(batch, tokenizer.config.channels, size, size, generator=source) * 2 - 1
    return (noise + noise.mean((2, 3), keepdim=True)).clamp(-1, 1)


def _description(tokenizer: Tokenizer, size: int, codes: Tensor, found: Exported) -> dict[str, Any]:
    channels = tokenizer.config.channels
    return {
        "encoder": {"file": found.encoder.name, "input": "pictures", "output": "codes"},
        "decoder": {"file": found.decoder.name, "input": "codes", "output": "pictures"},
        "pictures": {"shape": ["batch", channels, size, size], "type": "float32", "range": [-1, 1]},
        "codes": {"shape": ["batch", *codes.shape[1:]], "type": str(codes.dtype).removeprefix("torch.")},
        "codebook_sizes": list(tokenizer.quantizer.sizes),
        "fingerprint": tokenizer.fingerprint(),
        "codes_compared": found.codes,
        "codes_differing": found.differing,
        "largest_difference": found.largest_difference,
    }


@contextmanager
def quiet() -> Iterator[None]:
    """Without the exporters' remarks on libraries and functions that are not ours."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
