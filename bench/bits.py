"""Heads of bits against a softmax over 1024 codes: training step, its memory, codes drawn per second."""

from __future__ import annotations

from collections.abc import Callable

import torch

from bench.measure import in_a_process, in_turn, peak_memory, table
from caselli.prior import HEADS, Alphabet, Prior, PriorConfig, build
from caselli.sampling import best_engine, sample

WIDTH, DEPTH, LENGTH, BATCH = 256, 6, 64, 32
BITS = (18, 32, 64)


def run(repeats: int = 5) -> None:
    """Prints the table; two threads, so that machines compare."""
    torch.set_num_threads(2)
    names = [("softmax", 10), *((head, bits) for head in HEADS if head != "softmax" for bits in BITS)]
    compare(names, repeats)


def compare(names: list[tuple[str, int]], repeats: int) -> None:
    """One line for each head and number of bits; the first is what the others are measured by.

    A position of 64 bits is two slots of 32, so that its sequence is twice as long.
    """
    memory = [in_a_process(step_memory, head, bits) for head, bits in names]
    priors = [made(head, bits) for head, bits in names]
    times = in_turn([step(prior) for prior in priors], repeats)
    drawn = in_turn([drawing(prior) for prior in priors], 2)
    lines = []
    for number, (head, bits) in enumerate(names):
        lines.append(
            (
                f"{head.replace('_', ' ')}, K = 2^{bits}",
                f"{1e3 * times[number]:.0f}",
                f"{times[number] / times[0]:.2f}",
                f"{memory[number] / 1e6:.0f}",
                f"{memory[number] / max(memory[0], 1):.2f}",
                f"{sum(p.numel() for p in priors[number].parameters()):,}",
                f"{16 * LENGTH / drawn[number]:,.0f}",
            )
        )
    head = ("head", "step ms", "× softmax", "step MB", "× softmax", "parameters", "positions/s drawn")
    table(head, lines)


def made(head: str, bits: int) -> Prior:
    """A prior over `LENGTH` positions of codes of so many bits."""
    torch.manual_seed(0)
    books = max(1, bits // 32)
    own = bits // books
    alphabet = Alphabet((1 << own,) * books, tuple(range(books)) * LENGTH, levels=(2,) * own)
    return build(PriorConfig(width=WIDTH, depth=DEPTH, head=head, text="none"), alphabet)


def step(prior: Prior) -> Callable[[], None]:
    """A training step: forward, backward, AdamW."""
    size, length = prior.alphabet.sizes[0], prior.alphabet.length
    codes = torch.randint(size, (BATCH, length))
    optimiser = torch.optim.AdamW(prior.parameters())

    def train() -> None:
        optimiser.zero_grad()
        prior.training_loss(codes, None, codes, 0.5).backward()
        optimiser.step()

    return train


def step_memory(head: str, bits: int) -> float:
    """Bytes that the first two steps add to a fresh process: weights, gradients, moments, activations."""
    torch.set_num_threads(2)

    def train() -> None:
        own = step(made(head, bits))
        own()
        own()

    return peak_memory(train)


def drawing(prior: Prior) -> Callable[[], object]:
    """A batch of 16 sequences by the fastest engine."""
    engine = best_engine(prior.eval())[0]
    return lambda: sample(engine, None, list(range(16)))
