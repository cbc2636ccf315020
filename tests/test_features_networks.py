"""Inception, VGG-16 and LPIPS: the published layouts, the published arithmetic, and comparisons of sets."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from caselli.errors import UserError
from caselli.evaluate import compare_sets
from caselli.features import LPIPS, VGG16, Inception, features_of
from caselli.features.inception import _block_a, _block_e, _Mixed, resize_as_tensorflow
from caselli.features.lpips import installed_heads

WIDTHS = (64, 128, 256, 512, 512)


@pytest.fixture(scope="module")
def inception() -> Inception:
    torch.manual_seed(0)
    return Inception()


@pytest.fixture(scope="module")
def vgg_file(tmp_path_factory):
    """Random weights in torchvision's layout, a piece of the classifier included."""
    generator = torch.Generator().manual_seed(0)
    state, inputs, index = {}, 3, 0
    for width, depth in zip(WIDTHS, (2, 2, 3, 3, 3), strict=True):
        for _ in range(depth):
            scale = math.sqrt(2 / (9 * inputs))
            state[f"features.{index}.weight"] = torch.randn(width, inputs, 3, 3, generator=generator) * scale
            state[f"features.{index}.bias"] = torch.randn(width, generator=generator) * 0.1
            inputs, index = width, index + 2
        index += 1
    state["classifier.0.weight"] = torch.zeros(4, 4)
    path = tmp_path_factory.mktemp("vgg") / "vgg16-397923af.pth"
    torch.save(state, path)
    return path


# Inception -------------------------------------------------------------------------------------------


def test_inception_has_the_published_layout(inception):
    state = inception.state_dict()
    assert len(state) == 94 * 6 + 2
    trained = [v for n, v in state.items() if n.endswith(("conv.weight", "bn.weight", "bn.bias"))]
    assert (
        sum(v.numel() for v in trained) == 21_785_568
    )  # the known size of Inception-v3 without its classifier
    shapes = {
        "Conv2d_1a_3x3.conv.weight": (32, 3, 3, 3),
        "Conv2d_4a_3x3.bn.running_var": (192,),
        "Mixed_5b.branch_pool.conv.weight": (32, 192, 1, 1),
        "Mixed_6a.branch3x3.conv.weight": (384, 288, 3, 3),
        "Mixed_6c.branch7x7dbl_4.conv.weight": (160, 160, 7, 1),
        "Mixed_6e.branch7x7_2.conv.weight": (192, 192, 1, 7),
        "Mixed_7a.branch7x7x3_4.conv.weight": (192, 192, 3, 3),
        "Mixed_7b.branch3x3dbl_3b.conv.weight": (384, 384, 3, 1),
        "Mixed_7c.branch1x1.conv.weight": (320, 2048, 1, 1),
        "fc.weight": (1008, 2048),
    }
    assert {name: tuple(state[name].shape) for name in shapes} == shapes


def test_inception_reads_a_file_and_gives_2048_features(inception, tmp_path):
    path = tmp_path / "weights-inception-2015-12-05-6726825d.pth"
    state = {n: v for n, v in inception.state_dict().items() if not n.endswith("num_batches_tracked")}
    torch.save(state, path)
    loaded = Inception.load(path).train()
    assert not loaded.training and not any(p.requires_grad for p in loaded.parameters())
    x = torch.rand(1, 1, 20, 30) * 2 - 1
    features = features_of(loaded, x)
    assert features.shape == (1, 2048) and features.std() > 0
    torch.testing.assert_close(features, features_of(inception, x.expand(-1, 3, -1, -1)))


def _layer(state, name, x, stride=1, padding=0):
    """Convolution, batch normalisation in evaluation mode, ReLU: written out."""
    x = functional.conv2d(x, state[f"{name}.conv.weight"], None, stride, padding)
    mean, variance, weight, bias = (
        state[f"{name}.bn.{part}"][:, None, None]
        for part in ("running_mean", "running_var", "weight", "bias")
    )
    return ((x - mean) / (variance + 0.001).sqrt() * weight + bias).clamp_min(0)


def _randomised(block: _Mixed) -> dict[str, torch.Tensor]:
    block = block.double().eval()
    for name, value in block.state_dict().items():
        if "bn" in name and value.is_floating_point():
            value.uniform_(0.5, 1.5)
    return block.state_dict()


def test_the_first_mixed_block_by_its_definition():
    block = _Mixed(8, _block_a(32), "average")
    state, x = _randomised(block), torch.randn(2, 8, 6, 6, dtype=torch.float64)
    five = _layer(state, "branch5x5_2", _layer(state, "branch5x5_1", x), padding=2)
    three = _layer(state, "branch3x3dbl_2", _layer(state, "branch3x3dbl_1", x), padding=1)
    three = _layer(state, "branch3x3dbl_3", three, padding=1)
    count = functional.avg_pool2d(torch.ones_like(x), 3, 1, 1)
    pooled = functional.avg_pool2d(x, 3, 1, 1) / count  # only the pixels that are there
    parts = [_layer(state, "branch1x1", x), five, three, _layer(state, "branch_pool", pooled)]
    torch.testing.assert_close(block(x), torch.cat(parts, 1))


def test_the_last_mixed_block_forks_and_pools_by_maximum():
    block = _Mixed(8, _block_e(), "maximum")
    state, x = _randomised(block), torch.randn(1, 8, 5, 5, dtype=torch.float64)

    def fork(name, x):
        wide, high = (_layer(state, f"{name}{s}", x, padding=p) for s, p in (("a", (0, 1)), ("b", (1, 0))))
        return torch.cat((wide, high), 1)

    double = _layer(state, "branch3x3dbl_2", _layer(state, "branch3x3dbl_1", x), padding=1)
    parts = [
        _layer(state, "branch1x1", x),
        fork("branch3x3_2", _layer(state, "branch3x3_1", x)),
        fork("branch3x3dbl_3", double),
        _layer(state, "branch_pool", functional.max_pool2d(x, 3, 1, 1)),
    ]
    torch.testing.assert_close(block(x), torch.cat(parts, 1))


