"""Tokenizer, order and prior together: what a run folder loads into."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from caselli.errors import UnknownName, UserError, lookup
from caselli.files import atomic_write
from caselli.order import ORDERS, Grid, Order
from caselli.prior import Alphabet, Autoregressive, PriorConfig, Sampling, sample
from caselli.shapes import Float, Int, Tensor
from caselli.tokenizer import Tokenizer, TokenizerConfig

FORMAT = 1
"""Version of the files; a later one is refused."""


@dataclasses.dataclass(frozen=True)
class Score:
    """How probable a model finds pictures."""

    prior_bits: Float[Tensor, "B"]
    """−log₂ p(codes | label) of each picture."""
    bits_per_dimension: Float[Tensor, "B"]
    """The same, divided by the picture's numbers (C·H·W)."""


class Model:
    """A trained tokenizer and, where the run has one, a prior over its codes.

    `encode`, `decode`, `sample` and `score` work on batches: pictures `B C H W` in [−1, 1], codes `B h w`.

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
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        batch: int = 64,
        progress: Callable[[int], None] = lambda codes: None,
    ) -> Float[Tensor, "count C H W"]:
        """New pictures.

        Arguments:
            count: how many.
            label: a class (name or number), one for each picture, or None for any.
            seed: picture i is drawn with seed + i, whatever the batch.
            temperature, top_k, top_p: see `caselli.prior.Sampling`.
            batch: pictures drawn at a time.
            progress: told the number of codes drawn at each step.
        """
        prior, options = self._prior(), Sampling(temperature, top_k, top_p)
        if count < 1:
            raise UserError(f"{count} pictures were asked for", "at least 1 was expected")
        labels = self.labels(label, count)
        pictures = []
        for start in range(0, count, batch):
            seeds = list(range(seed + start, seed + min(start + batch, count)))
            part = None if labels is None else labels[start : start + len(seeds)].to(self.device)
            sequence = sample(prior, part, seeds, options, progress)
            pictures.append(self.decode(self.order.restore(sequence, self.grid)).cpu())
        return torch.cat(pictures)

    @torch.no_grad()
    def score(self, pictures: Float[Tensor, "B C H W"], labels: Int[Tensor, "B"] | None = None) -> Score:
        """Bits that the prior needs for the pictures' codes."""
        sequence = self.order.flatten(self.encode(pictures), self.grid)
        condition = None if labels is None else labels.to(self.device)
        bits = -self._prior().log_prob(sequence, condition).sum(1) / math.log(2)
        return Score(bits, bits / pictures[0].numel())

    def labels(self, label: str | int | Sequence[str | int] | None, count: int) -> Int[Tensor, "B"] | None:
        """Class numbers for `count` pictures; an unknown label is a `UserError` that names close ones."""
        if label is None:
            return None
        given = [label] * count if isinstance(label, str | int) else list(label)
        if len(given) != count:
            raise UserError(
                f"{len(given)} labels were given for {count} pictures", "one for each was expected"
            )
        return torch.tensor([self._class(one) for one in given])

    def _class(self, label: str | int) -> int:
        if not self.classes:
            raise UserError(
                f"label {label!r} was asked for",
                "this model was trained without labels",
                "leave the label out",
            )
        if label in self.classes:
            return self.classes.index(label)
        if isinstance(label, int) and 0 <= label < len(self.classes):
            return label
        raise UnknownName("label", label, self.classes)

    def _prior(self) -> Autoregressive:
        if self.prior is None:
            raise UserError(
                "this run has no prior yet",
                "a run with both stages was expected",
                "train it with `caselli train SOURCE -o RUN --stage prior --resume`",
            )
        return self.prior


def grid_of(tokenizer: Tokenizer, size: int) -> Grid:
    """The grid of codes of a square picture."""
    side = size // tokenizer.config.factor
    return Grid(side, side, max(1, len(tokenizer.quantizer.sizes)))


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
    _save(folder / "tokenizer", tokenizer, {"config": dataclasses.asdict(tokenizer.config), "size": size})


def save_prior(prior: Autoregressive, folder: Path, tokenizer: str, classes: Sequence[str]) -> None:
    """`prior.safetensors` and `prior.json`; `tokenizer` is the fingerprint of the codes' tokenizer."""
    described = {"config": dataclasses.asdict(prior.config), "tokenizer": tokenizer, "classes": list(classes)}
    _save(folder / "prior", prior, described)


def load_tokenizer(folder: Path) -> tuple[Tokenizer, int]:
    """The tokenizer of a run folder, and the picture size it was trained at."""
    described = _describe(folder / "tokenizer")
    tokenizer = Tokenizer(_config(TokenizerConfig, described, folder))
    _weights(folder / "tokenizer", tokenizer)
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
    described = _describe(folder / "prior")
    if described["tokenizer"] != tokenizer.fingerprint():
        raise UserError(
            f"the prior in {folder} was trained on the codes of another tokenizer",
            f"fingerprint {tokenizer.fingerprint()} was expected, {described['tokenizer']} found",
            "train the prior anew: caselli train ... --stage prior",
        )
    config = _config(PriorConfig, described, folder)
    prior, order = build_prior(config, tokenizer, size, len(described["classes"]))
    _weights(folder / "prior", prior)
    return Model(tokenizer, prior, order, size, described["classes"])


def _save(stem: Path, module: nn.Module, described: dict[str, Any]) -> None:
    tensors = {k: v.detach().cpu().contiguous() for k, v in module.state_dict().items()}
    with atomic_write(stem.with_suffix(".safetensors")) as temporary:
        save_file(tensors, temporary)
    with atomic_write(stem.with_suffix(".json")) as temporary:
        temporary.write_text(json.dumps({"format": FORMAT, **described}, indent=2), encoding="utf-8")


def _describe(stem: Path) -> dict[str, Any]:
    path = stem.with_suffix(".json")
    try:
        described = json.loads(path.read_text(encoding="utf-8"))
        version = described["format"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} cannot be read ({error})", "the file that training wrote was expected"
        ) from None
    if version != FORMAT:
        raise UserError(f"{path} has format {version}", f"format {FORMAT} was expected", "upgrade caselli")
    return described


def _config(kind: type, described: dict[str, Any], folder: Path) -> Any:
    fields = {f.name for f in dataclasses.fields(kind)}
    given = described.get("config")
    if not isinstance(given, dict) or not set(given) <= fields:
        raise UserError(f"the configuration in {folder} has unknown fields", remedy="upgrade caselli")
    return kind(**{k: tuple(v) if isinstance(v, list) and k != "mixer" else v for k, v in given.items()})


def _weights(stem: Path, module: nn.Module) -> None:
    path = stem.with_suffix(".safetensors")
    try:
        module.load_state_dict(load_file(path))
    except (OSError, SafetensorError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"{path} cannot be loaded ({reason})", "the weights of this run were expected"
        ) from None
    module.eval()
