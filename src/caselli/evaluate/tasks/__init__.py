"""Tasks that tell sequence mixers apart: generated or embedded, the same from the same seed."""

from caselli.evaluate.tasks.associative_recall import AssociativeRecall
from caselli.evaluate.tasks.base import NOTHING, Examples, SequenceTask
from caselli.evaluate.tasks.byte_text import ByteText
from caselli.evaluate.tasks.induction_heads import InductionHeads
from caselli.evaluate.tasks.list_operations import ListOperations
from caselli.evaluate.tasks.permuted_digits import PermutedDigits
from caselli.evaluate.tasks.selective_copying import SelectiveCopying

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
