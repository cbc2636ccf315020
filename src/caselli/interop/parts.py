"""Shared parts of the families of priors: joined and split layers, vocabularies, heads."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from caselli.errors import UserError
from caselli.interop.layout import Codes, Hints, refuse, shape_of
from caselli.shapes import Float, Tensor
from caselli.weights import Weights


def joined(weights: Weights, parts: Sequence[str], whole: str) -> Weights:
    """Layers of one input as one layer: the rows of all parts, one after the other.

    Example:
        >>> both = {"a.key.weight": torch.zeros(2, 3), "a.value.weight": torch.ones(2, 3)}
        >>> {name: value.shape for name, value in joined(both, ["key", "value"], "key_value").items()}
        {'a.key_value.weight': torch.Size([4, 3])}
    """
    found = {}
    for name, value in weights.items():
        stem, part, kind = _split(name)
        if part == parts[0]:
            names = [f"{stem}{other}.{kind}" for other in parts]
            refuse("missing", [other for other in names if other not in weights])
            found[f"{stem}{whole}.{kind}"] = torch.cat([weights[other] for other in names])
        elif part not in parts:
            found[name] = value
    return found


def divided(weights: Weights, whole: str, parts: dict[str, int]) -> Weights:
    """A layer as several of one input: the first rows, those behind them, and so on.

    Arguments:
        weights: by name.
        whole: the layer.
        parts: names of the layers, and the rows of each; −1 for the rest.

    Example:
        >>> found = divided({"a.qkv.weight": torch.zeros(6, 3)}, "qkv", {"query": 2, "key_value": -1})
        >>> {name: value.shape for name, value in found.items()}
        {'a.query.weight': torch.Size([2, 3]), 'a.key_value.weight': torch.Size([4, 3])}
    """
    found = {}
    for name, value in weights.items():
        stem, part, kind = _split(name)
        if part != whole:
            found[name] = value
            continue
        rest = len(value) - sum(size for size in parts.values() if size > 0)
        sizes = [rest if size < 0 else size for size in parts.values()]
        if min(sizes) < 0:
            raise UserError(f"{name} of {len(value)} rows was given", f"more than {-rest} were expected")
        found |= {f"{stem}{p}.{kind}": v for p, v in zip(parts, value.split(sizes), strict=True)}
    return found


def _split(name: str) -> tuple[str, str, str]:
    """Path to a layer, the layer's own name, and the kind of tensor."""
    path, _, kind = name.rpartition(".")
    stem, dot, part = path.rpartition(".")
    return stem + dot, part, kind


def halved_pairs(rows: Float[Tensor, "E *D"], heads: int) -> Float[Tensor, "E *D"]:
    """Rows of queries or keys whose rotary pairs are neighbours, with each pair half a head apart.

    Example:
        >>> halved_pairs(torch.arange(4), heads=1)
        tensor([0, 2, 1, 3])
    """
    pairs = rows.unflatten(0, (heads, -1, 2))
    return pairs.transpose(1, 2).flatten(0, 2)


def channels_first(rows: Float[Tensor, "R *D"], factor: int) -> Float[Tensor, "R *D"]:
    """Rows of a layer whose outputs are the pixels of a square, by row, column and channel, with the channel
    first, as `torch.nn.PixelShuffle` takes them.

    Example:
        >>> channels_first(torch.arange(8), 2)
        tensor([0, 2, 4, 6, 1, 3, 5, 7])
    """
    return rows.unflatten(0, (factor**2, -1)).transpose(0, 1).flatten(0, 1)


def reordered(rows: Float[Tensor, "R *D"], order: Sequence[int]) -> Float[Tensor, "R *D"]:
    """Pieces of equal length in another order.

    Example:
        >>> reordered(torch.arange(6), [2, 0, 1])
        tensor([4, 5, 0, 1, 2, 3])
    """
    pieces = rows.chunk(len(order))
    return torch.cat([pieces[number] for number in order])


def vocabulary(weights: Weights, codes: Codes) -> tuple[Weights, int]:
    """Embedding and head of codes, and the embedding of labels, from those of one vocabulary.

    Its entries are the K codes, the labels, and the token that a sequence without a label starts with.

    Returns: the weights, and the number of labels.
    """
    table, head = weights.pop("code.weight"), weights.pop("head.weight", None)
    size = codes.size
    if len(table) < size + 1:
        raise UserError(
            f"a vocabulary of {len(table)} entries was given over {size} codes",
            f"at least {size + 1} were expected: codes, labels if any, and the token that starts a sequence",
        )
    head = table if head is None else head
    split = {
        "code.weight": table[:size],
        "conditioner.label.weight": table[size:],
        "head.weight": head[:size],
    }
    return weights | split, len(table) - size - 1


def heads_of(hints: Hints, width: int, each: int = 64) -> int:
    """Number of heads: as asked for, the config.json's, or one for each so many channels.

    Errors: `UserError` where the width is no multiple.
    """
    heads = hints.heads or hints.number("n_head", "num_attention_heads", "num_heads")
    if heads is None and width % each:
        raise UserError(
            f"a width of {width} was given", "the number of heads too was expected", "name it with --heads"
        )
    heads = heads or width // each
    if width % heads:
        raise UserError(
            f"{heads} heads and a width of {width} were given",
            "a divisor was expected",
            "name it with --heads",
        )
    return heads


def depth_of(weights: Weights, count: int) -> int:
    """Number of layers, at least one."""
    if not count:
        refuse("missing", ["the first layer's"])
    return count


def side_of(codes: Codes) -> int:
    """Side of a square grid of codes.

    Errors: `UserError` for codes on one axis.
    """
    side = math.isqrt(codes.positions)
    if len(codes.shape) != 2 or side * side != codes.positions:
        raise UserError(f"codes of shape {codes.shape} were given", "a square grid was expected")
    return side


def expansion_of(weights: Weights, name: str, width: int, taken: int = 1) -> float:
    """Inner width of the MLP in units of the width."""
    return shape_of(weights, name)[0] / taken / width
