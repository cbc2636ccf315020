"""Sequence → sequence of the same shape, with an explicit state. The variants are in `MIXERS`."""

from caselli.mixer.attention import Attention
from caselli.mixer.base import FORMS, Mixer, State

MIXERS: dict[str, type[Mixer]] = {
    "attention": Attention,
}

__all__ = ["FORMS", "MIXERS", "Attention", "Mixer", "State"]
