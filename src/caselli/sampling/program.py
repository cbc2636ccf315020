"""The operations of the fused step, over buffers that are allocated once."""

from __future__ import annotations

import ctypes
import dataclasses
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from caselli.sampling.rounding import WEIGHT_PRECISIONS
from caselli.shapes import Float, Int, Num, Tensor
from caselli.weights import rounded_rows

EMBED, LINEAR, ATTEND, CONVOLVE, SCAN, DRAW, SETTLE = range(7)
LINEAR_ONLY, GELU, SOFTPLUS, SQUARED_RELU = range(4)


class _Operation(ctypes.Structure):
    """One operation, as `fused.cpp` reads it: kind, sizes n, pointers p, numbers f."""

    _fields_ = [
        ("kind", ctypes.c_int64),
        ("n", ctypes.c_int64 * 8),
        ("p", ctypes.c_void_p * 12),
        ("f", ctypes.c_float * 4),
    ]


@dataclasses.dataclass(frozen=True)
class Panels:
    """A linear layer's weights in panels of `lanes` outputs, so that a vector of outputs is one load."""

    panels: Num[Tensor, "P D lanes"]
    scale: Float[Tensor, "E"] | None
    bias: Float[Tensor, "E"] | None
    outputs: int


def in_panels(layers: Sequence[nn.Linear], precision: str, lanes: int) -> Panels:
    """Layers of one input as a single layer, their outputs side by side.

    Example:
        >>> in_panels([nn.Linear(3, 4), nn.Linear(3, 6)], "float32", lanes=8).panels.shape
        torch.Size([2, 3, 8])
    """
    weight = torch.cat([layer.weight.detach() for layer in layers])
    bias = None
    if any(layer.bias is not None for layer in layers):
        zeros = [weight.new_zeros(layer.out_features) for layer in layers]
        biases = [z if layer.bias is None else layer.bias for z, layer in zip(zeros, layers, strict=True)]
        bias = padded_to(torch.cat(biases).detach(), lanes)
    scale = None
    if precision == "int8":
        weight, steps = rounded_rows(weight)
        scale = padded_to(steps.flatten(), lanes)
    dtype = {"float32": torch.float32, "bfloat16": torch.bfloat16, "int8": torch.int8}[precision]
    panels = padded_to(weight.T, lanes).T.unflatten(0, (-1, lanes)).transpose(1, 2).to(dtype).contiguous()
    return Panels(panels, scale, bias, len(weight))


def padded_to(x: Tensor, multiple: int) -> Tensor:
    """The tensor with zeros appended to its last axis up to a multiple.

    Example:
        >>> padded_to(torch.ones(3), 4)
        tensor([1., 1., 1., 0.])
    """
    return F.pad(x, (0, -x.shape[-1] % multiple)).contiguous()


class Program:
    """The operations of one step for a number of sequences.

    Arguments:
        library: the compiled step.
        sequences: how many go through the layers.
        precision: of the weights, in `WEIGHT_PRECISIONS`.
        panels: weights laid out so far, by the identity of their layers; grows.
        tokens: slots of each sequence that a step takes; each is a row.
    """

    def __init__(
        self,
        library: ctypes.CDLL,
        sequences: int,
        precision: str,
        panels: dict[tuple[int, ...], Panels],
        tokens: int = 1,
    ) -> None:
        self.library, self.precision, self.panels = library, precision, panels
        self.sequences, self.tokens, self.rows = sequences, tokens, sequences * tokens
        self.lanes = library.lanes()
        self.operations: list[_Operation] = []
        self.tensors: list[Tensor] = []
        self.states: list[Tensor] = []
        self.weight_bytes = self.state_bytes = 0

    def buffer(self, *shape: int) -> Tensor:
        """A buffer for activations."""
        return torch.zeros(*shape)

    def state(self, *shape: int) -> Tensor:
        """A buffer for what is carried from token to token."""
        state = torch.zeros(*shape)
        self.state_bytes += state.nbytes
        self.states.append(state)
        return state

    def add(
        self,
        kind: int,
        sizes: Sequence[int],
        tensors: Sequence[Tensor | None],
        numbers: Sequence[float] = (),
    ) -> None:
        """Appends an operation; its tensors live as long as the program."""
        pointers = [None if tensor is None else tensor.data_ptr() for tensor in tensors]
        operation = _Operation(kind=kind)
        operation.n[: len(sizes)], operation.p[: len(pointers)] = sizes, pointers
        operation.f[: len(numbers)] = numbers
        self.operations.append(operation)
        self.tensors += [tensor for tensor in tensors if tensor is not None]

    def linear(
        self,
        x: Float[Tensor, "B D"],
        layers: Sequence[nn.Linear],
        y: Float[Tensor, "B E"],
        *,
        norm: nn.LayerNorm | None = None,
        activation: int = LINEAR_ONLY,
        adds: bool = False,
    ) -> None:
        """y = activation(W norm(x) + b) for layers of one input, or y += that; x and y may be columns."""
        key = tuple(map(id, layers))
        if key not in self.panels:
            self.panels[key] = in_panels(layers, self.precision, self.lanes)
        weights = self.panels[key]
        self.weight_bytes += weights.panels.nbytes
        sizes = (
            *(len(x), x.shape[1], weights.outputs, x.stride(0), y.stride(0)),
            *(activation, int(adds), WEIGHT_PRECISIONS.index(self.precision)),
        )
        weight, epsilon = (None, 0.0) if norm is None else (norm.weight.detach(), norm.eps)
        self.add(LINEAR, sizes, (x, weight, weights.panels, weights.scale, weights.bias, y), (epsilon,))

    def join(self, other: Program) -> None:
        """Appends another program's operations."""
        self.operations += other.operations
        self.tensors += other.tensors
        self.weight_bytes += other.weight_bytes
        self.state_bytes += other.state_bytes

    def bytes_per_step(self) -> int:
        """Bytes that a step has to read: all weights, and half of the final state."""
        return self.weight_bytes + self.state_bytes // 2

    def run(self, first: int, last: int, begin: int = 0) -> None:
        """Runs the operations from `begin` on for slots `first` up to `last`."""
        numbers = first, last, torch.get_num_threads()
        self.library.run(*self._listed(begin), *map(ctypes.c_int64, numbers))

    def run_behind(
        self, draft: Program, settled: Int[Tensor, "n"], first: int, last: int, length: int
    ) -> int:
        """Runs a draft's operations for as many slots as this program takes at once, then these, and again
        from the first slot that is not settled, until all from `first` up to `last` are.

        Arguments:
            settled: its first entry is where the operations leave the number of slots that they have settled.
            length: slots in all.

        Returns: the slot that is reached, `last` or one behind it.
        """
        numbers = first, last, length, torch.get_num_threads()
        return self.library.run_pair(
            *draft._listed(),
            *self._listed(),
            ctypes.c_int64(self.tokens),
            ctypes.c_void_p(settled.data_ptr()),
            *map(ctypes.c_int64, numbers),
        )

    def _listed(self, begin: int = 0) -> tuple[ctypes.Array, ctypes.c_int64]:
        """The operations from one on in a row of memory, and how many."""
        operations = self.operations[begin:]
        return (_Operation * len(operations))(*operations), ctypes.c_int64(len(operations))
