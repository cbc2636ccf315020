"""Weights of 8 bits in ONNX: integers with a scale for each row, where that is what they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

SMALL = 1024
"""Numbers of a tensor up to which it is not worth the operation."""


def pack_integers(path: Path) -> int:
    """Rewrites a program so that weights on a grid of 8 bits are stored as integers; returns the bytes saved.

    A weight is on the grid where rounding each row, or each column, to 255 steps changes nothing; the
    program computes the same numbers.
    """
    import onnx

    model, before = onnx.load(str(path)), path.stat().st_size
    graph = model.graph
    packed = [(each, *found) for each in graph.initializer if (found := _on_grid(each))]
    for tensor, integers, scale in packed:
        names = [f"{tensor.name}_{part}" for part in ("integers", "scale", "widened")]
        arrays = zip((integers, scale), names[:2], strict=True)
        graph.initializer.remove(tensor)
        graph.initializer.extend(onnx.numpy_helper.from_array(*pair) for pair in arrays)
        # not DequantizeLinear: onnxruntime takes it as leave to round what the weight is multiplied with
        graph.node.insert(0, onnx.helper.make_node("Mul", [names[2], names[1]], [tensor.name]))
        widen = onnx.helper.make_node("Cast", names[:1], names[2:], to=onnx.TensorProto.FLOAT)
        graph.node.insert(0, widen)
    onnx.save(model, str(path))
    return before - path.stat().st_size


def _on_grid(tensor: Any) -> tuple[np.ndarray, np.ndarray] | None:
    """Integers and scales, which multiply to a tensor on the grid; None for another one."""
    import onnx

    if tensor.data_type != onnx.TensorProto.FLOAT or len(tensor.dims) < 2 or np.prod(tensor.dims) < SMALL:
        return None
    x = onnx.numpy_helper.to_array(tensor)
    for axis in (0, x.ndim - 1):
        others = tuple(i for i in range(x.ndim) if i != axis)
        scale = np.maximum(np.abs(x).max(others, keepdims=True), np.float32(1e-30)) / np.float32(127)
        integers = np.rint(x / scale)
        if np.array_equal(integers * scale, x):
            return integers.astype(np.int8), scale
    return None
