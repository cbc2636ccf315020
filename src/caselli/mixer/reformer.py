"""Reformer: attention among tokens that hash alike."""

from __future__ import annotations

import dataclasses

import torch
import torch.nn.functional as F

from caselli.errors import UserError
from caselli.mixer.base import State
from caselli.mixer.dense import Dense
from caselli.mixer.heads import HeadedMixer, append
from caselli.mixer.packing import begins
from caselli.ops import attention, lsh_attention, lsh_buckets, lsh_mask
from caselli.shapes import Float, Int, Tensor


@dataclasses.dataclass(frozen=True)
class ReformerState(State):
    """Keys, values and buckets so far; written in place as attention's state is."""

    keys: Float[Tensor, "B N U d"]
    values: Float[Tensor, "B N U d"]
    buckets: Int[Tensor, "B N U R"]
    begin: Int[Tensor, "B"]
    """Index of the first token of the sequence under way."""
    length: int
    """Tokens seen."""
    packed: bool
    """True once a sequence has begun behind the first token."""


class Reformer(HeadedMixer):
    r"""Softmax attention among the tokens that share a bucket, with one projection for queries and keys.

    .. math::
        y_t = W_o \sum_{s \in P_t} \mathrm{softmax}_s\big(q_t \cdot \hat q_s / \sqrt d\big)\, v_s, \qquad
        P_t = \{s < t : h_r(q_s) = h_r(q_t) \text{ for some round } r\}

    where q̂ is q at length one; a token that has no other in its buckets sees itself. This is the published
    attention by its exact buckets. The published computation cuts the sorted tokens into chunks and drops
    what falls outside of the neighbouring chunk; what falls outside depends on tokens to come, so that it has
    no recurrent form. Here nothing is dropped. Queries are hashed before they are turned by their positions.
    The hash's rotations are a buffer, saved with the model.

    The state keeps every key, value and bucket; a step compares all buckets.

    Arguments:
        width: E.
        buckets: of a round, an even number; time falls with it until buckets hold a block of 64 tokens.
        rounds: R, independent hashes; each finds neighbours that the others miss.
        options: as of `caselli.mixer.heads.HeadedMixer`.

    Source: Kitaev et al. 2020, Reformer: The Efficient Transformer.

    Example:
        >>> mixer = Reformer(width=64, buckets=8)
        >>> y, state = mixer(torch.zeros(2, 5, 64))
        >>> y.shape, state.buckets.shape
        (torch.Size([2, 5, 64]), torch.Size([2, 1, 5, 2]))
    """

    def __init__(self, width: int, *, buckets: int = 16, rounds: int = 2, **options) -> None:
        super().__init__(width, **options)
        if buckets < 2 or buckets % 2 or rounds < 1:
            raise UserError(
                f"buckets {buckets}, rounds {rounds} were given",
                "an even number of buckets and at least 1 round were expected",
            )
        self.query_key = Dense(width, width, bias=False)
        self.value = Dense(width, width, bias=False)
        self.register_buffer("rotations", torch.randn(self.heads, rounds, self.head_width, buckets // 2))

    def initial_state(self, batch: int, capacity: int | None = None) -> ReformerState:
        empty = torch.empty(batch, self.heads, capacity or 0, self.head_width, **self.like())
        return ReformerState(
            keys=empty,
            values=empty.clone(),
            buckets=torch.empty(
                *empty.shape[:3], self.rotations.shape[1], dtype=torch.int64, device=empty.device
            ),
            begin=torch.zeros(batch, dtype=torch.int64, device=empty.device),
            length=0,
            packed=False,
        )

    def parallel(self, x, state, starts):
        first, length = state.length, x.shape[1]
        q, v = (
            projection(x).unflatten(2, (self.heads, self.head_width)).transpose(1, 2)
            for projection in (self.query_key, self.value)
        )
        buckets = lsh_buckets(q, self.rotations).transpose(2, 3)
        q, k = self.turn((q, F.normalize(q, dim=-1)), first)
        begin = begins(starts, state.begin, first, length)
        state = dataclasses.replace(
            state,
            keys=append(state.keys, k, first),
            values=append(state.values, v, first),
            buckets=append(state.buckets, buckets, first),
            begin=begin[:, -1],
            length=first + length,
            packed=starts is not None or state.packed,
        )
        if first:
            y = self._continue(q, buckets, state, begin)
        else:
            y = lsh_attention(
                q, k, v, buckets.transpose(2, 3), begin if state.packed else None, causal=self.causal
            )
        return self.join(y), state

    def _continue(self, q, buckets, state, begin):
        k, v, known = (z[:, :, : state.length] for z in (state.keys, state.values, state.buckets))
        mask = lsh_mask(buckets.transpose(2, 3), known.transpose(2, 3), begin)
        return attention(q, k, v, mask)
