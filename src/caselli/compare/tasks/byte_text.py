"""Byte text: the next byte of a text, from a file."""

from __future__ import annotations

import functools
from pathlib import Path

import torch

from caselli.compare.tasks.base import Examples, SequenceTask
from caselli.errors import UserError
from caselli.shapes import Int, Tensor

HELD_OUT = 0.1
"""Share of the text that is held out, its end."""


class ByteText(SequenceTask):
    """The next byte of a text, asked for at every byte; the last tenth of the text is held out.

    Arguments:
        path: a file; by default the reference of the Python language, half a megabyte of English that comes
            with Python.
        length: T.

    Example:
        >>> made = ByteText(length=20).examples(1, torch.Generator())
        >>> torch.equal(made.tokens[:, 1:], made.answers[:, :-1])
        True
    """

    causal_only = True

    def __init__(self, path: str | Path | None = None, length: int = 64) -> None:
        self.text = _reference() if path is None else _bytes(Path(path))
        self.border = round(len(self.text) * (1 - HELD_OUT))
        held_out = len(self.text) - self.border
        super().__init__(tokens=256, answers=256, length=length, least=1)
        self.lengths = tuple(t for t in self.lengths if t < held_out)
        if length >= held_out:
            raise UserError(
                f"a text of {len(self.text)} bytes was given",
                f"at least {round((length + 1) / HELD_OUT) + 1} were expected for sequences of {length}",
            )

    def draw(self, count, length, random, split):
        text = self.text[: self.border] if split == "train" else self.text[self.border :]
        if length >= len(text):
            raise UserError(f"length {length} was given", f"less than the text's {len(text)} was expected")
        first = torch.randint(len(text) - length, (count, 1), generator=random)
        pieces = text[first + torch.arange(length + 1)].long()
        return Examples(pieces[:, :-1], pieces[:, 1:])


@functools.cache
def _reference() -> Int[Tensor, "n"]:
    try:
        from pydoc_data.topics import topics
    except ImportError:
        raise UserError(
            "no text was given", "this Python comes without its reference", "name a file"
        ) from None
    return _tensor("\n".join(topics[name] for name in sorted(topics)).encode())


def _bytes(path: Path) -> Int[Tensor, "n"]:
    try:
        return _tensor(path.read_bytes())
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror})", "a text file was expected") from error


def _tensor(text: bytes) -> Int[Tensor, "n"]:
    return torch.frombuffer(bytearray(text or b"\0"), dtype=torch.uint8)
