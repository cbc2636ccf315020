"""All of FLASH between its two linear layers, a group at a time."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch.autograd.function import once_differentiable

from caselli.ops.chunks import exact, no_autocast
from caselli.ops.matrix_product import products
from caselli.ops.mixed_chunk_attention import mixed_chunk_attention, mixed_chunk_attention_definition
from caselli.ops.offset_rotary import (
    offset_rotary,
    offset_rotary_definition,
    offset_rotary_gradients,
    offset_rotary_into,
)
from caselli.ops.pieces import CACHED_ELEMENTS
from caselli.ops.pointwise_attention import ACTIVATIONS, Activation, along_diagonals, by_distance
from caselli.shapes import Float, Tensor


def gated_mixed_chunk_attention_definition(
    h, gamma, beta, memory, *, angles, group, divisors, activation="squared_relu", bias=None
):
    """`gated_mixed_chunk_attention` as it is written, by the definitions of what it is made of."""
    v, gate, z = F.silu(h).split((memory.shape[2], memory.shape[2], gamma.shape[1]), 2)
    vectors = offset_rotary_definition(z, gamma, beta, angles)
    q, linear_q, k, linear_k, v = (x.unflatten(1, (-1, group)) for x in (*vectors, v))
    linear_q = torch.stack([x / n for x, n in zip(linear_q.unbind(1), divisors, strict=True)], 1)
    inputs = (q, k, linear_q, linear_k, v, memory)
    y, memory = mixed_chunk_attention_definition(*inputs, activation=activation, bias=bias)
    return gate * y.flatten(1, 2), memory


def gated_mixed_chunk_attention(
    h: Float[Tensor, "B T c"],
    gamma: Float[Tensor, "4 s"],
    beta: Float[Tensor, "4 s"],
    memory: Float[Tensor, "B s e"],
    *,
    angles: Float[Tensor, "T half"],
    group: int,
    divisors: Sequence[float],
    activation: str = "squared_relu",
    bias: Float[Tensor, "L"] | None = None,
) -> tuple[Float[Tensor, "B T e"], Float[Tensor, "B s e"]]:
    r"""FLASH between its two linear layers, for whole groups of tokens.

    .. math:: (v, g, z) = \mathrm{SiLU}(h), \qquad
        x_i = R_t\,(\gamma_i \odot z_t + \beta_i) \text{ for } x = (q, q', k, k'), \qquad
        o = g \odot y

    where y is `caselli.ops.mixed_chunk_attention.mixed_chunk_attention` of these, q′ divided by its group's
    n. On a processor a group goes all the way while it is in the cache, forwards and again backwards; for
    that only y and the memory before each group are kept, beside h. Differentiable once.

    Arguments:
        h: values, gate and z side by side, c = 2e + s channels, before their SiLU.
        gamma, beta: scale and offset of q, q′, k and k′.
        memory: S before the first group, at least float32.
        angles: of each token's pairs, from `caselli.ops.rotary.rotary_angles`; radians.
        group: tokens of a group; T is a multiple of it.
        divisors: n of each group.
        activation, bias: as of `mixed_chunk_attention`.

    Returns:
        o, and S after the last group.

    Source: Hua et al. 2022, Transformer Quality in Linear Time.

    Example:
        >>> h, memory = torch.ones(1, 4, 2 * 3 + 2), torch.zeros(1, 2, 3)
        >>> one, options = torch.ones(4, 2), {"angles": torch.zeros(4, 1), "group": 2, "divisors": [1, 2]}
        >>> o, memory = gated_mixed_chunk_attention(h, one, one, memory, **options)
        >>> o.shape, memory.shape
        (torch.Size([1, 4, 3]), torch.Size([1, 2, 3]))
    """
    if not h.is_cpu:
        return _composed(h, gamma, beta, memory, angles, group, divisors, activation, bias)
    bias = h.new_zeros(2 * group - 1) if bias is None else bias.to(h.dtype)
    kept = torch.is_grad_enabled() and any(x.requires_grad for x in (h, gamma, beta, memory, bias))
    groups = _Groups(group, memory.shape[2], tuple(divisors), ACTIVATIONS[activation], kept)
    turns = (angles.cos().to(gamma), angles.sin().to(gamma))
    with no_autocast(h):
        return _Gated.apply(h, gamma, beta, *turns, exact(memory), bias, groups)


def _composed(h, gamma, beta, memory, angles, group, divisors, activation, bias):
    """By the ops that it is made of, each over the whole length: what a GPU runs."""
    v, gate, z = F.silu(h).split((memory.shape[2], memory.shape[2], gamma.shape[1]), 2)
    q, linear_q, k, linear_k = offset_rotary(z, gamma, beta, angles)
    linear_q = linear_q / linear_q.new_tensor(divisors).repeat_interleave(group)[:, None]
    grouped = (x.unflatten(1, (-1, group)) for x in (q, k, linear_q, linear_k, v))
    y, memory = mixed_chunk_attention(*grouped, memory, activation=activation, bias=bias)
    return gate * y.flatten(1, 2), memory


@dataclasses.dataclass(frozen=True)
class _Groups:
    size: int
    width: int
    divisors: tuple[float, ...]
    activation: type[Activation]
    kept: bool
    """True where a backward pass will follow, so that its inputs are kept."""

    def places(self, h: Float[Tensor, "B T c"]) -> Iterator[tuple[slice, slice, float]]:
        """Some rows at a time, their groups in order: rows, tokens, divisor."""
        rows = max(1, 4 * CACHED_ELEMENTS // (self.size * self.width * h.element_size()))
        for row in range(0, len(h), rows):
            for index, divisor in enumerate(self.divisors):
                first = index * self.size
                yield slice(row, row + rows), slice(first, first + self.size), divisor

    def near(self, bias: Float[Tensor, "L"]) -> Float[Tensor, "t t"]:
        """The bias of a query's scores in its row; −∞ for what lies ahead."""
        ahead = torch.ones(self.size, self.size, dtype=torch.bool).triu(1)
        return by_distance(bias, self.size).masked_fill(ahead, -torch.inf)

    def parts(self, x: Float[Tensor, "b t c"]) -> tuple[Tensor, Tensor, Tensor]:
        """The channels of the values, of the gate and of z."""
        return x.split((self.width, self.width, x.shape[2] - 2 * self.width), 2)


