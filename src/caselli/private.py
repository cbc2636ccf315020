"""Private functions of PyTorch that this package uses, all of them, each with a public way beside it.

They are faster than what PyTorch publishes, or the only way to it, and may go in any version. Where one is
gone, its public way takes over.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F

from caselli.errors import UserError
from caselli.shapes import Float, Int, Tensor

try:
    from torch.utils._python_dispatch import TorchDispatchMode
except ImportError:
    TorchDispatchMode = None
try:
    from torch.utils._python_dispatch import _disable_current_modes
except ImportError:
    _disable_current_modes = contextlib.nullcontext
try:
    from torch._subclasses.fake_tensor import (
        DataDependentOutputException,
        DynamicOutputShapeException,
        FakeTensorMode,
    )
except ImportError:
    FakeTensorMode = None
    DataDependentOutputException = DynamicOutputShapeException = NotImplementedError

_linear_pointwise = getattr(torch.ops.mkldnn, "_linear_pointwise", None)
_reorder_linear_weight = getattr(torch.ops.mkldnn, "_reorder_linear_weight", None)
_int_mm = getattr(torch, "_int_mm", None)
_foreach_lerp_ = getattr(torch, "_foreach_lerp_", None)


def has_onednn_linear() -> bool:
    """True where `onednn_linear` and `onednn_layout` are oneDNN's, and not PyTorch's choice of a library."""
    functions = _linear_pointwise is not None and _reorder_linear_weight is not None
    return functions and torch.backends.mkldnn.is_available()


def onednn_linear(
    x: Float[Tensor, "n D"], weight: Float[Tensor, "E D"], bias: Float[Tensor, "E"] | None, gelu: bool = False
) -> Float[Tensor, "n E"]:
    """x Wᵀ + b by oneDNN, without gradients; else by `torch.nn.functional.linear`.

    Arguments:
        x: rows, float32 on the CPU.
        weight: as it is, or as `onednn_layout` gives it.
        bias: added to every row, or None.
        gelu: whether GELU, by its approximation with tanh, is taken of the sum while it is in a register.
    """
    if not has_onednn_linear():
        y = F.linear(x, weight, bias)
        return F.gelu(y, approximate="tanh") if gelu else y
    return _linear_pointwise(x, weight, bias, *(("gelu", [], "tanh") if gelu else ("none", [], "")))


def onednn_layout(weight: Float[Tensor, "E D"], rows: int) -> Float[Tensor, "E D"]:
    """The weight in oneDNN's layout for products with a number of rows; else as it is."""
    return _reorder_linear_weight(weight, rows) if has_onednn_linear() else weight


def integer_product(a: Int[Tensor, "n D"], b: Int[Tensor, "D E"]) -> Int[Tensor, "n E"]:
    """The product of int8 matrices in int32, exactly.

    Example:
        >>> row = torch.full((1, 2), 100, dtype=torch.int8)
        >>> integer_product(row, row.T)
        tensor([[20000]], dtype=torch.int32)
    """
    return a.int() @ b.int() if _int_mm is None else _int_mm(a, b)


def interpolate_(starts: Sequence[Tensor], ends: Sequence[Tensor], weight: float) -> None:
    """Moves each tensor in place towards another: a + w (b − a); all by one call."""
    if _foreach_lerp_ is not None:
        _foreach_lerp_(starts, ends, weight)
        return
    for start, end in zip(starts, ends, strict=True):
        start.lerp_(end, weight)


def tree_map(function: Callable[[Any], Any], tree: Any) -> Any:
    """Nested tuples, lists and dicts with a function of each leaf in its place.

    Example:
        >>> tree_map(lambda x: x + 1, ([1, 2], {"a": 3}))
        ([2, 3], {'a': 4})
    """
    if isinstance(tree, dict):
        return {key: tree_map(function, part) for key, part in tree.items()}
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return type(tree)(*(tree_map(function, part) for part in tree))
    if type(tree) in (list, tuple):
        return type(tree)(tree_map(function, part) for part in tree)
    return function(tree)


def tree_leaves(tree: Any) -> list[Any]:
    """Leaves of nested tuples, lists and dicts, in order.

    Example:
        >>> tree_leaves(([1, 2], {"a": (3, None)}))
        [1, 2, 3, None]
    """
    leaves: list[Any] = []
    tree_map(leaves.append, tree)
    return leaves


if TorchDispatchMode is None:

    class DispatchMode:
        """Sees every elementary operation; this PyTorch has no way to."""

        def __init__(self) -> None:
            raise UserError(
                f"PyTorch {torch.__version__} shows no elementary operations",
                "torch.utils._python_dispatch.TorchDispatchMode was expected",
                "install PyTorch 2.11 to 2.13",
            )

else:
    DispatchMode = TorchDispatchMode


def shapes_alone() -> contextlib.AbstractContextManager[Any]:
    """A context in which new tensors have a shape and no numbers: fake ones, else on the device "meta"."""
    if FakeTensorMode is None:
        return torch.device("meta")
    return FakeTensorMode(allow_non_fake_inputs=True)


def numbers_too() -> contextlib.AbstractContextManager[Any]:
    """A context within `shapes_alone`, and within dispatch modes, in which tensors have numbers again.

    Example:
        >>> with shapes_alone(), numbers_too():
        ...     torch.ones(2).sum().item()
        2.0
    """
    return _disable_current_modes()


SHAPES_LOG = "torch._subclasses.fake_tensor"
"""Name of the log in which tensors that have a shape alone report mistakes."""
READS_A_NUMBER = torch.ops.aten._local_scalar_dense.default
"""The operation behind `item()`, where a dispatch mode meets it."""


def asks_for_numbers(error: BaseException) -> bool:
    """True for the errors of operations that need the numbers of tensors that have a shape alone."""
    fake = isinstance(error, DataDependentOutputException | DynamicOutputShapeException)
    return fake or "meta tensors" in str(error)


def number_or(tensor: Int[Tensor, ""], most: int) -> int:
    """The number of a tensor; `most` where tensors have a shape alone, or a graph for any number is exported.

    Example:
        >>> number_or(torch.tensor(3), 5)
        3
        >>> with shapes_alone():
        ...     number_or(torch.ones(2).sum(), 5)
        5
    """
    if torch.compiler.is_exporting():
        return most
    try:
        return int(tensor)
    except (RuntimeError, NotImplementedError) as error:
        if not asks_for_numbers(error):
            raise
        return most
