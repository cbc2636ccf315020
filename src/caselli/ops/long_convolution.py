"""The causal convolution with a kernel as long as the sequence, by way of the Fourier transform."""

from __future__ import annotations

import torch

from caselli.ops.chunks import exact, no_autocast
from caselli.shapes import Float, Tensor


def long_convolution_definition(
    x: Float[Tensor, "B T D"], kernel: Float[Tensor, "D L"]
) -> Float[Tensor, "B T D"]:
    """y_t = Σ_{l ≤ t} k_l x_{t−l}, token by token."""
    outputs = []
    for t in range(x.shape[1]):
        reach = min(t + 1, kernel.shape[1])
        outputs.append((kernel[:, :reach].T.flip(0) * x[:, t + 1 - reach : t + 1]).sum(1))
    return torch.stack(outputs, 1)


def long_convolution(x: Float[Tensor, "B T D"], kernel: Float[Tensor, "D L"]) -> Float[Tensor, "B T D"]:
    r"""A causal convolution of each channel with a kernel of its own.

    .. math:: y_t = \sum_{l=0}^{t} k_l \odot x_{t-l}

    in T log T time. The transform is twice as long as the sequence, so that its end does not wrap around.

    Arguments:
        x: inputs.
        kernel: L weights a channel, the first one for the current token; those beyond T are unused.

    Returns:
        y in x's dtype; computed in float32 at least.

    Example:
        >>> x = torch.tensor([1.0, 0.0, 2.0]).view(1, 3, 1)
        >>> long_convolution(x, torch.tensor([[1.0, 0.5]])).flatten().round(decimals=4)
        tensor([1.0000, 0.5000, 2.0000])
    """
    length = x.shape[1]
    kernel = exact(kernel)[:, :length]
    size = length + kernel.shape[1]
    with no_autocast(x):
        spectrum = torch.fft.rfft(exact(x), size, dim=1) * torch.fft.rfft(kernel, size).T
        return torch.fft.irfft(spectrum, size, dim=1)[:, :length].to(x.dtype)
