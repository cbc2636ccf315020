"""The conditions of a prior, and how they become the first inputs of its sequence."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from caselli.errors import UserError, lookup
from caselli.prior.config import Alphabet, PriorConfig
from caselli.prior.heads import HEADS
from caselli.prior.text import TextEncoder
from caselli.prior.vocabulary import UNKNOWN
from caselli.shapes import Float, Int, Tensor

_NULL = {"labels": -1, "text": 0, "codes": -1}
"""Value of each part that stands for no condition."""


def _without(name: str, part: Tensor) -> Tensor:
    """A part that is left out; a caption keeps its length, as the negative of its numbers."""
    return -part.abs() if name == "text" else torch.full_like(part, _NULL[name])


@dataclasses.dataclass(frozen=True)
class Conditions:
    """The conditions of each picture of a batch, in parts; a part that is None is given for none of them.

    Example:
        >>> conditions = Conditions(labels=torch.tensor([3, -1]))
        >>> conditions.doubled().labels
        tensor([ 3, -1, -1, -1])
    """

    labels: Int[Tensor, "B"] | None = None
    """Class numbers; −1 for none."""
    text: Int[Tensor, "B L"] | None = None
    """Captions by the prior's vocabulary; a row without positive numbers for none."""
    codes: Int[Tensor, "B P"] | None = None
    """Codes of another picture, or of a part of the same one; −1 where they are not known."""

    @classmethod
    def of(cls, given: Conditions | Int[Tensor, "B"] | None) -> Conditions:
        """Conditions; a label for each picture is short for those with labels alone, None for none."""
        if given is None:
            return cls()
        return given if isinstance(given, Conditions) else cls(labels=given)

    def is_empty(self) -> bool:
        """True where there is no part."""
        return not self.parts()

    def parts(self) -> dict[str, Tensor]:
        """The parts that are given, by name."""
        named = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {name: part for name, part in named.items() if part is not None}

    def map(self, function: Callable[[str, Tensor], Tensor]) -> Conditions:
        """A record with a function of name and tensor applied to each part."""
        return Conditions(**{name: function(name, part) for name, part in self.parts().items()})

    def to(self, device: torch.device | str) -> Conditions:
        """The conditions on a device."""
        return self.map(lambda name, part: part.to(device))

    def rows(self, index: Int[Tensor, "b"] | slice) -> Conditions:
        """The conditions of some of the pictures."""
        return self.map(lambda name, part: part[index])

    def null(self) -> Conditions:
        """Conditions of as many pictures without any."""
        return self.map(_without)

    def doubled(self) -> Conditions:
        """The conditions, and behind them as many null ones: the rows of guidance."""
        null = self.null().parts()
        return self.map(lambda name, part: torch.cat((part, null[name])))

    def dropped(self, shares: dict[str, float]) -> Conditions:
        """The conditions with each part left out in a random share of the rows, independently.

        Arguments:
            shares: name of a part → share of the rows.

        Source: Ho and Salimans 2022, Classifier-Free Diffusion Guidance.
        """

        def drop(name: str, part: Tensor) -> Tensor:
            gone = torch.rand(len(part), device=part.device) < shares[name]
            return torch.where(gone.view(-1, *[1] * (part.dim() - 1)), _without(name, part), part)

        return self.map(drop)

    def blotted(self, share: float) -> Conditions:
        """The conditions with a random share of the words of each caption replaced by the unknown one."""
        if share == 0 or self.text is None:
            return self
        gone = (torch.rand(self.text.shape, device=self.text.device) < share) & (self.text > 0)
        return dataclasses.replace(self, text=self.text.masked_fill(gone, UNKNOWN))


