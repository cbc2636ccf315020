"""The configuration of a prior: plain data, stored beside its weights."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, TypeVar

from caselli.errors import UnknownName, UserError, lookup
from caselli.plain import of_plain
from caselli.prior.layer import LayerConfig
from caselli.prior.vocabularies import VOCABULARIES
from caselli.prior.vocabulary import Vocabulary
from caselli.schedules import GUIDANCE_SCHEDULES

O = TypeVar("O")

NO_CONDITION = "none"
DROPOUTS = ("dropout", "label_dropout", "text_dropout", "word_dropout", "picture_dropout", "code_dropout")
"""Fields that are shares, 0 up to 1."""
TEXT_FORMS = ("summary", "tokens")
PICTURE_CONDITIONS = (NO_CONDITION, "low_resolution", "visible_part", "paired")
"""Other pictures that a prior may be conditioned on: none, the same at a lower resolution, a part of the
same, or a picture that belongs to it."""


@dataclasses.dataclass(frozen=True)
class PriorConfig:
    """Architecture of a prior."""

    kind: str = "autoregressive"
    """Name in `caselli.prior.PRIORS`."""
    prior_options: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Options of that kind alone, such as steps; see the guide's page of priors."""
    head: str = "softmax"
    """Distribution of a code: a name in `caselli.prior.HEADS`. The others than softmax draw a code of lfq,
    bsq or fsq as its bits, and have no table of codes."""
    head_options: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Options of that head alone, such as group_bits; see the guide's page of priors."""
    mixer: list[str] | str = "attention"
    """Names in `caselli.mixer.MIXERS`, repeated over the layers in turn: one name, or a list for a hybrid."""
    mixer_options: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Arguments of the mixers, such as heads; each mixer gets those that it has."""
    order: str = "raster"
    """Name in `caselli.order.ORDERS`."""
    width: int = 256
    """E, the model's width."""
    depth: int = 6
    """Number of layers; each is a mixer and an MLP."""
    expansion: float = 4.0
    """Inner width of the MLP, in units of `width`; 0 for layers without one."""
    layer: LayerConfig = dataclasses.field(default_factory=LayerConfig)
    """Parts of the layers beside the mixer."""
    dropout: float = 0.0
    """Share of each layer's output that is dropped in training."""
    label_dropout: float = 0.1
    """Share of the labels that are replaced by the null label in training; 0 forgoes guidance."""
    text: str = "bytes"
    """Vocabulary of the captions, where the pictures have them: a name in `caselli.prior.VOCABULARIES`, or
    none."""
    text_length: int = 64
    """Number of bytes, words or tokens of a caption that are kept; the rest is cut."""
    text_width: int = 128
    """Width of the text encoder that is trained along."""
    text_depth: int = 2
    """Number of layers of that text encoder."""
    text_vectors: int = 8
    """Number of vectors that it puts in front of the sequence."""
    text_form: str = "summary"
    """Form of a caption in front of the sequence: summary, vectors that the text encoder makes; or tokens,
    all that a pretrained encoder makes of `text: transformers`."""
    text_path: str = ""
    """Local folder of a pretrained text encoder, for `text: transformers`."""
    text_dropout: float = 0.1
    """Share of the captions that are left out in training; 0 forgoes guidance."""
    word_dropout: float = 0.0
    """Share of the words (bytes, parts of words) of a caption that are replaced in training by the one that
    stands for words unseen, which so gets a meaning."""
    condition_picture: str = NO_CONDITION
    """Another picture that the prior is conditioned on, by codes of the same tokenizer: low_resolution (the
    same at a lower resolution, for `caselli upscale`), visible_part (a part of the same, for completing any
    region), paired (of equal file name in `data.paired`: depth, an outline, a mask), or none."""
    condition_factor: int = 2
    """Factor by which the sides are smaller at the low resolution."""
    picture_dropout: float = 0.1
    """Share of the pictures for which that other picture is left out in training; 0 forgoes guidance."""
    guidance: float = 1.0
    """Strength of label, caption or picture with which codes are drawn, unless another one is asked for."""
    guidance_schedule: str = "constant"
    """Growth of guidance from 1 to its strength along the sequence, unless another one is asked for:
    constant, linear or cosine."""
    code_dropout: float = 0.0
    """Share of the input codes that are replaced by random ones in training; the predicted ones stay as they
    are."""
    code_vectors: bool = False
    """True where the codebook's vectors tell in training which codes are alike, see `caselli.prior.share`; of
    no effect with heads other than softmax, and with multi-scale codes."""

    def __post_init__(self) -> None:
        if not self.mixers():
            raise UserError("no mixer was given", "a name or a list of names was expected")
        if self.text != NO_CONDITION:
            lookup(VOCABULARIES, "text", self.text)
        lookup(dict.fromkeys(TEXT_FORMS), "text_form", self.text_form)
        if self.condition_factor < 2:
            raise UserError(f"condition_factor {self.condition_factor} was given", "at least 2 was expected")
        if self.condition_picture not in PICTURE_CONDITIONS:
            raise UnknownName("condition picture", self.condition_picture, PICTURE_CONDITIONS)
        for name in ("width", "depth", "text_length", "text_width", "text_depth", "text_vectors"):
            if getattr(self, name) < 1:
                raise UserError(f"prior {name} {getattr(self, name)} was given", "at least 1 was expected")
        lookup(GUIDANCE_SCHEDULES, "prior guidance schedule", self.guidance_schedule)
        if self.guidance < 0:
            raise UserError(f"prior guidance {self.guidance} was given", "0 or more was expected")
        if self.word_dropout and self.text == "transformers":
            raise UserError(
                f"word_dropout {self.word_dropout} was given with text transformers",
                "0 was expected: a pretrained encoder has no word of its own that stands for one unseen",
            )
        for name in DROPOUTS:
            if not 0 <= getattr(self, name) < 1:
                raise UserError(f"prior {name} {getattr(self, name)} was given", "0 up to 1 was expected")

    def options(self, kind: type[O]) -> O:
        """A kind's own options, filled from `prior_options`.

        Errors: `UnknownName` for an option that the record does not have.
        """
        return _filled(kind, self.prior_options, f"option of prior {self.kind}")

    def options_of_head(self, kind: type[O]) -> O:
        """A head's own options, filled from `head_options`; errors see `options`."""
        return _filled(kind, self.head_options, f"option of head {self.head}")

    def mixers(self) -> list[str]:
        """Names of the mixers, repeated over the layers in turn.

        Example:
            >>> PriorConfig(mixer="attention").mixers()
            ['attention']
        """
        return [self.mixer] if isinstance(self.mixer, str) else list(self.mixer)


