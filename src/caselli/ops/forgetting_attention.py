"""Softmax attention whose scores fade with what the tokens in between forget."""

from __future__ import annotations

import torch

from caselli.ops.chunks import exact
from caselli.shapes import Bool, Float, Tensor


def forgetting_attention_definition(
    q: Float[Tensor, "B N T d"],
    k: Float[Tensor, "B M T d"],
    v: Float[Tensor, "B M T v"],
    log_forget: Float[Tensor, "B N T"],
) -> Float[Tensor, "B N T v"]:
    """`forgetting_attention` of a whole sequence, query by query."""
    k, v = (x.repeat_interleave(q.shape[1] // k.shape[1], 1) for x in (k, v))
    outputs = []
    for t in range(q.shape[2]):
        scores = (k[:, :, : t + 1] @ q[:, :, t, :, None])[..., 0] * q.shape[-1] ** -0.5
        later = log_forget[:, :, 1 : t + 1].flip(2).cumsum(2).flip(2)
        scores = torch.cat((scores[..., :-1] + later, scores[..., -1:]), -1)
        outputs.append((scores.softmax(-1)[:, :, None] @ v[:, :, : t + 1])[:, :, 0])
    return torch.stack(outputs, 2)


def forgetting_attention(
    q: Float[Tensor, "B N T d"],
    k: Float[Tensor, "B M S d"],
    v: Float[Tensor, "B M S v"],
    total: Float[Tensor, "B N S"],
    mask: Bool[Tensor, "#B #N T S"] | None = None,
) -> Float[Tensor, "B N T v"]:
    r"""Attention with a bias for what is forgotten between the key and the query.

    .. math::
        y_t = \sum_{s \le t} \mathrm{softmax}_s\big(q_t \cdot k_s / \sqrt d + G_t - G_s\big)\, v_s,
        \qquad G_t = \sum_{u \le t} g_u

    Arguments:
        q: queries of N heads, the last T of the S tokens.
        k, v: keys and values of M heads, M a divisor of N.
        total: G, sums of the logarithms g ≤ 0 of forget gates, in float64: only differences of them count.
        mask: True where query t may see key s; by default s ≤ t.

    Source: Lin et al. 2025, Forgetting Transformer: Softmax Attention with a Forget Gate.

    Example:
        >>> q = k = torch.zeros(1, 1, 2, 1)
        >>> v = torch.tensor([1.0, 4.0]).view(1, 1, 2, 1)
        >>> forgetting_attention(q, k, v, torch.tensor([0.5, 0.5]).log().cumsum(0).view(1, 1, 2)).flatten()
        tensor([1., 3.])
    """
    dtype, length, end = v.dtype, q.shape[2], k.shape[2]
    k, v = (x.repeat_interleave(q.shape[1] // k.shape[1], 1) for x in (k.to(q.dtype), v.to(q.dtype)))
    # The weights of a query sum to one, so what fades all its scores alike has no gradient.
    rounded = total.to(exact(q).dtype)
    rest = (total - rounded).to(rounded.dtype)
    faded = rounded[:, :, -length:, None].detach() - rounded[:, :, None]
    faded = faded + (rest[:, :, -length:, None].detach() - rest[:, :, None])
    if mask is None:
        mask = torch.ones(length, end, dtype=torch.bool, device=q.device).tril(end - length)
    scores = (q * q.shape[-1] ** -0.5) @ k.mT + faded
    return (scores.masked_fill(~mask, -torch.inf).softmax(-1).to(v.dtype) @ v).to(dtype)
