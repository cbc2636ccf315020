"""Conditions that pictures are drawn and scored under: labels, captions, other pictures."""

from __future__ import annotations

from collections.abc import Sequence

from caselli.data import Pictures, class_numbers, enlarged, to_float, with_size
from caselli.errors import UserError
from caselli.model.building import condition_size
from caselli.prior import Conditions, Prior
from caselli.shapes import Float, Int, Tensor
from caselli.tokenizer import Tokenizer
from caselli.trained import Trained


class Conditioned(Trained):
    """A trained network whose prior, where it has one, is conditioned as it was trained to be."""

    tokenizer: Tokenizer
    """Pictures ⟷ codes."""
    prior: Prior | None
    """A distribution over sequences of codes, or None before the second stage is trained."""

    def require_prior(self) -> Prior:
        """The prior, or a `UserError` that says how to get one."""
        if self.prior is None:
            raise UserError(
                "this run has no prior yet",
                "a run with both stages was expected",
                "train it with `caselli train SOURCE -o RUN --stage prior --resume`",
            )
        return self.prior

    def conditions(
        self,
        count: int,
        label: str | int | Sequence[str | int] | None = None,
        text: str | Sequence[str] | None = None,
        picture: Float[Tensor, "count C h w"] | None = None,
    ) -> Conditions:
        """Conditions of the prior for `count` pictures.

        Arguments:
            label, text, picture: as of `sample`.

        Errors: `UserError` for what the prior was not trained with, and for a wrong number of them.
        """
        codes = None if picture is None else self._condition_codes(picture)
        told = Conditions(self.labels(label, count), self._numbers(text, count), codes)
        return told.to(self.device)

    def conditions_of(self, pictures: Pictures, indices: Int[Tensor, "B"]) -> Conditions:
        """Conditions of the prior for pictures of a set: labels of the same classes, captions, and the
        pictures at the low resolution."""
        prior, text, codes = self.require_prior(), None, None
        labels = pictures.labels_in(self.classes, indices)
        if pictures.captions is not None and prior.alphabet.text is not None:
            text = prior.alphabet.text.encode([pictures.captions[i] for i in indices.tolist()])
        if prior.config.condition_picture == "low_resolution":
            pixels = with_size(pictures.read(indices), self.condition_size)
            codes = self._condition_codes(to_float(pixels))
        return Conditions(labels, text, codes).to(self.device)

    def labels(self, label: str | int | Sequence[str | int] | None, count: int) -> Int[Tensor, "B"] | None:
        """Class numbers for `count` pictures; an unknown label is a `UserError` that names close ones."""
        return class_numbers(self.classes, label, count)

    @property
    def condition_size(self) -> int:
        """Side of the other picture that the prior is told of, in pixels; 0 where there is none to give."""
        return condition_size(self.require_prior().config, self.size)

    def require_small_size(self) -> int:
        """Side of the smaller pictures that the prior draws from, or a `UserError` where it does not."""
        if self.require_prior().config.condition_picture != "low_resolution":
            raise UserError(
                "a run whose prior knows nothing of smaller pictures was given",
                "one whose prior was told of them was expected",
                "train one with --prior.condition_picture low_resolution",
            )
        return self.condition_size

    def _numbers(self, text: str | Sequence[str] | None, count: int) -> Int[Tensor, "B L"] | None:
        if text is None:
            return None
        vocabulary = self.require_prior().alphabet.text
        if vocabulary is None:
            raise UserError(
                f"the text {text!r} was given",
                "this model was trained without captions",
                "leave the text out",
            )
        captions = [text] * count if isinstance(text, str) else list(text)
        if len(captions) != count:
            raise UserError(
                f"{len(captions)} captions were given for {count} pictures", "one for each was expected"
            )
        return vocabulary.encode(captions)

    def _condition_codes(self, pictures: Float[Tensor, "B C h w"]) -> Int[Tensor, "B P"]:
        side = self.condition_size
        if not side:
            raise UserError(
                "another picture was given",
                "this model was trained without",
                "train one with --prior.condition_picture low_resolution or paired",
            )
        if pictures.shape[-2:] != (side, side):
            raise UserError(
                f"pictures of {tuple(pictures.shape[-2:])} were given", f"{(side, side)} expected"
            )
        if self.prior.config.condition_picture == "low_resolution":
            pictures = enlarged(pictures, self.size // side)  # a code for each that is to be drawn
        return self.encode(pictures).flatten(1)