class _Gated(torch.autograd.Function):
    @staticmethod
    def forward(ctx, h, gamma, beta, cos, sin, memory, bias, groups):
        ctx.groups, kept, last = groups, [], memory.clone()
        gated, near = h.new_empty(*h.shape[:2], groups.width), groups.near(bias)
        for rows, tokens, divisor in groups.places(h):
            v, gate, z = groups.parts(F.silu(h[rows, tokens]))
            q, linear_q, k, linear_k = _vectors(z, gamma, beta, cos[tokens], sin[tokens])
            weights = groups.activation.weights(products(q, k).add_(near))
            entering = (last[rows] / divisor).to(h.dtype)
            read = torch.cat((v, entering), 1)
            y = products(torch.cat((weights, linear_q), 2), read.mT)
            last[rows] += products(linear_k.mT, read[:, : groups.size].mT)
            torch.mul(gate, y, out=gated[rows, tokens])
            if groups.kept:
                kept += [y, entering]
        ctx.save_for_backward(h, gamma, beta, cos, sin, bias, *kept)
        return gated, last

    @staticmethod
    @once_differentiable
    def backward(ctx, of_gated, of_last):
        """Scores are formed again, a row for each key: most products want their gradient so."""
        h, gamma, beta, cos, sin, bias, *kept = ctx.saved_tensors
        groups, size, leaving = ctx.groups, ctx.groups.size, of_last.clone()
        of_h, of_gamma, of_beta = torch.empty_like(h), torch.zeros_like(gamma), torch.zeros_like(beta)
        near = groups.near(bias).mT.contiguous()
        of_near = torch.zeros_like(near)
        for rows, tokens, divisor in reversed(list(groups.places(h))):
            entering, y, after = kept.pop(), kept.pop(), leaving[rows]
            part, of_part, of_o = h[rows, tokens], of_h[rows, tokens], of_gated[rows, tokens]
            v, gate, z = groups.parts(F.silu(part))
            q, linear_q, k, linear_k = _vectors(z, gamma, beta, cos[tokens], sin[tokens])
            of_v, of_gate, of_z = groups.parts(of_part)
            torch.mul(of_o, y, out=of_gate)
            of_y = of_o * gate

            written = torch.cat((of_y, after.to(h.dtype)), 1)
            of_weights, of_linear_k = products(v, written).split((size, z.shape[2]), 2)
            weights, slopes = groups.activation.weights_and_slopes(products(k, q).add_(near))
            of_scores = slopes.mul_(of_weights)
            of_v.copy_(products(torch.cat((weights, linear_k), 2), written.mT))
            for scores in of_scores:
                of_near += scores
            of_q, of_k = products(of_scores.mT, k.mT), products(of_scores, q.mT)
            of_linear_q = products(of_y, entering)
            after.add_(products(linear_q.mT, of_y.mT), alpha=1 / divisor)

            turned = torch.stack((of_q, of_linear_q, of_k, of_linear_k)).to(gamma.dtype)
            found = offset_rotary_gradients(turned, z, gamma, cos[tokens], sin[tokens])
            of_z.copy_(found[0])
            of_gamma += found[1]
            of_beta += found[2]
            torch.ops.aten.silu_backward.grad_input(of_part, part, grad_input=of_part)
        return of_h, of_gamma, of_beta, None, None, leaving, along_diagonals(of_near.mT), None


def _vectors(z, gamma, beta, cos, sin) -> Float[Tensor, "4 b t s"]:
    out = gamma.new_empty(len(gamma), *z.shape)
    return offset_rotary_into(out, z, gamma, beta, cos, sin).to(z.dtype)
