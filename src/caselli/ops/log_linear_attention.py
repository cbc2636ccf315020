"""Attention whose memory has one state for every power of two tokens: the further back, the coarser."""

from __future__ import annotations

import dataclasses
import itertools

import torch
import torch.nn.functional as F

from caselli.ops.chunks import bounded_log_decay, decay_between, exact, forget, log_sums, no_autocast
from caselli.private import number_or
from caselli.shapes import Bool, Float, Int, Tensor


def log_linear_attention_definition(
    q: Float[Tensor, "B T N d"],
    k: Float[Tensor, "B T N d"],
    v: Float[Tensor, "B T N v"],
    scales: Float[Tensor, "B T N L"],
    log_decay: Float[Tensor, "B T N"],
    beta: Float[Tensor, "B T N"] | None = None,
) -> Float[Tensor, "B T N v"]:
    """`log_linear_attention` of whole sequences, pair by pair; with β the delta rule."""
    outputs = []
    for t in range(q.shape[1]):
        moved, y = q[:, t], torch.zeros_like(v[:, t])
        for j in range(t, -1, -1):
            write = 1.0 if beta is None else beta[:, j, :, None]
            level = min((t ^ j).bit_length(), scales.shape[3] - 1)
            y = y + (scales[:, t, :, level] * (moved * k[:, j]).sum(-1))[..., None] * write * v[:, j]
            if beta is not None:
                moved = moved - (beta[:, j] * (moved * k[:, j]).sum(-1))[..., None] * k[:, j]
            moved = moved * log_decay[:, j].exp()[..., None]
        outputs.append(y)
    return torch.stack(outputs, 1)


def log_linear_attention_step(
    q: Float[Tensor, "B N d"],
    k: Float[Tensor, "B N d"],
    v: Float[Tensor, "B N v"],
    scales: Float[Tensor, "B N S"],
    log_decay: Float[Tensor, "B N"],
    beta: Float[Tensor, "B N"] | None,
    buckets: Float[Tensor, "B L N d v"],
    position: Int[Tensor, "B"],
) -> tuple[Float[Tensor, "B N v"], Float[Tensor, "B L N d v"]]:
    """One token of `log_linear_attention`, of buckets that have room for it; each row at its own position."""
    last, key, value = scales.shape[2] - 1, k[:, None, :, :, None], v[:, None, :, None]
    level = torch.arange(buckets.shape[1] + 1, device=q.device)
    before, after = position[:, None], position[:, None] + 1
    # What the next position has no bit for goes into the bucket of the bit that it has more.
    held, emptied, filled = (
        (bits & 1 << level[:-1] > 0)[:, :, None, None, None]
        for bits in (before, before & ~after, after & ~before)
    )
    moved = log_decay.exp()[:, None, :, None, None] * (buckets * held)
    if beta is not None:
        strength = beta[:, None, :, None, None]
        moved, value = moved - strength * key * (key.mT @ moved), strength * value
    written = key * value
    read = (q[:, None, :, None] @ torch.cat((written, moved), 1))[..., 0, :]
    y = (scales[..., level.clamp(max=last)].mT[..., None] * read).sum(1)
    joined = written + (moved * emptied).sum(1, keepdim=True)
    return y, torch.where(filled, joined, moved * ~emptied)


