"""RWKV-4's weighted average of the past: linear attention with one channel a head and exponential keys."""

from __future__ import annotations

import torch

from caselli.ops.chunks import exact, no_autocast
from caselli.ops.scan import scan
from caselli.ops.short_convolution import token_shift
from caselli.shapes import Bool, Float, Tensor

EMPTY_EXPONENT = -1e38
"""The largest exponent so far, before the first token."""


def wkv_definition(
    k: Float[Tensor, "B T D"],
    v: Float[Tensor, "B T D"],
    decay: Float[Tensor, "D"],
    bonus: Float[Tensor, "D"],
) -> Float[Tensor, "B T D"]:
    """`wkv` of a whole sequence as it is written: every sum anew, unguarded against overflow."""
    outputs = []
    for t in range(k.shape[1]):
        distance = torch.arange(t - 1, -2, -1, dtype=k.dtype, device=k.device)[:, None]
        exponent = torch.where(distance < 0, bonus, -distance * decay) + k[:, : t + 1]
        weights = exponent.softmax(1)
        outputs.append((weights * v[:, : t + 1]).sum(1))
    return torch.stack(outputs, 1)


def wkv(
    k: Float[Tensor, "B T D"],
    v: Float[Tensor, "B T D"],
    decay: Float[Tensor, "D"],
    bonus: Float[Tensor, "D"],
    state: Float[Tensor, "B 3 D"],
    *,
    starts: Bool[Tensor, "B T"] | None = None,
) -> tuple[Float[Tensor, "B T D"], Float[Tensor, "B 3 D"]]:
    r"""The attention-free average of RWKV-4.

    .. math::
        y_t = \frac{\sum_{s<t} e^{-(t-1-s) w + k_s}\, v_s + e^{u + k_t} v_t}
                   {\sum_{s<t} e^{-(t-1-s) w + k_s} + e^{u + k_t}}

    Every sum is kept relative to its largest exponent, so any key is safe.

    Arguments:
        k, v: keys and values; T ≥ 1.
        decay: w > 0, log decay a token, with the sign turned.
        bonus: u, for the current token.
        state: numerator and denominator, both divided by e^m, and m itself; at first 0, 0, `EMPTY_EXPONENT`.
        starts: where a packed sequence begins; the sums are forgotten before that token.

    Returns:
        y in v's dtype, and the state. The gradient through m is that through the sums.

    Source: Peng et al. 2023, RWKV: Reinventing RNNs for the Transformer Era.

    Example:
        >>> k = torch.zeros(1, 2, 1)
        >>> v = torch.tensor([1.0, 3.0]).view(1, 2, 1)
        >>> state = torch.tensor([0.0, 0.0, EMPTY_EXPONENT]).view(1, 3, 1)
        >>> wkv(k, v, torch.ones(1), torch.zeros(1), state)[0].flatten()
        tensor([1., 2.])
    """
    dtype = v.dtype
    with no_autocast(v):
        k, v, decay, bonus, state = (exact(x) for x in (k, v, decay, bonus, state))
        largest = _running_maximum(k.detach(), decay.detach(), state[:, 2].detach(), starts)
        before = torch.cat((state[:, None, 2], largest[:, :-1]), 1)
        if starts is not None:
            before = before.masked_fill(starts[..., None], EMPTY_EXPONENT)
        kept = (before - decay - largest).exp()
        weight = (k - largest).exp()
        sums = torch.stack((weight * v, weight), 2)
        sums = scan(kept[:, :, None], sums, state[:, :2])
        past, past_total = (token_shift(sums[:, :, i], state[:, i], starts) for i in (0, 1))
        own = k + bonus
        top = torch.maximum(before, own).detach()
        past_weight, own_weight = (before - top).exp(), (own - top).exp()
        y = (past_weight * past + own_weight * v) / (past_weight * past_total + own_weight)
    return y.to(dtype), torch.cat((sums[:, -1], largest[:, -1:]), 1)


def _running_maximum(k, decay, state, starts):
    """m_t = max(m_{t−1} − w, k_t), by doubling the reach log T times; a sequence's start forgets."""
    length = k.shape[1]
    first = torch.cat((torch.maximum(state - decay, k[:, 0])[:, None], k[:, 1:]), 1)
    if starts is None:
        begun = torch.zeros(k.shape[:2], dtype=torch.int64, device=k.device)
    else:
        first = torch.where(starts[..., None], k, first)
        begun = starts.cumsum(1)
    reach = 1
    while reach < length:
        together = (begun[:, reach:] == begun[:, :-reach])[..., None]
        earlier = torch.where(together, first[:, :-reach] - reach * decay, -torch.inf)
        first = torch.cat((first[:, :reach], torch.maximum(first[:, reach:], earlier)), 1)
        reach *= 2
    return first
