"""The delta rule: a memory that replaces what it holds under a key instead of adding to it."""

from __future__ import annotations

import functools

import torch

from caselli.ops import kernels
from caselli.ops.chunks import (
    Segments,
    before,
    bounded_log_decay,
    exact,
    fold,
    forget,
    no_autocast,
    unfold,
)
from caselli.ops.pieces import in_pieces
from caselli.shapes import Bool, Float, Tensor


def delta_rule_step(
    q: Float[Tensor, "B N d"],
    k: Float[Tensor, "B N d"],
    v: Float[Tensor, "B N v"],
    beta: Float[Tensor, "B N"],
    log_decay: Float[Tensor, "B N"],
    state: Float[Tensor, "B N d v"],
) -> tuple[Float[Tensor, "B N v"], Float[Tensor, "B N d v"]]:
    """One token of `delta_rule`."""
    state = log_decay.exp()[..., None, None] * state
    held = (k[..., None, :] @ state)[..., 0, :]
    state = state + k[..., None] * (beta[..., None] * (v - held))[..., None, :]
    return (q[..., None, :] @ state)[..., 0, :], state


def delta_rule_definition(
    q: Float[Tensor, "B T N d"],
    k: Float[Tensor, "B T N d"],
    v: Float[Tensor, "B T N v"],
    beta: Float[Tensor, "B T N"],
    log_decay: Float[Tensor, "B T N"],
    state: Float[Tensor, "B N d v"],
) -> tuple[Float[Tensor, "B T N v"], Float[Tensor, "B N d v"]]:
    """`delta_rule` token by token."""
    outputs = []
    for t in range(q.shape[1]):
        y, state = delta_rule_step(q[:, t], k[:, t], v[:, t], beta[:, t], log_decay[:, t], state)
        outputs.append(y)
    return torch.stack(outputs, 1), state


def delta_rule(
    q: Float[Tensor, "B T N d"],
    k: Float[Tensor, "B T N d"],
    v: Float[Tensor, "B T N v"],
    state: Float[Tensor, "B N d v"],
    *,
    beta: Float[Tensor, "B T N"],
    log_decay: Float[Tensor, "B T N"] | None = None,
    starts: Bool[Tensor, "B T"] | None = None,
    chunk_size: int = 64,
) -> tuple[Float[Tensor, "B T N v"], Float[Tensor, "B N d v"]]:
    r"""The delta rule, gated or not, in chunks of matrix products.

    .. math::
        S_t = e^{g_t} S_{t-1} + \beta_t k_t \big(v_t - e^{g_t} S_{t-1}^\top k_t\big)^\top, \qquad
        y_t = S_t^\top q_t

    Within a chunk the replaced values solve one triangular system (the WY form); between chunks the state
    goes through one matrix product. With k of unit length, β = 1 replaces the value under k, β = 0 keeps it.

    Arguments:
        q, k: queries and keys, usually of unit length; T ≥ 1.
        v: values.
        state: S_0, at least float32.
        beta: how much is replaced, 0 … 2.
        log_decay: g ≤ 0; none for a memory that does not fade.
        starts: where a packed sequence begins; S is forgotten before that token.
        chunk_size: tokens in one system.

    Returns:
        y in v's dtype, and S_T.

    Sources: Yang et al. 2024, Parallelizing Linear Transformers with the Delta Rule over Sequence Length;
    Yang, Kautz and Hatamizadeh 2025, Gated Delta Networks.

    Example:
        >>> q = k = torch.ones(1, 2, 1, 1)
        >>> v = torch.tensor([1.0, 5.0]).view(1, 2, 1, 1)
        >>> delta_rule(q, k, v, torch.zeros(1, 1, 1, 1), beta=torch.ones(1, 2, 1))[0].flatten()
        tensor([1., 5.])
    """
    dtype = v.dtype
    with no_autocast(v):
        q, k, v, beta, state = (exact(x) for x in (q, k, v, beta, state))
        log_decay = torch.zeros_like(beta) if log_decay is None else bounded_log_decay(log_decay).to(v.dtype)
        if v.shape[1] == 1:
            state = forget(state, None if starts is None else starts[:, 0])
            y, state = delta_rule_step(q[:, 0], k[:, 0], v[:, 0], beta[:, 0], log_decay[:, 0], state)
            y = y[:, None]
        else:
            size = min(chunk_size, v.shape[1])
            compute = functools.partial(_chunked, size=size)
            y, state = in_pieces(compute, (q, k, v, beta, log_decay), state, starts, size)
    return y.to(dtype), state


def _chunked(q, k, v, beta, log_decay, state, *, starts, size):
    length = v.shape[1]
    q, k, v, beta, log_decay = (fold(x, size).transpose(2, 3) for x in (q, k, v, beta, log_decay))
    total = log_decay.cumsum(3)
    known = torch.ones(size, size, dtype=torch.bool, device=q.device).tril()
    kept, left, passed = total.exp(), (total[..., -1:] - total).exp(), total[..., -1].exp()
    if starts is not None:
        segments = Segments.of(starts, size)
        known = known & segments.together[:, :, None]
        kept = kept * segments.reads[:, :, None]
        left = left * segments.writes[:, :, None]
        passed = passed * segments.passes[:, :, None]
    decay = (total[..., :, None] - total[..., None, :]).masked_fill(~known, -torch.inf).exp()

    # The new values are U − W S: what each token writes, less what it finds of the state before the chunk.
    system = (beta[..., None] * (k @ k.mT) * decay).tril(-1)
    sides = beta[..., None] * torch.cat((v, k * kept[..., None]), -1)
    solved = torch.linalg.solve_triangular(system, sides, upper=False, unitriangular=True)
    u, w = solved.split((v.shape[-1], k.shape[-1]), -1)

    keys = (k * left[..., None]).mT
    identity = torch.eye(k.shape[-1], dtype=k.dtype, device=k.device)
    states = carry(passed[..., None, None] * identity - keys @ w, keys @ u, state)
    entering = before(state, states)
    y = (q * kept[..., None]) @ entering + ((q @ k.mT) * decay) @ (u - w @ entering)
    return unfold(y.transpose(2, 3), length), states[:, -1]


def carry(
    transition: Float[Tensor, "B n N d d"],
    written: Float[Tensor, "B n N d v"],
    state: Float[Tensor, "B N d v"],
) -> Float[Tensor, "B n N d v"]:
    """S_c = M_c S_{c−1} + N_c for matrices: the states after each of n chunks."""
    shape = state.shape
    if kernels.suits(transition, written, state) and state.shape[2] <= kernels.WIDEST:
        from caselli.ops.kernels.matrix_carry import matrix_carry

        inputs = (transition.transpose(1, 2).flatten(0, 1), written.transpose(1, 2).flatten(0, 1))
        return matrix_carry(*inputs, state.flatten(0, 1)).unflatten(0, shape[:2]).transpose(1, 2)
    state, states = state.flatten(0, 1), []
    for m, n in zip(transition.unbind(1), written.unbind(1), strict=True):
        state = torch.baddbmm(n.flatten(0, 1), m.flatten(0, 1), state)
        states.append(state)
    return torch.stack([s.view(shape) for s in states], 1)
