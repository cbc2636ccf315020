"""Softmax attention for codes that are drawn in rounds, and for the queries that ask for the next ones."""

from __future__ import annotations

import torch

from caselli.mixer.heads import AttentionState, CachedMixer
from caselli.ops import attention
from caselli.shapes import Bool, Float, Tensor


class RoundAttention(CachedMixer):
    """Attention of every token to all before it and to all of its own round, without rotary positions.

    A piece given to the mixer is a round. Queries are seen by no later token: `peek` answers them and keeps
    nothing, so that the state has the drawn codes alone.

    Arguments:
        width: E.
        mutual: whether the queries of a round see each other, as in locality-aware parallel decoding; else
            each sees itself and what is drawn, as in randomized parallel decoding.
        options: see `caselli.mixer.heads.ProjectingMixer`.

    Sources: Zhang et al. 2025, Locality-aware Parallel Decoding for Efficient Autoregressive Image
    Generation; Li et al. 2025, Autoregressive Image Generation with Randomized Parallel Decoding.

    Example:
        >>> mixer = RoundAttention(64)
        >>> y, state = mixer(torch.zeros(2, 3, 64))
        >>> mixer.peek(torch.zeros(2, 5, 64), state).shape, state.length
        (torch.Size([2, 5, 64]), 3)
    """

    def __init__(
        self,
        width: int,
        *,
        mutual: bool = True,
        heads: int | None = None,
        kv_heads: int | None = None,
        chunk_size: int = 256,
    ) -> None:
        sizes = {"heads": heads, "kv_heads": kv_heads, "chunk_size": chunk_size}
        super().__init__(width, rotary_base=0.0, **sizes)
        self.mutual = mutual

    def attend(self, q, k, v, begin):
        return attention(q, k, v)

    def peek(self, x: Float[Tensor, "B T E"], state: AttentionState) -> Float[Tensor, "B T E"]:
        q, k, v = self.project(x, state.length)
        keys, values, _ = self._append(k, v, state)  # behind the codes, where the next ones overwrite them
        count, mask = x.shape[1], None
        if not self.mutual and count > 1:
            mask = torch.ones(count, keys.shape[2], dtype=torch.bool, device=x.device)
            mask[:, state.length :] = torch.eye(count, dtype=torch.bool, device=x.device)
            mask = mask[None, None]
        return self.join(attention(q, keys, values, mask))

    def remembered(self, x, state):
        return self._append(*self.keys_and_values(x), state)[2]

    def all_rounds(self, x: Float[Tensor, "B S E"], mask: Bool[Tensor, "S S"]) -> Float[Tensor, "B S E"]:
        """Outputs of the codes and queries of all rounds at once, see `rounds_mask`."""
        return self.join(attention(*self.project(x, 0), mask[None, None]))


def rounds_mask(before: int, sizes: list[int], mutual: bool) -> Bool[Tensor, "S S"]:
    """True where a vector sees another: conditions, codes of all rounds but the last, queries of all rounds.

    Codes see those of their own round and of rounds before, queries see codes of rounds before, and queries
    of their own round, or themselves alone.

    Arguments:
        before: number of vectors of the conditions, which come first.
        sizes: slots of each round.
        mutual: whether queries of a round see each other.

    Example:
        >>> rounds_mask(1, [1, 2], mutual=True).long()
        tensor([[1, 0, 0, 0, 0],
                [1, 1, 0, 0, 0],
                [1, 0, 1, 0, 0],
                [1, 1, 0, 1, 1],
                [1, 1, 0, 1, 1]])
    """
    asked = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    given = torch.cat((torch.zeros(before, dtype=torch.int64), 1 + asked[: len(asked) - sizes[-1]]))
    same = asked[:, None] == asked if mutual else torch.eye(len(asked), dtype=torch.bool)
    unseen = torch.zeros(len(given), len(asked), dtype=torch.bool)
    codes = torch.cat((given[:, None] >= given, unseen), 1)
    return torch.cat((codes, torch.cat((asked[:, None] >= given, same), 1)))
