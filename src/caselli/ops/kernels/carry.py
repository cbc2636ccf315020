"""The states between chunks, elementwise, in one kernel: S_c = a_c ⊙ S_{c−1} + W_c."""

from __future__ import annotations

import torch

from caselli.ops.kernels.language import jit, tl, triton
from caselli.shapes import Tensor

BLOCK = 256


@jit
def _carry(
    written,
    passed,
    state,
    entering,
    last,
    chunks,
    size,
    rates,
    inner,
    decays: tl.constexpr,
    reverse: tl.constexpr,
    block: tl.constexpr,
):
    """One row of the batch and some elements of the state, chunk after chunk."""
    row = tl.program_id(0).to(tl.int64)
    place = tl.program_id(1) * block + tl.arange(0, block)
    inside = place < size
    rate = (place // inner) % rates
    held = tl.load(state + row * size + place, mask=inside)
    for step in range(chunks):
        chunk = row * chunks + (chunks - 1 - step if reverse else step)
        tl.store(entering + chunk * size + place, held, mask=inside)
        if decays:
            held = held * tl.load(passed + chunk * rates + rate, mask=inside)
        held = held + tl.load(written + chunk * size + place, mask=inside)
    tl.store(last + row * size + place, held, mask=inside)


def carry(
    written: Tensor, passed: Tensor | None, state: Tensor, *, reverse: bool = False
) -> tuple[Tensor, Tensor]:
    """The states before each chunk, and the last; `reverse` goes through the chunks from the end.

    Arguments:
        written: W, `B N n *S`.
        passed: a, `B N n *A`, whose axes A are those of S or of size one, not of size one next to each other;
            none for a state that forgets nothing.
        state: `B N *S`, the first.
    """
    batch, heads, count, *shape = written.shape
    written, state = written.contiguous(), state.contiguous()
    entering, last = torch.empty_like(written), torch.empty_like(state)
    rates, inner = 1, 1
    if passed is not None:
        axes = [index for index, length in enumerate(passed.shape[3:]) if length > 1]
        assert len(axes) <= 1, "one axis of rates at most"
        rates = shape[axes[0]] if axes else 1
        for length in shape[axes[0] + 1 :] if axes else ():
            inner *= length
        passed = passed.contiguous()
    size = state[0, 0].numel()
    grid = (batch * heads, triton.cdiv(size, BLOCK))
    decays = passed is not None
    given = passed if decays else written
    _carry[grid](written, given, state, entering, last, count, size, rates, inner, decays, reverse, BLOCK)
    return entering, last
