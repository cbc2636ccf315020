"""Costs: where others count wrongly, against torch where torch is right, and memory as torch keeps it."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from caselli.anatomy import MachineRates, cost, forward_seconds, measured_machine, record
from caselli.anatomy.cost import cost_of_tape
from caselli.errors import UserError
from caselli.zoo import NETWORKS, Convention


class Call(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *x):
        return self.function(*x)


@pytest.mark.parametrize(
    ("module", "shape", "expected"),
    [
        # a transposed convolution multiplies once per input position
        (nn.ConvTranspose2d(3, 1, 2, 2), (3, 2, 2), 48),
        (nn.ConvTranspose2d(8, 8, 4, 2, 1, groups=8), (8, 5, 7), 35 * 8 * 16),
        (nn.ConvTranspose1d(4, 6, 3, 2, groups=2), (4, 9), 9 * 4 * 3 * 3),
        # grouped, depthwise, one axis
        (nn.Conv2d(8, 16, 3, groups=4, padding=1), (8, 5, 5), 25 * 16 * 2 * 9),
        (nn.Conv2d(8, 8, 3, groups=8, padding=1), (8, 5, 5), 25 * 8 * 9),
        (nn.Conv1d(4, 8, 3, stride=2), (4, 11), 5 * 8 * 4 * 3),
        # SDPA: two products
        (Call(lambda q: F.scaled_dot_product_attention(q, q, q)), (12, 64, 64), 12_582_912 // 2),
        (nn.Linear(5, 7), (3, 5), 3 * 5 * 7),
        # resizing to a size keeps batch and channels in the count
        (Call(lambda x: F.interpolate(x, size=(8, 8), mode="bilinear")), (3, 4, 4), 4 * 3 * 64),
        (nn.ReLU(), (3, 4, 4), 0),
    ],
)
def test_multiply_accumulates(module, shape, expected):
    assert cost(module, shape).macs == expected
    assert cost(module, shape, batch=3).macs == 3 * expected


@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("alexnet", 1.38),
        ("vgg16", 30.71),
        ("mobilenet", 1.14),
        ("resnet50", 6.96),
        ("resnet101", 14.39),
        ("resnet152", 21.81),
        ("resnet200", 28.80),
        ("inception_v2", 3.88),
        ("inception_v3", 5.69),
        ("inception_v4", 12.27),
        ("inception_resnet_v2", 12.96),
    ],
)
def test_published_operations(name, published):
    with torch.device("meta"):
        network = NETWORKS[name](Convention.ORIGINAL)
    layers = cost(network, (3, 224, 224)).layers
    flops = 2e-9 * sum(layer.macs for layer in layers if not layer.path.startswith("head"))
    assert abs(flops - published) < 0.006 * published


def test_vgg_convolutions():
    with torch.device("meta"):
        layers = cost(NETWORKS["vgg16"](), (3, 224, 224)).layers
    assert sum(layer.macs for layer in layers if layer.kind == "Conv2d") == 15_346_630_656


def counted_by_torch(network, shape):
    x = torch.randn(2, *shape)
    with FlopCounterMode(display=False) as forward:
        y = network(x)
    with FlopCounterMode(display=False) as backward:
        y.sum().backward()
    return forward.get_total_flops() // 2, backward.get_total_flops() // 2


def test_forward_and_backward_agree_with_torch_where_torch_is_right():
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3),
        nn.Flatten(),
        nn.Linear(8 * 36, 5),
        nn.Linear(5, 2),
    )
    ours = cost(network, (3, 16, 16), batch=2)
    assert (ours.macs, ours.backward_macs) == counted_by_torch(network, (3, 16, 16))


def test_frozen_layers_cost_nothing_backward():
    network = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4))
    assert cost(network, (4,)).backward_macs == 16 + 32 + 32
    network[0].requires_grad_(False)
    assert cost(network, (4,)).backward_macs == 0 + 16 + 32
    network[2].requires_grad_(False)
    assert cost(network, (4,)).backward_macs == 0 + 16 + 16


def test_activations_kept_are_those_that_torch_saves():
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.GELU(), nn.Conv2d(8, 4, 3), nn.Softmax(1))
    x, kept = torch.randn(2, 3, 12, 12), {}

    def keep(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    own = {t.untyped_storage().data_ptr() for t in [x, *network.parameters()]}
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        y = network(x)  # held: its storage is among the kept
    expected = sum(size for key, size in kept.items() if key not in own)
    assert y.shape == (2, 4, 8, 8)
    assert cost(network, (3, 12, 12), batch=2).saved_bytes == expected


def test_bytes_and_the_peak_of_memory():
    network = nn.Sequential(nn.Linear(10, 20), nn.ReLU(), nn.Flatten(0), nn.ReLU(inplace=True))
    counted = cost_of_tape(record(network, (1, 10)))
    linear = 4 * (10 + 200 + 20 + 20)
    assert counted.bytes == linear + 4 * (20 + 20) + 4 * (20 + 20)
    assert counted.peak_bytes == 4 * 40  # ReLU's input and output; the view and the in-place one take none
    assert counted.parameter_bytes == 4 * 220


def test_tied_parameters_count_once():
    network = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False))
    network[1].weight = network[0].weight
    assert cost(network, (4,)).parameters == 16


def test_the_floor_is_the_slower_of_arithmetic_and_memory():
    counted = cost(nn.Linear(100, 100, bias=False), (100,))
    arithmetic, memory = MachineRates(1e6, 1e12), MachineRates(1e12, 1e6)
    assert math.isclose(counted.floor(arithmetic), 10_000 / 1e6)
    assert math.isclose(counted.floor(memory), 4 * 10_200 / 1e6)
    assert math.isclose(counted.share(0.02, arithmetic), 0.5)
    assert counted.floor(arithmetic, training=True) == 2 * counted.floor(
        arithmetic
    )  # pictures need no gradient
    with pytest.raises(UserError, match="positive time"):
        counted.share(0, arithmetic)


def test_the_machine_is_measured():
    single = measured_machine()
    assert single.macs_per_second > 0 and single.bytes_per_second > 0 and "float32" in single.name
    assert "bfloat16" in measured_machine(dtype=torch.bfloat16).name
    module = nn.Dropout()
    assert forward_seconds(module, torch.ones(1)) > 0 and module.training
