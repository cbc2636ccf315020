"""Lowering: mixers become operations of the fused step, and their states are copied into it."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import nn

from caselli.mixer import Attention, LocalAttention, Mamba, Mixer, State
from caselli.mixer.query_key import LayerNorms
from caselli.ops import rotary_angles
from caselli.sampling.program import ATTEND, CONVOLVE, SCAN, SOFTPLUS, Program, padded_to
from caselli.shapes import Float, Tensor

Load = Callable[[State], None]
"""Copies in the state that the parallel form left behind known codes."""


def lower_attention(
    program: Program,
    mixer: Attention | LocalAttention,
    norm: nn.LayerNorm,
    x: Float[Tensor, "B E"],
    length: int,
    before: int,
) -> Load:
    """Queries, keys and values; attention to the keys so far, those of the `before` tokens in front of the
    slots included; the output. Keys lie in panels like weights, and serve all tokens of a sequence."""
    rows, lanes, width = program.rows, program.lanes, mixer.head_width
    length += before
    capacity, padded = math.ceil(length / lanes) * lanes, math.ceil(width / lanes) * lanes
    qkv = program.buffer(rows, (mixer.heads + 2 * mixer.kv_heads) * width)
    y = program.buffer(rows, mixer.heads * width)
    keys = program.state(program.sequences, mixer.kv_heads, capacity // lanes, width, lanes)
    values = program.state(program.sequences, mixer.kv_heads, capacity, padded)
    cosine = sine = None
    if mixer.rotary_base:
        angles = rotary_angles(torch.arange(length), width, mixer.rotary_base)
        cosine, sine = angles.cos().contiguous(), angles.sin().contiguous()
    program.linear(x, (mixer.query, mixer.key_value), qkv, norm=norm)
    window = mixer.window or length
    heads = mixer.heads, mixer.kv_heads, width
    sizes = (program.sequences, *heads, program.tokens, length, window, before)
    norms, epsilon = _query_key_norms(mixer)
    program.add(ATTEND, sizes, (qkv, keys, values, y, cosine, sine, *norms), (epsilon,))
    program.linear(y, (mixer.output,), x, adds=True)

    def load(state: State) -> None:
        kept = state.length if mixer.window is None else state.keys.shape[2]
        seen = slice(state.length - kept, state.length)
        flat = keys.new_zeros(program.sequences, mixer.kv_heads, capacity, width)
        flat[:, :, seen] = state.keys[:, :, :kept]
        keys.copy_(flat.unflatten(2, (-1, lanes)).transpose(3, 4))
        values[:, :, seen, :width] = state.values[:, :, :kept]

    return load


def _query_key_norms(mixer: Attention | LocalAttention) -> tuple[list[Tensor], float]:
    """Weights and biases of the normalisations of queries and keys, and their epsilon; none where there are
    none."""
    norms = getattr(mixer, "query_key_norm", None)
    if not isinstance(norms, LayerNorms):
        return [], 0.0
    parts = norms.query, norms.key
    return [p.detach() for part in parts for p in (part.weight, part.bias)], norms.query.eps


def lower_mamba(
    program: Program, mixer: Mamba, norm: nn.LayerNorm, x: Float[Tensor, "B E"], length: int, before: int
) -> Load:
    """Input and gate; the convolution; Δ, B and C; the scan; the output. Vectors hold channels."""
    rows, inner, states, rank = program.rows, mixer.inner, mixer.state_size, mixer.delta_rank
    taps = mixer.convolution.weight.shape[1]
    gated, u, y = (program.buffer(rows, n) for n in (2 * inner, inner, inner))
    select, delta = program.buffer(rows, rank + 2 * states), program.buffer(rows, inner)
    a = padded_to(-mixer.log_a.detach().exp().T, program.lanes)
    skip = padded_to(mixer.skip.detach(), program.lanes)
    past, memory = program.state(rows, taps - 1, inner), program.state(rows, states, a.shape[1])
    weight, bias = mixer.convolution.weight.detach().T.contiguous(), mixer.convolution.bias
    bias = torch.zeros(inner) if bias is None else bias.detach()
    program.linear(x, (mixer.input,), gated, norm=norm)
    program.add(CONVOLVE, (rows, inner, taps, 2 * inner), (gated, weight, bias, past, u))
    program.linear(u, (mixer.select,), select)
    program.linear(select[:, :rank], (mixer.delta,), delta, activation=SOFTPLUS)
    sizes = (rows, inner, states, a.shape[1], select.stride(0), gated.stride(0))
    program.add(SCAN, sizes, (u, delta, select[:, rank:], a, skip, gated[:, inner:], memory, y))
    program.linear(y, (mixer.output,), x, adds=True)

    def load(state: State) -> None:
        past.copy_(state.inputs)
        memory[:, :, :inner] = state.memory.transpose(1, 2)

    return load


LOWERINGS: dict[type, Callable[..., Load]] = {
    Attention: lower_attention,
    LocalAttention: lower_attention,
    Mamba: lower_mamba,
}
"""Mixer → its lowering, which appends its operations to a program: program, mixer, normalisation, the vectors
x that it reads and adds to, slots, and tokens in front of them. Priors with other mixers step in PyTorch."""


def is_lowered(mixer: Mixer) -> bool:
    """True for a mixer of `LOWERINGS` without options that the fused step does not know."""
    return type(mixer) in LOWERINGS and not mixer.has_extras


def takes_several(mixer: Mixer) -> bool:
    """True for a mixer whose operations take several tokens of a sequence at once, and any of them again."""
    return LOWERINGS.get(type(mixer)) is lower_attention