class Conditioner(nn.Module):
    """Conditions → the P ≥ 1 vectors in front of a sequence, of label, caption and other picture; and a
    vector for each slot, of the other picture's codes at its place.

    P is the same whatever is given: a part that is not given has learned vectors too. The label's vector
    comes first and is always there; the others have positions of their own.

    Arguments:
        config: the prior's configuration.
        alphabet: labels, vocabulary of the captions, and the codebooks of the other picture's codes.

    Example:
        >>> conditioner = Conditioner(PriorConfig(width=32), Alphabet((8,), (0,) * 4, classes=3))
        >>> conditioner(Conditions(labels=torch.tensor([0, 2])), batch=2).shape
        torch.Size([2, 1, 32])
    """

    padded = False
    """True where vectors in front of a short condition fill it up, see `starts`."""

    def __init__(self, config: PriorConfig, alphabet: Alphabet) -> None:
        super().__init__()
        self.alphabet, self.text, self.picture = alphabet, None, None
        width = config.width
        self.label = nn.Embedding(alphabet.classes + 1, width)
        if alphabet.text is not None:
            sizes = {"width": config.text_width, "depth": config.text_depth, "vectors": config.text_vectors}
            self.text = TextEncoder(alphabet.text, out=width, dropout=config.dropout, **sizes)
        self.beside = None
        if alphabet.picture:
            self.picture = embedding_of(config, alphabet, width)
            firsts = [sum(alphabet.sizes[:q]) for q in alphabet.picture]
            self.register_buffer("offset", torch.tensor(firsts), persistent=False)
        if alphabet.picture and alphabet.places and all(alphabet.picture_shape):
            self.beside = embedding_of(config, alphabet, width)
            self.register_buffer("same_place", same_place(alphabet), persistent=False)
        blank = torch.empty(1, len(alphabet.picture), 1)
        further = (config.text_vectors if self.text else 0) + pooled(alphabet, blank).shape[1]
        self.place = nn.Embedding(further, width) if further else None

    def start(self) -> None:
        """Initialises the embeddings with small random values."""
        for embedding in (self.label, self.picture, self.beside, self.place):
            if embedding is not None:
                nn.init.normal_(embedding.weight, std=0.02)

    @property
    def length(self) -> int:
        """P."""
        return 1 if self.place is None else 1 + self.place.num_embeddings

    def forward(self, conditions: Conditions, batch: int) -> Float[Tensor, "B P E"]:
        """The vectors in front of the sequence.

        Errors: `UserError` for a part that the prior was not trained with.
        """
        self._check(conditions)
        label = self.label_vector(conditions, batch)
        if self.place is None:
            return label
        further = []
        if self.text is not None:
            text = self._given(conditions.text, batch, self.alphabet.text.size, "text")
            further.append(self.text(text.clamp_min(0)))
        if self.picture is not None:
            further.append(pooled(self.alphabet, self.picture(self._entries(conditions, batch))))
        return torch.cat((label, torch.cat(further, 1) + self.place.weight), 1)

    def starts(self, conditions: Conditions, batch: int) -> None:
        """None: every vector in front of the sequence is seen by all behind it."""

    def at_places(self, conditions: Conditions, batch: int) -> Float[Tensor, "B T E"] | None:
        """Sum of the embeddings of the other picture's codes at each slot's place; None without places."""
        if self.beside is None:
            return None
        return self.beside(self._entries(conditions, batch)[:, self.same_place]).sum(2)

    def _entries(self, conditions: Conditions, batch: int) -> Int[Tensor, "B P"]:
        """Entries of the other picture's codes in an embedding; the last one where they are not known."""
        codes = self._given(conditions.codes, batch, len(self.alphabet.picture), "codes")
        return torch.where(codes < 0, sum(self.alphabet.sizes), codes + self.offset)

    def label_vector(self, conditions: Conditions, batch: int) -> Float[Tensor, "B 1 E"]:
        """Vector of each picture's label."""
        return self.label(self.label_rows(conditions, batch))[:, None]

    def label_rows(self, conditions: Conditions, batch: int) -> Int[Tensor, "B"]:
        """Entry of the label embedding for each picture, the null label's where there is none."""
        labels = conditions.labels
        if labels is None:
            return torch.full((batch,), self.alphabet.classes, device=self.label.weight.device)
        return labels % (self.alphabet.classes + 1)

    def hidden_matrices(self) -> list[nn.Parameter]:
        """The weights of linear layers whose inputs and outputs are hidden."""
        layers = [] if self.text is None else self.text.blocks.modules()
        return [layer.weight for layer in layers if isinstance(layer, nn.Linear)]

    def _given(self, part: Tensor | None, batch: int, length: int, name: str) -> Tensor:
        if part is None:
            return torch.full((batch, length), _NULL[name], device=self.label.weight.device)
        return part

    def _check(self, conditions: Conditions) -> None:
        for part, layer, what in (
            (conditions.text, self.text, "a caption"),
            (conditions.codes, self.picture, "another picture"),
        ):
            if part is not None and layer is None:
                raise UserError(
                    f"{what} was given to a prior that was trained without",
                    "a prior trained with such conditions was expected",
                    "leave it out, or see the guide's page of conditions",
                )


def embedding_of(config: PriorConfig, alphabet: Alphabet, width: int) -> nn.Module:
    """Embedding of the other picture's codes by the prior's head, with an entry for those not known."""
    return lookup(HEADS, "head", config.head).embedding(alphabet, width, null=True)


def same_place(alphabet: Alphabet) -> Int[Tensor, "T Q"]:
    """Indices of the other picture's codes at each slot's place, one of each codebook.

    Example:
        >>> slots = {"codebooks": (0,) * 4, "places": ((0, 0), (0, 1), (1, 0), (1, 1))}
        >>> same_place(Alphabet((8,), **slots, picture=(0, 0), picture_shape=(2, 1))).flatten()
        tensor([0, 0, 1, 1])
    """
    place, (rows, columns) = torch.tensor(alphabet.places), alphabet.picture_shape
    height, width = (place.amax(0) + 1).tolist()
    index = place[:, 0] * rows // height * columns + place[:, 1] * columns // width
    books = len(alphabet.picture) // (rows * columns)
    return index[:, None] + torch.arange(books) * rows * columns


def pooled(alphabet: Alphabet, x: Float[Tensor, "B P E"]) -> Float[Tensor, "B p E"]:
    """Means over squares of `picture_pool` by `picture_pool` codes of the other picture.

    Example:
        >>> alphabet = Alphabet((8,), (0,), picture=(0,) * 4, picture_shape=(2, 2), picture_pool=2)
        >>> pooled(alphabet, torch.ones(1, 4, 3)).shape
        torch.Size([1, 1, 3])
    """
    if alphabet.picture_pool == 1:
        return x
    rows, columns = alphabet.picture_shape
    grid = x.unflatten(1, (-1, rows, columns)).flatten(0, 1).movedim(3, 1)
    size = [max(1, side // alphabet.picture_pool) for side in (rows, columns)]
    means = F.adaptive_avg_pool2d(grid, size).flatten(2).transpose(1, 2)
    return means.unflatten(0, (len(x), -1)).flatten(1, 2)
