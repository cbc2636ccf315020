"""Mixers whose state can turn over track a state: with weights set by hand, exactly, to 1,024 tokens."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch.nn import functional

from caselli.compare.tasks import TASKS
from caselli.mixer import GatedDeltaProduct, Mamba3
from caselli.mixer.parts import inverse_softplus

LARGE = 40.0
"""Saturates a gate; so large an input goes through SiLU as it is."""


def rows(mixer, sizes):
    """The rows of a mixer's input layer in parts, all weights zero."""
    with torch.no_grad():
        for parameter in mixer.parameters():
            parameter.zero_()
        mixer.output.weight.copy_(torch.eye(mixer.width))
    return mixer.input.weight.data.split(sizes)


def turning_mamba(modulus):
    """Token 0 writes, token 1 + n turns by n/m of a circle: two heads read its cosine and its sine."""
    mixer = Mamba3(8, expand=1, head_width=4, state_size=2, turning=1.0)
    gate, values, _, _, delta, rate, share, turn = rows(mixer, mixer.sizes)
    gate.fill_(LARGE)
    values[[0, 4], 0] = 1.0
    delta.fill_(inverse_softplus(torch.tensor(1.0)))
    delta[:, 1] = -LARGE
    rate.fill_(-1e5)
    share.fill_(LARGE)
    numbers = torch.arange(modulus)
    part = (numbers + (modulus - 1) // 2) % modulus - (modulus - 1) // 2  # of the circle, −½ … ½
    turn[0, 1 : 1 + modulus] = torch.atanh((2 * part / modulus).clamp(max=1 - 1e-7))
    turn[0, 1 : 1 + modulus][2 * part == modulus] = LARGE
    mixer.b_bias.data[0, :, 0] = 1.0
    mixer.c_bias.data[0] = torch.tensor([[1.0, 0.0], [0.0, -1.0]])
    return mixer, (0, 4)


def reflecting_product(modulus):
    """Token 0 writes the axes of a plane, token 1 + n turns it by two reflections."""
    mixer = GatedDeltaProduct(8, steps=2, convolution=1)
    q, keys, values = rows(mixer, (8, 16, 16))
    settle(mixer)
    q[0] = LARGE
    keys, values = keys.view(2, 8, 8), values.view(2, 8, 8)
    keys[0, 0, 0] = keys[1, 1, 0] = values[0, 0, 0] = values[1, 1, 0] = LARGE
    for n in range(1, modulus):
        half = math.pi * n / modulus  # a quarter of a circle at most keeps the keys positive
        first, second = (half, 0.0) if half <= math.pi / 2 else (0.0, math.pi - half)
        for key, angle in zip(keys, (first, second), strict=True):
            key[:2, 1 + n] = 1e3 * torch.tensor([math.cos(angle), math.sin(angle)])
        mixer.beta.weight.data[:, 1 + n] = LARGE
    mixer.beta.weight.data[:, 1] = -LARGE
    return mixer, (0, 1)


def settle(mixer):
    """No decay, no convolution, gates open."""
    mixer.decay.delta.bias.data.fill_(-LARGE)
    mixer.convolution.weight.data.fill_(1.0)
    mixer.gates.weight.data.fill_(LARGE)
    mixer.norm.data.fill_(1.0)


@pytest.mark.parametrize("build", [turning_mamba, reflecting_product])
@pytest.mark.parametrize("modulus", [2, 3, 5])
def test_sums_modulo_a_number(build, modulus):
    """Parity is the sum modulo two."""
    task = TASKS["modular_arithmetic"](modulus)
    made = task.examples(2, torch.Generator().manual_seed(0), length=1024)
    mixer, (cosine, sine) = build(modulus)
    with torch.no_grad():
        y = mixer(functional.one_hot(functional.pad(1 + made.tokens, (1, 0)), 8).float())[0][:, 1:]
    turns = torch.atan2(y[..., sine], y[..., cosine]) / (2 * math.pi) * modulus
    assert torch.equal(turns.round().long() % modulus, made.answers)


def test_words_in_s5():
    """A permutation of five things is a product of four swaps at most, and a swap is a reflection."""
    words = list(itertools.permutations(range(5)))
    mixer = GatedDeltaProduct(128, steps=4, heads=1, convolution=1)
    q, keys, values = rows(mixer, (128, 512, 512))
    settle(mixer)
    q[:5] = LARGE * torch.arange(1.0, 6.0)[:, None]
    keys, values = keys.view(4, 128, 128), values.view(4, 128, 128)
    for i in range(4):
        keys[i, i, 0] = values[i, i, 0] = LARGE
    mixer.beta.weight.data[:, 1:] = -LARGE
    high, low = torch.tensor(0.1), torch.tensor(-0.1)
    for _ in range(30):  # so that SiLU makes opposite numbers of the two
        low = -functional.silu(high) / low.sigmoid()
    for token, word in enumerate(words):
        things = list(word)
        for i, key in enumerate(keys):
            j = things.index(i)
            things[i], things[j] = things[j], things[i]
            if i != j:
                key[i, 1 + token], key[j, 1 + token] = high, low
                mixer.beta.weight.data[i, 1 + token] = LARGE
    made = TASKS["words_in_s5"]().examples(1, torch.Generator().manual_seed(0), length=1024)
    with torch.no_grad():
        tokens = functional.pad(1 + made.tokens, (1, 0))
        y = mixer(functional.one_hot(tokens, 128).float())[0][0, 1:, :4]
    places = 1.0 + torch.tensor(words)[:, :4]
    assert torch.equal(functional.cosine_similarity(y[:, None], places, dim=2).argmax(1), made.answers[0])