def log_linear_attention(
    q: Float[Tensor, "B T N d"],
    k: Float[Tensor, "B T N d"],
    v: Float[Tensor, "B T N v"],
    buckets: Float[Tensor, "B L N d v"],
    position: Int[Tensor, "B"],
    *,
    scales: Float[Tensor, "B T N S"],
    log_decay: Float[Tensor, "B T N"],
    beta: Float[Tensor, "B T N"] | None = None,
    starts: Bool[Tensor, "B T"] | None = None,
    chunk_size: int = 64,
) -> tuple[Float[Tensor, "B T N v"], Float[Tensor, "B M N d v"], Int[Tensor, "B"]]:
    r"""Linear attention, or the delta rule, over a Fenwick tree of the past.

    .. math:: y_t = \sum_{j \le t} \lambda_{t, \ell(t, j)}\, q_t^\top P_{t,j+1} k_j v_j^\top, \qquad
        \ell(t, j) = \text{the number of bits of } t \oplus j

    with P the decays, :math:`\prod_u e^{g_u}`, or with β those of the delta rule,
    :math:`\prod_u e^{g_u} (I - \beta_u k_u k_u^\top)` with β v for v. At position t one bucket is kept for
    each bit of t that is set. Stretches of tokens that are whole blocks of a power of two are computed at
    once, log T matrix products each: time T log T. Packed sequences are gone through one by one.

    Arguments:
        q, k, v: queries, keys and values; T ≥ 1.
        buckets: bucket l has 2^l tokens; at least float32; as many as there is room for, more when needed.
        position: tokens that each row has seen.
        scales: λ of each level; those beyond the last have the last.
        log_decay: g ≤ 0.
        beta: strength of the delta rule, 0 … 2; none for linear attention.
        starts: where a packed sequence begins; what came before is forgotten there.
        chunk_size: tokens that are compared directly; rounded down to a power of two.

    Returns:
        y in v's dtype, the buckets and the positions after T tokens.

    Source: Guo et al. 2025, Log-Linear Attention.

    Example:
        >>> q = k = v = torch.ones(1, 3, 1, 1)
        >>> state = torch.zeros(1, 0, 1, 1, 1), torch.zeros(1, dtype=torch.int64)
        >>> options = {"scales": torch.tensor([1.0, 0.5, 0.1]).expand(1, 3, 1, 3)}
        >>> log_linear_attention(q, k, v, *state, **options, log_decay=torch.zeros(1, 3, 1))[0].flatten()
        tensor([1.0000, 1.5000, 1.2000])
    """
    dtype = v.dtype
    with no_autocast(v):
        tokens = [exact(x) for x in (q, k, v, scales)]
        tokens += [bounded_log_decay(log_decay).to(tokens[2].dtype)]
        tokens += [] if beta is None else [exact(beta)]
        if q.shape[1] == 1:
            begins = None if starts is None else starts[:, 0]
            position, buckets = forget(position, begins), forget(buckets, begins)
            missing = (number_or(position.max(), 0) + 1).bit_length() - buckets.shape[1]
            if missing > 0:  # never in a program: its buckets have room for all tokens
                buckets = F.pad(buckets, (0,) * 7 + (missing,))
            one = [x[:, 0] for x in tokens]
            y, buckets = log_linear_attention_step(*one[:5], *(one[5:] or [None]), buckets, position)
            return y[:, None].to(dtype), buckets, position + 1
        size = 1 << (chunk_size.bit_length() - 1)
        seen = position.tolist()
        if starts is None and len(set(seen)) == 1:
            y, buckets = _sequence([x.transpose(1, 2) for x in tokens], buckets, seen[0], size)
            return y.transpose(1, 2).to(dtype), buckets, position + q.shape[1]
        rows = []
        for row, first in enumerate(seen):
            alone = [x[row : row + 1].transpose(1, 2) for x in tokens]
            marks = None if starts is None else starts[row].tolist()
            rows.append(_packed(alone, buckets[row : row + 1], first, marks, size))
    most = max(kept.shape[1] for _, kept, _ in rows)
    y = torch.cat([part for part, _, _ in rows]).transpose(1, 2)
    kept = torch.cat([F.pad(x, (0,) * 7 + (most - x.shape[1],)) for _, x, _ in rows])
    return y.to(dtype), kept, position.new_tensor([last for _, _, last in rows])


def _packed(tokens, buckets, position, marks, size):
    """One row, sequence by sequence."""
    length = tokens[0].shape[2]
    borders = [0, *(t for t in range(1, length) if marks and marks[t]), length]
    outputs = []
    for begin, end in itertools.pairwise(borders):
        if marks and marks[begin]:
            position = 0
        y, buckets = _sequence([x[:, :, begin:end] for x in tokens], buckets, position, size)
        outputs.append(y)
        position += end - begin
    return torch.cat(outputs, 2), buckets, position


def _sequence(tokens, buckets, position, size):
    """Blocks as large as the position and the rest of the tokens let them be; axes `B N T …`."""
    room = buckets.shape[1]
    held = {bit: buckets[:, bit] for bit in range(position.bit_length()) if position >> bit & 1}
    length, outputs, t = tokens[0].shape[2], [], 0
    while t < length:
        block = 1 << ((length - t).bit_length() - 1)
        if position:
            block = min(block, position & -position)
        y, written, moves = _block([x[:, :, t : t + block] for x in tokens], held, min(size, block))
        outputs.append(y)
        held = {bit: _moved(moves, state) for bit, state in held.items()}
        bit = block.bit_length() - 1
        while position >> bit & 1:
            written = written + held.pop(bit)
            position -= 1 << bit
            bit += 1
        held[bit] = written
        position += 1 << bit
        t += block
    nothing = torch.zeros_like(written)
    kept = [held.get(bit, nothing) for bit in range(max(room, position.bit_length()))]
    return torch.cat(outputs, 2), torch.stack(kept, 1)


