"""The delta rule: a memory that replaces what it holds under a key instead of adding to it."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from caselli.ops import kernels
from caselli.ops.chunks import (
    Segments,
    before,
    bounded_log_decay,
    decay_between,
    exact,
    fold,
    log_sums,
    unfold,
)
from caselli.ops.pieces import recurrence
from caselli.shapes import Bool, Float, Tensor


def delta_product_step(
    q: Float[Tensor, "B N d"],
    k: Float[Tensor, "B n N d"],
    v: Float[Tensor, "B n N v"],
    reads: Float[Tensor, "B n N d"],
    log_decay: Float[Tensor, "B N"],
    state: Float[Tensor, "B N d v"],
) -> tuple[Float[Tensor, "B N v"], Float[Tensor, "B N d v"]]:
    """One token of `delta_product`."""
    decay = log_decay.exp()[..., None, None]
    for i in range(k.shape[1]):
        new = v[:, i] - (reads[:, i, :, None] @ state)[..., 0, :]
        state = (decay * state if i == 0 else state) + k[:, i, ..., None] * new[..., None, :]
    return (q[..., None, :] @ state)[..., 0, :], state


def delta_product_definition(
    q: Float[Tensor, "B T N d"],
    k: Float[Tensor, "B T n N d"],
    v: Float[Tensor, "B T n N v"],
    reads: Float[Tensor, "B T n N d"],
    log_decay: Float[Tensor, "B T N"],
    state: Float[Tensor, "B N d v"],
) -> tuple[Float[Tensor, "B T N v"], Float[Tensor, "B N d v"]]:
    """`delta_product` token by token."""
    outputs = []
    for t in range(q.shape[1]):
        y, state = delta_product_step(q[:, t], k[:, t], v[:, t], reads[:, t], log_decay[:, t], state)
        outputs.append(y)
    return torch.stack(outputs, 1), state


def delta_product(
    q: Float[Tensor, "B T N d"],
    k: Float[Tensor, "B T n N d"],
    v: Float[Tensor, "B T n N v"],
    state: Float[Tensor, "B N d v"],
    *,
    reads: Float[Tensor, "B T n N d"],
    log_decay: Float[Tensor, "B T N"],
    starts: Bool[Tensor, "B T"] | None = None,
    chunk_size: int = 64,
) -> tuple[Float[Tensor, "B T N v"], Float[Tensor, "B N d v"]]:
    r"""n delta rules a token, each of which reads under a key of its own, in chunks of matrix products.

    .. math::
        S_{t,1} = e^{g_t} S_{t-1} + k_{t1} \big(v_{t1} - S_{t-1}^\top a_{t1}\big)^\top, \qquad
        S_{t,i} = S_{t,i-1} + k_{ti} \big(v_{ti} - S_{t,i-1}^\top a_{ti}\big)^\top, \qquad
        y_t = S_{t,n}^\top q_t

    The first reads before the memory decays. Within a chunk the written values solve one triangular system
    (the WY form); between chunks the state goes through one matrix product.

    Arguments:
        q: queries; T ≥ 1.
        k, v: keys and values that are written, n a token.
        state: S_0, at least float32.
        reads: a, the keys under which is read.
        log_decay: g ≤ 0.
        starts: where a packed sequence begins; S is forgotten before that token.
        chunk_size: writes in one system, at least one token's.

    Returns:
        y in v's dtype, and S_T.

    Sources: Siems et al. 2025, DeltaProduct: Improving State-Tracking in Linear RNNs via Householder
    Products; Hu et al. 2025, Comba: Improving Bilinear RNNs with Closed-loop Control.

    Example:
        >>> v = torch.tensor([1.0, 5.0]).view(1, 1, 2, 1, 1)
        >>> k, q = torch.ones(1, 1, 2, 1, 1), torch.ones(1, 1, 1, 1)
        >>> zero = torch.zeros(1, 1, 1)
        >>> delta_product(q, k, v, zero[..., None], reads=k, log_decay=zero)[0].item()
        5.0
    """
    size = min(max(1, chunk_size // v.shape[2]), v.shape[1])
    return recurrence(delta_product_step, _chunked, (q, k, v, reads), log_decay, state, starts, size)


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
        state = log_decay[:, t].exp()[..., None, None] * state
        held = (k[:, t, :, None] @ state)[..., 0, :]
        state = state + k[:, t, ..., None] * (beta[:, t, :, None] * (v[:, t] - held))[..., None, :]
        outputs.append((q[:, t, :, None] @ state)[..., 0, :])
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
    r"""The delta rule, gated or not: the case of `delta_product` with one write, which reads what it writes.

    .. math::
        S_t = e^{g_t} S_{t-1} + \beta_t k_t \big(v_t - e^{g_t} S_{t-1}^\top k_t\big)^\top, \qquad
        y_t = S_t^\top q_t

    With k of unit length, β = 1 replaces the value under k, β = 0 keeps it.

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
    beta, keys = exact(beta)[..., None], exact(k)
    log_decay = torch.zeros_like(beta[..., 0]) if log_decay is None else bounded_log_decay(log_decay)
    y, state = delta_product(
        q,
        keys[:, :, None],
        (beta * exact(v))[:, :, None],
        state,
        reads=(beta * log_decay.exp()[..., None] * keys)[:, :, None],
        log_decay=log_decay,
        starts=starts,
        chunk_size=chunk_size,
    )
    return y.to(v.dtype), state


def _chunked(q, k, v, reads, log_decay, state, *, starts, size):
    length, count = v.shape[1:3]
    q, log_decay = (fold(x, size).transpose(2, 3) for x in (q, _to_writes(log_decay, count)))
    k, v, reads = (fold(x, size).flatten(2, 3).transpose(2, 3) for x in (k, v, reads))
    log_decay = log_decay.flatten(3)
    total = log_sums(log_decay)
    decay, kept = decay_between(total, v.dtype), total.exp()
    left, passed, kept_before = (total[..., -1:] - total).exp(), kept[..., -1:], (total - log_decay).exp()
    earlier = F.pad(decay[..., :-1, :], (0, 0, 1, 0))  # up to before the token whose write it is
    if starts is not None:
        segments = Segments.of(_to_writes(starts, count).flatten(1), size * count)
        decay, earlier = (x * segments.together[:, :, None] for x in (decay, earlier))
        kept, kept_before = (x * segments.reads[:, :, None] for x in (kept, kept_before))
        left = left * segments.writes[:, :, None]
        passed = passed * segments.passes[:, :, None, None]
    kept, left, kept_before, passed = (x.to(v.dtype)[..., None] for x in (kept, left, kept_before, passed))
    decay, kept = decay[..., count - 1 :: count, :], kept[..., count - 1 :: count, :]

    # The new values are U − W S: what each token writes, less what it finds of the state before the chunk.
    system = (reads @ k.mT) * earlier
    sides = torch.cat((v, reads * kept_before), -1)
    solved = torch.linalg.solve_triangular(system, sides, upper=False, unitriangular=True)
    u, w = solved.split((v.shape[-1], k.shape[-1]), -1)

    keys = (k * left).mT
    identity = torch.eye(k.shape[-1], dtype=k.dtype, device=k.device)
    states = carry(passed * identity - keys @ w, keys @ u, state)
    entering = before(state, states)
    y = (q * kept) @ entering + ((q @ k.mT) * decay) @ (u - w @ entering)
    return unfold(y.transpose(2, 3), length), states[:, -1]


def _to_writes(x: Tensor, count: int) -> Tensor:
    """`B T …` → `B T … n`: what holds at a token's first write, and zero at its others."""
    return F.pad(x[..., None], (0, count - 1))


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
