"""Tokenizer, order and prior together: what a run folder loads into."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from caselli.data.labels import class_numbers
from caselli.engine.weights import load_weights, read_description, save_weights
from caselli.errors import UserError, lookup
from caselli.order import ORDERS, Grid, Order
from caselli.prior import (
    AS_LEARNED,
    Alphabet,
    Autoregressive,
    Engine,
    PriorConfig,
    Sampling,
    best_engine,
    sample,
)
from caselli.shapes import Bool, Float, Int, Tensor
from caselli.tokenizer import Tokenizer, TokenizerConfig


@dataclasses.dataclass(frozen=True)
class Score:
    """How probable a model finds pictures."""

    prior_bits: Float[Tensor, "B"]
    """−log₂ p(codes | label) of each picture."""
    bits_per_dimension: Float[Tensor, "B"]
    """The same, divided by the picture's numbers (C·H·W)."""


class Model:
    """A trained tokenizer and, where the run has one, a prior over its codes.

    `encode`, `decode`, `sample`, `complete` and `score` work on batches: pictures `B C H W` in [−1, 1], codes
    `B h w`, or `B T` where the tokenizer lays them on one axis.

    Arguments:
        tokenizer: pictures ⟷ codes.
        prior: a distribution over sequences of codes, or None before the second stage is trained.
        order: how codes become a sequence.
        size: height and width that the model was trained at, in pixels.
        classes: names of the labels, in order; empty without labels.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        prior: Autoregressive | None,
        order: Order,
        size: int,
        classes: Sequence[str] = (),
    ) -> None:
        self.tokenizer, self.prior, self.order = tokenizer.eval(), prior, order
        self.size, self.classes = size, tuple(classes)
        self.grid = grid_of(tokenizer, size)
        if prior is not None:
            prior.eval()

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.tokenizer.parameters()).device

    def to(self, device: str | torch.device) -> Model:
        """Moves the weights."""
        self.tokenizer.to(device)
        if self.prior is not None:
            self.prior.to(device)
        return self

    def encode(self, pictures: Float[Tensor, "B C H W"]) -> Int[Tensor, "B *S"]:
        """The pictures' codes."""
        return self.tokenizer.encode(pictures.to(self.device))

    def decode(self, codes: Int[Tensor, "B *S"]) -> Float[Tensor, "B C H W"]:
        """The codes' pictures."""
        return self.tokenizer.decode(codes.to(self.device))

    def sample(
        self,
        count: int,
        label: str | int | Sequence[str | int] | None = None,
        seed: int = 0,
        options: Sampling = AS_LEARNED,
        batch: int = 64,
        progress: Callable[[int], None] = lambda codes: None,
        engine: Engine | None = None,
    ) -> Float[Tensor, "count C H W"]:
        """New pictures.

        Arguments:
            count: how many.
            label: a class (name or number), one for each picture, or None for any.
            seed: picture i is drawn with seed + i, whatever the batch.
            options: guidance, temperature and truncation.
            batch: pictures drawn at a time.
            progress: told the number of codes drawn since it was last told.
            engine: what computes the steps; by default `caselli.prior.best_engine` of the prior in float32.
        """
        engine = engine or best_engine(self.require_prior())[0]
        if count < 1:
            raise UserError(f"{count} pictures were asked for", "at least 1 was expected")
        labels = self.labels(label, count)
        pictures = []
        for start in range(0, count, batch):
            seeds = list(range(seed + start, seed + min(start + batch, count)))
            part = None if labels is None else labels[start : start + len(seeds)].to(self.device)
            sequence = sample(engine, part, seeds, options, progress)
            pictures.append(self.decode(self.order.restore(sequence, self.grid)).cpu())
        return torch.cat(pictures)

    @torch.no_grad()
    def complete(
        self,
        pictures: Float[Tensor, "B C H W"],
        keep: Bool[Tensor, "H W"],
        label: str | int | Sequence[str | int] | None = None,
        seed: int = 0,
        options: Sampling = AS_LEARNED,
        progress: Callable[[int], None] = lambda codes: None,
        engine: Engine | None = None,
    ) -> Float[Tensor, "B C H W"]:
        """Pictures that go on from a part of the given ones.

        A code is kept where all of its pixels are; what is hidden does not reach the encoder. Kept codes that
        the order puts first are conditioned on exactly; one behind a drawn code is kept, and seen by those
        behind it. The kept part comes back as the tokenizer reconstructs it: `paste` puts the original there.

        Arguments:
            pictures: at the model's size; what lies outside of `keep` does not matter.
            keep: True where a pixel is given.
            label, options, progress, engine: as of `sample`.
            seed: picture i is drawn with seed + i.

        Errors: `UserError` where the picture or the mask has another size, nothing is kept, or codes have
        no places.
        """
        known = self._known(pictures, keep)
        engine = engine or best_engine(self.require_prior())[0]
        labels, seeds = self.labels(label, len(pictures)), list(range(seed, seed + len(pictures)))
        sequence = sample(engine, labels, seeds, options, progress, known)
        return self.decode(self.order.restore(sequence, self.grid)).cpu()

    def _known(self, pictures: Tensor, keep: Tensor) -> Int[Tensor, "B T"]:
        """The kept codes in order, −1 elsewhere."""
        if self.grid.flat:
            raise UserError(
                "a tokenizer whose codes lie on one axis was given",
                "to keep a part of a picture, codes with places are needed",
            )
        if pictures.shape[-2:] != keep.shape or keep.shape != (self.size, self.size):
            raise UserError(
                f"pictures of {tuple(pictures.shape[-2:])} and a mask of {tuple(keep.shape)} were given",
                f"{(self.size, self.size)} was expected of both",
            )
        if not keep.any():
            raise UserError("a mask that keeps nothing was given", remedy="use `sample` for whole pictures")
        visible = pictures * keep
        mean = visible.sum((2, 3), keepdim=True) / keep.sum()
        codes = self.encode(torch.where(keep, pictures, mean))
        cell = self.size // self.grid.height, self.size // self.grid.width
        whole = -F.max_pool2d(-keep[None].float(), cell)[0] > 0
        kept = whole.to(codes.device).expand(codes.shape)
        return self.order.flatten(torch.where(kept, codes, -1), self.grid)

    @torch.no_grad()
    def score(self, pictures: Float[Tensor, "B C H W"], labels: Int[Tensor, "B"] | None = None) -> Score:
        """Bits that the prior needs for the pictures' codes."""
        sequence = self.order.flatten(self.encode(pictures), self.grid)
        condition = None if labels is None else labels.to(self.device)
        bits = -self.require_prior().log_prob(sequence, condition).sum(1) / math.log(2)
        return Score(bits, bits / pictures[0].numel())

    def labels(self, label: str | int | Sequence[str | int] | None, count: int) -> Int[Tensor, "B"] | None:
        """Class numbers for `count` pictures; an unknown label is a `UserError` that names close ones."""
        return class_numbers(self.classes, label, count)

    def require_prior(self) -> Autoregressive:
        """The prior, or a `UserError` that says how to get one."""
        if self.prior is None:
            raise UserError(
                "this run has no prior yet",
                "a run with both stages was expected",
                "train it with `caselli train SOURCE -o RUN --stage prior --resume`",
            )
        return self.prior


