"""Operations that multiply: each counted from its shapes, or refused by name."""

from __future__ import annotations

import pytest
import torch
from torch import nn

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
}  # fmt: skip


@pytest.mark.parametrize("kind", COUNTED)
def test_what_multiplies_is_counted(kind):
    module, shapes, macs = COUNTED[kind]
    assert cost(module, *shapes).macs == macs


@pytest.mark.parametrize("function", [torch.linalg.svdvals, torch.linalg.inv, torch.pdist])
def test_what_nobody_counts_is_refused_by_name(function):
    shape = (4,) if function is torch.pdist else (4, 4)
    with pytest.raises(UserError, match="multiplies, and nobody has said how often"):
        cost(Of(function), shape)


SOLVING = (
    "path",
    "delta_net",
    "gated_delta_net",
    "kda",
    "gated_delta_net2",
    "comba",
    "gated_delta_product",
    "rwkv7",
)


@pytest.mark.parametrize("name", SOLVING)
def test_mixers_that_solve_triangles_are_counted(name):
    mixer = MIXERS[name](32)
    assert cost(Of(lambda x: mixer(x)[0]), (16, 32)).macs > 0
