"""What a network is, without running it on data: receptive fields, costs, biases, artefacts."""

from caselli.anatomy.receptive_field import AxisField, Field, Misalignment, ReceptiveField
from caselli.anatomy.rules import RULES, register_rule
from caselli.anatomy.tape import Tape, record
from caselli.anatomy.zoo import ZOO, Convention, register_network

__all__ = [
    "RULES",
    "ZOO",
    "AxisField",
    "Convention",
    "Field",
    "Misalignment",
    "ReceptiveField",
    "Tape",
    "record",
    "register_network",
    "register_rule",
]
