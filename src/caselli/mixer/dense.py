"""The linear layer of the mixers."""

from __future__ import annotations

from torch import nn

from caselli.ops.matrix_product import linear


class Dense(nn.Linear):
    """`torch.nn.Linear` with its parameters, through `caselli.ops.matrix_product.linear`.

    Example:
        >>> import torch
        >>> Dense(3, 4)(torch.zeros(2, 3)).shape
        torch.Size([2, 4])
    """

    def forward(self, input):
        return linear(input, self.weight, self.bias)
