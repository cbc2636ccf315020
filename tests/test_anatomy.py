"""Receptive fields against the published tables, small graphs worked by hand, and what each layer does."""

from __future__ import annotations

import functools
import json
from collections import Counter
from fractions import Fraction
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from caselli.anatomy import (
    RULES,
    ReceptiveField,
    apart,
    draw_field,
    draw_perceptrons,
    effective_field,
    folded,
    inspect,
    record,
    register_rule,
    train_perceptron,
)
from caselli.errors import UnknownName, UserError
from caselli.layer import UPSAMPLERS
from caselli.segmentation import FCN, UNet
from caselli.zoo import NETWORKS, Convention, input_shape, register_network
from caselli.zoo.dense import patchgan
from caselli.zoo.parts import Same
from tests.reference.gradient_field import gradient_field, support

GOLDEN = json.loads((Path(__file__).parent / "golden" / "23_receptive_field.json").read_text())


def last_part(name):
    return name.split("/")[-1]


PUBLISHED = {
    "alexnet_v2": ("alexnet", lambda name: f"features.{last_part(name)}"),
    "vgg_a": ("vgg11", lambda name: f"features.{last_part(name)}"),
    "vgg_16": ("vgg16", lambda name: f"features.{last_part(name)}"),
    "inception_v2": ("inception_v2", last_part),
    "inception_v3": ("inception_v3", last_part),
    "mobilenet_v1": ("mobilenet", lambda name: name.replace("Conv2d_", "conv")),
    "resnet_v1_50": ("resnet50", last_part),
    "resnet_v1_101": ("resnet101", last_part),
    "resnet_v2_50": ("resnet50_v2", last_part),
}


@functools.cache
def fields(name, size=224, convention=Convention.TORCHVISION):
    with torch.device("meta"):
        return ReceptiveField(NETWORKS[name](convention), (3, size, size))


def numbers(field):
    """(field, stride, padding), the same along both axes."""
    assert field.size[0] == field.size[1]
    return field.size[0], field.stride[0], field.padding[0]


@pytest.mark.parametrize("network", PUBLISHED)
@pytest.mark.parametrize("size", [224, 321])
def test_published_rows(network, size):
    name, layer = PUBLISHED[network]
    rows = [r for r in GOLDEN["rows"] if r["network"] == network and r["resolution"] in (None, size)]
    assert len(rows) >= 4
    for row in rows:
        field = fields(name, size, Convention.ORIGINAL).at(layer(row["end_point"]))
        rf, stride, padding = numbers(field)
        assert (rf, stride) == (row["rf"], row["stride"]), row
        assert row["padding"] in (None, padding), row
        assert not field.misalignments


@pytest.mark.parametrize(
    ("name", "layer", "expected"),
    [
        ("resnet152", "block4", (1507, 32, 751)),
        ("resnet200", "block4", (1763, 32, 879)),
        ("inception_v4", "Mixed_7d", (2071, 32, 998)),
        ("inception_resnet_v2", "Conv2d_7b_1x1", (3039, 32, 1482)),
    ],
)
def test_published_totals_of_the_deeper_originals(name, layer, expected):
    assert numbers(fields(name, 224, Convention.ORIGINAL).at(layer)) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("alexnet", (195, 32, 66)),
        ("vgg11", (150, 32, 59)),
        ("vgg16", (212, 32, 90)),
        ("vgg19", (268, 32, 118)),
        ("resnet18", (435, 32, 217)),
        ("resnet34", (899, 32, 449)),
        ("resnet50", (427, 32, 213)),
        ("resnet101", (971, 32, 485)),
        ("resnet152", (1451, 32, 725)),
    ],
)
def test_torchvision_totals(name, expected):
    layer = "block4" if "resnet" in name else "features"
    assert numbers(fields(name).at(layer)) == expected


@pytest.mark.parametrize(
    ("depth", "expected"), [(50, (483, 32, 241)), (101, (1027, 32, 513)), (152, (1507, 32, 753))]
)
def test_the_stride_on_the_first_convolution_widens_a_resnet(depth, expected):
    with torch.device("meta"):
        network = NETWORKS[f"resnet{depth}"](stride_first=True)
    assert numbers(ReceptiveField(network, (3, 224, 224)).at("block4")) == expected


def test_patchgan():
    sizes = [ReceptiveField(patchgan(layers=n), (3, 320, 320)).at().size[0] for n in range(1, 6)]
    assert sizes == [16, 34, 70, 142, 286]


