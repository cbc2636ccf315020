"""Tokenizer, order and prior together: what a run folder loads into."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import nn

from caselli.data import CodeStore, Pictures, to_float, with_size
from caselli.errors import UserError
from caselli.model.building import grid_of
from caselli.model.conditioned import Conditioned
from caselli.model.encoding import encode
from caselli.model.visible import paste, visible_codes
from caselli.order import Order
from caselli.prior import Bracket, Conditions, Prior
from caselli.sampling import AS_LEARNED, Engine, GuidedEngine, Sampling, best_engine, sample
from caselli.shapes import Bool, Float, Int, Tensor
from caselli.tokenizer import Tokenizer
from caselli.trained import Likelihood, Part
from caselli.weights import Compression


@dataclasses.dataclass(frozen=True)
class Score:
    """Bits of pictures under a model."""

    prior_bits: Float[Tensor, "B"]
    """−log₂ p(codes | label) of each picture."""
    bits_per_dimension: Float[Tensor, "B"]
    """`prior_bits` divided by the picture's numbers (C·H·W)."""
    exact: bool
    """True where the bits are exact; else they are an upper bound, as of a masked prior."""


class Model(Conditioned):
    """A trained tokenizer and, where the run has one, a prior over its codes.

    `encode`, `decode`, `sample`, `complete` and `score` work on batches: pictures `B C H W` in [−1, 1], codes
    `B h w`, or `B T` where the tokenizer lays them on one axis.

    Arguments:
        tokenizer: pictures ⟷ codes.
        prior: a distribution over sequences of codes, or None before the second stage is trained.
        order: how codes become a sequence.
        size: height and width that the model was trained at, in pixels.
        classes: names of the labels, in order; empty without labels.
        compressions: how tokenizer and prior, by name, were made smaller; None for not at all.
    """

    title = "a tokenizer with a prior"
    stage = "tokenizer"

    def __init__(
        self,
        tokenizer: Tokenizer,
        prior: Prior | None,
        order: Order,
        size: int,
        classes: Sequence[str] = (),
        compressions: Mapping[str, Compression] | None = None,
    ) -> None:
        self.tokenizer, self.prior, self.order = tokenizer.eval(), prior, order
        self.size, self.channels, self.classes = size, tokenizer.config.channels, tuple(classes)
        self.grid = grid_of(tokenizer, size)
        self.compressions = compressions or {}
        self.decoder_teachers: tuple[str, ...] = ()
        self.guide: Prior | None = None
        """A weaker prior that the prior is led away from when codes are drawn, see `GuidedEngine`."""
        if prior is not None:
            prior.eval()

    @property
    def density(self) -> str:
        """`density` for a prior on the pixels themselves that tells exact bits, else `bound`."""
        is_exact = self._keeps_pixels and self.prior is not None and self.prior.exact
        return "density" if is_exact else "bound"

    @property
    def grey_levels(self) -> int:
        """Grey levels of the pictures whose probability is told: fewer than 256 where pixels are rounded."""
        return self.tokenizer.quantizer.sizes[0] if self._keeps_pixels else 256

    @property
    def _keeps_pixels(self) -> bool:
        return self.tokenizer.architecture.keeps_pixels

    @property
    def codes_per_picture(self) -> int:
        """Codes of a picture."""
        return self.grid.length

    def networks(self) -> list[nn.Module]:
        parts = (self.tokenizer, self.prior, self.guide)
        return [part for part in parts if part is not None]

    def save_pretrained(self, folder: str | Path) -> None:
        from caselli.model.files import save_model

        save_model(self, Path(folder))

    def with_adapters(self, adapters: Mapping[str | Path, float]) -> Model:
        from caselli.model.adapter import joined

        return joined(self, adapters)

    def teachers(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*self.tokenizer.config.teachers(), *self.decoder_teachers)))

    def parts(self) -> dict[str, Part]:
        tokenizer, size = self.tokenizer, (self.size, self.size)
        grid = tokenizer.architecture.latent_shape(tokenizer.config, size)
        return {
            "encoder": Part(tokenizer.encoder, (self.channels, *size)),
            "decoder": Part(tokenizer.decoder, (tokenizer.config.latent_width, *grid)),
        }

    def remarks(self, pictures: int) -> list[str]:
        if self.prior is None:
            return []
        alphabet = self.prior.alphabet
        after = alphabet.pinned_after(pictures)
        return [
            f"a training picture is pinned down after {after} of {alphabet.length} codes: so many tell "
            f"{pictures:,} pictures apart (⌈log₂ N / log₂ K⌉), and the prior can only memorise those behind"
        ]

    def encode(self, pictures: Float[Tensor, "B C H W"]) -> Int[Tensor, "B *S"]:
        """The pictures' codes."""
        return self.tokenizer.encode(pictures.to(self.device))

    def decode(self, codes: Int[Tensor, "B *S"]) -> Float[Tensor, "B C H W"]:
        """The codes' pictures."""
        return self.tokenizer.decode(codes.to(self.device))

    def encoded(self, pictures: Pictures) -> CodeStore:
        """The codes of a whole set, in order, stamped with the tokenizer's fingerprint."""
        return encode(self.tokenizer, pictures)

    def reconstruct(self, pictures: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """The pictures as their codes give them back."""
        return self.decode(self.encode(pictures))

    def engine(self, precision: str | None = None) -> tuple[Engine, str]:
        """The fastest engine for the prior, and why it is not a faster one; see `best_engine`."""
        engine, why = best_engine(self.require_prior(), precision)
        return (engine if self.guide is None else GuidedEngine(engine, self.guide)), why

    def sample(
        self,
        count: int,
        label: str | int | Sequence[str | int] | None = None,
        seed: int = 0,
        options: Sampling = AS_LEARNED,
        batch: int = 64,
        progress: Callable[[int], None] = lambda codes: None,
        engine: Engine | None = None,
        text: str | Sequence[str] | None = None,
        picture: Float[Tensor, "count C h w"] | None = None,
    ) -> Float[Tensor, "count C H W"]:
        """New pictures.

        Arguments:
            count: how many.
            label: a class (name or number), one for each picture, or None for any.
            text: a caption, one for each picture, or None.
            picture: for a prior that is told of another picture, that one, at `condition_size`.
            seed: picture i is drawn with seed + i, whatever the batch.
            options: guidance, temperature and truncation.
            batch: pictures drawn at a time.
            progress: told the number of codes drawn since it was last told.
            engine: computes the steps; by default `caselli.sampling.best_engine` of the prior in float32.
        """
        engine = engine or self.engine()[0]
        if count < 1:
            raise UserError(f"{count} pictures were asked for", "at least 1 was expected")
        told = self.conditions(count, label, text, picture)
        pictures = []
        for start in range(0, count, batch):
            seeds = list(range(seed + start, seed + min(start + batch, count)))
            part = told.rows(slice(start, start + len(seeds)))
            sequence = sample(engine, part, seeds, options, progress)
            pictures.append(self.decode(self.order.restore(sequence, self.grid)).cpu())
        return torch.cat(pictures)

    def drawn_codes(
        self, pictures: Pictures, seed: int = 0, options: Sampling = AS_LEARNED, batch: int = 64
    ) -> Int[Tensor, "n *S"]:
        """Codes drawn from the prior, as many as there are pictures, under the condition of each."""
        engine, codes = self.engine()[0], []
        for part in torch.arange(len(pictures)).split(batch):
            seeds = (seed + part).tolist()
            sequence = sample(engine, self.conditions_of(pictures, part), seeds, options)
            codes.append(self.order.restore(sequence, self.grid).cpu())
        return torch.cat(codes)

    def sample_like(
        self,
        pictures: Pictures,
        seed: int = 0,
        options: Sampling = AS_LEARNED,
        engine: Engine | None = None,
    ) -> Float[Tensor, "n C H W"]:
        """A sample for each picture of a set, of its label, caption and small version, as far as known."""
        prior, told = self.require_prior(), {}
        if pictures.labels is not None and self.classes and pictures.classes == self.classes:
            told["label"] = pictures.labels.tolist()
        if prior.alphabet.text is not None and pictures.captions is not None:
            told["text"] = list(pictures.captions)
        if prior.config.condition_picture == "low_resolution":
            small = with_size(pictures.read(torch.arange(len(pictures))), self.condition_size)
            told["picture"] = to_float(small)
        return self.sample(len(pictures), seed=seed, options=options, engine=engine, **told)

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
        text: str | Sequence[str] | None = None,
    ) -> Float[Tensor, "B C H W"]:
        """Pictures that go on from a part of the given ones.

        A code is kept where all of its pixels are; what is hidden does not reach the encoder. A masked and
        a random-order prior are conditioned on all kept codes; other kinds on those that the order puts
        first, and one behind a drawn code is kept, and seen by those behind it; a prior that is told the
        visible part sees all of them from the first drawn code on. Of codes of several scales those are kept
        of whose cell at least a half is. The kept part comes back as the tokenizer reconstructs it, and
        `paste` puts the original there; where scales add up to it, the original is there at once.

        Arguments:
            pictures: at the model's size; what lies outside of `keep` does not matter.
            keep: True where a pixel is given.
            label, text, options, progress, engine: as of `sample`.
            seed: picture i is drawn with seed + i.

        Errors: `UserError` where the picture or the mask has another size, nothing is kept, or codes have
        no places.
        """
        codes = visible_codes(self, pictures, keep)
        engine = engine or self.engine()[0]
        told = self.prior.with_known(self.conditions(len(pictures), label, text), codes)
        seeds = list(range(seed, seed + len(pictures)))
        sequence = sample(engine, told, seeds, options, progress, self.order.flatten(codes, self.grid))
        completed = self.decode(self.order.restore(sequence, self.grid)).cpu()
        own = self.tokenizer.quantizer.places_are_own
        return completed if own else paste(pictures.cpu(), completed, keep.cpu())

    @torch.no_grad()
    def score(
        self,
        pictures: Float[Tensor, "B C H W"],
        labels: Int[Tensor, "B"] | None = None,
        text: Sequence[str] | None = None,
    ) -> Score:
        """Bits that the prior needs for the pictures' codes, given their labels and captions."""
        told = dataclasses.replace(self.conditions(len(pictures), text=text), labels=labels).to(self.device)
        bits = self._code_bits(self.encode(pictures), told)
        return Score(bits, bits / pictures[0].numel(), self.prior.exact)

    @torch.no_grad()
    def bracket(self, pictures: Pictures, indices: Int[Tensor, "B"], orders: int = 8) -> Bracket:
        """Bits of the codes from both sides, see `Prior.bracket`; equal where the prior is exact."""
        told, x = self.conditions_of(pictures, indices), to_float(pictures.read(indices)).to(self.device)
        sequence = self.order.flatten(self.encode(x), self.grid)
        nats = self.require_prior().bracket(sequence, told, orders)
        return Bracket(below=-nats.above.cpu() / math.log(2), above=-nats.below.cpu() / math.log(2))

    @torch.no_grad()
    def likelihood(self, pictures: Pictures, indices: Int[Tensor, "B"]) -> Likelihood:
        """Bits of the codes, given labels and captions that the prior knows, and what the codes leave out."""
        told, x = self.conditions_of(pictures, indices), to_float(pictures.read(indices)).to(self.device)
        codes = self.encode(x)
        bits = self._code_bits(codes, told).cpu()
        if self._keeps_pixels:
            return Likelihood(bits)
        return Likelihood(bits, (x - self.decode(codes)).flatten(1).cpu())

    def _code_bits(self, codes: Int[Tensor, "B *S"], told: Conditions) -> Float[Tensor, "B"]:
        sequence = self.order.flatten(codes, self.grid)
        return -self.require_prior().log_prob(sequence, told).sum(1) / math.log(2)

    def expect_same_codes(self, other: Model) -> None:
        """Errors: `UserError` where another model's sequences of codes mean other pictures."""
        mine, its = (model.tokenizer.fingerprint() for model in (self, other))
        if mine != its or self.order != other.order or self.grid != other.grid:
            raise UserError(
                "a run with another tokenizer or order was given",
                "a run whose prior was trained on the codes of the same tokenizer was expected",
                "take one that `caselli slim --distil-to` made",
            )
