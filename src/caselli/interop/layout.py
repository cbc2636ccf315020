"""Names: a family's weights under Caselli's, and a network filled with them."""

from __future__ import annotations

import dataclasses
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Generic, TypeVar

import torch
from torch import nn

from caselli.errors import UserError
from caselli.prior import PriorConfig
from caselli.shapes import Tensor
from caselli.tokenizer import TokenizerConfig
from caselli.weights import Weights

NUMBER = re.compile(r"(\d+)")

BETAS = ("commit_loss_beta", "commitment_cost", "commit_weight", "beta")
"""Names of β, the weight of the vector-quantization loss's second term, in the settings of the families."""

C = TypeVar("C")


@dataclasses.dataclass(frozen=True)
class Hints:
    """Settings that a file of weights leaves open."""

    groups: int | None = None
    """Groups of the normalisations; None for the family's own."""
    size: int | None = None
    """Height and width of the pictures; None where the files tell, or for 256."""
    heads: int | None = None
    """Attention heads of the prior; None for the config.json's, or the family's own."""
    classes: int | None = None
    """Number of labels, where the prior's labels are codes of its vocabulary."""
    scales: tuple[int, ...] = ()
    """Sides of a multi-scale tokenizer's maps, coarse to fine; empty for the published ones."""
    codebooks: int = 1
    """Codebooks that the prior takes the bits of a code apart into, as its own weights tell."""
    text: str = ""
    """Folder of the text encoder of a prior over captions."""
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """The config.json beside the file."""

    def number(self, *names: str) -> int | None:
        """The first of these settings that is there, at any depth.

        Errors: `UserError` for anything but a whole number above 0.
        """
        name, value = self._first(names)
        if name and (type(value) is not int or value < 1):
            raise UserError(f"config.json has {name} {value!r}", "a whole number above 0 was expected")
        return value

    def beta(self) -> float:
        """β of the vector-quantization loss; the families' own 0.25 where no setting has it.

        Errors: `UserError` for anything but a number of at least 0.
        """
        name, value = self._first(BETAS)
        if name and (type(value) not in (int, float) or not 0 <= value < math.inf):
            raise UserError(f"the settings have {name} {value!r}", "a number of at least 0 was expected")
        return float(value) if name else 0.25

    def _first(self, names: Sequence[str]) -> tuple[str, Any]:
        """Name and value of the first of these settings that is there; an empty name for none."""
        known = dict(at_any_depth(self.settings)) | self.settings
        name = next((name for name in names if known.get(name) is not None), "")
        return name, known.get(name)


