"""What a person sees of a training: averages of figures, and a bar."""

from __future__ import annotations

import sys
import time

from tqdm import tqdm

from caselli import ranks
from caselli.shapes import Tensor


class Recent:
    """Averages of scalars since the last look, weighted by samples, and the rate of samples."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.count, self.start = 0, time.perf_counter()

    def add(self, values: dict[str, Tensor], samples: int) -> None:
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0) + value.detach().float() * samples
        self.count += samples

    def take(self, rate: bool = True) -> dict[str, float]:
        values = {name: float(ranks.mean(total)) / max(1, self.count) for name, total in self.sums.items()}
        if rate:
            values["samples_per_second"] = self.count / max(1e-9, time.perf_counter() - self.start)
        self.reset()
        return values


class Bar:
    """The progress bar: how far, how fast, how long still, how good; only where somebody watches."""

    def __init__(self, name: str, progress: float) -> None:
        self.bar = tqdm(
            total=1.0,
            initial=progress,
            desc=name,
            disable=not ranks.is_first() or not sys.stderr.isatty(),
            bar_format="{desc} {percentage:3.0f}%|{bar:24}| {elapsed}<{remaining} {postfix}",
        )

    def show(self, step: int, progress: float, values: dict[str, float]) -> None:
        """Moves to `progress`, 0 to 1."""
        words = f"step {step} loss {values['loss']:.4f} {values['samples_per_second']:.0f}/s"
        self.bar.set_postfix_str(words, refresh=False)
        self.bar.update(min(1.0, progress) - self.bar.n)

    def close(self) -> None:
        """Leaves the bar as it is."""
        self.bar.close()