def paste(
    pictures: Float[Tensor, "B C H W"], completed: Float[Tensor, "B C H W"], keep: Bool[Tensor, "H W"]
) -> Float[Tensor, "B C H W"]:
    """The original's own pixels where they are kept.

    Example:
        >>> one, zero = torch.ones(1, 1, 1, 2), torch.zeros(1, 1, 1, 2)
        >>> paste(one, zero, torch.tensor([[True, False]])).flatten()
        tensor([1., 0.])
    """
    return torch.where(keep, pictures, completed)


def grid_of(tokenizer: Tokenizer, size: int) -> Grid:
    """The grid of codes of a square picture; where they lie on one axis, a single row."""
    shape, codebooks = tokenizer.code_shape((size, size)), max(1, len(tokenizer.quantizer.sizes))
    return Grid(1, *shape, codebooks, flat=True) if len(shape) == 1 else Grid(*shape, codebooks)


def build_prior(
    config: PriorConfig, tokenizer: Tokenizer, size: int, classes: int
) -> tuple[Autoregressive, Order]:
    """A fresh prior over the codes of `tokenizer`, and its order."""
    if not tokenizer.quantizer.sizes:
        raise UserError(
            f"quantizer {tokenizer.config.quantizer!r} was given",
            "a prior needs discrete codes",
            "choose a quantizer with codebooks, or train with --stage tokenizer",
        )
    order: Order = lookup(ORDERS, "order", config.order)()
    codebooks = order.codebook(grid_of(tokenizer, size)).tolist()
    return Autoregressive(config, Alphabet(tokenizer.quantizer.sizes, tuple(codebooks), classes)), order


