"""Tasks that tell sequence mixers apart: generated or embedded, the same from the same seed."""

from caselli.compare.tasks.associative_recall import AssociativeRecall
from caselli.compare.tasks.automaton import ModularArithmetic, Parity, SwapsInS5, WordsInS3, WordsInS5
from caselli.compare.tasks.backward_copying import BackwardCopying
from caselli.compare.tasks.base import NOTHING, Examples, SequenceTask
from caselli.compare.tasks.bracket_stack import BracketStack
from caselli.compare.tasks.byte_text import ByteText
from caselli.compare.tasks.induction_heads import InductionHeads
from caselli.compare.tasks.list_operations import ListOperations
from caselli.compare.tasks.needles import Needles
from caselli.compare.tasks.permuted_digits import PermutedDigits
from caselli.compare.tasks.selective_copying import SelectiveCopying

TASKS: dict[str, type[SequenceTask]] = {
    "selective_copying": SelectiveCopying,
    "induction_heads": InductionHeads,
    "associative_recall": AssociativeRecall,
    "list_operations": ListOperations,
    "permuted_digits": PermutedDigits,
    "byte_text": ByteText,
    "parity": Parity,
    "modular_arithmetic": ModularArithmetic,
    "words_in_s3": WordsInS3,
    "words_in_s5": WordsInS5,
    "swaps_in_s5": SwapsInS5,
    "bracket_stack": BracketStack,
    "needles": Needles,
    "backward_copying": BackwardCopying,
}

__all__ = [
    "NOTHING",
    "TASKS",
    "AssociativeRecall",
    "BackwardCopying",
    "BracketStack",
    "ByteText",
    "Examples",
    "InductionHeads",
    "ListOperations",
    "ModularArithmetic",
    "Needles",
    "Parity",
    "PermutedDigits",
    "SelectiveCopying",
    "SequenceTask",
    "SwapsInS5",
    "WordsInS3",
    "WordsInS5",
]
