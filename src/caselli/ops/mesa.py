"""Regression in place of a memory: each token's answer is the optimum over all keys and values so far."""

from __future__ import annotations

import torch
from torch.autograd.function import once_differentiable

from caselli.ops.chunks import (
    Segments,
    bounded_log_decay,
    carry_states,
    chunks,
    decay_between,
    exact,
    log_sums,
    no_autocast,
    tokens,
)
from caselli.ops.linear_attention import linear_attention
from caselli.ops.pieces import CACHED_ELEMENTS, LONG
from caselli.private import number_or
from caselli.shapes import Bool, Float, Tensor


def mesa_definition(
    q: Float[Tensor, "B T N d"],
    k: Float[Tensor, "B T N d"],
    v: Float[Tensor, "B T N v"],
    beta: Float[Tensor, "B T N"],
    log_decay: Float[Tensor, "B T N"],
    ridge: Float[Tensor, "N d"],
    keys: Float[Tensor, "B N d d"],
    values: Float[Tensor, "B N d v"],
) -> tuple[Float[Tensor, "B T N v"], Float[Tensor, "B N d d"], Float[Tensor, "B N d v"]]:
    """`mesa` token by token, by a direct solution."""
    outputs = []
    for t in range(q.shape[1]):
        decay, write = log_decay[:, t].exp()[..., None, None], (beta[:, t, :, None] * k[:, t])[..., None]
        keys = decay * keys + write * k[:, t, :, None]
        values = decay * values + write * v[:, t, :, None]
        x = torch.linalg.solve(keys + torch.diag_embed(ridge), q[:, t])
        outputs.append((x[..., None, :] @ values)[..., 0, :])
    return torch.stack(outputs, 1), keys, values


def mesa(
    q: Float[Tensor, "B T N d"],
    k: Float[Tensor, "B T N d"],
    v: Float[Tensor, "B T N v"],
    keys: Float[Tensor, "B N d d"],
    values: Float[Tensor, "B N d v"],
    *,
    beta: Float[Tensor, "B T N"],
    log_decay: Float[Tensor, "B T N"],
    ridge: Float[Tensor, "N d"],
    iterations: int = 20,
    starts: Bool[Tensor, "B T"] | None = None,
    chunk_size: int = 64,
) -> tuple[Float[Tensor, "B T N v"], Float[Tensor, "B N d d"], Float[Tensor, "B N d v"]]:
    r"""The prediction for q of a ridge regression of the values on the keys, fading and weighed.

    .. math::
        H_t = e^{g_t} H_{t-1} + \beta_t k_t k_t^\top, \quad
        S_t = e^{g_t} S_{t-1} + \beta_t k_t v_t^\top, \quad
        y_t = S_t^\top (H_t + \mathrm{diag}(\lambda))^{-1} q_t

    Conjugate gradients solve all tokens' systems at once: a product with every H_t is linear attention. A
    token whose residual has vanished rests. The gradient is that of the solution, by the same method again.

    Arguments:
        q, k, v: queries, keys and values; T ≥ 1.
        keys, values: H_0 and S_0, at least float32.
        beta: weights ≥ 0.
        log_decay: g ≤ 0.
        ridge: λ > 0.
        iterations: conjugate gradients at most.
        starts: where a packed sequence begins; H and S are forgotten before that token.
        chunk_size: tokens that are compared directly.

    Returns:
        y in v's dtype, H_T and S_T.

    Source: von Oswald et al. 2025, MesaNet: Sequence Modeling by Locally Optimal Test-Time Training.

    Example:
        >>> one, zero = torch.ones(1, 2, 1, 1), torch.zeros(1, 1, 1, 1)
        >>> options = {"beta": torch.ones(1, 2, 1), "log_decay": torch.zeros(1, 2, 1)}
        >>> mesa(one, one, 6 * one, zero, zero, **options, ridge=torch.ones(1, 1))[0].flatten()
        tensor([3., 4.])
    """
    dtype = v.dtype
    with no_autocast(v):
        q, k, v, beta, ridge = (exact(x) for x in (q, k, v, beta, ridge))
        log_decay = bounded_log_decay(log_decay).to(v.dtype)
        write = beta[..., None] * k
        options = {"log_decay": log_decay, "starts": starts, "chunk_size": chunk_size}
        with torch.no_grad():
            size = min(chunk_size, v.shape[1])
            systems = _Systems(k, write, keys, log_decay, ridge, starts, size)
            x = systems.solve(q, iterations)
        held, keys = linear_attention(x, k, write, keys.mT, **options)
        # What is left of q has the gradient of the solution; its value is the solution itself.
        x = _Solution.apply(q - held - ridge * x, x, systems, iterations)
        y, values = linear_attention(x, k, beta[..., None] * v, values, **options)
    return y.to(dtype), keys.mT, values


