"""A trained family with the names of its labels: what the run folder of a one-stage recipe loads into."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from caselli.data import class_numbers
from caselli.errors import UserError, lookup
from caselli.family.base import Family
from caselli.sampling import Sampling
from caselli.shapes import Float, Int, Tensor
from caselli.weights import load_weights, read_config, read_description, save_weights

STEM = "family"
"""The files of a run folder: `family.safetensors` and `family.json`."""


@dataclasses.dataclass(frozen=True)
class FamilyScore:
    """How probable a family finds pictures."""

    bits_per_dimension: Float[Tensor, "B"]
    """−log₂ p of each picture divided by C·H·W, or an upper bound of it."""
    kind: str
    """`density`, or `bound`."""
    levels: int
    """Grey levels of the pictures that are meant: 256, fewer for a family that binarises or rounds."""


class FamilyModel:
    """A trained family: `sample`, `encode`, `decode` and `score` work on batches.

    Arguments:
        name: the family's name in `FAMILIES`.
        family: the network, in evaluation mode.
        classes: names of the labels, in order; empty without labels.
    """

    def __init__(self, name: str, family: Family, classes: Sequence[str] = ()) -> None:
        self.name, self.family, self.classes = name, family.eval(), tuple(classes)
        self.size, self.channels = family.config.size, family.config.channels

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.family.parameters()).device

    def to(self, device: str | torch.device) -> FamilyModel:
        """Moves the weights."""
        self.family.to(device)
        return self

    @torch.no_grad()
    def sample(
        self,
        count: int,
        label: str | int | Sequence[str | int] | None = None,
        seed: int = 0,
        options: Sampling = Sampling(),  # noqa: B008  (frozen)
        batch: int = 64,
        progress: Callable[[int], None] = lambda pictures: None,
    ) -> Float[Tensor, "count C H W"]:
        """New pictures.

        Arguments:
            count: how many.
            label: a class (name or number), one for each picture, or None for any.
            seed: picture i is drawn with seed + i, whatever the batch.
            options: the temperature; of families that draw pixels, all of `caselli.sampling.Sampling`.
            batch: pictures drawn at a time.
            progress: told the number of pictures drawn at each step.
        """
        if count < 1:
            raise UserError(f"{count} pictures were asked for", "at least 1 was expected")
        if self.name != "autoregressive" and options != Sampling(temperature=options.temperature):
            raise UserError(
                "options of drawing codes were given",
                f"family {self.name} draws none, so a temperature alone was expected",
                "leave them out",
            )
        labels, pictures = class_numbers(self.classes, label, count), []
        for start in range(0, count, batch):
            seeds = list(range(seed + start, seed + min(start + batch, count)))
            part = None if labels is None else labels[start : start + len(seeds)].to(self.device)
            pictures.append(self.family.draw(seeds, part, options).cpu())
            progress(len(seeds))
        return torch.cat(pictures)

    @torch.no_grad()
    def encode(self, pictures: Float[Tensor, "B C H W"]) -> Float[Tensor, "B F"]:
        """A vector for each picture."""
        return self.family.represent(pictures.to(self.device)).float()

    @torch.no_grad()
    def latents(self, count: int, seed: int = 0) -> Float[Tensor, "count D"]:
        """Latents of the prior, to be decoded; latent i is drawn with seed + i."""
        return self.family.latents(list(range(seed, seed + count)), Sampling())

    @torch.no_grad()
    def decode(
        self, latents: Float[Tensor, "B D"], labels: Int[Tensor, "B"] | None = None
    ) -> Float[Tensor, "B C H W"]:
        """The pictures of latents."""
        return self.family.decode(latents.to(self.device), labels).float().clamp(-1, 1)

    @torch.no_grad()
    def reconstruct(self, pictures: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """The pictures as their representation gives them back."""
        return self.family.reconstruct(pictures.to(self.device)).float().clamp(-1, 1)

    @torch.no_grad()
    def score(
        self, pictures: Float[Tensor, "B C H W"], labels: Int[Tensor, "B"] | None = None
    ) -> FamilyScore:
        """Bits per dimension of each picture, or a bound of them; the random numbers are always the same."""
        with torch.random.fork_rng():
            torch.manual_seed(0)
            given = labels if labels is None else labels.to(self.device)
            nats = self.family.nats(pictures.to(self.device), given).float().cpu()
        bits = nats / (self.family.config.dimensions * math.log(2))
        return FamilyScore(bits, self.family.density, self.family.levels())


def save_family(model: FamilyModel, folder: Path) -> None:
    """`family.safetensors` and `family.json`: weights, and the plain data that rebuild them."""
    described = {
        "family": model.name,
        "config": model.family.config,
        "classes": list(model.classes),
    }
    save_weights(folder / STEM, model.family, described)


def load_family(folder: str | Path) -> FamilyModel:
    """The family of a run folder; runs no code of the folder's, only weights and plain data are read.

    Errors: `UserError` for damaged or foreign files.
    """
    from caselli.family import FAMILIES  # the door imports this file

    stem = Path(folder) / STEM
    described = read_description(stem)
    kind = lookup(FAMILIES, "family", described.get("family"))
    family = kind(read_config(kind.config_kind, described, stem))
    load_weights(stem, family)
    return FamilyModel(described["family"], family, described["classes"])
