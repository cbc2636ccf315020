"""Complex numbers as real ones: real parts, then imaginary parts, on the last axis."""

from __future__ import annotations

import torch

from caselli.shapes import Complex, Float, Tensor


def as_real(x: Complex[Tensor, "*A n"]) -> Float[Tensor, "*A S"]:
    """Real parts, then imaginary parts.

    Example:
        >>> as_real(torch.tensor([1 + 2j]))
        tensor([1., 2.])
    """
    return torch.cat((x.real, x.imag), -1)


def as_complex(x: Float[Tensor, "*A S"]) -> Complex[Tensor, "*A n"]:
    """The inverse of `as_real`."""
    return torch.complex(*(part.contiguous() for part in x.chunk(2, -1)))


def pair_product(a: Float[Tensor, "*A S"], b: Float[Tensor, "*B S"]) -> Float[Tensor, "*C S"]:
    """The product of complex numbers that are real parts, then imaginary parts.

    Example:
        >>> pair_product(torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0]))
        tensor([-5., 10.])
    """
    (real, imaginary), (other, another) = a.chunk(2, -1), b.chunk(2, -1)
    return torch.cat((real * other - imaginary * another, real * another + imaginary * other), -1)
