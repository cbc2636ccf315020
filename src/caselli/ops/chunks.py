"""Parts of the chunked forms: exact precision, time folded into chunks, packed sequences within a chunk."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from contextlib import AbstractContextManager

import torch
import torch.nn.functional as F
from torch.autograd.function import once_differentiable

from caselli.ops import kernels
from caselli.shapes import Bool, Float, Shaped, Tensor


def no_autocast(tensor: Tensor) -> AbstractContextManager:
    """Autocast off: a recurrence in half precision forgets."""
    return torch.autocast(tensor.device.type, enabled=False)


def exact(tensor: Tensor) -> Tensor:
    """At least float32; float64 and complex dtypes stay.

    Example:
        >>> exact(torch.zeros(1, dtype=torch.bfloat16)).dtype
        torch.float32
    """
    return tensor.float() if tensor.dtype in (torch.bfloat16, torch.float16) else tensor


def bounded_log_decay(log_decay: Tensor) -> Tensor:
    """Log decays no lower than what their precision can tell from zero, so that −∞ makes no NaN.

    e^−30 in float32, e^−100 in float64.

    Example:
        >>> bounded_log_decay(torch.tensor([-1.0, -torch.inf]))
        tensor([ -1., -30.])
    """
    log_decay = exact(log_decay)
    return log_decay.clamp(min=-100.0 if log_decay.dtype == torch.float64 else -30.0)


def faded(exponent: Float[Tensor, "*A"]) -> Float[Tensor, "*A"]:
    """e^x of x ≤ 0, in the place of x, and no smaller than e^−60 (e^−700 in float64): as good as zero.

    An exponential that is too small for a normal number takes sixteen times as long.

    Example:
        >>> faded(torch.tensor([0.0, -1000.0])) > 0
        tensor([True, True])
    """
    return exponent.clamp_(min=-700.0 if exponent.dtype == torch.float64 else -60.0).exp_()


def log_sums(log_decay: Float[Tensor, "*A C"]) -> Float[Tensor, "*A C"]:
    """Running sums along the last axis in float64: in float32 a difference of two large ones has few digits.

    Example:
        >>> log_sums(torch.tensor([-1.0, -2.0]))
        tensor([-1., -3.], dtype=torch.float64)
    """
    return log_decay.double().cumsum(-1)


def decay_between(total: Float[Tensor, "*A C"], dtype: torch.dtype) -> Float[Tensor, "*A C C"]:
    r"""Share that reaches each token from each token before it: :math:`e^{G_t - G_s}` for s ≤ t, zero above.

    Arguments:
        total: G, from `log_sums`.
        dtype: of the result; it has that precision whatever the size of G. Differentiable once.

    Example:
        >>> decay_between(log_sums(torch.tensor([0.5, 0.5]).log()), torch.float32)
        tensor([[1.0000, 0.0000],
                [0.5000, 1.0000]])
    """
    return _DecayBetween.apply(total, dtype)


def channel_decays(log_decay: Float[Tensor, "*A C d"]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Decays to each token from the beginning of its chunk, to before it, from it to the end, and of all.

    Example:
        >>> kept, before, left, passed = channel_decays(torch.tensor([[0.5], [0.5]]).log())
        >>> kept.flatten(), before.flatten(), left.flatten(), passed
        (tensor([0.5000, 0.2500]), tensor([1.0000, 0.5000]), tensor([0.5000, 1.0000]), tensor([0.2500]))
    """
    total = log_sums(log_decay.mT).mT
    sums = (total, total - log_decay, total[..., -1:, :] - total, total[..., -1, :])
    kept, earlier, left, passed = (x.to(log_decay.dtype).exp() for x in sums)
    return kept, earlier, left, passed


class _DecayBetween(torch.autograd.Function):
    @staticmethod
    def forward(ctx, total, dtype):
        rounded = total.to(dtype)
        exponent = rounded[..., :, None] - rounded[..., None, :]  # rounds in proportion to itself alone
        if dtype != total.dtype:
            rest = (total - rounded).to(dtype)
            exponent.add_(rest[..., :, None]).sub_(rest[..., None, :])
        decay = faded(exponent.clamp_(max=0)).tril_()
        ctx.save_for_backward(decay)
        return decay

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        (decay,) = ctx.saved_tensors
        each = gradient * decay
        return each.sum(-1).double() - each.sum(-2), None


def power_of_two(number: int) -> int:
    """The smallest power of two that is no less.

    Example:
        >>> power_of_two(5)
        8
    """
    return 1 << (number - 1).bit_length()


