"""The tokenizer: sizes, laws, and the figures it reports."""

from __future__ import annotations

import math

import pytest
import torch

from caselli.data import Batch
from caselli.errors import UserError
from caselli.layer import DOWNSAMPLERS, UPSAMPLERS
from caselli.quantizer import QUANTIZERS
from caselli.tokenizer import Tokenizer, TokenizerConfig, TokenizerTask
from caselli.tokenizer.config import FACTORS
from caselli.tokenizer.loss import multi_scale_loss

DISCRETE = [name for name, kind in QUANTIZERS.items() if kind(width=64).sizes]


def tokenizer(**options):
    torch.manual_seed(0)
    return Tokenizer(TokenizerConfig(**{"width": 8, "latent_width": 8, "channels": 1, **options}))


@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize("channels", [1, 3])
def test_any_factor_and_any_size_that_it_divides(factor, channels):
    model = tokenizer(factor=factor, patch=min(2, factor), channels=channels).eval()
    pictures = torch.rand(2, channels, 2 * factor, 3 * factor) * 2 - 1
    codes = model.encode(pictures)
    assert codes.shape == (2, 2, 3) and codes.dtype == torch.int64
    assert model.decode(codes).shape == pictures.shape


def test_encode_decode_is_the_evaluation_output():
    model = tokenizer().eval()
    pictures = torch.rand(2, 1, 16, 16) * 2 - 1
    with torch.no_grad():
        output, quantized = model(pictures)
    assert torch.equal(model.encode(pictures), quantized.codes)
    assert torch.allclose(model.decode(quantized.codes), output.clamp(-1, 1), atol=1e-6)


@pytest.mark.parametrize("name", DISCRETE)
def test_every_parameter_gets_a_gradient(name):
    task = TokenizerTask(tokenizer(quantizer=name, latent_width=16, attention=(8,)))
    batch = Batch(torch.rand(4, 1, 32, 32) * 2 - 1, None, None, torch.arange(4))
    for _ in range(2):  # the second step: a zero-initialised layer has passed on its first gradient
        task(batch, 0).total.backward()
        with torch.no_grad():
            for parameter in task.parameters():
                parameter.add_(torch.randn_like(parameter), alpha=1e-3)
    missing = [
        n for n, p in task.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())
    ]
    assert not missing


@pytest.mark.parametrize("name", sorted(set(UPSAMPLERS) - {"unpooling"}))
def test_every_upsampler_serves(name):
    model = tokenizer(upsampler=name).eval()
    pictures = torch.rand(1, 1, 16, 16)
    assert model.decode(model.encode(pictures)).shape == pictures.shape


@pytest.mark.parametrize("name", sorted(DOWNSAMPLERS))
def test_every_downsampler_serves(name):
    assert tokenizer(downsampler=name).eval().encode(torch.rand(1, 1, 16, 16)).shape == (1, 2, 2)


def test_report():
    report = tokenizer(factor=8, quantizer_options={"codebook_size": 256}).report((32, 64))
    assert (report.grid, report.codes, report.bits) == ((4, 8), 32, 256.0)
    assert report.compression == 32 * 64 * 8 / 256


def test_wrong_sizes_channels_and_configurations():
    model = tokenizer()
    with pytest.raises(UserError, match=r"a size that 8 divides.*--size 32"):
        model.encode(torch.zeros(1, 1, 30, 30))
    with pytest.raises(UserError, match="3 channels"):
        model.encode(torch.zeros(1, 3, 32, 32))
    for wrong in ({"factor": 3}, {"channels": 2}, {"patch": 3}, {"multipliers": ()}):
        with pytest.raises(UserError, match="was expected"):
            TokenizerConfig(**wrong)


def test_fingerprint_changes_with_any_weight():
    model = tokenizer()
    before = model.fingerprint()
    assert before == tokenizer().fingerprint()
    with torch.no_grad():
        model.decoder.layers[0].bias[0] += 1e-6
    assert model.fingerprint() != before


def test_multi_scale_loss_against_its_definition():
    a, b = torch.rand(2, 3, 16, 16), torch.rand(2, 3, 16, 16)
    expected = []
    for scale in (1, 2, 4):
        d = (a - b).unfold(2, scale, scale).unfold(3, scale, scale).mean((-1, -2))
        across, down = d[..., 1:] - d[..., :-1], d[..., 1:, :] - d[..., :-1, :]
        expected.append(d.abs().mean() + across.abs().mean() + down.abs().mean())
    assert multi_scale_loss(a, b).item() == pytest.approx(sum(expected).item() / 3, rel=1e-5)
    assert multi_scale_loss(a, a) == 0


def test_validation_counts_codes():
    task = TokenizerTask(tokenizer(quantizer_options={"codebook_size": 16})).eval()
    batch = Batch(torch.rand(4, 1, 16, 16), None, None, torch.arange(4))
    figures = task.validate(batch)
    assert math.isfinite(figures["loss"].item())
    finished = task.finish()
    assert 0 < finished["codebook_use"] <= 1 and task.finish() == {}
