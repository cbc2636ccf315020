"""Training steps at the sizes that the recipe auto chooses: their parts, and their share of the matrix rate.

    python -m bench steps

Each in a process of its own that keeps freed memory, as the command does. The rate is that of a large matrix
product in the run's precision, in the same process; operations are those of products and convolutions,
forwards and backwards. "Products alone" is the share that a step would have if it had nothing else to do.
"""

from __future__ import annotations

import dataclasses
import time

import torch
from torch.utils.flop_counter import FlopCounterMode

from bench.measure import in_a_process, products_alone, seconds, table
from caselli.cli.pages import keep_pages
from caselli.data import Batch, CodeBatch, Pictures
from caselli.engine import Machine, Task, TrainingConfig, machine
from caselli.engine.optimiser import Optimiser
from caselli.order import ORDERS, Grid
from caselli.prior import Alphabet, PriorTask, build, share
from caselli.quantizer import VQ
from caselli.run import Data
from caselli.run.auto import LADDER, TEACHER, Budget, auto
from caselli.tokenizer import Tokenizer, TokenizerConfig, TokenizerTask

SIDE, CODES, LABELS = 8, 1024, 20
REPEATS = 9
SMALL = LADDER[:5]


def run(sizes: tuple[tuple[int, int], ...] = SMALL, repeats: int = REPEATS) -> None:
    """Prints a table of the prior's steps and of the tokenizer's."""
    lines = []
    for width, depth in sizes:
        name = f"prior of {width} × {depth}, 64 × {SIDE * SIDE} codes"
        lines.append((name, *in_a_process(prior, width, depth, repeats)))
    for perceptual in (0.0, 0.3):
        name = f"tokenizer, 32 × 32² pixels{', taught by ' + TEACHER if perceptual else ''}"
        lines.append((name, *in_a_process(tokenizer, perceptual, repeats)))
    table(("step", "forward ms", "backward ms", "optimiser ms", "of matrix rate", "products alone"), lines)


def prior(width: int, depth: int, repeats: int) -> tuple[str, ...]:
    """Figures of a prior's step."""
    pictures = Pictures.of("none", torch.zeros(4, 3, 4 * SIDE, 4 * SIDE, dtype=torch.uint8))
    chosen = auto(Data.of(pictures), Budget(minutes=15, rate=5e11)).prior
    config = dataclasses.replace(chosen, width=width, depth=depth, dropout=0.1)
    network = build(config, Alphabet((CODES,), (0,) * SIDE**2, classes=LABELS))
    share(network, VQ(64, codebook_size=CODES))
    codes, labels = torch.randint(CODES, (64, SIDE, SIDE)), torch.randint(LABELS, (64,))
    training = TrainingConfig(optimiser="muon", learning_rate=5e-3, weight_decay=0.1)
    task = PriorTask(network, ORDERS["raster"](), Grid(SIDE, SIDE))
    return figures(task, CodeBatch(codes, labels, None, torch.arange(64), None), training, repeats)


def tokenizer(perceptual: float, repeats: int) -> tuple[str, ...]:
    """Figures of a tokenizer's step."""
    config = TokenizerConfig(factor=4, attention=(4,), perceptual=perceptual, perceptual_network=TEACHER)
    batch = Batch(torch.rand(32, 3, 32, 32) * 2 - 1, None, None, torch.arange(32))
    return figures(TokenizerTask(Tokenizer(config)), batch, TrainingConfig(), repeats)


def figures(task: Task, batch: object, training: TrainingConfig, repeats: int) -> tuple[str, ...]:
    """Milliseconds of a step's parts, and shares of the rate."""
    keep_pages()
    here, task = machine("auto"), task.train()
    optimiser = Optimiser(task, training, here.products)
    a = torch.randn(2048, 2048, dtype=here.products)
    rate = 2 * 2048**3 / seconds(lambda: a @ a)
    with FlopCounterMode(display=False) as counter:
        step(task, batch, optimiser, here)
    for _ in range(3):
        step(task, batch, optimiser, here)
    parts = [step(task, batch, optimiser, here) for _ in range(repeats)]
    medians = [sorted(part)[repeats // 2] for part in zip(*parts, strict=True)]
    work, alone = counter.get_total_flops() / rate, "-"
    if isinstance(task, PriorTask):  # convolutions are no matrix products
        alone = f"{work / seconds(products_alone(lambda: step(task, batch, optimiser, here))):.2f}"
    return (*(f"{1e3 * part:.1f}" for part in medians), f"{work / sum(medians):.2f}", alone)


def step(task: Task, batch: object, optimiser: Optimiser, here: Machine) -> tuple[float, float, float]:
    """One training step; seconds of its three parts."""
    clock: list[float] = [time.perf_counter()]
    with here.autocast():
        total = task(batch, 0).total
    clock.append(time.perf_counter())
    total.backward()
    clock.append(time.perf_counter())
    optimiser.clip(1.0)
    optimiser.step(1.0)
    optimiser.zero_grad()
    clock.append(time.perf_counter())
    return clock[1] - clock[0], clock[2] - clock[1], clock[3] - clock[2]
