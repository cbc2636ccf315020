"""Symbols ⟷ bytes: range coding by given probabilities, many streams side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from caselli.codec.arithmetic import exp
from caselli.errors import MissingExtra, UserError, is_out_of_memory
from caselli.shapes import Float, Int, Tensor

STEPS = 2.0**30
"""Integer weight of the most probable symbol."""


def weights(logits: Float[Tensor, "n K"]) -> Float[Tensor, "n K"]:
    """Integers in proportion to e^logits; their sums are exact, so that the coder's own rounding is too.

    Errors: `UserError` for logits that are not numbers.

    Example:
        >>> weights(torch.tensor([[0.0, -torch.inf]])).tolist()
        [[1073741824.0, 0.0]]
    """
    logits = logits.double()
    most = logits.amax(1, keepdim=True)
    if not bool(torch.isfinite(most).all()) or bool(logits.isnan().any()):
        raise UserError("the model's probabilities are not numbers", "a model that was trained was expected")
    return exp(logits - most).mul_(STEPS).floor_()


def _constriction() -> Any:
    try:
        import constriction
    except ImportError:
        raise MissingExtra("the codec", "constriction", "codec") from None
    return constriction


class Encoders:
    """Streams that are written symbol by symbol, all of them side by side.

    Arguments:
        count: number of streams.

    Errors: `MissingExtra` without the library constriction.

    Source: Martin 1979, Range encoding: an algorithm for removing redundancy from a digitised message.

    Example:
        >>> encoders, streams = Encoders(2), torch.tensor([0, 1])
        >>> bits = encoders.put(streams, torch.tensor([1, 0]), torch.tensor([[1.0, 3.0], [7.0, 1.0]]))
        >>> Decoders(encoders.bytes()).take(streams, torch.tensor([[1.0, 3.0], [7.0, 1.0]]))
        tensor([1, 0])
    """

    def __init__(self, count: int) -> None:
        library = _constriction()
        self.family = library.stream.model.Categorical(perfect=False)
        self.coders = [library.stream.queue.RangeEncoder() for _ in range(count)]

    def put(
        self, streams: Int[Tensor, "n"], symbols: Int[Tensor, "n"], weights: Float[Tensor, "n K"]
    ) -> Float[Tensor, "n"]:
        """Appends each symbol to its stream, in the order given; the bits that each costs by its weight."""
        if weights.shape[1] == 1:  # there is nothing to say
            return torch.zeros(len(weights), dtype=torch.float64)
        values, table = symbols.numpy().astype(np.int32), _table(weights)
        for stream, rows in _runs(streams):
            self.coders[stream].encode(values[rows], self.family, table[rows])
        chosen = weights.gather(1, symbols[:, None])[:, 0].clamp_min(weights.sum(1) * 2**-24)
        return (weights.sum(1) / chosen).log2()

    def bytes(self) -> list[bytes]:
        """Content of each stream so far; zeros at its end need not be stored."""
        return [coder.get_compressed().astype(">u4").tobytes().rstrip(b"\0") for coder in self.coders]


class Decoders:
    """The inverse of `Encoders`. Streams of random bits give samples of the distribution they are read by.

    Not every sequence of bits is a stream: about one random symbol in a thousand meets bits that no encoder
    writes. Such a stream is marked in `broken`, and gives zeros from there on.

    Arguments:
        streams: the bytes of each.

    Example:
        >>> decoders = Decoders([bytes(8), bytes(8)])
        >>> decoders.take(torch.tensor([0, 1]), torch.tensor([[1.0, 3.0], [7.0, 1.0]])), decoders.broken
        (tensor([0, 0]), tensor([False, False]))
    """

    def __init__(self, streams: Sequence[bytes]) -> None:
        library = _constriction()
        self.family = library.stream.model.Categorical(perfect=False)
        self.coders = [library.stream.queue.RangeDecoder(_words(data)) for data in streams]
        self.broken = torch.zeros(len(self.coders), dtype=torch.bool)

    def take(self, streams: Int[Tensor, "n"], weights: Float[Tensor, "n K"]) -> Int[Tensor, "n"]:
        """The next symbol of each row's stream, in the order given."""
        if weights.shape[1] == 1:
            return torch.zeros(len(weights), dtype=torch.int64)
        symbols, table = np.zeros(len(weights), dtype=np.int64), _table(weights)
        for stream, rows in _runs(streams):
            if self.broken[stream]:
                continue
            try:
                symbols[rows] = self.coders[stream].decode(self.family, table[rows])
            except Exception as error:  # the library raises its own for words that no encoder writes
                if is_out_of_memory(error):
                    raise
                self.broken[stream] = True
        return torch.from_numpy(symbols)


def _words(data: bytes) -> np.ndarray:
    return np.frombuffer(data + bytes(-len(data) % 4), dtype=">u4").astype(np.uint32)


def _table(weights: Tensor) -> np.ndarray:
    return np.ascontiguousarray(weights.cpu().double().numpy())


def _runs(streams: Int[Tensor, "n"]) -> Iterator[tuple[int, slice]]:
    """Neighbouring rows of one stream, which the library takes in one call."""
    found, counts = streams.unique_consecutive(return_counts=True)
    first = 0
    for stream, count in zip(found.tolist(), counts.tolist(), strict=True):
        yield stream, slice(first, first + count)
        first += count