@pytest.mark.parametrize(
    ("upsampler", "depth", "expected"),
    [
        ("transposed2", 3, {92, 100}),
        ("transposed2", 4, {188, 204}),
        ("nearest", 4, None),
        ("bilinear", 4, None),
    ],
)
def test_a_unet_sees_one_of_two_widths(upsampler, depth, expected):
    network = UNet(width=4, depth=depth, upsampler=upsampler)
    sizes = ReceptiveField(network, (3, 160, 160)).sizes()
    assert numbers(ReceptiveField(network, (3, 160, 160)).at("bottleneck"))[:2] == (
        (68, 8) if depth == 3 else (140, 16)
    )
    if expected is None:
        assert len(sizes[0]) > 1
    else:
        assert set(sizes[0]) == expected
        assert sizes[0][188] == 40 or depth == 3  # four phases of sixteen


class PlainUNet(nn.Module):
    """The U-Net of the published widths: upsampling without a convolution of its own."""

    def __init__(self, depth, mode):
        super().__init__()
        double = [nn.Sequential(nn.Conv2d(w, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)) for w in (4, 8)]
        self.down, self.up, self.depth, self.mode = *double, depth, mode

    def forward(self, x):
        skips = []
        for _ in range(self.depth):
            skips.append(self.down(x))
            x = F.max_pool2d(skips[-1], 2)
        x = self.down(x)
        while skips:
            x = self.up(torch.cat([skips.pop(), F.interpolate(x, scale_factor=2, mode=self.mode)], 1))
        return x


@pytest.mark.parametrize(
    ("mode", "expected"), [("nearest", {188: 4, 204: 12}), ("bilinear", {220: None, 236: None})]
)
def test_the_published_widths_of_a_unet(mode, expected):
    rows, columns = ReceptiveField(PlainUNet(4, mode), (4, 160, 160)).sizes()
    assert rows == columns and set(rows) == set(expected)
    if mode == "nearest":
        assert rows == Counter({188: 160 * 4 // 16, 204: 160 * 12 // 16})


def transposed(*args):
    return nn.ConvTranspose1d(1, 1, *args)


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ([nn.Upsample(scale_factor=2), nn.Conv1d(1, 1, 3, padding=1)], {2}),
        ([nn.Upsample(scale_factor=2, mode="linear"), nn.Conv1d(1, 1, 3, padding=1)], {3}),
        ([nn.Upsample(scale_factor=3, mode="linear")], {1, 2}),
        ([transposed(3, 2, 1)], {1, 2}),
        ([transposed(4, 2, 1)], {2}),
        ([transposed(5, 2, 2)], {2, 3}),
    ],
)
def test_widths_of_upsampling(layers, expected):
    (sizes,) = ReceptiveField(nn.Sequential(*layers), (1, 24)).sizes()
    assert set(sizes) == expected


class Graph(nn.Module):
    """One of the published small graphs: strided means with explicit or "same" padding, two of them added."""

    def __init__(self, graph):
        super().__init__()
        self.graph = graph
        self.layers = nn.ModuleDict()
        for name, layer in graph["layers"].items():
            taps, stride = tuple(layer["k"]), layer["s"]
            pad = Same(taps, stride) if layer["pad"] == "SAME" else nn.ZeroPad2d(tuple(layer["pad"]) * 2)
            self.layers[name] = nn.Sequential(pad, nn.Conv2d(1, 1, taps, stride))

    def forward(self, x):
        values = {"x": x}
        for name, layer in self.graph["layers"].items():
            values[name] = self.layers[name](values[layer["input"]])
        a, b = (values[name] for name in self.graph["output"].split("+"))
        size = [min(m, n) for m, n in zip(a.shape[2:], b.shape[2:], strict=True)]
        return a[:, :, : size[0], : size[1]] + b[:, :, : size[0], : size[1]]


@pytest.mark.parametrize("graph", GOLDEN["small_graphs"], ids=lambda graph: graph["name"])
def test_small_graphs(graph):
    cases = graph.get("cases", [{"resolution": [32, 32], **graph}])
    for case in cases:
        size = case["resolution"] or [9, 9]
        field = ReceptiveField(Graph(graph), (1, *size)).at()
        if "error" in case:
            assert field.misalignments and "add" in field.misalignments[0].place
            continue
        assert not field.misalignments
        assert list(field.size) == case["rf"] and list(field.stride) == case["stride"]
        assert all(p in (None, q) for p, q in zip(case["padding"], field.padding, strict=True))


