"""The mixers of 2025 and 2026, and their ops, reproduce the published vectors, gradients included."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from caselli.mixer.hgrn2 import forget_gate
from caselli.mixer.parts_delta import ChannelDecay
from caselli.ops import channel_delta_rule, delta_product, forgetting_attention, gated_linear_attention
from caselli.ops.forgetting_attention import forgetting_attention_definition
from tests.reference.golden import check, from_zero_and_state, golden, leaves

CHUNKS = (1, 4, 64)
chunks = pytest.mark.parametrize("size", CHUNKS)


@chunks
def test_gated_delta_net2(size):
    def run(q, k, v, decay, erase, write, state):
        reads = decay.exp() * erase * k
        options = {"reads": reads, "log_decay": decay, "chunk_size": size}
        return channel_delta_rule(0.5 * q, k, write * v, state, **options)

    from_zero_and_state(golden("24_gdn2"), ("q", "k", "v", "g", "b", "w"), run)


@chunks
def test_comba(size):
    """Both readings: before the decay, as the kernels and the paper have it, and after."""
    g = golden("24_comba")
    names = ("q", "k", "v", "p", "beta", "g", "S0")
    inputs = dict(zip(names, leaves(g, *names), strict=True))
    q, k, v, p, beta, decay, state = inputs.values()
    outputs = {}
    for suffix, initial in (("", torch.zeros_like(state)), ("_from_state", state)):
        for when, kept in (("_read_before_decay", 1.0), ("", decay.exp()[..., None])):
            reads, values = beta[..., None] * kept * p, beta[..., None] * v
            parts = (x[:, :, None] for x in (k, values))
            options = {"reads": reads[:, :, None], "log_decay": decay, "chunk_size": size}
            y, last = delta_product(0.5 * q, *parts, initial, **options)
            outputs |= {f"o{when}{suffix}": y, f"S{when}{suffix}": last}
    check(g, inputs, outputs)


@chunks
def test_gated_delta_product(size):
    g = golden("24_gated_delta_product")
    names = ("q", "k", "v", "beta", "g", "S0")
    inputs = dict(zip(names, leaves(g, *names), strict=True))
    q, k, v, beta, decay, state = inputs.values()
    k, v, beta = (x.unflatten(1, (-1, 2)) for x in (k, v, beta[..., None]))
    first = torch.tensor([1.0, 0.0], dtype=torch.float64)[:, None]
    outputs = {}
    for suffix, log_decay, initial in (
        ("", decay, torch.zeros_like(state)),
        ("_from_state", decay, state),
        ("_ungated_from_state", torch.zeros_like(decay), state),
    ):
        reads = beta * (log_decay[:, :, None] * first).exp()[..., None] * k
        options = {"reads": reads, "log_decay": log_decay, "chunk_size": size}
        y, last = delta_product(q, k, beta * v, initial, **options)
        outputs |= {f"o{suffix}": y, f"S{suffix}": last}
    check(g, inputs, outputs)


@chunks
def test_kimi_delta_attention_with_its_gates(size):
    """Softplus and bounded decays; four value heads over two of keys."""
    g = golden("24_kda_gates")
    names = ("q", "k", "v", "g_raw", "A_log", "dt_bias", "beta", "S0")
    inputs = dict(zip(names, leaves(g, *names), strict=True))
    q, k, v, raw, log_a, bias, beta, state = inputs.values()
    q, k = (x.repeat_interleave(2, 2) for x in (q, k))

    def decay_of(bound, log_a, bias):
        decay = ChannelDecay(16, 4, 2, bound)
        del decay.log_a, decay.bias
        decay.log_a, decay.bias = log_a, bias
        return decay.of(raw)

    found = {"g": decay_of(0.0, log_a, bias), "g_lower_bound": decay_of(-5.0, log_a, bias)}
    outputs = dict(found)
    outputs["g_no_bias"] = decay_of(0.0, log_a, torch.zeros_like(bias))
    outputs["g_lower_bound_no_A"] = decay_of(-5.0, torch.zeros_like(log_a), bias)
    for suffix, decay, initial in (
        ("", found["g"], torch.zeros_like(state)),
        ("_lower_bound_from_state", found["g_lower_bound"], state),
    ):
        reads = beta[..., None] * decay.exp() * k
        options = {"reads": reads, "log_decay": decay, "chunk_size": size}
        y, last = channel_delta_rule(0.5 * q, k, beta[..., None] * v, initial, **options)
        outputs |= {f"o{suffix}": y, f"S{suffix}": last}
    check(g, inputs, outputs)


@chunks
def test_hgrn2(size):
    g = golden("25_hgrn2")
    names = ("q_raw", "f_raw", "i", "lower_bound", "S0")
    inputs = dict(zip(names, leaves(g, *names), strict=True))
    q, raw, i, least, state = inputs.values()
    bounded = least + (1 - least) * raw.sigmoid()  # one for each channel; the mixer has one number
    outputs = {}
    for suffix, (k, decay), initial in (
        ("", forget_gate(raw, 0.0), torch.zeros_like(state)),
        ("_lower_bound_from_state", (1 - bounded, bounded.log()), state),
    ):
        options = {"log_decay": decay, "chunk_size": size}
        y, last = gated_linear_attention(0.5 * F.silu(q), k, i, initial, **options)
        outputs |= {f"o{suffix}": y, f"S{suffix}": last}
    check(g, inputs, outputs)
    k, decay = forget_gate(raw, 0.3)
    torch.testing.assert_close(decay.exp(), 1 - k)
    torch.testing.assert_close(decay.exp(), 0.3 + 0.7 * raw.sigmoid())


def test_forgetting_attention():
    g = golden("27_forgetting_attn")
    inputs = dict(zip("qkvg", leaves(g, *"qkvg"), strict=True))
    q, k, v, decay = (x.transpose(1, 2) for x in inputs.values())
    near = torch.ones(11, 11, dtype=torch.bool).tril().triu(-3)[None, None]
    total = decay.cumsum(2)
    outputs = {
        "o": forgetting_attention(q, k, v, total),
        "o_scale1": forgetting_attention(2 * q, k, v, total),
        "o_window": forgetting_attention(q, k, v, total, near),
    }
    check(g, inputs, {name: y.transpose(1, 2) for name, y in outputs.items()})
    definition = forgetting_attention_definition(q, k, v, decay)
    torch.testing.assert_close(definition, outputs["o"], rtol=1e-12, atol=1e-12)
