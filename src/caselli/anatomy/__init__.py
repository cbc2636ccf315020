"""Structure of a network, found without running it on data: receptive fields, costs, biases."""

from caselli.anatomy.biases import Bias, biases
from caselli.anatomy.cost import LayerCost, MachineRates, NetworkCost, cost
from caselli.anatomy.drawing import draw_field, draw_fields
from caselli.anatomy.effective import effective_field
from caselli.anatomy.field import AxisField, Field, Misalignment
from caselli.anatomy.folding import fold_batch_norm, folded, without_redundant_biases
from caselli.anatomy.inspection import Inspection, LayerField, in_bytes, in_thousands, inspect
from caselli.anatomy.measuring import forward_seconds, measured_machine
from caselli.anatomy.perceptron import PerceptronRun, draw_perceptrons, train_perceptron
from caselli.anatomy.receptive_field import ReceptiveField
from caselli.anatomy.recording import apart, record
from caselli.anatomy.rules import RULES, register_rule
from caselli.anatomy.shift import Effect
from caselli.anatomy.step import StepCost, step_cost
from caselli.anatomy.tape import Tape

__all__ = [
    "RULES",
    "AxisField",
    "Bias",
    "Effect",
    "Field",
    "Inspection",
    "LayerCost",
    "LayerField",
    "MachineRates",
    "Misalignment",
    "NetworkCost",
    "PerceptronRun",
    "ReceptiveField",
    "StepCost",
    "Tape",
    "apart",
    "biases",
    "cost",
    "draw_field",
    "draw_fields",
    "draw_perceptrons",
    "effective_field",
    "fold_batch_norm",
    "folded",
    "forward_seconds",
    "in_bytes",
    "in_thousands",
    "inspect",
    "measured_machine",
    "record",
    "register_rule",
    "step_cost",
    "train_perceptron",
    "without_redundant_biases",
]
