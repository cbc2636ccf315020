"""Kernels for NVIDIA's and AMD's GPUs in Triton: the loops that PyTorch would launch step by step.

Each stands behind an op and is chosen by `suits`; the op's PyTorch form is its twin. Triton comes with
PyTorch for CUDA. With `TRITON_INTERPRET=1` the kernels run on a processor, slowly, to be tested.
"""

from __future__ import annotations

import functools
import importlib.util

import torch

from caselli.shapes import Tensor

WIDEST = 64
"""Rows of a matrix that a kernel holds: what every device has shared memory for."""


@functools.cache
def there_is_triton() -> bool:
    """True if Triton is installed.

    Example:
        >>> there_is_triton() in (True, False)
        True
    """
    return importlib.util.find_spec("triton") is not None


def suits(*tensors: Tensor) -> bool:
    """True if the kernels serve these tensors: float32 on a CUDA device, with Triton.

    Example:
        >>> suits(torch.zeros(1))
        False
    """
    return all(x.is_cuda and x.dtype == torch.float32 for x in tensors) and there_is_triton()
