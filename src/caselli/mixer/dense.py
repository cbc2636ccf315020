"""The linear layer of the mixers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from caselli.ops import linear, linear_parts
from caselli.shapes import Float, Tensor

FEW = 64
"""Tokens up to which one product for several layers is cheaper than each alone."""


class Dense(nn.Linear):
    """`torch.nn.Linear` with its parameters, through `caselli.ops.matrix_product.linear`.

    Example:
        >>> import torch
        >>> Dense(3, 4)(torch.zeros(2, 3)).shape
        torch.Size([2, 4])
    """

    def forward(self, input):
        return linear(input, self.weight, self.bias)

    def parts(self, x: Float[Tensor, "*A I"], sizes: Sequence[int]) -> list[Tensor]:
        """The output in parts: of many tokens by `linear_parts`, of a few, where one product is less, split.

        Example:
            >>> import torch
            >>> dense, x = Dense(3, 4), torch.randn(100, 3)
            >>> first, second = dense.parts(x, (1, 3))
            >>> torch.allclose(torch.cat((first, second), 1), dense(x), atol=1e-6)
            True
        """
        if torch.compiler.is_exporting() or x.numel() < FEW * x.shape[-1]:
            return list(self(x).split(sizes, -1))
        return linear_parts(x, self.weight, self.bias, sizes)
