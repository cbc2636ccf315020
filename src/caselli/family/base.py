"""The contract of one-stage families: a distribution over pictures, and what it can be fitted by."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from torch import nn

from caselli.divergence import (
    DIVERGENCES,
    FGAN,
    R1,
    R2,
    Divergence,
    GradientPenalty,
    Need,
    Regulariser,
    SpectralNorm,
    WeightClipping,
    check_fit,
    names_that_need,
)
from caselli.engine.task import Losses, Task
from caselli.errors import UserError, expect, lookup
from caselli.sampling import Sampling
from caselli.shapes import Float, Int, Tensor

REGULARISERS: dict[str, type[Regulariser]] = {
    "gradient_penalty": GradientPenalty,
    "r1": R1,
    "r2": R2,
    "spectral_norm": SpectralNorm,
    "weight_clipping": WeightClipping,
}
"""Regularisers of the critic, by name."""

LABEL_WIDTH = 32
"""Numbers that a label adds to a vector."""


@dataclasses.dataclass(frozen=True)
class FamilyConfig:
    """Settings that every family has; plain data, stored beside its weights."""

    channels: int = 1
    """Picture channels: 1 grey, 3 colour; a run takes the set's."""
    size: int = 32
    """Height and width in pixels; a run takes the set's."""
    classes: int = 0
    """Labels that condition the family; 0 for none."""

    def __post_init__(self) -> None:
        for name, least in (("size", 1), ("classes", 0)):
            expect(getattr(self, name) >= least, name, getattr(self, name), f"at least {least}")
        expect(self.channels in (1, 3), "channels", self.channels, "1 (grey) or 3 (colour)")

    @property
    def shape(self) -> tuple[int, int, int]:
        """C, H and W of a picture."""
        return self.channels, self.size, self.size

    @property
    def dimensions(self) -> int:
        """C·H·W."""
        return self.channels * self.size**2


class Family(nn.Module, ABC):
    """A distribution over pictures `B C H W` in [−1, 1], learned in one stage.

    A family is final, is built from its configuration alone, and says by `density` and `samples` what it
    offers to a divergence. What it does not offer is refused with a `UserError` that names what does.

    Arguments:
        config: an instance of `config_kind`.
    """

    config_kind: ClassVar[type[FamilyConfig]]
    density: ClassVar[str] = ""
    """`density` where log p is exact, `bound` where it is bounded from below, else empty."""
    samples: ClassVar[bool] = False
    """True where samples carry gradients."""

    def __init__(self, config: FamilyConfig) -> None:
        super().__init__()
        self.config = config

    # training -----------------------------------------------------------------------------------------------

    @abstractmethod
    def losses(self, pictures: Float[Tensor, "B C H W"], labels: Tensor | None, step: int) -> Losses:
        """The loss on a batch, with its metrics."""

    @abstractmethod
    def figures(
        self, pictures: Float[Tensor, "B C H W"], labels: Tensor | None, numbers: list[int]
    ) -> dict[str, Tensor]:
        """Scalars on a held-out batch; `loss` decides which weights are kept.

        Arguments:
            pictures, labels: the batch.
            numbers: number of each picture in the held-out set, for noise that does not depend on batches.
        """

    def finish(self) -> dict[str, float]:
        """Figures over all held-out batches since the last call, on all ranks."""
        return {}

    # the three uses -----------------------------------------------------------------------------------------

    @abstractmethod
    def draw(self, seeds: list[int], labels: Int[Tensor, "B"] | None, options: Sampling) -> Tensor:
        """A picture for each seed, the same in any batch."""

    def nats(self, pictures: Float[Tensor, "B C H W"], labels: Int[Tensor, "B"] | None) -> Float[Tensor, "B"]:
        """−log p of each picture as `levels()` grey levels, or an upper bound of it."""
        raise self._cannot("give a probability", "vae (a bound) or mixture")

    def levels(self) -> int:
        """Number of grey levels that `nats` counts: 256, or 2 for binarised pictures."""
        return 256

    def represent(self, pictures: Float[Tensor, "B C H W"]) -> Float[Tensor, "B F"]:
        """A vector for each picture."""
        raise self._cannot("represent a picture", "vae, mixture or a gan with a critic")

    def latents(self, seeds: list[int], options: Sampling) -> Float[Tensor, "B D"]:
        """Latents from the prior, one for each seed."""
        raise self._cannot("draw latents", "vae or gan")

    def decode(self, latents: Float[Tensor, "B D"], labels: Tensor | None) -> Float[Tensor, "B C H W"]:
        """The pictures of latents."""
        raise self._cannot("decode latents", "vae or gan")

    def reconstruct(self, pictures: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """Pictures from their representation."""
        raise self._cannot("reconstruct a picture", "vae")

    def _cannot(self, what: str, others: str) -> UserError:
        name = type(self).__name__
        return UserError(f"{name} cannot {what}", f"a family that can was expected: {others}")


class FamilyTask(Task):
    """Training a family: its own losses."""

    def __init__(self, family: Family) -> None:
        super().__init__()
        self.family = family

    def forward(self, batch: Any, step: int) -> Losses:
        return self.family.losses(batch.pictures, batch.labels, step)

    def validate(self, batch: Any) -> dict[str, Tensor]:
        return self.family.figures(batch.pictures, batch.labels, batch.indices.tolist())

    def finish(self) -> dict[str, float]:
        return self.family.finish()


def divergence_of(
    family: Family, name: str, options: dict[str, Any], regularisers: dict[str, Any] | None = None
) -> Divergence:
    """The divergence that a family is fitted by.

    Arguments:
        family: says what it offers.
        name: in `DIVERGENCES`.
        options: its own arguments.
        regularisers: names in `REGULARISERS` with their one argument; empty for the published ones.

    Errors: `UserError` for an unknown name or option, and for a divergence that the family offers too little
    for: it names those that fit.
    """
    kind = lookup(DIVERGENCES, "divergence", name)
    check_fit(name, density=bool(family.density), samples=family.samples)
    given = [lookup(REGULARISERS, "regulariser", r)(value) for r, value in (regularisers or {}).items()]
    if given and kind.needs is not Need.CRITIC:
        fit = ", ".join(names_that_need(Need.CRITIC))
        raise UserError(
            f"regularisers were given with {name}",
            "a divergence with a critic was expected",
            f"these fit: {fit}",
        )
    options = dict(options)
    first = [options.pop("f", "jensen_shannon")] if kind is FGAN else []
    try:
        return kind.of_any_scale(*first, *given, **options)
    except TypeError as error:
        raise UserError(f"divergence options {options} were given ({error})") from None


def seeded(seeds: list[int], *shape: int, normal: bool) -> Float[Tensor, "B ..."]:
    """Noise of each sample's own seed, normal or uniform: a sample does not depend on those beside it."""
    draw = torch.randn if normal else torch.rand
    return torch.stack([draw(shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds])


def seeded_pair(seeds: list[int], normals: int, uniforms: int) -> tuple[Tensor, Tensor]:
    """Normal noise, as `seeded` gives it, and uniform noise that is independent of it.

    One stream is gone through: that of a seed 2³² further on is the same again.
    """
    sources = [torch.Generator().manual_seed(seed) for seed in seeds]
    normal = torch.stack([torch.randn(normals, generator=source) for source in sources])
    return normal, torch.stack([torch.rand(uniforms, generator=source) for source in sources])
