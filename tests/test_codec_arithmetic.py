"""Arithmetic whose bits do not depend on order: close to the ordinary, and the same in any batch."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from caselli.codec import arithmetic
from caselli.codec.coder import Decoders, Encoders
from caselli.codec.reproducible import Reproducible, reproducible
from caselli.errors import UserError
from caselli.mixer import MIXERS
from caselli.prior import Alphabet, Autoregressive, PriorConfig

FUNCTIONS = {
    "exp": (torch.exp, -700.0, 700.0),
    "log": (torch.log, 1e-300, 1e3),
    "log1p": (torch.log1p, -0.999, 1e3),
    "expm1": (torch.expm1, -50.0, 50.0),
    "sigmoid": (torch.sigmoid, -50.0, 50.0),
    "tanh": (torch.tanh, -5.0, 5.0),
    "softplus": (nn.functional.softplus, -20.0, 20.0),
    "erf": (torch.erf, -4.0, 4.0),
}
REFUSED = dict.fromkeys(("lru", "s4d", "s4"), "complex")
WITHOUT_CAUSAL_FORM = {"linformer"}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_are_close_to_torch(name):
    theirs, low, high = FUNCTIONS[name]
    x = torch.rand(1001, dtype=torch.float64) * (high - low) + low
    ours = getattr(arithmetic, name)(x)
    tolerance = 2e-7 if name == "erf" else 1e-13
    torch.testing.assert_close(ours, theirs(x), rtol=tolerance, atol=tolerance)


def test_sine_and_cosine():
    x = torch.linspace(-5000, 5000, 3333, dtype=torch.float64)
    sine, cosine = arithmetic.sine_and_cosine(x)
    torch.testing.assert_close(sine, x.sin(), rtol=0, atol=1e-11)
    torch.testing.assert_close(cosine, x.cos(), rtol=0, atol=1e-11)


def test_extremes():
    x = torch.tensor([-torch.inf, torch.inf, torch.nan, -1e300], dtype=torch.float64)
    found = arithmetic.exp(x)
    assert found[0] == found[3] == 0 and found[1] > 1e300 and found[2].isnan()
    assert arithmetic.log(torch.tensor([0.0, -1.0], dtype=torch.float64))[0] == -torch.inf
    assert (arithmetic.softmax(torch.full((2, 3), -torch.inf, dtype=torch.float64), 1) == 0).all()


def test_a_product_does_not_depend_on_the_order_of_its_terms():
    a, b = torch.randn(9, 300, dtype=torch.float64), torch.randn(300, 7, dtype=torch.float64)
    whole = arithmetic.product(a, b)
    torch.testing.assert_close(whole, a @ b, rtol=0, atol=1e-4)
    turned = torch.randperm(300)
    assert torch.equal(arithmetic.product(a[:, turned], b[turned]), whole)
    assert torch.equal(arithmetic.product(a[4:5], b), whole[4:5])
    by_hand = sum(
        int(x) * int(y)
        for x, y in zip(
            arithmetic.on_grid(a[0], -1, 21)[0].tolist(),
            arithmetic.on_grid(b[:, 0], -1, 21)[0].tolist(),
            strict=True,
        )
    )
    scale = arithmetic.on_grid(a[0], -1, 21)[1] * arithmetic.on_grid(b[:, 0], -1, 21)[1]
    assert float(whole[0, 0] / scale) == by_hand  # Python's integers have no bounds


def test_a_sum_does_not_depend_on_the_order_of_its_terms():
    x = torch.randn(5, 1000, dtype=torch.float64) * 10.0 ** torch.randint(-6, 6, (5, 1000))
    found = arithmetic.total(x, 1)
    assert torch.equal(arithmetic.total(x[:, torch.randperm(1000)], 1), found)
    torch.testing.assert_close(found, x.sum(1), rtol=1e-9, atol=1e-6)
    assert torch.equal(arithmetic.running_total(x, 1)[:, -1], found)


def test_scales_are_powers_of_two():
    x = torch.tensor([0.0, 1e-200, 3.7, 1e200], dtype=torch.float64)
    for value in x:
        integers, back = arithmetic.on_grid(value[None], 0, 20)
        assert math.frexp(back.item())[0] == 0.5 and abs(integers.item()) <= 2**20
        torch.testing.assert_close(integers * back, value[None], rtol=1e-6, atol=0)


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("transposed", [False, True])
def test_convolutions(groups, transposed):
    kind = nn.ConvTranspose2d if transposed else nn.Conv2d
    layer = kind(4, 6, 3, stride=2, padding=1, groups=groups).double()
    x = torch.randn(2, 4, 7, 5, dtype=torch.float64)
    with reproducible(Reproducible(layer)):
        found, part = layer(x), layer(x[1:])
    assert torch.equal(part, found[1:])
    torch.testing.assert_close(found, layer(x).detach(), rtol=0, atol=1e-5)


LAYERS = {
    "layer norm": nn.LayerNorm(6),
    "group norm": nn.Sequential(nn.Conv2d(2, 4, 1), nn.GroupNorm(2, 4)),
    "gelu": nn.GELU(),
    "silu": nn.SiLU(),
    "softmax": nn.Softmax(-1),
    "glu": nn.GLU(),
    "elu": nn.ELU(),
    "leaky relu": nn.LeakyReLU(0.2),
    "upsample": nn.Upsample(scale_factor=2),
    "shuffle": nn.PixelUnshuffle(2),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers(name):
    layer, x = LAYERS[name].double(), torch.randn(3, 2, 4, 6, dtype=torch.float64)
    with reproducible(Reproducible(layer)):
        found = layer(x)
    torch.testing.assert_close(found, layer(x).detach(), rtol=0, atol=1e-6)


def logits_by_steps(prior, codes):
    logits, state = prior.start(None, len(codes))
    found = [logits]
    for slot in range(codes.shape[1] - 1):
        logits, state = prior.step(codes[:, slot], state)
        found.append(logits)
    return torch.stack(found, 1)


@pytest.mark.parametrize("name", [name for name in MIXERS if name not in WITHOUT_CAUSAL_FORM])
def test_every_mixer_is_served_or_refused(name):
    prior = (
        Autoregressive(PriorConfig(mixer=name, width=64, depth=1), Alphabet((16,), (0,) * 6)).double().eval()
    )
    codes, mode = torch.randint(0, 16, (5, 6)), Reproducible(prior)
    if name in REFUSED:
        with pytest.raises(UserError, match=REFUSED[name]), reproducible(mode):
            logits_by_steps(prior, codes)
        return
    with reproducible(mode):
        whole = logits_by_steps(prior, codes)
        parts = torch.cat([logits_by_steps(prior, codes[:1]), logits_by_steps(prior, codes[1:])])
    assert torch.equal(whole, parts)
    with torch.no_grad():
        torch.testing.assert_close(whole, logits_by_steps(prior, codes), rtol=0, atol=1e-4)


def test_what_is_not_known_to_be_reproducible_is_refused():
    with pytest.raises(UserError, match="fft"), reproducible(Reproducible(nn.Identity())):
        torch.fft.rfft(torch.ones(8, dtype=torch.float64))
    with pytest.raises(UserError, match="lgamma"), reproducible(Reproducible(nn.Identity())):
        torch.lgamma(torch.ones(8, dtype=torch.float64))


@pytest.mark.parametrize("upper", [False, True])
@pytest.mark.parametrize("left", [False, True])
def test_triangular_systems_are_solved(upper, left):
    a = torch.randn(2, 5, 5, dtype=torch.float64) / 4 + torch.eye(5, dtype=torch.float64)
    a, b = (a.triu() if upper else a.tril()), torch.randn(2, 5, 5, dtype=torch.float64)
    for unit in (False, True):
        expected = torch.linalg.solve_triangular(a, b, upper=upper, left=left, unitriangular=unit)
        with reproducible(Reproducible(nn.Identity())):
            found = torch.linalg.solve_triangular(a, b, upper=upper, left=left, unitriangular=unit)
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


def test_a_symbol_without_a_choice_costs_nothing():
    encoders, streams, sure = Encoders(2), torch.arange(2), torch.ones(2, 1)
    bits = encoders.put(streams, torch.zeros(2, dtype=torch.int64), sure)
    assert bits.tolist() == [0, 0]
    encoders.put(streams, torch.tensor([1, 0]), torch.ones(2, 2))
    decoders = Decoders(encoders.bytes())
    assert decoders.take(streams, sure).tolist() == [0, 0]
    assert decoders.take(streams, torch.ones(2, 2)).tolist() == [1, 0]
