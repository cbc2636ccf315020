"""Symbols ⟷ bytes: range coding by the probabilities at hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from caselli.codec.arithmetic import exp
from caselli.errors import MissingExtra, UserError
from caselli.shapes import Bool, Float, Int, Tensor

STEPS = 2.0**30
"""Steps of a weight; the likeliest symbol's weight is this."""


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


class Encoder:
    """Takes symbols with their weights, gives bytes.

    Errors: `MissingExtra` without the library constriction.

    Source: Martin 1979, Range encoding: an algorithm for removing redundancy from a digitised message.

    Example:
        >>> encoder = Encoder()
        >>> bits = encoder.put(torch.tensor([1, 0]), torch.tensor([[1.0, 3.0], [7.0, 1.0]]))
        >>> Decoder(encoder.bytes()).take(torch.tensor([[1.0, 3.0], [7.0, 1.0]]))
        tensor([1, 0])
    """

    def __init__(self) -> None:
        library = _constriction()
        self.family = library.stream.model.Categorical(perfect=False)
        self.coder = library.stream.queue.RangeEncoder()
        self.bits = 0.0

    def put(self, symbols: Int[Tensor, "n"], weights: Float[Tensor, "n K"]) -> Float[Tensor, "n"]:
        """Appends symbols; the bits that each costs by its weight."""
        self.coder.encode(symbols.numpy().astype(np.int32), self.family, _table(weights))
        chosen = weights.gather(1, symbols[:, None])[:, 0].clamp_min(weights.sum(1) * 2**-24)
        return (weights.sum(1) / chosen).log2()

    def of(self, rows: slice) -> Encoder:
        """What takes these rows: itself, whichever they are."""
        return self

    def bytes(self) -> bytes:
        """All of them so far; zeros at the end need not be kept."""
        return self.coder.get_compressed().astype(">u4").tobytes().rstrip(b"\0")


class Decoder:
    """The inverse of `Encoder`.

    Arguments:
        data: its bytes.
    """

    def __init__(self, data: bytes) -> None:
        library = _constriction()
        self.family = library.stream.model.Categorical(perfect=False)
        words = np.frombuffer(data + bytes(-len(data) % 4), dtype=">u4").astype(np.uint32)
        self.coder = library.stream.queue.RangeDecoder(words)

    def of(self, rows: slice) -> Decoder:
        """What gives these rows: itself, whichever they are."""
        return self

    def take(self, weights: Float[Tensor, "n K"]) -> Int[Tensor, "n"]:
        """The next symbol of each row.

        Errors: `UserError` where the bytes cannot have come from these weights.
        """
        try:
            symbols = self.coder.decode(self.family, _table(weights))
        except Exception as error:  # the library raises its own for words that no encoder writes
            raise UserError(f"damaged data were given ({error})", "a whole file was expected") from None
        return torch.from_numpy(np.asarray(symbols, dtype=np.int64))


class Encoders:
    """An encoder for each row, as `Sequences.encode` takes one for all.

    Arguments:
        each: the rows' own.
    """

    def __init__(self, each: Sequence[Encoder]) -> None:
        self.each = list(each)

    def of(self, rows: slice) -> Encoders:
        """Those of some rows."""
        return Encoders(self.each[rows])

    def put(self, symbols: Int[Tensor, "n"], weights: Float[Tensor, "n K"]) -> Float[Tensor, "n"]:
        """A symbol to each; the bits that it costs."""
        parts = zip(self.each, symbols.split(1), weights.split(1), strict=True)
        return torch.cat([encoder.put(symbol, table) for encoder, symbol, table in parts])


class Decoders:
    """The inverse of `Encoders`: of noise, each row is a sample.

    Not every noise is a stream: about one symbol in a thousand meets bits that no encoder writes.

    Arguments:
        each: the rows' own.
        broken: the rows that such a thing happened to; filled in.

    Example:
        >>> decoders = Decoders([Decoder(bytes(8)), Decoder(bytes(8))])
        >>> decoders.take(torch.tensor([[1.0, 3.0], [7.0, 1.0]])), decoders.broken
        (tensor([0, 0]), tensor([False, False]))
    """

    def __init__(self, each: Sequence[Decoder], broken: Bool[Tensor, "n"] | None = None) -> None:
        self.each = list(each)
        self.broken = torch.zeros(len(self.each), dtype=torch.bool) if broken is None else broken

    def of(self, rows: slice) -> Decoders:
        """Those of some rows."""
        return Decoders(self.each[rows], self.broken[rows])

    def take(self, weights: Float[Tensor, "n K"]) -> Int[Tensor, "n"]:
        """The next symbol of each row; 0 in those that are `broken`."""
        symbols = torch.zeros(len(weights), dtype=torch.int64)
        for row, (decoder, table) in enumerate(zip(self.each, weights.split(1), strict=True)):
            try:
                symbols[row] = decoder.take(table)[0]
            except UserError:
                self.broken[row] = True
        return symbols


def _table(weights: Tensor) -> np.ndarray:
    return np.ascontiguousarray(weights.cpu().double().numpy())