class _Solution(torch.autograd.Function):
    @staticmethod
    def forward(ctx, residual, x, systems, iterations):
        ctx.systems, ctx.iterations = systems, iterations
        return x.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        return ctx.systems.solve(gradient, ctx.iterations), None, None, None


class _Systems:
    """H_t + diag(λ) of all tokens, in chunks; axes `B N n C …`."""

    def __init__(self, k, write, state, log_decay, ridge, starts, size) -> None:
        self.size, self.length = size, k.shape[1]
        self.k, self.write, self.ridge = chunks(k, size), chunks(write, size), ridge[:, None, None]
        total = log_sums(chunks(log_decay, size))
        self.decay = decay_between(total, k.dtype)
        kept, left = (x.to(k.dtype).exp()[..., None] for x in (total, total[..., -1:] - total))
        passed = kept[..., -1:, :]
        if starts is not None:
            segments = Segments.of(starts, size)
            self.decay = self.decay * segments.together[:, None]
            kept = kept * segments.reads[:, None, ..., None]
            left = left * segments.writes[:, None, ..., None]
            passed = passed * segments.passes[:, None, :, None, None]
        self.entering, _ = carry_states((self.write * left).mT @ self.k, passed, state)
        self.kept = kept

    def solve(self, q: Float[Tensor, "B T N d"], iterations: int) -> Float[Tensor, "B T N d"]:
        """The solutions for q, some chunks at a time: what conjugate gradients need stays in the cache."""
        q = chunks(q, self.size)
        x, count, some = torch.empty_like(q), q.shape[2], 1
        if count > 1:  # one chunk has no parts, whatever the batch of a program
            some = max(1, (CACHED_ELEMENTS if q.is_cpu else LONG) // max(1, q.numel() // count))
        for first in range(0, count, some):
            part = slice(first, first + some)
            x[:, :, part] = self._conjugate_gradients(q[:, :, part], part, iterations)
        return tokens(x, self.length)

    def _conjugate_gradients(self, residual: Tensor, part: slice, iterations: int) -> Tensor:
        """Preconditioned with λ alone, from zero."""
        k, write, decay, kept, entering = (
            x[:, :, part] for x in (self.k, self.write, self.decay, self.kept, self.entering)
        )
        x, near = torch.zeros_like(residual), residual / self.ridge
        direction, size = near, (residual * near).sum(-1, keepdim=True)
        enough = size * (4 * torch.finfo(residual.dtype).eps) ** 2
        for _ in range(iterations):
            active = size > enough
            if not number_or(active.any(), 1):
                break
            moved = ((direction @ k.mT) * decay) @ write + (direction * kept) @ entering
            moved.addcmul_(self.ridge, direction)
            step = torch.where(active, size / (direction * moved).sum(-1, keepdim=True), 0)
            x.addcmul_(step, direction)
            residual = torch.addcmul(residual, step, moved, value=-1)
            near = residual / self.ridge
            before, size = size, torch.where(active, (residual * near).sum(-1, keepdim=True), 0)
            direction = torch.addcmul(near, torch.where(active, size / before, 0), direction)
        return x
