"""Sequence mixers beside softmax attention and other libraries: time, memory, growth, cost of a token.

`python -m bench.mixers [SECTION...]` runs some of the sections, `python -m bench mixers` all of them.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable

import torch
import torch.nn.functional as F

from bench.measure import in_a_process, in_turn, matrix_rate, peak_memory, products_alone, seconds, table
from bench.mixer_peers import PEERS, WIDTH, Peer
from caselli.cli.pages import keep_pages
from caselli.mixer import MIXERS
from caselli.ops import delta_rule, gated_linear_attention, linear_attention

HEADS, HEAD_WIDTH, CHUNK = 4, 64, 64

Step = Callable[[], object]


def run(names: list[str] | None = None) -> None:
    """Prints the tables; two threads, so that machines compare."""
    torch.set_num_threads(2)
    torch.manual_seed(0)
    rate = matrix_rate()
    print(f"two threads, batch 1; float32 matrix product {rate / 1e9:.0f} GF/s")
    for name in names or SECTIONS:
        print(f"\n{name}: {SECTIONS[name].__doc__.splitlines()[0]}")
        SECTIONS[name](rate)


def peak(step: Step) -> float:
    """Megabytes at the peak of a step, when the allocator has given back what earlier ones took (glibc)."""
    library = ctypes.CDLL(None)
    if hasattr(library, "malloc_trim"):
        library.malloc_trim(0)
    return peak_memory(step) / 1e6


def training_step(output: Callable[[], torch.Tensor], leaves: list[torch.Tensor]) -> Step:
    """Forward and backward, with a gradient that is not the same everywhere."""
    gradient: list[torch.Tensor] = []

    def step() -> None:
        y = output()
        if not gradient:
            gradient.append(torch.randn_like(y))
        torch.autograd.grad(y, leaves, gradient[0], allow_unused=True)

    return step


def ops(length: int) -> dict[str, tuple[Step, float]]:
    """Name → one step of the op, and its multiplications and additions: 4 heads of 64."""

    def leaf(*shape: int) -> torch.Tensor:
        return torch.randn(1, length, HEADS, *shape).requires_grad_()

    def decays(*shape: int) -> torch.Tensor:
        return (-0.1 * leaf(*shape).detach().sigmoid()).requires_grad_()

    q, k, v = leaf(HEAD_WIDTH), leaf(HEAD_WIDTH), leaf(HEAD_WIDTH)
    scalar, vector = decays(), decays(HEAD_WIDTH)
    unit, beta = F.normalize(k.detach(), dim=-1).requires_grad_(), leaf().detach().sigmoid().requires_grad_()
    state = torch.zeros(1, HEADS, HEAD_WIDTH, HEAD_WIDTH)
    rows = [x.detach().transpose(1, 2).contiguous().requires_grad_() for x in (q, k, v)]
    work = 3 * 2 * length * HEADS * HEAD_WIDTH * (2 * CHUNK + 2 * HEAD_WIDTH)
    quadratic = 3 * 2 * length**2 * HEADS * HEAD_WIDTH
    found: dict[str, tuple[Callable[[], torch.Tensor], list[torch.Tensor], float]] = {
        "SDPA": (lambda: F.scaled_dot_product_attention(*rows, is_causal=True), rows, quadratic),
        "no decay (linear)": (lambda: linear_attention(q, k, v, state)[0], [q, k, v], work),
        "scalar decay (retention, SSD)": (
            lambda: linear_attention(q, k, v, state, log_decay=scalar)[0],
            [q, k, v, scalar],
            work,
        ),
        "vector decay (GLA)": (
            lambda: gated_linear_attention(q, k, v, state, log_decay=vector)[0],
            [q, k, v, vector],
            work,
        ),
        "delta rule, gated": (
            lambda: delta_rule(q, unit, v, state, beta=beta, log_decay=scalar)[0],
            [q, unit, v, beta, scalar],
            2 * work,
        ),
    }
    return {name: (training_step(output, leaves), flops) for name, (output, leaves, flops) in found.items()}


def growth(rate: float, lengths: tuple[int, ...] = (1024, 4096, 16384, 65536), repeats: int = 3) -> None:
    """Forward and backward of the ops, 4 heads of 64: time against length."""
    keep_pages()
    lines, earlier = [], {}
    for length in lengths:
        steps = ops(length)
        if length > 16384:
            del steps["SDPA"]
        times = dict(zip(steps, in_turn([step for step, _ in steps.values()], repeats), strict=True))
        for name, (step, flops) in steps.items():
            took = times[name]
            faster = f"{times['SDPA'] / took:.1f}" if "SDPA" in times else ""
            more = f"{took / earlier[name]:.2f}" if name in earlier else ""
            share, memory = f"{flops / took / rate:.0%}", f"{peak(step):.0f}"
            lines.append((f"{name}, T = {length}", f"{1e3 * took:.1f}", faster, more, share, memory))
        earlier = times
    table(("op", "ms", "× SDPA", "over T/4", "of matrix rate", "peak MB"), lines)


def layer(module: torch.nn.Module, length: int) -> Step:
    """One training step of a layer."""
    x = torch.randn(1, length, WIDTH, requires_grad=True)

    def output() -> torch.Tensor:
        y = module(x)
        return y[0] if isinstance(y, tuple) else y

    return training_step(output, [x, *module.parameters()])


def layers(rate: float, length: int = 1024) -> None:
    """Layers of width 256 beside those of other libraries, T = 1,024: forward and backward."""
    lines = [in_a_process(beside, peer, length) for peer in PEERS if length <= peer.longest]
    header = ("ours ms", "products", "peer ms", "products", "ratio", "ours peak MB", "peer peak MB")
    table((f"T = {length}", *header), lines)


def beside(peer: Peer, length: int) -> tuple[str, ...]:
    """A line of the table: ours and the peer's, in turn."""
    torch.set_num_threads(2)
    torch.manual_seed(0)
    ours, name = layer(MIXERS[peer.mixer](WIDTH, **peer.options), length), f"{peer.mixer} : {peer.title}"
    try:
        theirs = layer(peer.build(), length)
    except ImportError as error:
        return (name, f"{1e3 * seconds(ours):.1f}", *5 * [""], f"{error.name} is not installed")
    alone = [products_alone(ours), products_alone(theirs)]
    here, there, *least = in_turn([ours, theirs, *alone], peer.repeats)
    here = min(here, seconds(ours))  # after a peer of many small tensors the first run of ours frees them
    times = (f"{1e3 * took:.1f}" for took in (here, least[0], there, least[1]))
    memory = (f"{peak(step):.0f}" for step in (ours, theirs))
    return (name, *times, f"{there / here:.1f}", *memory)


