"""Tasks that tell sequence mixers apart: generated or embedded, the same from the same seed."""

from caselli.compare.tasks.associative_recall import AssociativeRecall
from caselli.compare.tasks.base import NOTHING, Examples, SequenceTask
from caselli.compare.tasks.byte_text import ByteText
from caselli.compare.tasks.induction_heads import InductionHeads
from caselli.compare.tasks.list_operations import ListOperations
from caselli.compare.tasks.permuted_digits import PermutedDigits
from caselli.compare.tasks.selective_copying import SelectiveCopying

TASKS: dict[str, type[SequenceTask]] = {
    "selective_copying": SelectiveCopying,
    "induction_heads": InductionHeads,
    "associative_recall": AssociativeRecall,
    "list_operations": ListOperations,
    "permuted_digits": PermutedDigits,
    "byte_text": ByteText,
}

__all__ = [
    "NOTHING",
    "TASKS",
    "AssociativeRecall",
    "ByteText",
    "Examples",
    "InductionHeads",
    "ListOperations",
    "PermutedDigits",
    "SelectiveCopying",
    "SequenceTask",
]
