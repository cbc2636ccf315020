"""Costs of a whole training step, forwards, backwards and the optimiser's, without computing one."""

from __future__ import annotations

import dataclasses
import warnings
import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from caselli.anatomy.cost import MachineRates
from caselli.anatomy.counting import counted, moves_nothing
from caselli.errors import UserError
from caselli.private import READS_A_NUMBER, DispatchMode, asks_for_numbers, shapes_alone, tree_leaves
from caselli.shapes import Tensor


@dataclasses.dataclass(frozen=True)
class StepCost:
    """Costs of one step that is repeated."""

    operations: tuple[tuple[int, int], ...]
    """(multiply-accumulates, bytes read and written) of every operation."""
    standing_bytes: int
    """Bytes of tensors that stay from step to step: weights, averages, the optimiser's."""
    peak_bytes: int
    """Most bytes of tensors alive at a time."""

    @property
    def flops(self) -> int:
        """Floating-point operations, two for each multiply-accumulate."""
        return 2 * sum(macs for macs, _ in self.operations)

    def floor(self, machine: MachineRates) -> float:
        """The least time on a machine in seconds, each operation bound by arithmetic or by memory."""
        return machine.floor(self.operations)


def step_cost(
    module: nn.Module, begin: Callable[[], Callable[[Any], object]], example: Callable[[], Any]
) -> StepCost:
    """Counts the costs of a training step, without computing it: tensors have a shape and no numbers.

    Memory is followed operation by operation, as tensors are made and given up; what libraries keep for
    themselves is not in it. The second step counts: the first one makes the optimiser's averages. Where the
    path depends on a yes or no of tensors made in the step, it is taken as yes.

    Arguments:
        module: what is trained. Its tensors lose their numbers: it is of no use afterwards.
        begin: makes what goes with the module (averages, an optimiser), and gives the step, a function of a
            batch.
        example: makes a batch, of any numbers.

    Errors: `UserError` for a step that follows a number of the tensors in it.

    Example:
        >>> linear = nn.Linear(4, 2, bias=False)
        >>> begin = lambda: lambda x: linear(x).sum().backward()
        >>> counted = step_cost(linear, begin, lambda: torch.ones(3, 4))
        >>> counted.flops, counted.standing_bytes
        (96, 64)
    """
    ledger = _Ledger()
    numbers = {id(t): t.item() for t in module.buffers() if t.ndim == 0 and t.device.type != "meta"}
    with shapes_alone(), ledger, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # copies of tensors without numbers warn of their address
        _without_numbers(module, ledger, numbers)
        step, batch = begin(), example()
        try:
            for _ in range(2):
                ledger.operations = []
                step(batch)
        except (RuntimeError, NotImplementedError) as error:
            if not asks_for_numbers(error):
                raise
            raise UserError(
                f"a step of {type(module).__name__} follows numbers that are not known before it is taken",
                "a path that does not depend on the data was expected",
            ) from error
        batch_bytes = sum(t.nbytes for t in tree_leaves(_fields(batch)) if isinstance(t, Tensor))
        return StepCost(tuple(ledger.operations), ledger.alive_bytes - batch_bytes, ledger.peak_bytes)


class _Ledger(DispatchMode):
    """Follows the memory of tensors as they come and go, and counts each operation."""

    def __init__(self) -> None:
        super().__init__()
        self.alive: set[int] = set()
        self.alive_bytes = self.peak_bytes = 0
        self.operations: list[tuple[int, int]] = []
        self.numbers: dict[int, Any] = {}
        """Numbers of tensors whose value is known, by the tensor's identity."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if function is READS_A_NUMBER:
            if id(args[0]) in self.numbers:
                return self.numbers[id(args[0])]
            if args[0].dtype == torch.bool:
                return True
        result = function(*args, **kwargs)
        made = [t for t in tree_leaves(result) if isinstance(t, Tensor)]
        for tensor in made:
            self._enter(tensor)
        if made and not moves_nothing(function):
            taken = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
            moved = sum(t.numel() * t.element_size() for t in (*taken, *made))
            self.operations.append((counted(function, args, kwargs, result) or 0, moved))
        return result

    def _enter(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key not in self.alive:
            self.alive.add(key)
            self.alive_bytes += size
            self.peak_bytes = max(self.peak_bytes, self.alive_bytes)
            weakref.finalize(storage, self._leave, key, size)

    def _leave(self, key: int, size: int) -> None:
        self.alive.discard(key)
        self.alive_bytes -= size


def _without_numbers(module: nn.Module, ledger: _Ledger, numbers: dict[int, Any]) -> None:
    """Puts tensors without numbers in the place of the module's; tied ones stay tied."""
    new: dict[int, Tensor] = {}
    old = []
    for part in module.modules():
        for name, tensor in [*part.named_parameters(recurse=False), *part.named_buffers(recurse=False)]:
            old.append(tensor)  # an identity holds while the tensor lives
            if id(tensor) not in new:
                new[id(tensor)] = made = _twin(tensor)
                if id(tensor) in numbers:
                    ledger.numbers[id(made)] = numbers[id(tensor)]
            setattr(part, name, new[id(tensor)])


def _twin(tensor: Tensor) -> Tensor:
    made = torch.empty(tensor.shape, dtype=tensor.dtype)
    return nn.Parameter(made, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else made


def _fields(batch: Any) -> Any:
    return vars(batch) if dataclasses.is_dataclass(batch) else batch
