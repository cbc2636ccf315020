"""Names: a family's weights under Caselli's, and a tokenizer filled with them."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence

import torch

from caselli.errors import UserError
from caselli.shapes import Tensor
from caselli.tokenizer import Tokenizer, TokenizerConfig
from caselli.weights import Weights

NUMBER = re.compile(r"(\d+)")


@dataclasses.dataclass(frozen=True)
class Hints:
    """Settings that a file of weights leaves open."""

    groups: int | None = None
    """Groups of the normalisations; None for the family's own."""


@dataclasses.dataclass(frozen=True)
class Layout:
    """Names of a family's weights. `#` stands for a number."""

    places: Mapping[str, str]
    """Beginnings of names, and Caselli's."""
    parts: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Layers within a place, where their name differs."""
    dropped: tuple[str, ...] = ()
    """Beginnings of names that no tokenizer needs."""

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
            "the weights of this family's tokenizer were expected",
            "is --from the right family, and the file whole?",
        )


def shape_of(weights: Weights, name: str) -> tuple[int, ...]:
    """The shape of a weight that must be there."""
    if name not in weights:
        refuse("missing", [name])
    return tuple(weights[name].shape)


def filled(config: TokenizerConfig, weights: Weights) -> Tokenizer:
    """The tokenizer of a configuration with exactly these weights, in evaluation mode.

    What the quantizer counts while it is trained may be absent.

    Errors: `UserError` for a weight that is missing, unknown or of another shape.
    """
    with torch.random.fork_rng():
        tokenizer = Tokenizer(config)
    own = tokenizer.state_dict()
    counted = {name for name, _ in tokenizer.quantizer.named_buffers(prefix="quantizer")}
    refuse("missing", own.keys() - weights.keys() - counted)
    refuse("unknown", weights.keys() - own.keys())
    refuse("misshapen", [name for name in weights if weights[name].shape != own[name].shape])
    tokenizer.load_state_dict(own | weights)
    return tokenizer.eval()


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
