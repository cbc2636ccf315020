"""Sequence mixers beside softmax attention and other libraries: time, memory, growth, cost of a token."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F

from bench.measure import in_turn, matrix_rate, peak_memory, seconds, table
from caselli.mixer import MIXERS
from caselli.ops import delta_rule, gated_linear_attention, linear_attention

HEADS, HEAD_WIDTH, WIDTH = 4, 64, 256

Step = Callable[[], object]


def run(lengths: tuple[int, ...] = (1024, 4096, 16384, 65536), length: int = 1024, repeats: int = 3) -> None:
    """Prints the tables; two threads, so that machines compare."""
    torch.set_num_threads(2)
    torch.manual_seed(0)
    rate = matrix_rate()
    print(f"two threads, batch 1; float32 matrix product {rate / 1e9:.0f} GF/s; forward and backward")
    growth(lengths, rate, repeats)
    peers(length, repeats)
    tokens()


def both_ways(function: Callable[[], torch.Tensor]) -> Step:
    return lambda: function().sum().backward()


def ops(length: int) -> dict[str, tuple[Step, float]]:
    """Name → one step of the op, and its multiplications and additions: 4 heads of 64."""

    def leaf(*shape: int) -> torch.Tensor:
        return torch.randn(1, length, HEADS, *shape).requires_grad_()

    q, k, v = leaf(HEAD_WIDTH), leaf(HEAD_WIDTH), leaf(HEAD_WIDTH)
    decay, decays = (
        (-0.1 * leaf(*shape).detach().sigmoid()).requires_grad_() for shape in ((), (HEAD_WIDTH,))
    )
    unit, beta = F.normalize(k.detach(), dim=-1).requires_grad_(), leaf().detach().sigmoid()
    state = torch.zeros(1, HEADS, HEAD_WIDTH, HEAD_WIDTH)
    rows = [x.detach().transpose(1, 2).contiguous().requires_grad_() for x in (q, k, v)]
    work = 3 * 2 * length * HEADS * HEAD_WIDTH * (2 * 64 + 2 * HEAD_WIDTH)  # products in chunks of 64
    quadratic = 3 * 2 * length**2 * HEADS * HEAD_WIDTH
    found: dict[str, tuple[Callable[[], torch.Tensor], float]] = {
        "SDPA": (lambda: F.scaled_dot_product_attention(*rows, is_causal=True), quadratic),
        "linear": (lambda: linear_attention(q, k, v, state)[0], work),
        "scalar decay": (lambda: linear_attention(q, k, v, state, log_decay=decay)[0], work),
        "vector decay": (lambda: gated_linear_attention(q, k, v, state, log_decay=decays)[0], work),
        "delta rule": (lambda: delta_rule(q, unit, v, state, beta=beta, log_decay=decay)[0], 2 * work),
    }
    return {name: (both_ways(function), flops) for name, (function, flops) in found.items()}


def growth(lengths: tuple[int, ...], rate: float, repeats: int) -> None:
    """Time against length, the ratio to SDPA, and how much four times the length costs."""
    lines, before = [], {}
    for length in lengths:
        steps = ops(length)
        if length > 4096:
            del steps["SDPA"]
        times = dict(zip(steps, in_turn([step for step, _ in steps.values()], repeats), strict=True))
        for name, (step, flops) in steps.items():
            took = times[name]
            faster = f"{times['SDPA'] / took:.1f}" if "SDPA" in times else ""
            more = f"{took / before[name]:.1f}" if name in before else ""
            share, memory = f"{flops / took / rate:.0%}", f"{peak_memory(step) / 1e6:.0f}"
            lines.append((f"{name}, T = {length}", f"{1e3 * took:.1f}", faster, more, share, memory))
        before = times
    table(("op", "ms", "× SDPA", "× shorter", "of matrix rate", "peak MB"), lines)


def layer(module: torch.nn.Module, length: int) -> Step:
    """One training step of a layer at width 256."""
    x = torch.randn(1, length, WIDTH, requires_grad=True)

    def step() -> None:
        y = module(x)
        (y[0] if isinstance(y, tuple) else y).sum().backward()

    return step


def mambapy() -> torch.nn.Module:
    from mambapy.mamba import MambaBlock, MambaConfig

    return MambaBlock(MambaConfig(d_model=WIDTH, n_layers=1))


def transformers_mamba() -> torch.nn.Module:
    from transformers import MambaConfig
    from transformers.models.mamba.modeling_mamba import MambaMixer

    return MambaMixer(MambaConfig(hidden_size=WIDTH), layer_idx=0)


def transformers_mamba2() -> torch.nn.Module:
    from transformers import Mamba2Config
    from transformers.models.mamba2.modeling_mamba2 import Mamba2Mixer

    config = Mamba2Config(hidden_size=WIDTH, num_heads=8, head_dim=64, n_groups=1, state_size=128)
    return Mamba2Mixer(config, layer_idx=0)


def flash_pytorch(name: str) -> torch.nn.Module:
    import flash_pytorch

    if name == "GAU":
        return flash_pytorch.GAU(dim=WIDTH, causal=True)
    return flash_pytorch.FLASH(dim=WIDTH, group_size=256, causal=True)


PEERS: tuple[tuple[str, str, dict, Callable[[], torch.nn.Module]], ...] = (
    ("mambapy Mamba", "mamba", {}, mambapy),
    ("transformers Mamba", "mamba", {}, transformers_mamba),
    ("transformers Mamba-2", "mamba2", {"state_size": 128}, transformers_mamba2),
    ("flash-pytorch GAU", "gau", {}, lambda: flash_pytorch("GAU")),
    ("flash-pytorch FLASH", "flash", {}, lambda: flash_pytorch("FLASH")),
)
"""Peer, our mixer, its options, and what builds the peer."""


def peers(length: int, repeats: int) -> None:
    """Layers beside those of other libraries, where these are installed."""
    lines = []
    for label, name, options, build in PEERS:
        if name not in MIXERS:
            continue
        ours = layer(MIXERS[name](WIDTH, **options), length)
        try:
            theirs = layer(build(), length)
        except ImportError as error:
            lines.append((label, f"{1e3 * seconds(ours, repeats):.1f}", f"{error.name} is not installed", ""))
            continue
        # transformers' Mamba loops over the tokens: once is enough
        here, there = in_turn([ours, theirs], 1 if label == "transformers Mamba" else repeats)
        lines.append((label, f"{1e3 * here:.1f}", f"{1e3 * there:.1f}", f"{there / here:.1f}"))
    table((f"layer, width {WIDTH}, T = {length}", "ours ms", "peer ms", "ratio"), lines)


@torch.no_grad()
def tokens(early: int = 10, late: int = 10_000, steps: int = 50) -> None:
    """The cost of one more token after few and after many, and the size of the state."""
    lines = []
    for name, mixer in MIXERS.items():
        module = mixer(WIDTH).eval()
        if not module.causal:
            continue
        times, sizes = [], []
        for count in (early, late):
            state = fed(module, count)
            sizes.append(sum(tensor.nbytes for tensor in state.tensors()))
            times.append(seconds(lambda m=module, s=state: one_more(m, s, steps), 3) / steps)
        shown = [f"{1e6 * took:.0f}" for took in times] + [f"{size:,}" for size in sizes]
        lines.append((name, *shown))
    header = (
        "one token, width 256",
        f"µs at {early}",
        f"µs at {late:,}",
        f"bytes at {early}",
        f"bytes at {late:,}",
    )
    table(header, lines)


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
