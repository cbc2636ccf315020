"""Operations that multiply: each counted from its shapes, or refused by name."""

from __future__ import annotations

import random

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations
from torch.utils.flop_counter import FlopCounterMode

from caselli.anatomy import cost
from caselli.errors import UserError
from caselli.mixer import MIXERS


class Of(nn.Module):
    """A function as a module."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *inputs):
        return self.function(*inputs)


def bag(numbers, **weights):
    """The sum of the first of eight embeddings, as often as there are numbers."""
    return F.embedding_bag((0 * numbers).long(), torch.ones(8, 8), mode="sum", **weights)


def grid(pictures, mode):
    """Pictures of 4 × 4, sampled at as many places."""
    return F.grid_sample(pictures, torch.zeros(len(pictures), 4, 4, 2), mode=mode, align_corners=False)


COUNTED = {
    "lstm": (nn.LSTM(4, 8, batch_first=True), [(5, 4)], 5 * 32 * (4 + 8)),
    "lstm both ways": (nn.LSTM(4, 8, 2, bidirectional=True, batch_first=True), [(5, 4)],
                       5 * 2 * (32 * (4 + 8) + 32 * (16 + 8))),
    "bilinear": (nn.Bilinear(3, 4, 5), [(3,), (4,)], 3 * 4 * 5),
    "addbmm": (Of(lambda a, b: torch.addbmm(torch.zeros(5, 7), a, b)), [(5, 3), (3, 7)], 5 * 3 * 7),
    "cdist": (Of(torch.cdist), [(5, 3), (7, 3)], 5 * 7 * 3),
    "triangular": (Of(lambda a, b: torch.linalg.solve_triangular(a, b, upper=True)), [(4, 4), (4, 3)], 24),
    "fft": (Of(torch.fft.fft), [(8,)], 60),
    "conv_tbc": (Of(lambda x: torch.conv_tbc(x.movedim(0, 1), torch.ones(3, 4, 6), torch.zeros(6))), [(9, 4)],
                 7 * 6 * 4 * 3),
    "vdot": (Of(lambda a: torch.vdot(a[0], a[0])), [(9,)], 9),
    "bag of embeddings": (Of(lambda a: bag(a)), [(5,)], 0),
    "weighted bag": (Of(lambda a: bag(a, per_sample_weights=a)), [(5,)], 5 * 8),
    "weight norm": (parametrizations.weight_norm(nn.Linear(12, 5)), [(12,)], 60),
    "grid, nearest": (Of(lambda a: grid(a, "nearest")), [(3, 4, 4)], 0),
    "grid, bilinear": (Of(lambda a: grid(a, "bilinear")), [(3, 4, 4)], 4 * 3 * 16),
    "grid, bicubic": (Of(lambda a: grid(a, "bicubic")), [(3, 4, 4)], 16 * 3 * 16),
}  # fmt: skip


@pytest.mark.parametrize("kind", COUNTED)
def test_what_multiplies_is_counted(kind):
    module, shapes, macs = COUNTED[kind]
    assert cost(module, *shapes).macs == macs


@pytest.mark.parametrize("function", [torch.linalg.svdvals, torch.linalg.inv, torch.pdist])
def test_what_nobody_counts_is_refused_by_name(function):
    shape = (4,) if function is torch.pdist else (4, 4)
    with pytest.raises(UserError, match="may multiply and sum, and nobody has said how often"):
        cost(Of(function), shape)


class First(nn.Module):
    """The first of what a mixer gives."""

    def __init__(self, mixer):
        super().__init__()
        self.mixer = mixer

    def forward(self, x):
        return self.mixer(x)[0]


@pytest.mark.parametrize("name", MIXERS)
def test_every_mixer_is_counted(name):
    options = {"length": 8} if MIXERS[name].bounded else {}
    assert cost(First(MIXERS[name](16, **options)), (8, 16)).macs > 0


def test_a_mask_for_each_window_is_no_more_work():
    """Shifted windows: 32 sequences of three axes, each with a mask of its own."""
    mask = torch.zeros(32, 16, 16)

    def attend(x, **masked):
        return torch.nn.functional.scaled_dot_product_attention(x, x, x, **masked)

    plain = cost(Of(attend), (16, 8), batch=32).macs
    assert plain == 32 * 16 * 16 * 8 * 2
    for given in (mask, mask[0], mask[:, :1]):
        assert cost(Of(lambda x, given=given: attend(x, attn_mask=given)), (16, 8), batch=32).macs == plain
    positional = Of(lambda x: torch.nn.functional.scaled_dot_product_attention(x, x, x, mask))
    assert cost(positional, (16, 8), batch=32).macs == plain


def test_backward_of_what_is_counted():
    module = nn.LSTM(4, 8, batch_first=True)
    assert cost(module, (5, 4)).backward_macs == 5 * 32 * (4 + 2 * 8)  # no gradient for the input
    assert cost(nn.Bilinear(3, 4, 5), (3,), (4,)).backward_macs == 3 * 4 * 5  # of the weight alone


MULTIPLYING = """
mm bmm addmm addbmm baddbmm mv addmv dot vdot linear convolution conv_tbc _trilinear _cdist_forward
_pdist_forward _euclidean_dist embedding_bag _embedding_bag lstm gru rnn_tanh quantized_lstm_cell
mkldnn_rnn_layer _thnn_fused_lstm_cell linalg_inv_ex linalg_qr geqrf linalg_lstsq linalg_pinv
linalg_ldl_factor_ex _linalg_svd _linalg_eigh _linalg_slogdet _linalg_det _linalg_solve_ex
linalg_solve_triangular triangular_solve cholesky_inverse linalg_cholesky_ex linalg_lu_factor_ex
linalg_matrix_exp linalg_householder_product ormqr lu_unpack _fft_c2c _fft_r2c
_scaled_dot_product_flash_attention _flash_attention_forward _native_multi_head_attention
_transformer_encoder_layer_fwd affine_grid_generator grid_sampler_2d upsample_bilinear2d
_upsample_bicubic2d_aa einsum matmul tensordot kron _int_mm _scaled_mm _weight_int8pack_mm _sparse_mm
sspaddmm hspmm _convolution deformable quantized_gru
"""


def test_nothing_that_multiplies_is_taken_for_free():
    """By the names of the dispatcher, of any release."""
    from caselli.anatomy.products import multiplies_nothing

    found = [getattr(torch.ops.aten, name, None) for name in MULTIPLYING.split()]
    found = [packet for packet in found if packet is not None]
    assert len(found) > 40
    for packet in found:
        overload = getattr(packet, packet.overloads()[0])
        assert not multiplies_nothing(overload) or overload.is_view, packet


def test_an_operation_of_another_library_is_refused_by_name():
    @torch.library.custom_op("tests_of_costs::twice", mutates_args=())
    def twice(x: torch.Tensor) -> torch.Tensor:
        return 2 * x

    twice.register_fake(torch.empty_like)
    with pytest.raises(UserError, match="twice"):
        cost(Of(twice), (3,))


# 100 random networks against counts by definition -----------------------------------------------------------


def convolution_by_definition(x, weight, out, transposed):
    """A product for every place, channel and tap, counted one by one."""
    count, places = 0, out if not transposed else x
    for _ in range(places[0] * places[2] * places[3]):
        for _ in range(weight[0]):
            for _ in range(weight[1]):
                count += weight[2] * weight[3]
    return count


def product_by_definition(a, b):
    count = 0
    for _ in range(a[0]):
        for _ in range(b[1]):
            for _ in range(a[1]):
                count += 1
    return count


class SlowCount(torch.utils._python_dispatch.TorchDispatchMode):
    """Counts products by running loops, as the operations are run on numbers."""

    def __init__(self):
        super().__init__()
        self.products = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        name = function._schema.name.removeprefix("aten::")
        if name == "convolution":
            shapes = [tuple(tensor.shape) for tensor in (args[0], args[1], out)]
            self.products += convolution_by_definition(*shapes, args[6])
        elif name in ("mm", "addmm"):
            self.products += product_by_definition(*(tuple(a.shape) for a in args[-2:]))
        elif name in ("bmm", "baddbmm"):
            one = tuple(args[-2].shape[1:]), tuple(args[-1].shape[1:])
            self.products += args[-2].shape[0] * product_by_definition(*one)
        elif name.startswith("_scaled_dot_product"):
            (b, h, t, width), s, wide = args[0].shape, args[1].shape[2], args[2].shape[3]
            self.products += (
                b
                * h
                * (product_by_definition((t, width), (width, s)) + product_by_definition((t, s), (s, wide)))
            )
        elif name == "mkldnn_rnn_layer":
            steps, width = args[0].shape[0] * args[0].shape[1], args[0].shape[2]
            self.products += steps * (args[1].shape[0] * width + args[2].numel())
        return out


class Attending(nn.Module):
    """Attention over the places of a map."""

    def __init__(self, channels, heads):
        super().__init__()
        self.heads, self.into = heads, nn.Conv2d(channels, 3 * channels, 1)

    def forward(self, x):
        q, k, v = self.into(x).flatten(2).unflatten(1, (3, self.heads, -1)).transpose(-1, -2).unbind(1)
        return (
            nn.functional.scaled_dot_product_attention(q, k, v)
            .transpose(-1, -2)
            .flatten(1, 2)
            .reshape(x.shape)
        )


class Rows(nn.Module):
    """A recurrent layer along the rows of a map."""

    def __init__(self, channels):
        super().__init__()
        self.layer = nn.LSTM(channels, channels, batch_first=True)

    def forward(self, x):
        rows = x.permute(0, 2, 3, 1).flatten(0, 1)
        return self.layer(rows)[0].unflatten(0, (x.shape[0], x.shape[2])).permute(0, 3, 1, 2)


def random_network(seed):
    """Layers of random kinds one behind another, and the shape of a picture."""
    some = random.Random(seed)
    channels, layers = 4 * some.randint(1, 2), []
    size = some.randint(5, 8)
    first = channels
    for _ in range(some.randint(1, 5)):
        wide, groups = 4 * some.randint(1, 2), some.choice((1, 2, 4))
        kind = some.randrange(8)
        taps, stride = some.choice((1, 3)), some.choice((1, 1, 2))
        layers += [
            [nn.Conv2d(channels, wide, taps, stride, 1, groups=groups)],
            [nn.ConvTranspose2d(channels, wide, taps, stride, groups=groups)],
            [nn.Conv2d(channels, wide, 3, padding=2, dilation=2), nn.BatchNorm2d(wide), nn.ReLU()],
            [nn.GroupNorm(2, channels), Attending(channels, groups)],
            [Rows(channels), nn.GELU()],
            [nn.Conv2d(channels, channels, 3, padding=1, groups=channels), nn.SiLU()],
            [Of(lambda x: x @ x.transpose(-1, -2)), nn.Sigmoid()],
            [Of(lambda x: torch.einsum("bchw,bdhw->bcd", x, x)[..., None] * x.mean((1, 2, 3), keepdim=True))],
        ][kind]  # fmt: skip
        channels = wide if kind < 3 else channels
    layers += [nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.LazyLinear(3)]
    network = nn.Sequential(*layers).eval()
    with torch.no_grad():
        network(torch.zeros(1, first, size, size))
    return network, (first, size, size)


@pytest.mark.parametrize("first", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in range(20, 100, 20))])
def test_random_networks_against_the_definition_and_torch(first):
    for seed in range(first, first + 20):
        network, shape = random_network(seed)
        slow = SlowCount()
        with torch.no_grad(), slow:
            network(torch.zeros(1, *shape))
        assert cost(network, shape).macs == slow.products, seed
        if not any(isinstance(layer, Rows) for layer in network):  # torch counts no recurrent layers
            with torch.no_grad(), FlopCounterMode(display=False) as torchs:
                network(torch.zeros(1, *shape))
            assert 2 * slow.products == torchs.get_total_flops(), seed
