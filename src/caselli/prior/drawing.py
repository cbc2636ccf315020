"""The contract between a prior, which computes logits, and the drawing, which chooses codes by them."""

from __future__ import annotations

from abc import ABC, abstractmethod

from caselli.prior.conditions import Conditions
from caselli.prior.head import Head, Slots, Walk, follow
from caselli.shapes import Float, Int, Tensor


class Drawing(ABC):
    """A batch of sequences to be drawn: a prior computes logits, this chooses codes by them.

    The prior computes R rows: those of the B sequences and, where there is guidance, as many again whose
    conditions are left out. Noise, guidance, temperature and truncation are no concern of the prior's.
    `caselli.sampling` has the class that draws.
    """

    codes: Int[Tensor, "B T"]
    """The sequences, filled in place; −1 where a code is to be drawn."""
    first: int
    """Number of leading slots that are known in every sequence, less than T."""
    uniform: Float[Tensor, "B T ..."]
    """The noise of each slot, `B T`, or `B T parts` where the prior's head has several parts."""

    @property
    @abstractmethod
    def schedule(self) -> str:
        """Name in `MASK_SCHEDULES` of the share of codes that is left to later rounds."""

    @abstractmethod
    def part(self, rows: Int[Tensor, "b"]) -> Drawing:
        """Some of the sequences; their codes are a copy."""

    @property
    @abstractmethod
    def rounds(self) -> int:
        """Number of times that the prior goes through its layers, see `Prior.rounds`."""

    @property
    @abstractmethod
    def rows(self) -> int:
        """R: B, or 2 B under guidance."""

    @abstractmethod
    def row_conditions(self) -> Conditions:
        """The condition of each row; with guidance those of the second half are null."""

    @abstractmethod
    def in_rows(self, x: Int[Tensor, "B *T"]) -> Int[Tensor, "R *T"]:
        """Values of the sequences, for every row."""

    @abstractmethod
    def sampled(
        self, logits: Float[Tensor, "R *T K"], round: int, uniform: Float[Tensor, "B *T"]
    ) -> Int[Tensor, "B *T"]:
        """Entries drawn from the logits of a round, by uniform noise."""

    @abstractmethod
    def fill(self, slots: int | slice | Tensor, drawn: Int[Tensor, "B *T"]) -> None:
        """Puts what was drawn into slots that are not known; known codes stay."""

    @property
    @abstractmethod
    def edits(self) -> bool:
        """True where drawn codes may be replaced by others."""

    @abstractmethod
    def take_back(self, head: Head, round: int) -> None:
        """Masks some of the drawn codes again before a round."""

    @abstractmethod
    def unmask(
        self, head: Head, outputs: Float[Tensor, "R T F"], round: int, halton: Int[Tensor, "T"]
    ) -> None:
        """Draws all codes that are not known, and keeps those that a round may keep.

        Arguments:
            head: the distribution of a code.
            outputs: of every slot.
            round: number of the round; after the last one all codes are known.
            halton: number of each slot in the Halton sequence over the grid.
        """

    def drawn(
        self,
        head: Head,
        outputs: Float[Tensor, "R *T F"],
        slots: Slots,
        round: int,
        uniform: Float[Tensor, "B *T ..."],
    ) -> Int[Tensor, "B *T"]:
        """Codes drawn from a head's distributions.

        Arguments:
            head: the distribution of a code.
            outputs: what it takes, for every row.
            slots: where the codes are.
            round: number of the round, for guidance.
            uniform: noise, with an axis of the head's parts behind where there are several.
        """
        uniform = uniform if head.parts > 1 else uniform[..., None]
        return self.walked(head.walk(outputs, slots), round, uniform)

    def walked(self, walk: Walk, round: int, uniform: Float[Tensor, "B *T parts"]) -> Int[Tensor, "B *T"]:
        """Codes drawn part by part, along the walk of every row."""

        def choose(logits: Tensor, first: int) -> Tensor:
            noise = uniform[..., first : first + logits.shape[-2]]
            return self.in_rows(self.sampled(logits, round, noise))

        return follow(walk, choose)[: len(uniform)]

    def start(self) -> tuple[Conditions, int, Tensor]:
        """Arguments of `Autoregressive.start`: conditions, rows, and the codes known in every row."""
        return self.row_conditions(), self.rows, self.in_rows(self.codes[:, : self.first])