def at_any_depth(settings: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Names and values of settings, of those within others too."""
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from at_any_depth(value)
        else:
            yield name, value


@dataclasses.dataclass(frozen=True)
class Converted(Generic[C]):
    """Weights under Caselli's names, and the configuration of the network that has them.

    A NaN stands for a number that the family has not, and that does not matter to it.
    """

    config: C
    weights: Weights
    classes: int = 0
    """Number of labels of a prior."""


@dataclasses.dataclass(frozen=True)
class Codes:
    """The codes that a prior is over."""

    size: int
    """K of each codebook."""
    shape: tuple[int, ...]
    """Rows and columns of a picture's codes, or their number on one axis."""
    codebooks: int = 1
    """Q."""

    @property
    def positions(self) -> int:
        """Places of a picture's codes."""
        return torch.Size(self.shape).numel()


class Family(ABC):
    """A family of checkpoints, known by names of weights; in the table of the room."""

    stage: ClassVar[str]
    """tokenizer or prior."""
    signs: ClassVar[tuple[str, ...]]
    """Names of weights that every file of the family has."""
    foreign: ClassVar[tuple[str, ...]] = ()
    """Beginnings of names that the family has not, where another has its names too."""
    files: ClassVar[int] = 1
    """Largest number of files that one network is spread over."""
    arithmetic: ClassVar[Mapping[str, tuple[Any, ...]]] = {}
    """Settings of a config.json that change what the same weights compute → values followed."""
    own: ClassVar[tuple[str, ...]] = ("",)
    """Beginnings that may stand before a sign and belong to the name."""

    @classmethod
    def prefix(cls, names: Iterable[str]) -> str | None:
        """Beginning of every name of a file's weights of this family; None for another family's file.

        Example:
            >>> from caselli.interop import IMPORTERS
            >>> IMPORTERS["dalle"].prefix(["module.encoder.blocks.group_1.block_1.res_path.conv_1.w"])
            'module.'
        """
        names = set(names)
        for name in sorted(name for name in names if name.endswith(cls.signs[0])):
            before = name.removesuffix(cls.signs[0])
            own = next((own for own in cls.own if before.endswith(own)), "")
            prefix = before.removesuffix(own)
            if (not prefix or prefix.endswith(".")) and cls._fits(names, prefix):
                return prefix
        return None

    @classmethod
    def _fits(cls, names: set[str], prefix: str) -> bool:
        """True where all signs stand behind a prefix, and nothing of another family does."""
        there = all(any(prefix + own + sign in names for own in cls.own) for sign in cls.signs)
        others = tuple(prefix + own + name for own in cls.own for name in cls.foreign)
        return there and not (others and any(name.startswith(others) for name in names))


class TokenizerFamily(Family):
    """A family of tokenizers."""

    stage = "tokenizer"

    @classmethod
    @abstractmethod
    def convert(cls, files: Sequence[Weights], hints: Hints) -> Converted[TokenizerConfig]:
        """The weights of its files under Caselli's names.

        It only moves numbers: names, axes, pieces; what it adds are zeros and ones. So it can be followed
        backwards, see `Origin`.

        Errors: `UserError` for weights of another family.
        """


class PriorFamily(Family):
    """A family of priors over codes."""

    stage = "prior"

    @classmethod
    def positions(cls, weights: Weights) -> int | None:
        """Number of codes of a picture, where the shapes tell."""
        return None

    @classmethod
    def codebooks(cls, weights: Weights) -> int:
        """Number of codebooks that the prior takes the bits of a code apart into."""
        return 1

    @classmethod
    @abstractmethod
    def convert(cls, weights: Weights, hints: Hints, codes: Codes) -> Converted[PriorConfig]:
        """A prior's weights under Caselli's names, as of `TokenizerFamily`."""


@dataclasses.dataclass(frozen=True)
class Names:
    """Names of a family's weights. `#` stands for a number."""

    places: Mapping[str, str]
    """Beginnings of names, and Caselli's."""
    parts: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Layers within a place, where their name differs."""
    dropped: tuple[str, ...] = ()
    """Beginnings of names that no network needs."""

    def rename(self, weights: Weights) -> Weights:
        """The weights under Caselli's names.

        Errors: `UserError` that lists names that the family does not know.
        """
        kept = [name for name in weights if not name.startswith(self.dropped)]
        renamed = {name: self._name(name) for name in kept}
        refuse("unknown", [name for name, new in renamed.items() if new is None])
        return {new: weights[name] for name, new in renamed.items() if new is not None}

    def _name(self, name: str) -> str | None:
        for old, new in self.places.items():
            match = re.match(re.escape(old).replace(r"\#", r"(\d+)"), name)
            if match:
                part, dot, kind = name[match.end() :].rpartition(".")
                place = new.replace("#", "{}").format(*match.groups())
                return f"{place}{self.parts.get(part, part)}{dot}{kind}"
        return None


def refuse(what: str, names: Iterable[str]) -> None:
    """Raises `UserError` if there is any name."""
    names = sorted(names)
    if names:
        shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
        raise UserError(
            f"the file has {len(names)} {what} weights: {shown}",
            "the weights of one network of this family were expected",
            "is it the right family, and the file whole?",
        )


def shape_of(weights: Weights, name: str) -> tuple[int, ...]:
    """The shape of a weight that must be there."""
    if name not in weights:
        refuse("missing", [name])
    return tuple(weights[name].shape)


def fill(network: nn.Module, weights: Weights, counted: Iterable[str] = ()) -> None:
    """Loads exactly these weights, and sets evaluation mode.

    Arguments:
        network: as its configuration builds it.
        weights: by its own names.
        counted: names that may be absent.

    Errors: `UserError` that lists weights that are missing, unknown or of another shape.
    """
    own = network.state_dict()
    refuse("missing", own.keys() - weights.keys() - set(counted))
    refuse("unknown", weights.keys() - own.keys())
    refuse("misshapen", [name for name in weights if weights[name].shape != own[name].shape])
    network.load_state_dict(own | weights)
    network.eval()


def reverse(weights: Weights, place: str) -> Weights:
    """A layout in which the numbers that follow `place` are counted from the other end.

    Example:
        >>> list(reverse({"up.0.w": torch.zeros(1), "up.1.w": torch.ones(1), "x": torch.ones(1)}, "up."))
        ['up.1.w', 'up.0.w', 'x']
    """
    last = count(weights, place) - 1

    def name(old: str) -> str:
        if not old.startswith(place):
            return old
        return place + NUMBER.sub(lambda found: str(last - int(found[0])), old[len(place) :], count=1)

    return {name(old): value for old, value in weights.items()}


def count(weights: Mapping[str, Tensor], place: str) -> int:
    """One more than the largest number that follows `place`; 0 where none does.

    Example:
        >>> count({"up.0.w": torch.zeros(1), "up.1.w": torch.ones(1)}, "up.")
        2
    """
    numbers = (NUMBER.match(name[len(place) :]) for name in weights if name.startswith(place))
    return max((int(number[0]) + 1 for number in numbers if number), default=0)


def only(files: Sequence[Weights]) -> Weights:
    """The weights of the one file that a family has."""
    if len(files) != 1:
        raise UserError(f"{len(files)} files were given", "one was expected by this family")
    return files[0]
