"""A Transformer layer that sees all tokens at once, for encoders and decoders."""

from __future__ import annotations

import torch.nn.functional as F
from torch import nn

from caselli.errors import UserError
from caselli.shapes import Float, Tensor


class TransformerBlock(nn.Module):
    r"""Softmax attention of every token to all others, then an MLP; the input is carried around both.

    .. math:: x \leftarrow x + W_o\,\mathrm{softmax}(QK^\top/\sqrt d)\,V, \qquad
        x \leftarrow x + W_2\,\mathrm{GELU}(W_1 N x), \qquad Q, K, V = W N x

    with N a layer normalisation. W_o and W_2 start at a small scale, so that a deep stack begins near the
    identity.

    Arguments:
        width: E, a multiple of `heads`.
        heads: attention heads.
        expansion: the MLP's inner width, in units of `width`.

    Sources: Vaswani et al. 2017, Attention Is All You Need; Dosovitskiy et al. 2020, An Image is Worth 16x16
    Words.

    Example:
        >>> import torch
        >>> TransformerBlock(8, heads=2)(torch.zeros(1, 5, 8)).shape
        torch.Size([1, 5, 8])
    """

    def __init__(self, width: int, heads: int, expansion: float = 4.0) -> None:
        super().__init__()
        if heads < 1 or width % heads:
            raise UserError(
                f"width {width}, heads {heads} were given", "a width that is a multiple was expected"
            )
        inner = round(expansion * width)
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query_key_value, self.output = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, inner), nn.Linear(inner, width)
        for last in (self.output, self.down):
            nn.init.normal_(last.weight, std=0.1 * last.in_features**-0.5)
            nn.init.zeros_(last.bias)

    def forward(self, x: Float[Tensor, "B T E"]) -> Float[Tensor, "B T E"]:
        qkv = self.query_key_value(self.norm1(x)).unflatten(2, (3, self.heads, -1))
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        y = F.scaled_dot_product_attention(q, k, v)
        x = x + self.output(y.transpose(1, 2).flatten(2))
        return x + self.down(F.gelu(self.up(self.norm2(x))))
