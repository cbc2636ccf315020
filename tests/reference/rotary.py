"""Forms of rotary positions that published code has and the product does not."""

from __future__ import annotations

import torch

from caselli.ops import rotary_angles
from caselli.shapes import Float, Num, Tensor


def grid_rotary_angles(
    positions: Num[Tensor, "*T 2"], width: int, base: float = 10_000.0
) -> Float[Tensor, "*T half"]:
    """Angles of places in a grid: the first half of the pairs turn with the row, the others with the column.

    Arguments:
        positions: row and column of each token, as an order's `position(grid)` gives them.
        width: d, a multiple of 4.

    Source: Sun et al. 2024, Autoregressive Model Beats Diffusion: Llama for Scalable Image Generation.

    Example:
        >>> grid_rotary_angles(torch.tensor([[3, 5]]), 4)
        tensor([[3., 5.]])
    """
    return torch.cat(
        [rotary_angles(positions[..., axis], width // 2, base) for axis in (0, 1)],
        -1,
    )


def rotary_interleaved(
    x: Float[Tensor, "*A T d"], angles: Float[Tensor, "*R half"]
) -> Float[Tensor, "*A T d"]:
    """`rotary` with neighbours paired, (x₂ᵢ, x₂ᵢ₊₁), as some published weights have them.

    Example:
        >>> x = torch.tensor([[1.0, 0.0, 1.0, 0.0]])
        >>> rotary_interleaved(x, torch.tensor([[0.0, torch.pi]])).round()
        tensor([[ 1.,  0., -1., -0.]])
    """
    a, b = x[..., ::2], x[..., 1::2]
    cos, sin = angles.cos().to(a.dtype), angles.sin().to(a.dtype)
    return torch.stack((a * cos - b * sin, b * cos + a * sin), -1).flatten(-2)


def xpos_scales(
    positions: Num[Tensor, "*T"], width: int, scale_base: float = 512.0
) -> Float[Tensor, "*T half"]:
    r"""xPos's magnitude of each position and pair: queries are multiplied by it, keys divided.

    .. math:: \zeta_i^{\,t / \text{scale\_base}}, \qquad \zeta_i = \frac{2i/d + 0.4}{1.4}

    Products then decay with distance. Only differences of positions matter; centre them to keep powers small.

    Source: Sun et al. 2022, A Length-Extrapolatable Transformer.

    Example:
        >>> xpos_scales(torch.tensor([0, 512]), 4)
        tensor([[1.0000, 1.0000],
                [0.2857, 0.6429]])
    """
    dtype = torch.float64 if positions.dtype == torch.float64 else torch.float32
    zeta = (torch.arange(0, width, 2, dtype=dtype, device=positions.device) / width + 0.4) / 1.4
    return zeta ** (positions.to(dtype)[..., None] / scale_base)