def long_layers(rate: float) -> None:
    """The same at T = 4,096."""
    layers(rate, 4096)


@torch.no_grad()
def tokens(rate: float, early: int = 10, late: int = 10_000, steps: int = 20) -> None:
    """One more token after 10 and after 10,000, width 256, and what the state takes."""
    lines = []
    for name, mixer in MIXERS.items():
        module = mixer(WIDTH).eval()
        if not module.causal:
            continue
        states = [fed(module, count) for count in (early, late)]
        times = in_turn([lambda m=module, s=s: one_more(m, s, steps) for s in states])
        sizes = [sum(tensor.nbytes for tensor in state.tensors()) for state in states]
        shown = [f"{1e6 * took / steps:.0f}" for took in times]
        lines.append((name, *shown, f"{times[1] / times[0]:.2f}", *(f"{size:,}" for size in sizes)))
    counts = (f"µs at {early}", f"µs at {late:,}", "ratio", f"bytes at {early}", f"bytes at {late:,}")
    table(("mixer", *counts), lines)


def fed(module, count: int):
    """The state after a number of tokens."""
    state = module.initial_state(1)
    for piece in torch.randn(1, count, WIDTH).split(1000, 1):
        _, state = module(piece, state)
    return state


def one_more(module, state, steps: int) -> None:
    x = torch.randn(1, 1, WIDTH)
    for _ in range(steps):
        _, state = module(x, state)


def precision(rate: float, length: int = 4096) -> None:
    """The largest error of float32 against float64, over the largest output: width 64, T = 4,096."""
    forms = ("parallel", "chunk", "step")
    rows = []
    for name, kind in MIXERS.items():
        torch.manual_seed(0)
        mixer, x = kind(64).eval(), torch.randn(1, length, 64)
        if not mixer.causal:
            continue
        with torch.no_grad():
            found = [mixer(x, form=form)[0] for form in forms]
            wanted, _ = mixer.double()(x.double(), form=mixer.preferred_form)
        errors = [(y - wanted).abs().max() / wanted.abs().max() for y in found]
        rows.append((f"`{name}`", *(f"{error:.1e}" for error in errors)))
        print(*rows[-1], file=sys.stderr, flush=True)
    table(("mixer", *forms), rows)


RECENT = (
    "kda", "gated_delta_net2", "comba", "gated_delta_product", "hgrn2", "mamba3", "lasad", "log_linear",
    "mesa_net", "forgetting", "path", "moba", "nsa",
)  # fmt: skip


def recent(rate: float, length: int = 4096) -> None:
    """The mixers of 2025 and 2026 at T = 4,096, width 256, forward and backward, over Gated DeltaNet."""
    keep_pages()
    lines = []
    base = MIXERS["gated_delta_net"](WIDTH)
    for name in ("gated_delta_net", *RECENT):
        module = MIXERS[name](WIDTH)
        short, long, theirs = in_turn(
            [layer(module, length // 4), layer(module, length), layer(base, length)]
        )
        ratios = (f"{long / theirs:.2f}", f"{long / short:.2f}")
        lines.append((f"`{name}`", f"{1e3 * long:.0f}", *ratios))
    table(("mixer", "ms", "over Gated DeltaNet", "over T/4"), lines)


SECTIONS: dict[str, Callable[[float], None]] = {
    "layers": layers,
    "long_layers": long_layers,
    "tokens": tokens,
    "precision": precision,
    "recent": recent,  # it and the next tell the allocator to keep its pages: last
    "growth": growth,
}


def main(names: list[str]) -> int:
    unknown = [name for name in names if name not in SECTIONS]
    if unknown:
        print(f"no section {', '.join(unknown)}; there are: {', '.join(SECTIONS)}", file=sys.stderr)
        return 2
    run(names)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
