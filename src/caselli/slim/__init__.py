"""A trained run made smaller: fewer bits, fewer weights, or a smaller network that learns from it."""

from caselli.slim.decoder import DecoderDistillation, with_smaller_decoder
from caselli.slim.distil import Distilled, Distilling, inherit, refuse_other_kinds
from caselli.slim.prune import STRUCTURES, Loss, importance, remove_layers, remove_units, survivors
from caselli.slim.quantise import PRECISIONS, Precision, quantise, quantise_in_training, settle
from caselli.slim.sparse import PATTERNS, keep_zeros, leave_zeros_out, remove_weights
from caselli.slim.structure import CHANNELS, HEADS, Units, units_of

__all__ = [
    "CHANNELS",
    "HEADS",
    "PATTERNS",
    "PRECISIONS",
    "STRUCTURES",
    "DecoderDistillation",
    "Distilled",
    "Distilling",
    "Loss",
    "Precision",
    "Units",
    "importance",
    "inherit",
    "keep_zeros",
    "leave_zeros_out",
    "quantise",
    "quantise_in_training",
    "refuse_other_kinds",
    "remove_layers",
    "remove_units",
    "remove_weights",
    "settle",
    "survivors",
    "units_of",
    "with_smaller_decoder",
]
