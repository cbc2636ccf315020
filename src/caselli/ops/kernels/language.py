"""Triton, or nothing where it is not installed: the kernels can be imported everywhere, and not be run."""

from __future__ import annotations

import inspect

try:
    import triton
    import triton.language as tl
except ImportError:
    triton = tl = None


def jit(function):
    """The function as a kernel, bare of what may have been wrapped around it to check its annotations."""
    return function if triton is None else triton.jit(inspect.unwrap(function))
