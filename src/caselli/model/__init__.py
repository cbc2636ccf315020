"""Tokenizer, order and prior together: what a run folder loads into."""

from caselli.model.adapter import Adapter, grown, joined
from caselli.model.building import build_prior, condition_size, grid_of
from caselli.model.encoding import encode, encoded
from caselli.model.files import load, load_tokenizer, save_prior, save_tokenizer
from caselli.model.model import Model, Score, paste

__all__ = [
    "Adapter",
    "Model",
    "Score",
    "build_prior",
    "condition_size",
    "encode",
    "encoded",
    "grid_of",
    "grown",
    "joined",
    "load",
    "load_tokenizer",
    "paste",
    "save_prior",
    "save_tokenizer",
]
