"""Local attention: every token looks at the last few."""

from __future__ import annotations

from caselli.errors import UserError
from caselli.mixer.heads import CachedMixer
from caselli.ops import local_attention


class LocalAttention(CachedMixer):
    r"""Softmax attention within a sliding window, in O(T · window).

    .. math:: y_t = W_o \sum_{t - w < s \le t} \mathrm{softmax}_s\big(q_t \cdot k_s / \sqrt d\big)\, v_s

    and, if not causal, to the w − 1 tokens ahead too. The state keeps the last w − 1 keys and values.

    Arguments:
        width: E.
        window: w, tokens that a token sees, itself included.
        options: as of `caselli.mixer.heads.ProjectingMixer`.

    Sources: Child et al. 2019, Generating Long Sequences with Sparse Transformers; Beltagy et al. 2020,
    Longformer.

    Example:
        >>> import torch
        >>> mixer = LocalAttention(width=64, window=4)
        >>> y, state = mixer(torch.zeros(2, 9, 64))
        >>> y.shape, state.keys.shape
        (torch.Size([2, 9, 64]), torch.Size([2, 1, 3, 64]))
    """

    def __init__(self, width: int, *, window: int = 128, **options) -> None:
        super().__init__(width, **options)
        if window < 1:
            raise UserError(f"window {window} was given", "at least 1 was expected")
        self.window = window

    @classmethod
    def of_state(cls, width, numbers, **options):
        return super().of_state(width, numbers, window=numbers // width // 2, **options)

    def attend(self, q, k, v, begin):
        return local_attention(q, k, v, self.window, begin, causal=self.causal)
