"""The way in which a run is made smaller; plain data, stored in the new run's folder."""

from __future__ import annotations

import dataclasses

from caselli.errors import UserError, lookup
from caselli.mixer import MIXERS
from caselli.run.derived import DerivedConfig
from caselli.run.folder import SLIMMED
from caselli.slim import PATTERNS, PRECISIONS, STRUCTURES, Distilling

KINDS = (*STRUCTURES, "layers", *PATTERNS)
"""Units that can be removed."""
METHODS = ("quantise", "prune", "distil_to", "distil_decoder")
STAGES = ("prior", "tokenizer", "both")


@dataclasses.dataclass(frozen=True)
class SlimConfig(DerivedConfig):
    """One method, and how it is trained for; a run can be made smaller more than once."""

    file = SLIMMED

    quantise: str = ""
    """Weights as integers: int8 or int4."""
    activations: str = ""
    """int8: linear layers round their inputs too, and multiply integers."""
    prune: float = 0.0
    """Share that is removed, between 0 and 1."""
    structure: tuple[str, ...] = ("heads", "channels")
    """Units that are removed: heads, channels, layers, weights or 2:4, several with commas."""
    distil_to: tuple[str, ...] = ()
    """Mixers of a small prior's layers, with commas."""
    distil_decoder: float = 0.0
    """Share of its channels that a small decoder keeps, between 0 and 1."""
    stage: str = ""
    """Stage that is made smaller: prior, tokenizer or both (both to quantise, prior to prune)."""
    width: int = 0
    """Width of the small prior; 0 for the large one's."""
    from_scratch: bool = False
    """Train the small prior without the large one, to compare distilling with."""
    minutes: float | None = None
    """Wall-clock budget of the training that recovers or distils."""
    steps: int = 0
    """Steps of that training, where no minutes are given; 0 for none."""
    batch: int = 0
    """Samples of a step; 0 for the run's own."""
    learning_rate: float = 0.0
    """Peak of the learning rate; 0 for the run's own to distil, a third of it to recover."""
    temperature: float = 1.0
    """Temperature of the distributions that are compared in distilling."""
    data: float = 0.1
    """Share of the data's own likelihood in the loss of distilling."""
    transfer: float = 0.3
    """Share of the budget in which the small prior's layers learn from the large one's, before the logits."""

    def __post_init__(self) -> None:
        given = [name for name in METHODS if getattr(self, name)]
        if len(given) != 1:
            raise UserError(
                f"{' and '.join(given) or 'no method'} was given",
                "one of --quantise, --prune, --distil-to, --distil-decoder was expected",
                "make the run smaller one way, and the new run the other way",
            )
        if self.quantise:
            lookup(PRECISIONS, "precision", self.quantise)
        if self.activations and (self.activations != "int8" or self.quantise != "int8"):
            raise UserError(
                f"--activations {self.activations} was given with {self.quantise or 'float'} weights",
                "int8 of both was expected",
                "give --quantise int8 --activations int8",
            )
        for name in ("prune", "distil_decoder"):
            share = getattr(self, name)
            if share and not 0 < share < 1:
                raise UserError(f"{_option(name)} {share} was given", "a share between 0 and 1 was expected")
        for kind in self.structure:
            lookup(dict.fromkeys(KINDS, object), "structure", kind)
        if "2:4" in self.structure and self.prune not in (0.0, 0.5):
            raise UserError(f"--prune {self.prune} was given with 2:4", "0.5 was expected: two of every four")
        for mixer in self.distil_to:
            lookup(MIXERS, "mixer", mixer)
        if self.stage not in ("", *STAGES):
            raise UserError(f"stage {self.stage!r} was given", f"one of {', '.join(STAGES)} was expected")
        if (self.distil_to or self.distil_decoder) and not (self.minutes or self.steps):
            raise UserError("no budget was given", "to distil, --minutes or --steps was expected")
        least = min(self.steps, self.batch, self.learning_rate)
        if least < 0 or (self.minutes is not None and self.minutes <= 0):
            raise UserError("a budget, batch or learning rate below 0 was given", "more than 0 was expected")
        Distilling(self.temperature, self.data, self.transfer)

    @property
    def trains(self) -> bool:
        """True where there is a budget."""
        return bool(self.minutes or self.steps)

    def covers(self, stage: str) -> bool:
        """True for the stages that are made smaller: prior, tokenizer."""
        if self.distil_to or self.distil_decoder:
            return stage == ("prior" if self.distil_to else "tokenizer")
        return (self.stage or ("both" if self.quantise else "prior")) in (stage, "both")

    def words(self) -> str:
        """The method in words, for the log and the report."""
        if self.quantise:
            what = f"weights {'and activations ' if self.activations else ''}in {self.quantise}"
        elif self.prune:
            what = f"{self.prune:.0%} of the {' and '.join(self.structure)} taken out"
        elif self.distil_to:
            how = "trained alone" if self.from_scratch else "distilled"
            what = f"a prior of {', '.join(self.distil_to)}, {how}"
        else:
            what = f"a decoder with {self.distil_decoder:.0%} of the channels, distilled"
        budget = f"{self.minutes:g} minutes" if self.minutes else f"{self.steps} steps"
        return f"{what}, {budget} of training" if self.trains else what


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")
