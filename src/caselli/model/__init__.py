"""Tokenizer, order and prior together: what a run folder loads into."""

from caselli.model.adapter import Adapter, grown, joined
from caselli.model.building import build_prior, condition_size, grid_of
from caselli.model.encoding import encode, encoded, stored
from caselli.model.files import (
    GUIDES,
    holds_decoder,
    load,
    load_tokenizer,
    load_unrefined,
    save_decoder,
    save_prior,
    save_tokenizer,
)
from caselli.model.looking import Alternatives, CodeFields, Extent, alternatives, surprise, unfinished
from caselli.model.model import Model, Score
from caselli.model.visible import paste

__all__ = [
    "GUIDES",
    "Adapter",
    "Alternatives",
    "CodeFields",
    "Extent",
    "Model",
    "Score",
    "alternatives",
    "build_prior",
    "condition_size",
    "encode",
    "encoded",
    "grid_of",
    "grown",
    "holds_decoder",
    "joined",
    "load",
    "load_tokenizer",
    "load_unrefined",
    "paste",
    "save_decoder",
    "save_prior",
    "save_tokenizer",
    "stored",
    "surprise",
    "unfinished",
]
