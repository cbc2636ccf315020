"""Each resampling against its definition, published vectors, and what it promises."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from caselli import layer
from caselli.layer import UPSAMPLERS, MaxPooling, MaxUnpooling, PixelShuffle, TransposedConvolution
from caselli.layer.resample.filtered import binomial, low_pass_phases
from tests.reference import resample as reference

GOLDEN = Path(__file__).parent / "golden" / "22_upsampling.safetensors"
SIZES = [(5, 7), (10, 14), (15, 8), (3, 4), (13, 29)]


@pytest.fixture(scope="module")
def golden():
    return load_file(GOLDEN)


def picture(*size, channels=2):
    return torch.randn(2, channels, *size, dtype=torch.float64)


@pytest.mark.parametrize("name", ["nearest", "nearest_exact", "bilinear", "bicubic", "area"])
@pytest.mark.parametrize("size", SIZES)
def test_interpolation_equals_its_definition(name, size):
    x = picture(5, 7).requires_grad_()
    y, expected = (
        getattr(layer, name)(x, size),
        reference.along_rows(x, size, getattr(reference, name)),
    )
    torch.testing.assert_close(y, expected, rtol=1e-12, atol=1e-12)
    cotangent = torch.randn_like(y)
    torch.testing.assert_close(
        *(torch.autograd.grad(f, x, cotangent)[0] for f in (y, expected)), rtol=1e-12, atol=1e-12
    )


@pytest.mark.parametrize(("name", "numerator"), [("nearest", 0), ("nearest_exact", 1)])
def test_nearest_is_exact_where_float32_indices_are_not(name, numerator):
    missed = 0
    for n, out in [(2, 82), (2, 61), (2, 115), (2, 94), (4, 41), (7, 56), (88, 120), (3, 48)]:
        x = torch.arange(n, dtype=torch.float32).view(1, 1, 1, n)
        expected = ((2 * torch.arange(out) + numerator) * n // (2 * out)).float()
        assert torch.equal(getattr(layer, name)(x, (1, out)).flatten(), expected)
        missed += not torch.equal(F.interpolate(x, (1, out), mode=name.replace("_", "-")).flatten(), expected)
    assert missed, "torch mended its indices: the whole-number path can go"


def test_published_values():
    line = torch.tensor([[[[0.0, 0.0, 1.0, 1.0]]]])
    y = layer.bicubic(line, (1, 8)).flatten()
    torch.testing.assert_close(y.aminmax(), (torch.tensor(-0.10546875), torch.tensor(1.10546875)))
    sizes = [layer.enlarged(32, s) for s in (0.1234, 0.9999, 1.8)]
    assert sizes == [4, 32, 58]
    assert layer.enlarged(88, 120 / 88) == 120


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_filtered_resampling_equals_its_definition(scale):
    x = picture(4, 6)
    phases, taps = low_pass_phases(scale), binomial(4)
    torch.testing.assert_close(
        layer.interpolate_filtered(x, scale),
        reference.along_rows(x, (4 * scale, 6 * scale), reference.zero_insertion(phases)),
    )
    size = tuple(layer.reduced(n, scale) for n in (4, 6))
    torch.testing.assert_close(
        layer.blur_pool(x, scale), reference.along_rows(x, size, reference.blur(taps, scale))
    )


def test_the_low_pass_filter_removes_the_images_that_zero_insertion_makes():
    columns = torch.arange(64, dtype=torch.float64)
    wave = torch.cos(2 * torch.pi * columns / 8).expand(1, 1, 8, 64)
    spectrum = torch.fft.rfft(layer.interpolate_filtered(wave, 2)[0, 0, 8, 16:112]).abs()
    share = spectrum[30:].square().sum() / spectrum.square().sum()
    nails = torch.fft.rfft(layer.bed_of_nails(wave, 2)[0, 0, 8, 16:112]).abs()
    assert share < 1e-3 < 0.4 < nails[30:].square().sum() / nails.square().sum()


@pytest.mark.parametrize("scale", [2, 3])
def test_transposed_convolution_equals_its_definition(scale):
    module = TransposedConvolution(2, 3, scale).double()
    x = picture(3, 4)
    expected = reference.transposed(
        x, module.convolution.weight, scale, module.convolution.padding[0], (3 * scale, 4 * scale)
    )
    torch.testing.assert_close(module(x), expected + module.convolution.bias[:, None, None])


def test_transposed_convolution_overlaps_evenly():
    for scale in (2, 3, 4):
        module = TransposedConvolution(1, 1, scale)
        torch.nn.init.ones_(module.convolution.weight)
        torch.nn.init.zeros_(module.convolution.bias)
        inner = module(torch.ones(1, 1, 6, 6))[0, 0, scale:-scale, scale:-scale]
        assert torch.equal(inner, torch.full_like(inner, (2 + scale % 2) ** 2.0))


@pytest.mark.parametrize(("reach", "scale"), [(1, 2), (2, 3)])
def test_reassembly_equals_its_definition(reach, scale):
    x = picture(3, 4)
    weights = torch.rand(2, (2 * reach + 1) ** 2, 3 * scale, 4 * scale, dtype=torch.float64)
    torch.testing.assert_close(
        layer.reassemble(x, weights, reach, scale), reference.reassemble(x, weights, reach, scale)
    )


def test_sampling_equals_its_definition():
    x = picture(3, 5, channels=4)
    positions = torch.rand(2, 2, 2, 4, 6, dtype=torch.float64) * 8 - 2
    torch.testing.assert_close(layer.sample_bilinear(x, positions), reference.sample_bilinear(x, positions))


def test_dysample_starts_as_bilinear():
    module, x = UPSAMPLERS["dysample"](8).double(), picture(6, 5, channels=8)
    torch.nn.init.zeros_(module.offset.weight)
    torch.testing.assert_close(layer.sample_bilinear(x, module.positions(x)), layer.bilinear(x, (12, 10)))


@pytest.mark.parametrize("scale", [2, 3])
def test_icnr_starts_as_nearest_after_a_convolution(scale):
    module, x = PixelShuffle(3, 4, scale).double(), picture(5, 6, channels=3)
    convolution = module.convolution
    single = F.conv2d(x, convolution.weight[:: scale**2], convolution.bias[:: scale**2], padding=1)
    torch.testing.assert_close(module(x), layer.nearest(single, (5 * scale, 6 * scale)))


def test_golden_icnr_and_pixel_shuffle(golden):
    for name in ("icnr0", "icnr1"):
        kernels = golden[f"in.{name}.subkernel"]
        factor = round((len(golden[f"out.{name}.weight"]) / len(kernels)) ** 0.5)
        weight = torch.randn_like(golden[f"out.{name}.weight"])
        weight[:: factor**2] = kernels
        assert torch.equal(layer.icnr_(weight, factor), golden[f"out.{name}.weight"])
        x = golden[f"in.{name}.x"]
        y = F.pixel_shuffle(F.conv2d(x, weight.double(), padding=weight.shape[2] // 2), factor)
        torch.testing.assert_close(y, golden[f"out.{name}.shuffled"])


def test_golden_interpolation_and_overlap(golden):
    x = golden["in.ct.x"]
    assert torch.equal(layer.nearest(x, (8, 10)), golden["out.ct.nearest2"])
    torch.testing.assert_close(layer.bilinear(x, (8, 10)), golden["out.ct.bilinear2"])
    y = reference.transposed(x, golden["in.ct.w"], 2, 1, (8, 10)) + golden["in.ct.b"][:, None, None]
    torch.testing.assert_close(y, golden["out.ct.y"])


@pytest.mark.parametrize("size", [(6, 8), (7, 9)])
def test_values_return_to_their_maxima(size):
    x = picture(*size, channels=3)
    pooling, unpooling = MaxPooling(3).double(), MaxUnpooling(3).double()
    for module in (pooling, unpooling):
        torch.nn.init.dirac_(module.convolution.weight)
        torch.nn.init.zeros_(module.convolution.bias)
    y, switches = pooling.with_switches(x)
    restored = unpooling(y, size, switches)
    kept = restored != 0
    assert restored.shape == x.shape
    assert torch.equal(restored[kept], x[kept])
    if size == (6, 8):
        assert torch.equal(restored, F.max_unpool2d(*F.max_pool2d(x, 2, return_indices=True), 2))


def test_pooling_is_the_usual_one_at_sizes_that_divide():
    x = picture(6, 8)
    for name, usual in (("max", F.max_pool2d), ("average", F.avg_pool2d)):
        module = layer.DOWNSAMPLERS[name](2).double()
        torch.testing.assert_close(module(x), module.convolution(usual(x, 2)))


def test_constant_pictures_stay_constant_without_the_convolution():
    x = torch.full((1, 2, 5, 6), 0.7, dtype=torch.float64)
    for y in (
        *(f(x, (10, 12)) for f in (layer.nearest, layer.bilinear, layer.bicubic, layer.area)),
        layer.interpolate_filtered(x, 2),
        layer.blur_pool(x, 2),
    ):
        torch.testing.assert_close(y, torch.full_like(y, 0.7))
