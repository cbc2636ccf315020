"""Redundant biases do nothing, the others do; folding changes no output."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from caselli.anatomy import Effect, biases, fold_batch_norm, folded, without_redundant_biases
from caselli.errors import UserError


def effects(module, shape):
    return {bias.name: bias.effect for bias in biases(module, shape)}


def wake(module):
    """Biases, scales and statistics that are not what they start as."""
    for name, parameter in module.named_parameters():
        if name.endswith("bias") or parameter.dim() == 1:
            nn.init.uniform_(parameter, 0.5, 2)
    for layer in module.modules():
        if getattr(layer, "running_mean", None) is not None:
            nn.init.normal_(layer.running_mean)
            nn.init.uniform_(layer.running_var, 0.5, 2)
    return module


class KeyBias(nn.Module):
    def __init__(self):
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(4, 4) for _ in range(3))

    def forward(self, x):
        tokens = x.transpose(1, 2)[:, None]
        return F.scaled_dot_product_attention(self.query(tokens), self.key(tokens), self.value(tokens))


class TwoUses(nn.Module):
    """The convolution's output goes to a norm and round it."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4)

    def forward(self, x):
        y = self.conv(x)
        return y + self.norm(y)


def conv(width=4, out=4, **options):
    return nn.Conv2d(width, out, 3, **options)


R, P, N = Effect.REDUNDANT, Effect.PARTLY, Effect.NEEDED
CASES = {
    "batch norm": (nn.Sequential(conv(3), nn.BatchNorm2d(4)), {"0.bias": R, "1.bias": N}),
    "batch norm after a ReLU": (
        nn.Sequential(conv(3), nn.ReLU(), nn.BatchNorm2d(4)),
        {"0.bias": N, "2.bias": N},
    ),
    "instance norm": (nn.Sequential(conv(3), nn.InstanceNorm2d(4)), {"0.bias": R}),
    "group norm, one channel a group": (
        nn.Sequential(conv(3), nn.GroupNorm(4, 4)),
        {"0.bias": R, "1.bias": N},
    ),
    "group norm, two channels a group": (
        nn.Sequential(conv(3), nn.GroupNorm(2, 4)),
        {"0.bias": P, "1.bias": N},
    ),
    "layer norm over channels and space": (
        nn.Sequential(conv(3), nn.LayerNorm([4, 6, 6])),
        {"0.bias": P, "1.bias": N},
    ),
    "two unpadded convolutions": (
        nn.Sequential(conv(3), conv(), nn.BatchNorm2d(4)),
        {"0.bias": R, "1.bias": R, "2.bias": N},
    ),
    "a padded second convolution": (
        nn.Sequential(conv(3), conv(padding=1), nn.BatchNorm2d(4)),
        {"0.bias": N, "1.bias": R, "2.bias": N},
    ),
    "a replicated border": (
        nn.Sequential(conv(3), nn.ReplicationPad2d(1), conv(), nn.BatchNorm2d(4)),
        {"0.bias": R, "2.bias": R, "3.bias": N},
    ),
    "a transposed convolution between": (
        nn.Sequential(conv(3), nn.ConvTranspose2d(4, 4, 3, 2), nn.BatchNorm2d(4)),
        {"0.bias": N, "1.bias": R, "2.bias": N},
    ),
    "pools and resizing between": (
        nn.Sequential(
            conv(3),
            nn.MaxPool2d(2),
            nn.Upsample(scale_factor=2, mode="bilinear"),
            nn.AvgPool2d(2),
            nn.BatchNorm2d(4),
        ),
        {"0.bias": R, "4.bias": N},
    ),
    "a padded mean between": (
        nn.Sequential(conv(3), nn.AvgPool2d(3, 1, 1), nn.BatchNorm2d(4)),
        {"0.bias": N, "2.bias": N},
    ),
    "a norm before a norm": (
        nn.Sequential(nn.BatchNorm2d(3), conv(3), nn.BatchNorm2d(4)),
        {"0.bias": R, "1.bias": R, "2.bias": N},
    ),
    "used twice": (TwoUses(), {"conv.bias": N, "norm.bias": N}),
    "the output": (conv(3), {"bias": N}),
}


@pytest.mark.parametrize("name", CASES)
def test_which_biases_are_redundant(name):
    module, expected = CASES[name]
    assert effects(module, (3, 8, 8)) == expected


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("training", [False, True])
def test_redundant_biases_do_nothing_and_the_others_do(name, training):
    module = wake(copy.deepcopy(CASES[name][0])).double()
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    lean = without_redundant_biases(module, (3, 8, 8))
    for network in (module, lean):
        network.train(training)
    torch.testing.assert_close(copy.deepcopy(lean)(x), copy.deepcopy(module)(x), rtol=1e-6, atol=1e-6)
    if not training:
        return
    for bias, effect in effects(module, (3, 8, 8)).items():
        without = copy.deepcopy(module)
        nn.init.zeros_(without.get_parameter(bias))
        change = (without(x) - copy.deepcopy(module)(x)).abs().max()
        assert change < 1e-6 if effect is R else change > 1e-3, bias


def test_layer_norm_removes_what_all_channels_share():
    module = wake(nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4))).double()
    assert effects(module, (5, 4)) == {"0.bias": P, "1.bias": N}
    x = torch.randn(2, 5, 4, dtype=torch.float64)
    before = module(x)
    with torch.no_grad():
        module[0].bias -= module[0].bias.mean()
    torch.testing.assert_close(module(x), before)
    with torch.no_grad():
        module[0].bias.zero_()
    assert (module(x) - before).abs().max() > 1e-3


def test_the_bias_of_keys_is_redundant():
    module = wake(KeyBias()).double()
    assert effects(module, (4, 6)) == {"query.bias": N, "key.bias": R, "value.bias": N}
    x = torch.randn(2, 4, 6, dtype=torch.float64)
    torch.testing.assert_close(without_redundant_biases(module, (4, 6))(x), module(x), rtol=1e-9, atol=1e-9)


def test_a_bias_that_nothing_uses():
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
    module.spare = nn.Linear(2, 2)
    module.forward = lambda x: module[0](x)
    assert effects(module, (3, 8, 8)) == {"0.bias": N, "spare.bias": Effect.UNUSED}


@pytest.mark.parametrize(
    ("layer", "norm", "shape"),
    [
        (nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), (3, 8, 8)),
        (nn.Conv2d(4, 6, 3, groups=2), nn.BatchNorm2d(6), (4, 8, 8)),
        (nn.Conv1d(3, 4, 3), nn.BatchNorm1d(4, affine=False), (3, 8)),
        (nn.ConvTranspose2d(4, 6, 3, 2, groups=2), nn.BatchNorm2d(6), (4, 5, 5)),
        (nn.Linear(5, 4), nn.BatchNorm1d(4), (5,)),
    ],
)
def test_folding(layer, norm, shape):
    network = wake(nn.Sequential(layer, norm)).double().eval()
    x = torch.randn(3, *shape, dtype=torch.float64)
    torch.testing.assert_close(fold_batch_norm(layer, norm)(x), network(x))
    whole = folded(network, shape)
    torch.testing.assert_close(whole(x), network(x))
    assert isinstance(whole[1], nn.Identity)


def test_norms_that_cannot_be_folded_stay():
    class Shared(TwoUses):
        pass

    network = wake(Shared()).double().eval()
    assert isinstance(folded(network, (3, 8, 8)).norm, nn.BatchNorm2d)
    with pytest.raises(UserError, match="running statistics"):
        fold_batch_norm(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4, track_running_stats=False))
