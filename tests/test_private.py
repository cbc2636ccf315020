"""Private functions of PyTorch: the public way gives the same, and no other file uses one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import caselli
from caselli import private
from caselli.anatomy import record
from caselli.errors import UserError
from caselli.weights import IntegerLinear, Packing, rounded

ROOT = Path(caselli.__file__).parent
PRIVATE = re.compile(r"\btorch(\.\w+)*\._[a-z]|\bfrom torch[\w.]*\._|\bfrom torch[\w.]* import _[a-z]")


def test_private_functions_are_named_in_one_file():
    assert [path for path in ROOT.rglob("*.py") if PRIVATE.search(path.read_text())] == [ROOT / "private.py"]


@pytest.fixture(params=[False, True], ids=["private", "public"])
def public(request, monkeypatch):
    """PyTorch as it is, then without its private functions."""
    if request.param:
        for name in (
            "_linear_pointwise",
            "_reorder_linear_weight",
            "_int_mm",
            "_foreach_lerp_",
            "FakeTensorMode",
        ):
            monkeypatch.setattr(private, name, None)
    return request.param


@pytest.mark.parametrize("bias", [True, False])
def test_linear(public, bias):
    x, weight, b = torch.randn(3, 5), torch.randn(4, 5), torch.randn(4) if bias else None
    expected = F.linear(x, weight, b)
    torch.testing.assert_close(private.onednn_linear(x, weight, b), expected)
    torch.testing.assert_close(private.onednn_linear(x, private.onednn_layout(weight, 3), b), expected)
    assert not (public and private.has_onednn_linear())


def test_integer_product(public):
    a, b = (torch.randint(-127, 128, shape, dtype=torch.int8) for shape in ((19, 40), (40, 24)))
    product = private.integer_product(a, b)
    assert product.dtype == torch.int32 and torch.equal(product, (a.double() @ b.double()).int())


def test_integer_layers(public):
    layer = nn.Linear(16, 8)
    with torch.no_grad():
        layer.weight.copy_(rounded(layer.weight, Packing(8)))
        x = torch.randn(3, 16)
        assert (IntegerLinear(layer)(x) - layer(x)).abs().max() < 0.05


def test_interpolation(public):
    starts, ends = ([torch.randn(n) for n in (3, 4)] for _ in range(2))
    expected = [a.lerp(b, 0.1) for a, b in zip(starts, ends, strict=True)]
    private.interpolate_(starts, ends, 0.1)
    assert all(torch.equal(a, b) for a, b in zip(starts, expected, strict=True))


def test_recording(public):
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.GroupNorm(2, 8), nn.ReLU(), nn.Flatten(), nn.Linear(128, 4)
    )
    tape = record(network, (2, 3, 4, 4))
    assert tape.outputs[0].shape == (2, 4)
    names = [operation.name for operation in tape.operations]
    assert names == ["convolution", "native_group_norm", "relu", "view", "t", "addmm"]


class AsksForNumbers(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


def test_a_path_that_depends_on_the_data_is_refused(public):
    with pytest.raises(UserError, match="asks for numbers"):
        record(AsksForNumbers(), (2, 3))
