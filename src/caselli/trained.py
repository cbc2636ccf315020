"""The trained network of a run: one interface, of which each kind of run offers what it can do."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, Self

import torch
from torch import nn

from caselli.errors import UserError
from caselli.shapes import Float, Int, Tensor


@dataclasses.dataclass(frozen=True)
class Likelihood:
    """Bits of pictures, those of the codes apart from those of what the codes leave out."""

    bits: Float[Tensor, "B"]
    """−log₂ p of each picture, or of what stands for it (its codes)."""
    residual: Float[Tensor, "B D"] | None = None
    """Difference between the pictures and their decoded codes; None where the bits cover all of a picture."""


@dataclasses.dataclass(frozen=True)
class Part:
    """A network of a trained run, and what goes into it."""

    network: nn.Module
    shape: tuple[int, ...]
    """Shape of the input without the batch."""


class Encoded(Protocol):
    """A set of pictures as a trained run represents it."""

    def __len__(self) -> int: ...

    def save(self, path: str | Path) -> None: ...


class Trained(ABC):
    """The trained network of a run.

    A subclass is final and offers some of the methods; each of the others raises a `UserError` that says what
    is no use here and which runs would fit. Pictures are float `B C H W` in [−1, 1].
    """

    title: str
    """The kind of network in words, such as "a segmenter"."""
    stage: str
    """Name of the training that made `parts`, as it stands in the run's log."""
    size: int
    """Height and width in pixels that the run was trained at."""
    channels: int
    """Picture channels: 1 grey, 3 colour."""
    classes: tuple[str, ...]
    """Names of the classes, in order; empty without."""
    density: str = ""
    """`density` where `likelihood` is exact, `bound` where it is an upper bound of the bits, else empty."""
    codes_per_picture: int = 1
    """Codes that are drawn for a picture; 1 where it is drawn at once."""
    grid: Any = None
    """Grid of a picture's codes, a `caselli.order.Grid`; None where a picture has no codes."""
    condition_size: int = 0
    """Side in pixels of another picture that new ones are drawn by; 0 where there is none to give."""
    grey_levels: int = 256
    """Grey levels of the pictures whose probability is told."""

    @abstractmethod
    def networks(self) -> Sequence[nn.Module]:
        """All that has weights."""

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(tensor.device for network in self.networks() for tensor in network.state_dict().values())

    def to(self, device: str | torch.device) -> Self:
        """Moves the weights."""
        for network in self.networks():
            network.to(device)
        return self

    @abstractmethod
    def save_pretrained(self, folder: str | Path) -> None:
        """Writes the weights and the plain data that rebuild them; `caselli.load` reads the folder."""

    def with_adapters(self, adapters: Mapping[str | Path, float]) -> Trained:
        """This with adapters of `caselli tune`, each of a weight."""
        raise self._cannot("be joined with an adapter", "a run with a prior")

    def teachers(self) -> tuple[str, ...]:
        """Names of the networks of features that trained this, and that may not judge it."""
        return ()

    def parts(self) -> dict[str, Part]:
        """The networks that `caselli inspect` looks at, by name, the usual one first."""
        raise self._cannot("be inspected", "a run with a tokenizer, of vae or gan, of unet or fcn")

    def remarks(self, pictures: int) -> list[str]:
        """Sentences on what a number of training pictures lets it learn; none for most kinds."""
        return []

    def encode(self, pictures: Float[Tensor, "B C H W"]) -> Tensor:
        """A representation of each picture: codes, or a vector."""
        raise self._cannot("encode pictures", "a run with a tokenizer or of a one-stage family")

    def encoded(self, pictures: Any) -> Encoded:
        """The representations of a whole `caselli.data.Pictures`, with names and labels."""
        raise self._cannot("encode pictures", "a run with a tokenizer or of a one-stage family")

    def decode(self, codes: Tensor) -> Float[Tensor, "B C H W"]:
        """The pictures of representations."""
        raise self._cannot("decode pictures", "a run with a tokenizer, of vae or of gan")

    def reconstruct(self, pictures: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """The pictures as their representation gives them back."""
        raise self._cannot("reconstruct pictures", "a run with a tokenizer or of vae")

    def sample(self, count: int, *arguments: Any, **options: Any) -> Float[Tensor, "count C H W"]:
        """New pictures."""
        raise self._cannot("make pictures", "a run with a prior or of a one-stage family")

    def engine(self, precision: str | None = None) -> tuple[Any, str]:
        """The fastest engine that draws codes, None where none are drawn; and why it is not a faster one.

        Arguments:
            precision: of the weights while sampling; None for that in which they are stored.
        """
        if precision is not None:
            raise self._cannot("be sampled in another precision", "a run with a prior")
        return None, ""

    def complete(self, *arguments: Any, **options: Any) -> Float[Tensor, "B C H W"]:
        """Pictures that go on from a part of the given ones."""
        raise self._cannot("complete pictures", "a run with a prior")

    def score(self, pictures: Float[Tensor, "B C H W"], *arguments: Any, **options: Any) -> Any:
        """Bits of each picture."""
        raise self._cannot("say how probable pictures are", "a run with a prior, of vae, mixture or pixels")

    def likelihood(self, pictures: Any, indices: Int[Tensor, "B"]) -> Likelihood:
        """Bits of some pictures of a `caselli.data.Pictures`, given their labels and captions."""
        raise self._cannot("say how probable pictures are", "a run with a prior, of vae, mixture or pixels")

    def segment(self, pictures: Float[Tensor, "B C H W"]) -> Int[Tensor, "B H W"]:
        """The class of every pixel."""
        raise self._cannot("segment pictures", "a run of unet or fcn")

    def _cannot(self, what: str, others: str) -> UserError:
        return UserError(f"{self.title} was given, which cannot {what}", f"{others} was expected")
