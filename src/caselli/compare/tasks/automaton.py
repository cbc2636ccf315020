"""Tasks that need a state: a small machine reads the tokens, and is asked where it stands after each."""

from __future__ import annotations

import itertools

import torch

from caselli.compare.tasks.base import Examples, SequenceTask
from caselli.errors import UserError
from caselli.shapes import Int, Tensor


class Automaton(SequenceTask):
    """Random tokens move a machine from state to state, beginning at 0; every token asks for the state.

    A longer sequence needs no larger state, but a mixer that only weighs and adds what it has seen cannot
    keep track of it. Sequences of all lengths are learnt from: a mistake of the first tokens is in every
    later answer, so that short ones teach what a token does. A method is final and gives the table.

    Arguments:
        table: the next state of each state and token.
        length: T.
    """

    def __init__(self, table: Int[Tensor, "states tokens"], length: int) -> None:
        self.table = table
        states, tokens = table.shape
        lengths = (length, 2 * length, 4 * length, 16 * length)
        super().__init__(tokens=tokens, answers=states, length=length, lengths=lengths, least=1, shortest=1)

    def draw(self, count, length, random, split):
        tokens = torch.randint(self.tokens, (count, length), generator=random)
        state, answers = torch.zeros(count, dtype=torch.int64), []
        for token in tokens.unbind(1):
            state = self.table[state, token]
            answers.append(state)
        return Examples(tokens, torch.stack(answers, 1))


class Parity(Automaton):
    """Bits, and whether the ones so far are odd.

    Arguments:
        length: T.

    Source: Merrill, Petty and Sabharwal 2024, The Illusion of State in State-Space Models.

    Example:
        >>> made = Parity(length=5).examples(1, torch.Generator().manual_seed(0))
        >>> made.tokens.tolist(), made.answers.tolist()
        ([[0, 1, 1, 0, 1]], [[0, 1, 0, 0, 1]])
    """

    def __init__(self, length: int = 64) -> None:
        super().__init__(torch.tensor([[0, 1], [1, 0]]), length)


class ModularArithmetic(Automaton):
    """Numbers and what to do with them, and the result so far modulo a number.

    Arguments:
        modulus: m.
        operations: of "+", "-" and "*"; a token is an operation with a number.
        length: T.

    Source: Delétang et al. 2022, Neural Networks and the Chomsky Hierarchy.

    Example:
        >>> made = ModularArithmetic(modulus=3, length=5).examples(1, torch.Generator().manual_seed(0))
        >>> made.tokens.tolist(), made.answers.tolist()
        ([[2, 0, 2, 0, 1]], [[2, 2, 1, 1, 2]])
    """

    def __init__(self, modulus: int = 5, operations: str = "+", length: int = 64) -> None:
        if modulus < 2 or not operations or not set(operations) <= set("+-*"):
            raise UserError(
                f"modulus {modulus} and operations {operations!r} were given",
                "at least 2, and some of + - * were expected",
            )
        value, number = torch.arange(modulus)[:, None], torch.arange(modulus)
        apply = {"+": value + number, "-": value - number, "*": value * number}
        super().__init__(torch.cat([apply[name] % modulus for name in operations], 1), length)


class WordsInS3(Automaton):
    """Permutations of three things, and their product so far: a group that is solvable, in two steps.

    Arguments:
        length: T.

    Sources: Merrill, Petty and Sabharwal 2024, The Illusion of State in State-Space Models; Grazzi et al.
    2024, Unlocking State-Tracking in Linear RNNs Through Negative Eigenvalues.

    Example:
        >>> made = WordsInS3(length=4).examples(1, torch.Generator().manual_seed(0))
        >>> made.tokens.tolist(), made.answers.tolist()
        ([[2, 3, 5, 0]], [[2, 5, 0, 0]])
    """

    def __init__(self, length: int = 64) -> None:
        super().__init__(permutation_table(3), length)


class WordsInS5(Automaton):
    """Permutations of five things, and their product so far: the smallest group that is not solvable.

    Arguments:
        length: T.

    Sources: Barrington 1989, Bounded-Width Polynomial-Size Branching Programs Recognize Exactly Those
    Languages in NC1; Merrill, Petty and Sabharwal 2024, The Illusion of State in State-Space Models.

    Example:
        >>> WordsInS5().tokens
        120
    """

    def __init__(self, length: int = 64) -> None:
        super().__init__(permutation_table(5), length)


class SwapsInS5(Automaton):
    """Exchanges of two of five things, and the permutation so far: words in S₅ of ten letters, each one
    reflection.

    Arguments:
        length: T.

    Source: Grazzi et al. 2024, Unlocking State-Tracking in Linear RNNs Through Negative Eigenvalues.

    Example:
        >>> SwapsInS5().tokens
        10
    """

    def __init__(self, length: int = 64) -> None:
        words = itertools.permutations(range(5))
        swaps = [number for number, word in enumerate(words) if sum(i != w for i, w in enumerate(word)) == 2]
        super().__init__(permutation_table(5)[:, swaps], length)


def permutation_table(things: int) -> Int[Tensor, "states tokens"]:
    """The product of any two permutations, the first applied first; all are numbered in dictionary order.

    Example:
        >>> permutation_table(2)
        tensor([[0, 1],
                [1, 0]])
    """
    words = list(itertools.permutations(range(things)))
    index = {word: i for i, word in enumerate(words)}
    return torch.tensor([[index[tuple(second[i] for i in first)] for second in words] for first in words])
