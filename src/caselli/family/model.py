"""A trained family with the names of its labels: what the run folder of a one-stage recipe loads into."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import nn

from caselli.data import Pictures, class_numbers, to_float
from caselli.errors import UserError, lookup
from caselli.family.base import Family
from caselli.family.network import Decoder, Encoder
from caselli.files import write_tensors
from caselli.sampling import Sampling
from caselli.shapes import Float, Int, Tensor
from caselli.trained import Likelihood, Part, Trained
from caselli.weights import load_weights, read_config, read_description, save_weights

STEM = "family"
"""The files of a run folder: `family.safetensors` and `family.json`."""


@dataclasses.dataclass(frozen=True)
class FamilyScore:
    """Log probability of pictures under a family."""

    bits_per_dimension: Float[Tensor, "B"]
    """−log₂ p of each picture divided by C·H·W, or an upper bound of it."""
    kind: str
    """`density`, or `bound`."""
    levels: int
    """Grey levels of the pictures whose probability it is: 256, fewer where a family binarises or rounds."""


@dataclasses.dataclass(frozen=True)
class Representations:
    """The vectors of a set of pictures."""

    vectors: Float[Tensor, "n F"]
    names: tuple[str, ...]
    """Names of the pictures."""
    labels: Int[Tensor, "n"] | None
    """Labels of the pictures, where the set has any."""
    data: str
    """Fingerprint of the set."""

    def __len__(self) -> int:
        return len(self.vectors)

    def save(self, path: str | Path) -> None:
        """Writes a safetensors file with `representations` and, where there are any, `labels`."""
        tensors = {"representations": self.vectors}
        if self.labels is not None:
            tensors["labels"] = self.labels
        write_tensors(path, tensors, {"names": json.dumps(self.names), "data": self.data})


class FamilyModel(Trained):
    """A trained family: `sample`, `encode`, `decode` and `score` work on batches.

    Arguments:
        name: the family's name in `FAMILIES`.
        family: the network, in evaluation mode.
        classes: names of the labels, in order; empty without labels.
    """

    def __init__(self, name: str, family: Family, classes: Sequence[str] = ()) -> None:
        self.name, self.family, self.classes = name, family.eval(), tuple(classes)
        self.title, self.stage = f"family {name}", name
        self.size, self.channels = family.config.size, family.config.channels
        self.density, self.grey_levels = family.density, family.levels()

    def save_pretrained(self, folder: str | Path) -> None:
        save_family(self, Path(folder))

    def networks(self) -> list[nn.Module]:
        return [self.family]

    def parts(self) -> dict[str, Part]:
        """The network that reads pictures and the one that makes them, where the family has them."""
        found = {}
        for module in self.family.modules():
            if isinstance(module, Encoder):
                found["encoder"] = Part(module, (self.channels, self.size, self.size))
            if isinstance(module, Decoder):
                first = next(layer for layer in module.modules() if isinstance(layer, nn.Linear))
                found["decoder"] = Part(module, (first.in_features,))
        return found or super().parts()

    @torch.no_grad()
    def sample(
        self,
        count: int,
        label: str | int | Sequence[str | int] | None = None,
        seed: int = 0,
        options: Sampling = Sampling(),  # noqa: B008  (frozen)
        batch: int = 64,
        progress: Callable[[int], None] = lambda pictures: None,
        engine: None = None,
        text: str | Sequence[str] | None = None,
        picture: Tensor | None = None,
    ) -> Float[Tensor, "count C H W"]:
        """New pictures.

        Arguments:
            count: how many.
            label: a class (name or number), one for each picture, or None for any.
            seed: picture i is drawn with seed + i, whatever the batch.
            options: the temperature alone.
            batch: pictures drawn at a time.
            progress: called with the number of pictures drawn at each step.
            engine, text, picture: nothing; a family draws no codes, and knows labels alone.
        """
        if text is not None or picture is not None:
            raise UserError(
                f"{'another picture' if text is None else 'a caption'} was given for family {self.name}",
                "a family knows labels alone",
                "leave it out",
            )
        if count < 1:
            raise UserError(f"{count} pictures were asked for", "at least 1 was expected")
        if options != Sampling(temperature=options.temperature):
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

    def encoded(self, pictures: Pictures) -> Representations:
        parts = torch.arange(len(pictures)).split(256)
        vectors = torch.cat([self.encode(to_float(pictures.read(part))).cpu() for part in parts])
        return Representations(vectors, pictures.names, pictures.labels, pictures.fingerprint)

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
    def sample_like(self, pictures: Pictures, seed: int = 0) -> Float[Tensor, "n C H W"]:
        """A sample for each picture of a set, of its label where the model has labels."""
        labels = pictures.labels.tolist() if self.classes and pictures.classes == self.classes else None
        return self.sample(len(pictures), label=labels, seed=seed)

    def reconstruct(self, pictures: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """The pictures as their representation gives them back."""
        return self.family.reconstruct(pictures.to(self.device)).float().clamp(-1, 1)

    def score(
        self, pictures: Float[Tensor, "B C H W"], labels: Int[Tensor, "B"] | None = None
    ) -> FamilyScore:
        """Bits per dimension of each picture, or a bound of them; the random numbers are always the same."""
        bits = self._nats(pictures, labels) / (self.family.config.dimensions * math.log(2))
        return FamilyScore(bits, self.density, self.grey_levels)

    def likelihood(self, pictures: Pictures, indices: Int[Tensor, "B"]) -> Likelihood:
        """Bits of whole pictures, given labels that the family knows."""
        if not self.density:
            return super().likelihood(pictures, indices)
        labels = pictures.labels_in(self.classes, indices)
        return Likelihood(self._nats(to_float(pictures.read(indices)), labels) / math.log(2))

    @torch.no_grad()
    def _nats(self, pictures: Tensor, labels: Tensor | None) -> Float[Tensor, "B"]:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            given = labels if labels is None else labels.to(self.device)
            return self.family.nats(pictures.to(self.device), given).float().cpu()


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