def _moved(moves: Tensor, state: Tensor) -> Tensor:
    """A state through a transition, which is a matrix, or a number `… 1 1`."""
    return moves * state if moves.shape[-1] == 1 else moves @ state


def _then(reads: Tensor, moves: Tensor) -> Tensor:
    """Factors by which readers or transitions reach the state before them."""
    return reads * moves if moves.shape[-1] == 1 else reads @ moves


@dataclasses.dataclass(frozen=True)
class _Chunks:
    """Effects of the chunks, each from an empty memory; axes `B N n …`."""

    inside: Float[Tensor, "B N n C C"]
    """Weights of the values of earlier tokens and of the own one."""
    reads: Float[Tensor, "B N n C d"]
    """Vectors that meet the state before the chunk in place of the queries."""
    moves: Float[Tensor, "B N n #d #d"]
    """The transition from its beginning to its end."""
    writes: Float[Tensor, "B N n d v"]
    """The state after it."""


def _block(tokens, held, size):
    """A block of 2^m tokens: its outputs, what it leaves behind, and its transition."""
    q, k, v, scales, *rest = (x.unflatten(2, (-1, size)) for x in tokens)
    parts = (_delta if len(rest) == 2 else _decay)(q, k, v, *rest)
    place, last = torch.arange(size, device=q.device), scales.shape[-1] - 1
    bits = torch.frexp((place[:, None] ^ place).to(torch.float32)).exponent.long()
    levels = bits.clamp(max=last).expand(*scales.shape[:3], size, size)
    y = ((scales.gather(-1, levels) * parts.inside) @ v).flatten(2, 3)

    # Blocks of two, four, … chunks: the second half reads what the first half wrote.
    scales, level = scales.flatten(2, 3), size.bit_length()
    reads, moves, states = parts.reads, parts.moves, parts.writes
    while states.shape[2] > 1:
        first, second = states[:, :, 0::2], states[:, :, 1::2]
        before, after = moves[:, :, 0::2], moves[:, :, 1::2]
        halves = (-1, 2, reads.shape[3])
        near, far = reads.unflatten(2, (-1, 2)).unbind(3)
        y, more = y.unflatten(2, halves).unbind(3)
        scale = scales[..., min(level, last)].unflatten(2, halves)[:, :, :, 1, :, None]
        y = torch.cat((y, more + scale * (far @ first)), 3).flatten(2, 3)
        reads = torch.cat((near, _then(far, before)), 3)
        states, moves, level = _moved(after, first) + second, _then(after, before), level + 1
    for bit, state in held.items():
        y = y + scales[..., min(bit + 1, last), None] * (reads[:, :, 0] @ state)
    return y, states[:, :, 0], moves[:, :, 0]


def _decay(q, k, v, log_decay) -> _Chunks:
    total = log_sums(log_decay)
    kept, left = (x.to(v.dtype).exp()[..., None] for x in (total, total[..., -1:] - total))
    inside = (q @ k.mT) * decay_between(total, v.dtype)
    return _Chunks(inside, q * kept, kept[..., -1:, :], (k * left).mT @ v)


def _delta(q, k, v, log_decay, beta) -> _Chunks:
    """The written values solve a triangular system, as in `caselli.ops.delta_rule`."""
    total = log_sums(log_decay)
    kept, left = (x.to(v.dtype).exp()[..., None] for x in (total, total[..., -1:] - total))
    decay, strength = decay_between(total, v.dtype), beta[..., None, :]
    system = ((k @ k.mT) * decay).tril(-1) * strength
    inside = torch.linalg.solve_triangular(
        system, (q @ k.mT) * decay * strength, upper=False, left=False, unitriangular=True
    )
    left_over = torch.linalg.solve_triangular(
        system, (k * left).mT * strength, upper=False, left=False, unitriangular=True
    )
    identity = torch.eye(k.shape[-1], dtype=k.dtype, device=k.device)
    moves = kept[..., -1:, :] * identity - left_over @ (k * kept)
    return _Chunks(inside, q * kept - inside @ (k * kept), moves, left_over @ v)
