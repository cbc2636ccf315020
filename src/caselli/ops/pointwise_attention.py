"""Attention whose weights are a function of each score alone, without a softmax: relu² or Laplace."""

from __future__ import annotations

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch.autograd.function import once_differentiable

from caselli.ops.matrix_product import add_products, products, products_into
from caselli.shapes import Float, Int, Tensor

BLOCK_ELEMENTS = 1 << 20
"""Scores held at a time, over the whole batch."""


class Activation(ABC):
    """f as it is written, and for the blocks f and its derivative, which may overwrite the scores."""

    @staticmethod
    @abstractmethod
    def definition(scores: Tensor) -> Tensor:
        """f(scores), differentiable."""

    @staticmethod
    @abstractmethod
    def weights(scores: Tensor) -> Tensor:
        """f(scores)."""

    @staticmethod
    @abstractmethod
    def weights_and_slopes(scores: Tensor) -> tuple[Tensor, Tensor]:
        """f(scores) and f′(scores)."""


class SquaredReLU(Activation):
    """max(s, 0)² (So et al. 2021, Primer)."""

    @staticmethod
    def definition(scores):
        return scores.relu().square()

    @staticmethod
    def weights(scores):
        return scores.relu_().square_()

    @staticmethod
    def weights_and_slopes(scores):
        scores = scores.relu_()
        return scores.square(), scores.mul_(2)


class Laplace(Activation):
    r"""½(1 + erf((s − μ) / (σ√2))) with μ = √½ and σ² = 1/4π (Ma et al. 2022, Mega)."""

    mean, deviation = math.sqrt(0.5), math.sqrt(0.25 / math.pi)

    @classmethod
    def definition(cls, scores):
        return 0.5 * (1 + torch.erf((scores - cls.mean) / (cls.deviation * math.sqrt(2))))

    @classmethod
    def weights(cls, scores):
        return scores.sub_(cls.mean).mul_(1 / (cls.deviation * math.sqrt(2))).erf_().add_(1).mul_(0.5)

    @classmethod
    def weights_and_slopes(cls, scores):
        peak = 1 / (cls.deviation * math.sqrt(2 * math.pi))
        slopes = ((scores - cls.mean) / cls.deviation).square_().mul_(-0.5).exp_().mul_(peak)
        return cls.weights(scores), slopes


ACTIVATIONS: dict[str, type[Activation]] = {"squared_relu": SquaredReLU, "laplace": Laplace}


def pointwise_attention_definition(q, k, v, *, activation="squared_relu", bias=None, begin=None, causal=True):
    """`pointwise_attention` as it is written, with all scores at once."""
    length, end = q.shape[1], k.shape[1]
    key = torch.arange(end, device=q.device)
    query = key[end - length :, None]
    scores = q @ k.mT
    if bias is not None:
        scores = scores + bias[query - key + length - 1]
    weights = ACTIVATIONS[activation].definition(scores)
    mask = torch.ones(1, length, end, dtype=torch.bool, device=q.device)
    if causal:
        mask = mask & (key <= query)
    if begin is not None:
        mask = mask & (key >= begin[:, :, None] if causal else begin[:, :, None] == begin[:, None, :])
    return weights.masked_fill(~mask, 0) @ v


def pointwise_attention(
    q: Float[Tensor, "B T s"],
    k: Float[Tensor, "B S s"],
    v: Float[Tensor, "B S e"],
    *,
    activation: str = "squared_relu",
    bias: Float[Tensor, "L"] | None = None,
    begin: Int[Tensor, "B T"] | None = None,
    causal: bool = True,
) -> Float[Tensor, "B T e"]:
    r"""Sums of values weighted by a function of each score, in memory linear in T.

    .. math:: y_i = \sum_{j \le i} f(q_i \cdot k_j + b_{i-j})\, v_j

    Nothing is normalised: scale q, or y. Blocks of scores are formed, used and forgotten, and formed again in
    the backward pass; what lies ahead of a block is left out.

    Arguments:
        q, k, v: queries, keys, values; S ≥ T: the queries are the last T of the S tokens.
        activation: f, a name in `ACTIVATIONS`.
        bias: b for the distances −(T − 1) … S − 1, L = T + S − 1.
        begin: for each query the index of the key at which its packed sequence begins.
        causal: whether a token sees only itself and the past; otherwise S = T.

    Source: Hua et al. 2022, Transformer Quality in Linear Time.

    Example:
        >>> q = k = torch.ones(1, 3, 1)
        >>> pointwise_attention(q, k, torch.ones(1, 3, 1)).flatten()
        tensor([1., 2., 3.])
    """
    dtype = torch.promote_types(q.dtype, v.dtype) if q.dtype == torch.float64 else v.dtype
    bias = None if bias is None else bias.to(dtype)
    q, k, v = (x.to(dtype) for x in (q, k, v))
    return _PointwiseAttention.apply(q, k, v, bias, begin, ACTIVATIONS[activation], causal)