def test_the_worked_example():
    network = nn.Sequential(nn.Conv1d(1, 1, 3, 3, padding=1), nn.Conv1d(1, 1, 2))
    (axis,) = ReceptiveField(network, (1, 30)).at(position=(0,)).axes
    assert (axis.first, axis.last, axis.seen) == (-1, 4, (0, 1, 2, 3, 4))


@pytest.mark.parametrize(
    ("module", "shape", "seen"),
    [
        (nn.Conv1d(1, 1, 3, dilation=2, padding=2), (1, 9), (2, 4, 6)),
        (nn.AdaptiveAvgPool1d(2), (1, 9), (4, 5, 6, 7, 8)),
        (nn.ReflectionPad1d(3), (1, 9), (1,)),
        (nn.CircularPad1d(3), (1, 9), (4,)),
        (nn.Softmax(dim=2), (1, 5), (0, 1, 2, 3, 4)),
        (nn.Linear(6, 4), (1, 6), (0, 1, 2, 3, 4, 5)),
        (nn.Identity(), (1, 9), (4,)),
        (nn.Conv3d(1, 1, (1, 2, 3)), (1, 5, 6, 7), (2,)),
    ],
)
def test_positions_that_one_layer_sees(module, shape, seen):
    position = {nn.ReflectionPad1d: (2,), nn.CircularPad1d: (7,), nn.Linear: (1,)}.get(type(module))
    assert ReceptiveField(module, shape).at(position=position).axes[0].seen == seen