@pytest.mark.parametrize("height,width,side", [(5, 7, 12), (9, 4, 3), (6, 6, 6)])
def test_resizing_by_its_definition(height, width, side):
    x = torch.rand(1, 2, height, width, dtype=torch.float64)
    found = resize_as_tensorflow(x, side)
    for i in range(side):
        for j in range(side):
            y, z = i * height / side, j * width / side
            top, left = int(y), int(z)
            bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
            upper = x[..., top, left] * (1 - z + left) + x[..., top, right] * (z - left)
            lower = x[..., bottom, left] * (1 - z + left) + x[..., bottom, right] * (z - left)
            torch.testing.assert_close(found[..., i, j], upper * (1 - y + top) + lower * (y - top))


# VGG and LPIPS ---------------------------------------------------------------------------------------


def _levels(state, x):
    """VGG-16 written out: the last activation of each level."""
    mean, deviation = torch.tensor([-0.030, -0.088, -0.188]), torch.tensor([0.458, 0.448, 0.450])
    x = (x - mean[:, None, None]) / deviation[:, None, None]
    found = []
    for convolutions in ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28)):
        x = functional.max_pool2d(x, 2) if found else x
        for i in convolutions:
            x = functional.conv2d(x, state[f"features.{i}.weight"], state[f"features.{i}.bias"], padding=1)
            x = x.clamp_min(0)
        found.append(x)
    return found


def test_lpips_by_its_definition(vgg_file):
    heads = installed_heads()
    if not heads.exists():
        pytest.skip("torchmetrics, which brings the heads, is not installed")
    state, weights = torch.load(vgg_file), torch.load(heads, "cpu", weights_only=True)
    a, b = torch.rand(2, 2, 3, 16, 24).mul(2).sub(1)
    expected = torch.zeros(2)
    for level, (x, y) in enumerate(zip(_levels(state, a), _levels(state, b), strict=True)):
        x, y = (part / part.square().sum(1, keepdim=True).sqrt().clamp_min(1e-10) for part in (x, y))
        gap = functional.conv2d((x - y) ** 2, weights[f"lin{level}.model.1.weight"])
        expected += gap.mean((1, 2, 3))
    found = LPIPS.load(vgg_file)(a, b)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert (found > 0).all()


def test_lpips_is_deterministic_inside_a_training_module_and_is_not_trained(vgg_file):
    lpips = LPIPS(VGG16.load(vgg_file), [torch.rand(1, width, 1, 1) for width in WIDTHS])
    holder = torch.nn.ModuleList([lpips]).train()
    assert not any(module.training for module in holder[0].modules())
    assert not [p for p in lpips.parameters() if p.requires_grad]
    a = (torch.rand(1, 1, 16, 16) * 2 - 1).requires_grad_()
    b = torch.rand(1, 1, 16, 16) * 2 - 1
    torch.testing.assert_close(lpips(a, b), lpips(b, a))
    lpips(a, b).sum().backward()
    assert a.grad.isfinite().all() and a.grad.abs().sum() > 0
    lpips(a, a).sum().backward()
    assert a.grad.isfinite().all()


def test_vgg_features_serve_comparisons(vgg_file):
    network = VGG16.load(vgg_file)
    real, made = torch.rand(2, 12, 1, 16, 16).mul(2).sub(1)
    found = compare_sets(
        features_of(network, real),
        features_of(network, made),
        features=network.features_name,
        reference="noise, held out",
    )
    assert found.frechet >= 0 and (found.real_count, found.made_count) == (12, 12)
    assert "VGG-16" in found.features and found.reference == "noise, held out"


# files -----------------------------------------------------------------------------------------------


def test_files_that_do_not_fit_are_users_mistakes(tmp_path, vgg_file):
    with pytest.raises(UserError, match=r"published at https://download\.pytorch\.org"):
        VGG16.load(tmp_path / "none.pth")
    (tmp_path / "text.pth").write_text("not weights")
    with pytest.raises(UserError, match="cannot be read as weights"):
        VGG16.load(tmp_path / "text.pth")
    torch.save({"features.0.weight": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(UserError, match=r"25 are missing and 1 are foreign"):
        VGG16.load(tmp_path / "other.pth")
    with pytest.raises(UserError, match="LPIPS heads"):
        LPIPS.load(vgg_file, heads=tmp_path / "other.pth")


def test_a_file_that_would_run_code_is_refused(tmp_path):
    torch.save({"features.0.weight": torch.nn.Linear(1, 1)}, tmp_path / "code.pth")
    with pytest.raises(UserError, match="cannot be read as weights"):
        VGG16.load(tmp_path / "code.pth")


def test_small_pictures_and_foreign_channels_are_users_mistakes(inception):
    with pytest.raises(UserError, match="16 a side"):
        VGG16().levels(torch.zeros(1, 3, 15, 16))
    with pytest.raises(UserError, match="C = 1 or 3"):
        features_of(inception, torch.zeros(1, 4, 16, 16))
    with pytest.raises(UserError, match="at least one"):
        features_of(inception, torch.zeros(0, 3, 16, 16))


def test_untrained_features_are_a_function_of_their_seed():
    pictures = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    first, again, other = (VGG16.untrained(seed).features(pictures) for seed in (0, 0, 1))
    assert torch.equal(first, again) and not torch.allclose(first, other)
    assert first.std(0).mean() > 1e-3, "pictures differ in their features"
    assert "seed 1" in VGG16.untrained(1).features_name
