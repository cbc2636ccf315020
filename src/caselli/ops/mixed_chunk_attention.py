"""Pointwise attention within groups of tokens, linear attention between them, in one pass."""

from __future__ import annotations

import functools

import torch

from caselli.ops.chunks import carry_gradients, carry_states, exact, no_autocast
from caselli.ops.matrix_product import products
from caselli.ops.pieces import in_pieces
from caselli.ops.pointwise_attention import (
    ACTIVATIONS,
    Activation,
    by_distance,
    pointwise_attention_definition,
)
from caselli.shapes import Bool, Float, Tensor


def mixed_chunk_attention_definition(
    q, k, linear_q, linear_k, v, memory, *, activation="squared_relu", bias=None, fresh=None
):
    """`mixed_chunk_attention` group by group, as it is written."""
    outputs = []
    for g in range(v.shape[1]):
        if fresh is not None:
            memory = memory * ~fresh[:, g, None, None]
        near = pointwise_attention_definition(q[:, g], k[:, g], v[:, g], activation=activation, bias=bias)
        outputs.append(near + linear_q[:, g] @ memory)
        memory = memory + linear_k[:, g].mT @ v[:, g]
    return torch.stack(outputs, 1), memory


def mixed_chunk_attention(
    q: Float[Tensor, "B n c s"],
    k: Float[Tensor, "B n c s"],
    linear_q: Float[Tensor, "B n c s"],
    linear_k: Float[Tensor, "B n c s"],
    v: Float[Tensor, "B n c e"],
    memory: Float[Tensor, "B s e"],
    *,
    activation: str = "squared_relu",
    bias: Float[Tensor, "L"] | None = None,
    fresh: Bool[Tensor, "B n"] | None = None,
) -> tuple[Float[Tensor, "B n c e"], Float[Tensor, "B s e"]]:
    r"""Sums of values, weighted pointwise within n groups of c tokens and linearly over earlier groups.

    .. math:: y_i = \sum_{j \in G_i,\, j \le i} f(q_i \cdot k_j + b_{i-j})\, v_j
        + S_{G_i}^\top q'_i, \qquad S_{G+1} = S_G + \sum_{j \in G} k'_j v_j^\top

    Nothing is normalised: scale the queries. A group is read, used and written while it is in the cache; its
    scores are formed again in the backward pass. Differentiable once.

    Arguments:
        q, k: queries and keys of the attention within a group.
        linear_q, linear_k: q′ and k′, those of the memory; a group whose k′ is zero leaves it as it is.
        v: values.
        memory: S before the first group, at least float32.
        activation: f, a name in `caselli.ops.pointwise_attention.ACTIVATIONS`.
        bias: b for the distances −(c − 1) … c − 1, L = 2c − 1.
        fresh: where the memory is forgotten before the group.

    Returns:
        y, and S after the last group.

    Source: Hua et al. 2022, Transformer Quality in Linear Time.

    Example:
        >>> one = torch.ones(1, 2, 2, 1)
        >>> y, memory = mixed_chunk_attention(one, one, one, one, one, torch.zeros(1, 1, 1))
        >>> y.flatten(), memory.flatten()
        (tensor([1., 2., 3., 4.]), tensor([4.]))
    """
    dtype = torch.promote_types(q.dtype, v.dtype) if q.dtype == torch.float64 else v.dtype
    timed = tuple(x.to(dtype) for x in (q, k, v, linear_q, linear_k))
    shared = () if bias is None else (by_distance(bias.to(dtype), v.shape[2]).contiguous(),)
    compute, gradient = (
        functools.partial(f, activation=ACTIVATIONS[activation]) for f in (_mixed, _gradient)
    )
    with no_autocast(v):
        return in_pieces(compute, timed, exact(memory), fresh, 1, shared=shared, gradient=gradient)


def _mixed(q, k, v, linear_q, linear_k, memory, bias=None, *, starts, activation: type[Activation]):
    q, k, v, linear_q, linear_k = (x.flatten(0, 1) for x in (q, k, v, linear_q, linear_k))
    kept = _kept(starts, memory)
    entering, last = carry_states(_written(linear_k, v, memory), kept, memory[:, None])
    weights = activation.weights(_scores(q, k, bias)).tril_()
    near_and_far = torch.cat((weights, _read(linear_q, starts)), 2)
    y = products(near_and_far, torch.cat((v, _rows(entering, v)), 1).mT)
    return y.unflatten(0, (len(memory), -1)), last[:, 0]


def _gradient(q, k, v, linear_q, linear_k, memory, bias=None, *, outputs, starts, activation):
    """Written by hand: scores and memories are computed again, and stay in the cache."""
    groups = (q, k, v, linear_q, linear_k, outputs[1])
    q, k, v, linear_q, linear_k, of_y = (x.flatten(0, 1) for x in groups)
    kept, entering = _kept(starts, memory), memory[:, None, None]
    if len(v) > len(memory):
        entering, _ = carry_states(_written(linear_k, v, memory), kept, memory[:, None])
    linear_q = _read(linear_q, starts)
    leaving, of_memory = carry_gradients(_written(linear_q, of_y, memory), kept, outputs[2][:, None])
    leaving = _rows(leaving, v)

    weights, slopes = activation.weights_and_slopes(_scores(q, k, bias))
    both = products(of_y, torch.cat((v, _rows(entering, v)), 1))
    of_weights, of_linear_q = both.split((weights.shape[2], linear_q.shape[2]), 2)
    of_scores = slopes.mul_(of_weights).tril_()
    near_and_far = torch.cat((weights.tril_().mT, linear_k), 2)
    of_v = products(near_and_far, torch.cat((of_y, leaving), 1).mT)
    of_k = products(of_scores.mT, q.mT)
    found = products(of_scores, k.mT), of_k, of_v, _read(of_linear_q, starts), products(v, leaving)
    found = (*(x.unflatten(0, (len(memory), -1)) for x in found), of_memory[:, 0])
    return found if bias is None else (*found, of_scores.sum(0))


def _scores(
    q: Float[Tensor, "Bn c s"], k: Float[Tensor, "Bn c s"], bias: Float[Tensor, "c c"] | None
) -> Tensor:
    scores = products(q, k)
    return scores if bias is None else scores.add_(bias)


def _kept(fresh: Bool[Tensor, "B n"] | None, memory: Tensor) -> Tensor | None:
    """One or zero: whether a group sees the memory."""
    return None if fresh is None else (~fresh).to(memory)[:, None, :, None, None]


def _read(x: Float[Tensor, "Bn c s"], fresh: Bool[Tensor, "B n"] | None) -> Float[Tensor, "Bn c s"]:
    return x if fresh is None else x.masked_fill(fresh.flatten()[:, None, None], 0)


def _rows(memory: Float[Tensor, "B 1 n s e"], like: Tensor) -> Float[Tensor, "Bn s e"]:
    return memory.to(like.dtype).flatten(0, 2)


def _written(linear_k: Tensor, v: Tensor, memory: Tensor) -> Float[Tensor, "B 1 n s e"]:
    """Sum that each group adds to the memory."""
    written = products(linear_k.mT, v.mT).to(memory.dtype)
    return written.unflatten(0, (len(memory), 1, -1))