class Call(nn.Module):
    """A function as a module."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *x):
        return self.function(*x)


def test_causal_attention_and_constant_masks_are_followed():
    mask = torch.eye(6, dtype=torch.bool) | torch.eye(6, dtype=torch.bool).roll(1, 0)

    def attend(**options):
        def run(x):
            tokens = x.unflatten(1, (2, 2)).transpose(2, 3)  # two heads of width two
            y = F.scaled_dot_product_attention(tokens, tokens, tokens, **options)
            return y.transpose(2, 3).flatten(1, 2)

        return Call(run)

    seen = {
        name: ReceptiveField(module, (4, 6)).at(position=(3,)).axes[0].seen
        for name, module in (
            ("all", attend()),
            ("causal", attend(is_causal=True)),
            ("masked", attend(attn_mask=mask)),
        )
    }
    assert seen == {"all": (0, 1, 2, 3, 4, 5), "causal": (0, 1, 2, 3), "masked": (2, 3)}


def test_multihead_attention_sees_everything():
    attention = nn.MultiheadAttention(4, 2, batch_first=True)
    module = Call(lambda x: attention(*[x.transpose(1, 2)] * 3)[0].transpose(1, 2))
    assert ReceptiveField(module, (4, 7)).at().axes[0].whole


@pytest.mark.parametrize("fold", [False, True])
def test_unfolding_and_folding(fold):
    def run(x):
        columns = F.unfold(x, 3, padding=1, stride=1 + fold)
        if fold:
            return F.fold(columns, x.shape[2:], 3, padding=1, stride=2)
        return columns.unflatten(2, x.shape[2:])

    (rows, columns) = ReceptiveField(Call(run), (1, 8, 10)).at(position=(3, 4)).axes
    expected = ((1, 2, 3, 4, 5), (3, 4, 5)) if fold else ((2, 3, 4), (3, 4, 5))
    assert (rows.seen, columns.seen) == expected


def test_unpooling_sees_the_window_of_its_switches():
    pool, unpool = nn.MaxPool2d(2, return_indices=True), nn.MaxUnpool2d(2)
    field = ReceptiveField(Call(lambda x: unpool(*pool(x))), (1, 8, 8)).at(position=(3, 5))
    assert [axis.seen for axis in field.axes] == [(2, 3), (4, 5)]


@pytest.mark.parametrize("name", UPSAMPLERS)
def test_every_upsampler_has_a_field(name):
    field = ReceptiveField(UPSAMPLERS[name](4), (4, 12, 12)).at()
    moved_by_data = {"dysample"}
    assert all(axis.whole == (name in moved_by_data) for axis in field.axes)
    assert name in moved_by_data or all(1 <= size <= 12 for size in field.size)


def test_between_two_layers_and_the_other_way_round():
    network = nn.Sequential(
        nn.Conv1d(1, 1, 3, 2, 1), nn.Conv1d(1, 1, 3, padding=1), nn.Conv1d(1, 1, 3, padding=1)
    )
    known = ReceptiveField(network, (1, 20))
    assert known.at("2", (4,), source="0").axes[0].seen == (2, 3, 4, 5, 6)
    assert known.at(None, (4,)).size == (11,)
    for position in range(20):
        touched = known.touched((position,))[0]
        assert touched == tuple(o for o in range(10) if position in known.at(position=(o,)).axes[0].seen)


def test_statistics_are_counted_on_demand():
    network = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.GroupNorm(2, 4), nn.Conv2d(4, 4, 3, padding=1))
    assert ReceptiveField(network, (4, 16, 16)).at().size == (5, 5)
    counted = ReceptiveField(network, (4, 16, 16), count_statistics=True).at()
    assert counted.size == (16, 16) and counted.axes[0].whole


def test_an_unknown_operation_is_named_and_can_be_taught():
    @torch.library.custom_op("caselli_test::halve", mutates_args=())
    def halve(x: torch.Tensor) -> torch.Tensor:
        return x[..., ::2].clone()

    halve.register_fake(lambda x: x.new_empty(*x.shape[:-1], (x.shape[-1] + 1) // 2))
    network = nn.Sequential(nn.Conv1d(1, 1, 3), Call(halve))
    with pytest.raises(UserError, match=r"1: halve .*register_rule\(\"halve\"\)"):
        ReceptiveField(network, (1, 12)).at()

    from caselli.anatomy.relation import Separable
    from caselli.anatomy.rules.windows import window

    @register_rule("halve")
    def rule(operation, slot):
        x = operation.inputs()[0]
        axes = (window(0, 1), window(1, 1), window(2, 1, 2))
        return [(x, Separable(axes, x.shape, operation.outputs[slot].shape))]

    try:
        assert ReceptiveField(network, (1, 12)).at(position=(2,)).axes[0].seen == (4, 5, 6)
    finally:
        del RULES["halve"]


def test_mistakes_are_named():
    network = nn.Sequential(nn.Conv1d(1, 1, 3))
    with pytest.raises(UnknownName, match="'conv'"):
        ReceptiveField(network, (1, 9)).at("conv")
    with pytest.raises(UserError, match="1 numbers were expected"):
        ReceptiveField(network, (1, 9)).at(position=(1, 2))
    with pytest.raises(UserError, match="does not depend on the data"):
        record(Call(lambda x: x if x.sum() > 0 else -x), (1, 3))


def test_writes_through_views_are_followed():
    def run(x):
        y = torch.zeros_like(x)
        y[..., ::2] = x[..., ::2]
        y[..., 1] = x[..., 5]
        return y

    known = ReceptiveField(Call(run), (1, 8))
    assert [known.at(position=(o,)).axes[0].seen for o in range(5)] == [(0,), (5,), (2,), (), (4,)]
    assert known.touched((5,)) == ((1,),)


def test_views_see_what_is_written_after_they_are_made():
    def run(x):
        y = x.clone()
        one, two = y.split(4, -1)
        first = one[..., :2]
        y.copy_(x.flip(-1))  # 7 6 5 4 | 3 2 1 0
        first.add_(x[..., 3:4])
        two[..., 0] = one[..., 1]
        return torch.cat((first, two), -1)

    known = ReceptiveField(Call(run), (1, 8))
    seen = [known.at(position=(o,)).axes[0].seen for o in range(6)]
    assert seen == [(3, 7), (3, 6), (3, 6), (2,), (1,), (0,)]


def test_numbers_that_follow_from_no_input_are_known():
    def run(x):
        count = torch.arange(4).sum().add_(1)
        return x[..., : count.item()] if count > 6 else x

    assert record(Call(run), (1, 9)).outputs[0].shape == (1, 7)


def test_recording_leaves_the_module_as_it_was_and_needs_no_data():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5)).train()
    network[2].eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    tape = record(network, (2, 3, 8, 8), training=False)
    assert network.training and not network[2].training
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())
    assert tape.outputs[0].shape == (2, 4, 6, 6)
    # a network that has no memory at all
    with torch.device("meta"):
        huge = NETWORKS["resnet152"]()
    assert next(huge.parameters()).is_meta
    assert ReceptiveField(huge, (3, 224, 224)).at("block4").size == (1451, 1451)


LARGE = {"resnet200", "resnet152_v2", "resnet200_v2", "inception_v3", "inception_v4", "inception_resnet_v2"}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] if n in LARGE else []) for n in NETWORKS]
)
def test_every_network_of_the_zoo_can_be_inspected(name):
    with torch.device("meta"):
        network = NETWORKS[name]()
    shape = input_shape(name) if name == "vqgan_decoder" else (3, 160, 160)
    seen = inspect(network, shape)
    assert not seen.misalignments
    assert seen.cost.macs > 1e8 and len(seen.table().splitlines()) > len(seen.layers)
    unique = [layer for layer in seen.layers if sum(row.path == layer.path for row in seen.layers) == 1]
    layer = next(layer for layer in reversed(unique) if layer.size and not layer.whole)
    field = ReceptiveField(network, shape).at(layer.path)
    assert field.size == layer.size and field.padding == layer.padding, layer


@pytest.mark.parametrize("stride", [8, 16, 32])
def test_fcn_gives_a_map_of_the_pictures_size(stride):
    parts = {f"conv{n}": nn.Conv2d(3 if n == 1 else 4, 4, 3, padding=1) for n in range(1, 6)}
    features = nn.Sequential()
    for number, (name, layer) in enumerate(parts.items(), 1):
        features.add_module(name, layer)
        features.add_module(f"pool{number}", nn.MaxPool2d(2, ceil_mode=True))
    network = FCN(features, (4, 4, 4), classes=3, stride=stride, head_width=8)
    assert network(torch.randn(1, 3, 70, 45)).shape == (1, 3, 70, 45)


def test_unet_of_both_conventions():
    for upsampler in ("transposed2", "bilinear", "pixel_shuffle"):
        assert UNet(width=4, depth=3, upsampler=upsampler)(torch.randn(1, 3, 37, 50)).shape == (1, 2, 37, 50)
    assert UNet(width=4, padded=False)(torch.randn(1, 3, 188, 188)).shape == (1, 2, 4, 4)


@pytest.mark.parametrize(
    ("convention", "layer", "padding"),
    [("torchvision", "layers.12.convolution", 76), ("original", "levels.3.resample.convolution", 61)],
)
def test_what_vqgan_sees_of_a_picture(convention, layer, padding):
    """Four halvings between pairs of blocks; the original pads the far edges alone: 1 + 2 + 4 + 8 less."""
    with torch.device("meta"):
        encoder = NETWORKS["vqgan_encoder"](Convention(convention))
    assert numbers(ReceptiveField(encoder, (3, 256, 256)).at(layer)) == (153, 16, padding)


def test_networks_can_be_added_to_the_zoo():
    register_network("mine", lambda convention=None: nn.Conv2d(3, 1, 3))
    try:
        assert isinstance(NETWORKS["mine"](), nn.Conv2d)
    finally:
        del NETWORKS["mine"]


@pytest.mark.parametrize("name", ["patchgan"])
def test_gradients_agree_on_a_network_of_the_zoo(name):
    network = NETWORKS[name](width=4)
    field = ReceptiveField(network, (3, 96, 96)).at(position=(4, 5))
    seen = support(gradient_field(network, (3, 96, 96), position=(4, 5)))
    assert tuple(seen.any(1).nonzero().flatten().tolist()) == field.axes[0].seen
    assert tuple(seen.any(0).nonzero().flatten().tolist()) == field.axes[1].seen


def test_the_effective_field_is_smaller_than_the_receptive_field():
    layers = [nn.Conv2d(1, 1, 3, padding=1, bias=False) for _ in range(8)]
    for layer in layers:
        nn.init.ones_(layer.weight)
    network = nn.Sequential(*layers)
    shares = effective_field(network, torch.rand(2, 1, 33, 33))
    torch.testing.assert_close(shares.sum(), torch.tensor(1.0))
    assert ReceptiveField(network, (1, 33, 33)).at().size == (17, 17)
    assert shares[11:22, 11:22].sum() > 0.95 and (shares > 0).sum() == 17 * 17


def test_inspection_as_text_and_pictures(tmp_path):
    network = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3, 2, 1))
    seen = inspect(network, (3, 32, 48))
    assert seen.table().splitlines()[2].split() == ["0", "Conv2d", "4x16x24", "3x3", "2", "1", "112", "41.5k"]
    assert "bias 0.bias is redundant (removed by 1)" in seen.table()
    assert seen.at.size == (7, 7) and seen.sizes[0] == Counter({7: 8})
    shares = effective_field(network.eval(), torch.rand(1, 3, 32, 48))
    path = draw_field(seen.at, tmp_path / "field.png", torch.rand(3, 32, 48) * 2 - 1, shares)
    assert path.stat().st_size > 5000
    assert draw_field(seen.at, tmp_path / "plain.svg").read_text().lstrip().startswith("<?xml")


def test_a_threshold_is_a_bias(tmp_path):
    x = torch.randn(200, 2, dtype=torch.float64)
    score = x @ torch.tensor([1.0, 0.5], dtype=torch.float64) - 0.8
    x, score = x[score.abs() > 0.1], score[score.abs() > 0.1]
    labels = (score > 0).long()
    learnt = train_perceptron(x, labels)
    fixed = train_perceptron(x, labels, learn_threshold=False)
    assert learnt.mistakes[-1] == 0 and fixed.mistakes[-1] > 0 and fixed.threshold == 0
    assert torch.equal(learnt.fires(x), labels.bool())
    # the same as a bias: one more weight for an input that is always −1
    longer = torch.cat([x, -torch.ones(len(x), 1, dtype=x.dtype)], 1)
    augmented = train_perceptron(longer, labels, learn_threshold=False)
    torch.testing.assert_close(augmented.weight[:2], learnt.weight)
    assert augmented.weight[2] == learnt.threshold
    path = draw_perceptrons({"learnt": learnt, "fixed": fixed}, x, labels, tmp_path / "lines.png")
    assert path.stat().st_size > 5000


def test_tokens_that_do_not_mix_see_only_themselves():
    linear = nn.Linear(4, 4)
    network = nn.Sequential(
        nn.Conv2d(4, 4, 3, padding=1),
        Call(lambda x: linear(x.flatten(2).transpose(1, 2)).transpose(1, 2).unflatten(2, x.shape[2:])),
    )
    known = ReceptiveField(network, (4, 8, 6))
    field = known.at(position=(3, 2))
    assert [(axis.first, axis.last, axis.whole) for axis in field.axes] == [(2, 4, False), (1, 3, False)]
    assert set(known.sizes()[0]) == {3}


def test_strides_of_upsampled_maps_are_fractions():
    network = nn.Sequential(nn.ConvTranspose1d(1, 1, 4, 2, 1), nn.Upsample(scale_factor=3))
    assert ReceptiveField(network, (1, 8)).at().stride == (Fraction(1, 6),)


class Watched(nn.Module):
    """Says, whenever it runs, whether another module's weight has numbers."""

    def __init__(self, said):
        super().__init__()
        self.said = said

    def forward(self, x):
        self.said(x)
        return x


