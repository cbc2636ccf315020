"""The training loop, its checkpoints, and all that knows of ranks, precision and optimisers."""

from caselli.engine.config import TrainingConfig
from caselli.engine.log import Log, read_log
from caselli.engine.loop import Interrupted, Training
from caselli.engine.machine import Machine, machine, matrix_rate
from caselli.engine.task import Losses, Part, Task

__all__ = [
    "Interrupted",
    "Log",
    "Losses",
    "Machine",
    "Part",
    "Task",
    "Training",
    "TrainingConfig",
    "machine",
    "matrix_rate",
    "read_log",
]
