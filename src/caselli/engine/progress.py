"""Progress for a person to watch: averages of figures, and a bar."""

from __future__ import annotations

import sys
import time

import torch
from tqdm import tqdm

from caselli import ranks
from caselli.shapes import Tensor


class Recent:
    """Averages of scalars since the last look, over samples and ranks, and the rate of samples."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.count, self.start = 0, time.perf_counter()

    def add(self, values: dict[str, Tensor], samples: int) -> None:
        """Takes in the means of so many samples of this rank."""
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0) + value.detach().float() * samples
        self.count += samples

    def take(self, rate: bool = True) -> dict[str, float]:
        """The averages by name, the same on every rank, with `samples_per_second` if asked; begins anew."""
        count = int(ranks.total(torch.tensor(self.count)))
        values = {name: float(ranks.total(sum)) / max(1, count) for name, sum in self.sums.items()}
        if rate:
            values["samples_per_second"] = count / max(1e-9, time.perf_counter() - self.start)
        self.reset()
        return values


class Bar:
    """The progress bar, with speed, remaining time and loss; only where somebody watches."""

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