def _filled(kind: type[O], given: dict[str, Any], what: str) -> O:
    known = [field.name for field in dataclasses.fields(kind)]
    for name in given:
        if name not in known:
            raise UnknownName(what, name, known)
    return of_plain(kind, given, what)


@dataclasses.dataclass(frozen=True)
class Alphabet:
    """The sequences of a prior: their slots, the codes that each may hold, and the conditions."""

    sizes: tuple[int, ...]
    """K of each codebook."""
    codebooks: tuple[int, ...]
    """The codebook of each of the T slots."""
    classes: int = 0
    """Number of labels; 0 for none."""
    text: Vocabulary | None = None
    """Vocabulary of the captions; None without captions."""
    picture: tuple[int, ...] = ()
    """The codebook of each code of another picture that the prior is conditioned on; empty without one."""
    picture_shape: tuple[int, int] = (0, 0)
    """Rows and columns of those codes, codebook after codebook; zeros where they have no places."""
    picture_pool: int = 1
    """Side of the squares of those codes that share a vector in front of the sequence."""
    places: tuple[tuple[int, int], ...] = ()
    """Row and column of each slot, for priors that go by them; empty where codes have none."""
    levels: tuple[int, ...] = ()
    """Levels of the digits that a code of any codebook consists of, the most significant first: twos for
    bits; empty where codes are mere numbers."""
    limits: tuple[int, ...] = ()
    """Number of codes of each slot, where the first slots have fewer than their codebook; else empty."""

    @property
    def length(self) -> int:
        """T."""
        return len(self.codebooks)

    @property
    def offsets(self) -> tuple[int, ...]:
        """First entry of each slot's codebook, where those of all are joined."""
        return tuple(sum(self.sizes[:book]) for book in self.codebooks)

    @property
    def slot_sizes(self) -> tuple[int, ...]:
        """Number of codes that each slot may hold."""
        return self.limits or tuple(self.sizes[book] for book in self.codebooks)

    def pinned_after(self, pictures: int) -> int:
        r"""Number of codes in front that can tell N pictures apart, at most T: a prior of these pictures can
        only memorise the codes behind them.

        .. math:: t^* = \min\Bigl\{t : \sum_{s \le t} \log_2 K_s \ge \log_2 N\Bigr\}
            = \lceil \log_2 N / \log_2 K \rceil \text{ for equal } K

        Arguments:
            pictures: N.

        Source: VCQ 2026 (arXiv 2605.06207), there the entropy cliff.

        Example:
            >>> Alphabet((1024,), (0,) * 64).pinned_after(1302)
            2
        """
        bits = 0.0
        for slot, size in enumerate(self.slot_sizes):
            if bits >= math.log2(max(pictures, 1)) - 1e-9:
                return slot
            bits += math.log2(size)
        return self.length
