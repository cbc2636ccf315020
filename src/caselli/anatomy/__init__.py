"""What a network is, without running it on data: receptive fields, costs, biases; and a small zoo."""

from caselli.anatomy.biases import Bias, biases
from caselli.anatomy.cost import Cost, LayerCost, Machine, cost
from caselli.anatomy.drawing import draw_field, draw_fields, draw_perceptrons
from caselli.anatomy.field import AxisField, Field, Misalignment
from caselli.anatomy.folding import fold_batch_norm, folded, without_redundant_biases
from caselli.anatomy.gradient import effective_field, gradient_field, support
from caselli.anatomy.inspection import Inspection, LayerField, inspect
from caselli.anatomy.measuring import forward_seconds, measured_machine
from caselli.anatomy.receptive_field import ReceptiveField
from caselli.anatomy.recording import record
from caselli.anatomy.rules import RULES, register_rule
from caselli.anatomy.shift import Effect
from caselli.anatomy.tape import Tape
from caselli.anatomy.threshold import PerceptronRun, train_perceptron
from caselli.anatomy.zoo import ZOO, Convention, register_network

__all__ = [
    "RULES",
    "ZOO",
    "AxisField",
    "Bias",
    "Convention",
    "Cost",
    "Effect",
    "Field",
    "Inspection",
    "LayerCost",
    "LayerField",
    "Machine",
    "Misalignment",
    "PerceptronRun",
    "ReceptiveField",
    "Tape",
    "biases",
    "cost",
    "draw_field",
    "draw_fields",
    "draw_perceptrons",
    "effective_field",
    "fold_batch_norm",
    "folded",
    "forward_seconds",
    "gradient_field",
    "inspect",
    "measured_machine",
    "record",
    "register_network",
    "register_rule",
    "support",
    "train_perceptron",
    "without_redundant_biases",
]
