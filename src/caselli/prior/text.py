"""A small Transformer that encodes captions for a prior."""

from __future__ import annotations

import torch
from torch import nn

from caselli.mixer import Attention
from caselli.mixer.dense import Dense
from caselli.prior.block import Block
from caselli.prior.vocabulary import Vocabulary
from caselli.shapes import Bool, Float, Int, Tensor


class TextEncoder(nn.Module):
    r"""A bidirectional Transformer over a caption, read out at V learned vectors in front of it.

    .. math:: (y_1, \dots, y_V) = W N\,\mathrm{blocks}(s_1, \dots, s_V, e(w_1), \dots, e(w_l))

    Padding behind the caption's end is masked; without a caption y comes from the learned vectors alone.

    Arguments:
        vocabulary: vocabulary of the captions; gives e.
        width: width of the layers.
        depth: number of layers.
        vectors: V.
        out: E, the width of y.
        dropout: share of each layer's output that is dropped in training.

    Source: Devlin et al. 2019, BERT (a token that stands for the whole text).

    Example:
        >>> from caselli.prior import Bytes
        >>> encoder = TextEncoder(Bytes(6), width=32, depth=1, vectors=2, out=48)
        >>> encoder(Bytes(6).encode(["a cat", ""])).shape
        torch.Size([2, 2, 48])
    """

    def __init__(
        self, vocabulary: Vocabulary, *, width: int, depth: int, vectors: int, out: int, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.embedding, self.each = vocabulary.embedding(width), vocabulary.each
        self.summary = nn.Parameter(torch.empty(vectors, width))
        self.blocks = nn.ModuleList(
            Block(Attention(width, causal=False), expansion=4, dropout=dropout) for _ in range(depth)
        )
        self.norm, self.out = nn.LayerNorm(width, bias=False), Dense(width, out, bias=False)
        self._start()

    def _start(self) -> None:
        nn.init.normal_(self.summary, std=0.02)
        if isinstance(self.embedding, nn.Embedding):
            nn.init.normal_(self.embedding.weight, std=0.02)
        nn.init.normal_(self.out.weight, std=0.02)
        for block in self.blocks:
            nn.init.normal_(block.down.weight, std=0.02 / (2 * len(self.blocks)) ** 0.5)

    def forward(self, text: Int[Tensor, "B n·L"]) -> Float[Tensor, "B V E"]:
        summary = self.summary.expand(text.shape[0], -1, -1)
        x = torch.cat((summary, self.embedding(text)), 1)
        starts = ends(text[:, :: self.each], len(self.summary))
        for block in self.blocks:
            x, _ = block(x, None, starts)
        return self.out(self.norm(x[:, : len(self.summary)]))


def ends(text: Int[Tensor, "B L"], before: int) -> Bool[Tensor, "B T"]:
    """Marks where the padding of each row begins, so that the mixers take it for another sequence.

    Arguments:
        text: numbers of the captions, 0 behind their ends.
        before: tokens in front of the caption.

    Example:
        >>> ends(torch.tensor([[5, 0, 0], [5, 6, 7]]), before=1)
        tensor([[False, False,  True, False],
                [False, False, False, False]])
    """
    place = torch.arange(-before, text.shape[1], device=text.device)
    return place == (text > 0).sum(1, keepdim=True)