class _PointwiseAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx, q, k, v, bias, begin, activation, causal):
        ctx.save_for_backward(q, k, v, bias, begin)
        ctx.activation, ctx.causal = activation, causal
        y = v.new_empty(*q.shape[:2], v.shape[2])
        for block in _blocks(q, k, causal):
            weights = activation.weights(_scores(block, q, k, bias))
            _hide(weights, block, begin, causal)
            products_into(weights, v[:, : block.seen].mT, y[:, block.rows])
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        q, k, v, bias, begin = ctx.saved_tensors
        grads = [None if x is None else torch.zeros_like(x) for x in (q, k, v, bias)]
        for block in _blocks(q, k, ctx.causal):
            weights, slopes = ctx.activation.weights_and_slopes(_scores(block, q, k, bias))
            _hide(weights, block, begin, ctx.causal)
            _hide(slopes, block, begin, ctx.causal)
            part, seen = grad[:, block.rows], slice(block.seen)
            add_products(weights.mT, part.mT, grads[2][:, seen])
            slopes.mul_(products(part, v[:, seen]))
            products_into(slopes, k[:, seen].mT, grads[0][:, block.rows])
            add_products(slopes.mT, q[:, block.rows].mT, grads[1][:, seen])
            if bias is not None:
                grads[3][block.distances] += along_diagonals(slopes.sum(0))
        return *grads, None, None, None


@dataclasses.dataclass(frozen=True)
class _Block:
    """Some queries, how many keys they see, and which distances lie between them."""

    rows: slice
    seen: int
    distances: slice


def _blocks(q: Tensor, k: Tensor, causal: bool) -> Iterator[_Block]:
    length, end = q.shape[1], k.shape[1]
    size = min(512, max(64, BLOCK_ELEMENTS // (len(q) * end)), max(64, end // 2))  # half a triangle is saved
    for start in range(0, length, size):
        stop = min(start + size, length)
        seen = end - length + stop if causal else end
        yield _Block(slice(start, stop), seen, slice(start + end - seen, stop + end - 1))


def _scores(block: _Block, q: Tensor, k: Tensor, bias: Tensor | None) -> Tensor:
    scores = products(q[:, block.rows], k[:, : block.seen])
    if bias is not None:
        scores += by_distance(bias[block.distances], block.seen)
    return scores


def by_distance(bias: Float[Tensor, "L"], keys: int) -> Float[Tensor, "T S"]:
    """b of each query's distance to each of the keys; L = T + S − 1.

    Example:
        >>> by_distance(torch.tensor([10.0, 11.0, 12.0]), 2)
        tensor([[11., 10.],
                [12., 11.]])
    """
    return bias.flip(0).unfold(0, keys, 1).flip(0)


def _hide(x: Tensor, block: _Block, begin: Tensor | None, causal: bool) -> None:
    """Zero where a query does not look."""
    if causal:
        x[..., block.rows.start - block.rows.stop :].tril_()
    if begin is not None:
        mine = begin[:, block.rows, None]
        hidden = torch.arange(block.seen, device=x.device) < mine if causal else begin[:, None] != mine
        x.masked_fill_(hidden, 0)


def along_diagonals(x: Float[Tensor, "T S"]) -> Float[Tensor, "L"]:
    """Sums over pairs of equal distance, the smallest first: the adjoint of `by_distance`.

    Example:
        >>> along_diagonals(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
        tensor([2., 5., 3.])
    """
    rows, columns = x.shape
    skewed = F.pad(x.flip(1), (0, rows)).flatten()[: rows * (rows + columns - 1)]
    return skewed.view(rows, -1).sum(0)
