"""Weights shared out over the ranks by FSDP2, and whole again for files; activations computed twice."""

from __future__ import annotations

import contextlib
import copy
import functools
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint

from caselli import ranks
from caselli.engine.config import TrainingConfig
from caselli.engine.machine import Machine
from caselli.engine.task import Task
from caselli.shapes import Tensor


def is_sharded(task: Task, config: TrainingConfig) -> bool:
    """True where the task's weights are to be shared out: it is asked for, and there are blocks and ranks."""
    return config.parallel == "sharded" and ranks.count() > 1 and bool(task.blocks())


def placed(task: Task, config: TrainingConfig, machine: Machine) -> Task:
    """The task on the machine's device, in place; its weights shared out over the ranks where that is asked
    for. Each block is gathered when its turn comes, on a device in the run's precision; sums of gradients are
    float32.

    Sources: Rajbhandari et al. 2020, ZeRO; Zhao et al. 2023, PyTorch FSDP.
    """
    if not is_sharded(task, config):
        kinds = {tensor.device.type for tensor in (*task.parameters(), *task.buffers())}
        return task if kinds == {machine.device} else task.to(machine.device)  # fake tensors cannot be moved
    from torch.distributed.device_mesh import init_device_mesh  # half a second, for those who need it
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method

    mesh = init_device_mesh(machine.device.split(":")[0], (ranks.count(),))
    # weights stay float32, as everywhere: autocast lowers products alone, and recurrences need all their bits
    policy = MixedPrecisionPolicy(None, torch.float32, cast_forward_inputs=False)
    for block in task.blocks():
        fully_shard(block, mesh=mesh, mp_policy=policy)
    fully_shard(task, mesh=mesh, reshard_after_forward=True)
    register_fsdp_forward_method(task, "validate")
    return task


def recompute(task: Task) -> None:
    """Makes every block compute its activations again in the backward pass instead of keeping them.

    Source: Chen et al. 2016, Training Deep Nets with Sublinear Memory Cost.
    """
    for block in task.blocks():
        block.forward = functools.partial(checkpoint, block.forward, use_reentrant=False)


def parallel(task: Task) -> nn.Module:
    """The module that a step calls: the task itself where it is alone or shared out, else a copy that follows
    the other ranks'."""
    if ranks.count() == 1 or _gathers(task):
        return task
    return DistributedDataParallel(task, broadcast_buffers=False, gradient_as_bucket_view=True)


@contextlib.contextmanager
def gradients_of(model: nn.Module, last: bool) -> Iterator[None]:
    """Within it gradients are summed over the ranks at the last piece of a batch alone."""
    if _gathers(model):
        model.set_requires_gradient_sync(last)
        yield
    elif isinstance(model, DistributedDataParallel) and not last:
        with model.no_sync():
            yield
    else:
        yield


def is_part(tensor: Any) -> bool:
    """True for a tensor that is shared out: torch's DTensor, which is not imported where there is none."""
    return hasattr(tensor, "full_tensor")


def local(tensor: Tensor) -> Tensor:
    """This rank's part of a tensor that is shared out; another one as it is."""
    return tensor.to_local() if is_part(tensor) else tensor


def whole(tensor: Any) -> Any:
    """A tensor that is shared out, whole; anything else as it is. All ranks have to call it."""
    return tensor.full_tensor() if is_part(tensor) else tensor


def shared_out(tensor: Any, like: Any) -> Any:
    """This rank's part of a whole tensor, laid out as another one; as it is where the other is whole, or this
    one a part already."""
    if not is_part(like) or is_part(tensor) or not isinstance(tensor, Tensor) or tensor.shape != like.shape:
        return tensor
    from torch.distributed.tensor import distribute_tensor

    tensor = tensor.to(like.device)
    return distribute_tensor(tensor, like.device_mesh, like.placements, src_data_rank=None)


def load(module: nn.Module, state: dict[str, Any]) -> None:
    """Takes up a whole state, each rank its part of it."""
    own = module.state_dict()
    module.load_state_dict({name: shared_out(value, own.get(name)) for name, value in state.items()})


def shell(task: Task) -> Task:
    """A copy of a task whose weights take no memory, to be given whole ones."""
    bare = {
        id(p): nn.Parameter(torch.empty_like(p, device="meta"), requires_grad=False)
        for p in task.parameters()
    }
    return copy.deepcopy(task, bare)


def _gathers(model: nn.Module) -> bool:
    """True for a module of FSDP2."""
    return hasattr(model, "set_requires_gradient_sync")