# files ------------------------------------------------------------------------------------------------------


def save_tokenizer(tokenizer: Tokenizer, folder: Path, size: int) -> None:
    """`tokenizer.safetensors` and `tokenizer.json`: weights, and the plain data that rebuild them."""
    save_weights(
        folder / "tokenizer", tokenizer, {"config": dataclasses.asdict(tokenizer.config), "size": size}
    )


def save_prior(prior: Autoregressive, folder: Path, tokenizer: str, classes: Sequence[str]) -> None:
    """`prior.safetensors` and `prior.json`; `tokenizer` is the fingerprint of the codes' tokenizer."""
    described = {"config": dataclasses.asdict(prior.config), "tokenizer": tokenizer, "classes": list(classes)}
    save_weights(folder / "prior", prior, described)


def load_tokenizer(folder: Path) -> tuple[Tokenizer, int]:
    """The tokenizer of a run folder, and the picture size it was trained at."""
    described = read_description(folder / "tokenizer")
    tokenizer = Tokenizer(_config(TokenizerConfig, described, folder))
    load_weights(folder / "tokenizer", tokenizer)
    return tokenizer, described["size"]


def load(run: str | Path) -> Model:
    """The model of a run folder; runs no code of the folder's, only weights and plain data are read.

    Errors: `UserError` for a folder without a tokenizer, damaged files, or a prior of another tokenizer.
    """
    folder = Path(run)
    if not (folder / "tokenizer.json").exists():
        raise UserError(
            f"{folder} was given as a run",
            "a folder with a trained tokenizer was expected",
            "make one with `caselli train SOURCE -o RUN`",
        )
    tokenizer, size = load_tokenizer(folder)
    if not (folder / "prior.json").exists():
        return Model(tokenizer, None, ORDERS["raster"](), size)
    described = read_description(folder / "prior")
    if described["tokenizer"] != tokenizer.fingerprint():
        raise UserError(
            f"the prior in {folder} was trained on the codes of another tokenizer",
            f"fingerprint {tokenizer.fingerprint()} was expected, {described['tokenizer']} found",
            "train the prior anew: caselli train ... --stage prior",
        )
    config = _config(PriorConfig, described, folder)
    prior, order = build_prior(config, tokenizer, size, len(described["classes"]))
    load_weights(folder / "prior", prior)
    return Model(tokenizer, prior, order, size, described["classes"])


def _config(kind: type, described: dict[str, Any], folder: Path) -> Any:
    fields = {f.name for f in dataclasses.fields(kind)}
    given = described.get("config")
    if not isinstance(given, dict) or not set(given) <= fields:
        raise UserError(f"the configuration in {folder} has unknown fields", remedy="upgrade caselli")
    return kind(**{k: tuple(v) if isinstance(v, list) and k != "mixer" else v for k, v in given.items()})