def test_what_is_recorded_apart_leaves_its_module_to_other_threads():
    """A page of the studio asks for fields while another one decodes by the same network."""
    found = []
    shared = nn.Sequential(nn.Conv2d(1, 1, 3), Watched(lambda x: found.append(type(shared[0].weight))))
    record(shared, (1, 1, 8, 8))
    assert found.pop() is not nn.Parameter, "its weights are exchanged meanwhile"
    tape = record(apart(shared), (1, 1, 8, 8))
    assert found.pop() is nn.Parameter and tape.outputs[0].shape == (1, 1, 6, 6)
    field = ReceptiveField(apart(shared), (1, 8, 8)).at(None, (0, 0))
    assert field.axes[0].last == 2


@pytest.mark.parametrize("mode", ["nearest", "bilinear", "bicubic"])
@pytest.mark.parametrize("scale", [0.3, 0.7, 1.3, 2.6])
def test_resizing_by_a_factor_that_is_no_ratio_of_the_sizes(mode, scale):
    """PyTorch goes by the factor, not by the sizes that it rounds to."""
    module = nn.Upsample(scale_factor=scale, mode=mode)
    x = torch.randn(1, 1, 13, 17, requires_grad=True)
    y, fields = module(x), ReceptiveField(module, (1, 13, 17))
    for place in {(0, 0), (y.shape[2] // 2, y.shape[3] // 3), (y.shape[2] - 1, y.shape[3] - 1)}:
        (slope,) = torch.autograd.grad(y[0, 0][place], x, retain_graph=True)
        for axis, seen in zip(fields.at(position=place).axes, slope[0, 0].nonzero().T, strict=True):
            assert set(seen.tolist()) <= set(axis.seen)
            assert len(axis.seen) <= seen.max() - seen.min() + 2, "a weight may be 0"


def test_what_may_not_be_folded_stays():
    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)

        def forward(self, x):
            y = self.conv(x)
            return self.norm(y), y

    for module, shape in (
        (nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8)), (8, 8)),
        (Both(), (3, 4, 4)),
    ):
        module.eval()
        x = torch.randn(2, *shape)
        for a, b in zip(module(x), folded(module, shape)(x), strict=True):
            torch.testing.assert_close(a, b)