def fold(x: Shaped[Tensor, "B T *S"], size: int) -> Shaped[Tensor, "B n size *S"]:
    """Time in chunks of `size`, the last one filled up with zeros.

    Example:
        >>> fold(torch.tensor([[1, 2, 3]]), 2)
        tensor([[[1, 2],
                 [3, 0]]])
    """
    batch, length = x.shape[:2]
    missing = -length % size
    if missing:
        x = F.pad(x, (0, 0) * (x.ndim - 2) + (0, missing))
    return x.reshape(batch, (length + missing) // size, size, *x.shape[2:])


def unfold(x: Shaped[Tensor, "B n size *S"], length: int) -> Shaped[Tensor, "B T *S"]:
    """The inverse of `fold`."""
    return x.flatten(1, 2)[:, :length]


@dataclasses.dataclass(frozen=True)
class Segments:
    """Which tokens of a chunk know of each other when several sequences are packed in one row."""

    together: Bool[Tensor, "B n C C"]
    """No sequence begins after token s and up to token t."""
    reads: Bool[Tensor, "B n C"]
    """No sequence begins in the chunk up to token t: it sees what came before the chunk."""
    writes: Bool[Tensor, "B n C"]
    """No sequence begins in the chunk after token s: what follows the chunk sees it."""
    passes: Bool[Tensor, "B n"]
    """No sequence begins in the chunk: what came before it reaches what follows."""

    @staticmethod
    def of(starts: Bool[Tensor, "B T"], size: int) -> Segments:
        begun = fold(starts, size).cumsum(2)
        last = begun[:, :, -1:]
        return Segments(
            begun[..., :, None] == begun[..., None, :], begun == 0, begun == last, last[..., 0] == 0
        )


def forget(state: Shaped[Tensor, "B *S"], starts: Bool[Tensor, "B"] | None) -> Shaped[Tensor, "B *S"]:
    """The state, zero in the rows where a sequence begins."""
    if starts is None:
        return state
    return state.masked_fill(starts.view(-1, *(1,) * (state.ndim - 1)), 0)


def before(state: Float[Tensor, "B *S"], states: Float[Tensor, "B n *S"]) -> Float[Tensor, "B n *S"]:
    """The state before each chunk, of the one at the beginning and those after each chunk."""
    return torch.cat((state[:, None], states[:, :-1]), 1)


def chunks(x: Shaped[Tensor, "B T N *S"], size: int) -> Shaped[Tensor, "B N n size *S"]:
    """`fold`, with the heads before the chunks and everything in one stretch of memory."""
    return fold(x, size).movedim(3, 1).contiguous()


def tokens(x: Shaped[Tensor, "B N n size *S"], length: int) -> Shaped[Tensor, "B T N *S"]:
    """The inverse of `chunks`."""
    return unfold(x.movedim(1, 3), length)


def carry_states(
    written: Float[Tensor, "B N n *S"], passed: Tensor | None, state: Float[Tensor, "B N *S"]
) -> tuple[Float[Tensor, "B N n *S"], Float[Tensor, "B N *S"]]:
    """S_c = a_c ⊙ S_{c−1} + W_c over chunks, without a graph: the states before each, and the last.

    `passed` is a, which broadcasts; none for one that forgets nothing.
    """
    if kernels.suits(written, state):
        from caselli.ops.kernels.carry import carry

        return carry(written, passed, state)
    entering = torch.empty_like(written)
    entering[:, :, 0] = state
    places = [*entering.unbind(2), torch.empty_like(state)]
    return entering, _carried(places, written.unbind(2), _each(passed, written.shape[2]))


def carry_gradients(
    read: Float[Tensor, "B N n *S"], passed: Tensor | None, gradient: Float[Tensor, "B N *S"]
) -> tuple[Float[Tensor, "B N n *S"], Float[Tensor, "B N *S"]]:
    """The adjoint of `carry_states`: the gradients of the states after each chunk, and before the first.

    `read` is the gradient by way of what each chunk reads of the state before it.
    """
    if kernels.suits(read, gradient):
        from caselli.ops.kernels.carry import carry

        return carry(read, passed, gradient, reverse=True)
    leaving = torch.empty_like(read)
    leaving[:, :, -1] = gradient
    places = [torch.empty_like(gradient), *leaving.unbind(2)]
    others = _each(passed, read.shape[2])[::-1]
    return leaving, _carried(places[::-1], read.unbind(2)[::-1], others)


def _each(passed: Tensor | None, count: int) -> Sequence[Tensor | None]:
    return [None] * count if passed is None else passed.unbind(2)


def _carried(places: Sequence[Tensor], added: Sequence[Tensor], passed: Sequence[Tensor | None]) -> Tensor:
    """Fills each place after the first, which is full, from the one before it; the last."""
    for place, following, more, kept in zip(places, places[1:], added, passed, strict=False):
        if kept is None:
            torch.add(place, more, out=following)
        else:
            torch.addcmul(more, kept, place, out=following)
    return places[-1]


def after_each(
    entering: Float[Tensor, "B N n *S"], last: Float[Tensor, "B N *S"]
) -> Float[Tensor, "B N n *S"]:
    """The states after each chunk, of those before each and the last."""
    return torch.cat((entering[:, :, 1:], last[:, :, None]), 2)
