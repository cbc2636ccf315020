"""What was made smaller is smaller in the file, and comes back as it was."""

from __future__ import annotations

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from caselli.errors import UserError
from caselli.sampling.rounding import rounded_weight
from caselli.weights import (
    Compression,
    Packing,
    load_weights,
    narrow,
    narrowed,
    pack,
    read_compression,
    rounded,
    rounded_rows,
    save_weights,
    smallest,
    snapped,
    unpack,
)
from caselli.weights.packing import quantise, scales

PACKINGS = [Packing(8), Packing(8, group=16), Packing(4, group=32), Packing(4), Packing(32)]


def rounded_definition(weight, packing):
    """Group by group, weight by weight."""
    rows = weight.flatten(1)
    group = packing.group or rows.shape[1]
    result = torch.empty_like(rows)
    for i in range(len(rows)):
        for start in range(0, rows.shape[1], group):
            part = rows[i, start : start + group]
            step = (part.abs().max() / packing.largest).bfloat16().float()
            for j, value in enumerate(part):
                integer = round((value / step).item()) if step else 0
                result[i, start + j] = max(-packing.largest, min(packing.largest, integer)) * step
    return result.view_as(weight)


@pytest.mark.parametrize("packing", PACKINGS[:4], ids=str)
def test_snapped_is_the_definition(packing):
    weight = torch.randn(5, 3, 17) * torch.logspace(-6, 6, 5)[:, None, None]
    assert torch.equal(snapped(weight, packing), rounded_definition(weight, packing))


@pytest.mark.parametrize("packing", PACKINGS, ids=str)
@pytest.mark.parametrize("sparse", [False, True])
def test_unpacking_gives_the_rounded_tensor_and_packing_again_the_same_parts(packing, sparse):
    packing = Packing(packing.bits, packing.group, sparse)
    weight = torch.randn(7, 3, 19) * torch.logspace(-8, 3, 7)[:, None, None]
    weight = weight * (torch.rand_like(weight) < 0.4)
    weight[3] = 0
    parts = pack(weight, packing)
    back = unpack(parts, packing, weight.shape)
    assert torch.equal(back, rounded(weight, packing))
    again = pack(back, packing)
    assert parts.keys() == again.keys() and all(torch.equal(parts[k], again[k]) for k in parts)
    on_grid = snapped(weight, packing)
    assert torch.equal(rounded(on_grid, packing), on_grid), "a network trained on the grid stays on it"


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=2, max_size=3), st.sampled_from(PACKINGS), st.booleans())
def test_any_shape(shape, packing, sparse):
    packing = Packing(packing.bits, packing.group, sparse)
    weight = torch.randn(shape)
    assert torch.equal(unpack(pack(weight, packing), packing, tuple(shape)), rounded(weight, packing))


def test_8_bits_are_those_of_the_sampling_engine():
    weight = rounded(torch.randn(12, 40), Packing(8))
    assert torch.equal(rounded_rows(weight)[1], scales(weight, Packing(8)).flatten(1))
    assert torch.equal(rounded_weight(weight, "int8"), weight)


def test_the_errors_are_what_the_bits_allow():
    weight = torch.randn(64, 256)
    for packing, largest in ((Packing(8), 0.012), (Packing(4, group=32), 0.13), (Packing(4), 0.22)):
        error = (rounded(weight, packing) - weight).norm() / weight.norm()
        assert error < largest, packing
    snapped4 = (snapped(weight, Packing(4, group=32)) - weight).norm() / weight.norm()
    assert (rounded(weight, Packing(4, group=32)) - weight).norm() / weight.norm() < 0.97 * snapped4


def test_the_integers_reach_the_end_of_the_grid():
    weight = torch.randn(1000, 30)
    for packing in (Packing(8), Packing(4)):
        integers = quantise(weight, scales(weight, packing), packing)
        assert (integers.abs().amax(-1) == packing.largest).all()


def network(inner=8):
    return nn.Sequential(nn.Linear(6, inner), nn.GroupNorm(inner // 4, inner), nn.Linear(inner, 64))


@pytest.fixture
def small(tmp_path):
    """A narrower network with packed weights, saved."""
    module = network(4)
    with torch.no_grad():
        module[2].weight.copy_(rounded(module[2].weight, Packing(4, group=32)))
        module[0].weight[:, ::2] = 0
    packed = {"2.weight": Packing(4, group=32), "0.weight": smallest(module[0].weight, Packing(32))}
    note = narrowed(module, network())
    compression = Compression(packed, note.numbers, note.shapes)
    save_weights(tmp_path / "net", module, {"config": {}}, compression)
    return module, tmp_path / "net", compression


def test_a_smaller_module_comes_back(small):
    module, stem, compression = small
    loaded = network()
    assert load_weights(stem, loaded) == read_compression(stem) == compression
    assert loaded[1].num_groups == 1 and loaded[0].out_features == 4
    x = torch.randn(3, 6)
    assert torch.equal(loaded(x), module(x))
    described = json.loads(stem.with_suffix(".json").read_text())
    assert described["format"] == 2
    assert described["compression"]["numbers"]["0"] == {"out_features": 4}


def test_files_of_plain_modules_are_as_before(tmp_path):
    save_weights(tmp_path / "net", network(), {"config": {}})
    assert json.loads((tmp_path / "net.json").read_text()) == {"format": 1, "config": {}}


@pytest.mark.parametrize(
    "change",
    [
        {"packed": {"2.weight": {"bits": 5}}},
        {"packed": {"2.weight": {"bits": 8, "group": -1}}},
        {"activations": "int3"},
        {"packed": {"2.weight": {"bits": 8}}},
        {"packed": {"no.weight": {"bits": 8}}},
        {"packed": 3},
        {"numbers": {"0": {"out_features": 10**9}}},
        {"numbers": {"0": {"training": 1}}},
        {"numbers": {"9": {"out_features": 3}}},
        {"shapes": {"0.weight": [4, 60000]}},
        {"shapes": {"0.weight": [3, 6]}},
        {"shapes": {"0.colour": [3, 6]}},
    ],
    ids=str,
)
def test_a_description_that_does_not_fit_is_one_line(small, change):
    _, stem, _ = small
    path = stem.with_suffix(".json")
    described = json.loads(path.read_text())
    for field, value in change.items():
        old = described["compression"].get(field)
        described["compression"][field] = {**old, **value} if isinstance(value, dict) else value
    path.write_text(json.dumps(described))
    with pytest.raises(UserError) as error:
        load_weights(stem, network())
    assert "\n" not in str(error.value)


def test_nothing_grows():
    with pytest.raises(UserError):
        narrow(network(4), Compression(shapes={"0.weight": (8, 6)}))
