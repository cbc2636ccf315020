"""The training loop, its checkpoints, and all that knows of ranks, precision and optimisers."""

from caselli.engine.batch import of_shape
from caselli.engine.checkpoint import Checkpoints
from caselli.engine.config import OPTIMISERS, TrainingConfig
from caselli.engine.fit import Fit, Generated, fit
from caselli.engine.log import Log, read_log
from caselli.engine.loop import Interrupted, Training
from caselli.engine.machine import CPU, Machine, machine, on_device
from caselli.engine.rate import rate_of
from caselli.engine.task import Losses, Part, Task
from caselli.engine.threads import kept_threads
from caselli.engine.tracker import Tracker
from caselli.engine.trackers import TRACKERS, expect_trackers, tracked

__all__ = [
    "CPU",
    "OPTIMISERS",
    "TRACKERS",
    "Checkpoints",
    "Fit",
    "Generated",
    "Interrupted",
    "Log",
    "Losses",
    "Machine",
    "Part",
    "Task",
    "Tracker",
    "Training",
    "TrainingConfig",
    "expect_trackers",
    "fit",
    "kept_threads",
    "machine",
    "of_shape",
    "on_device",
    "rate_of",
    "read_log",
    "tracked",
]
