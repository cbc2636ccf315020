"""Sampling, ours and transformers' generate: tokens per second, share of the memory's read rate, memory."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import Callable

import torch

from bench.measure import in_turn, peak_memory, seconds, table
from caselli.prior import Alphabet, Autoregressive, PriorConfig
from caselli.sampling import EagerEngine, Engine, FusedEngine, read_rate, sample

WIDTH, DEPTH, HEADS, VOCABULARY, LENGTH = 384, 8, 6, 1025, 256


@dataclasses.dataclass(frozen=True)
class Contender:
    """Something that draws `LENGTH` tokens for a batch."""

    name: str
    draw: Callable[[int], object]
    first: Callable[[int], object]
    """The first token alone."""
    engine: Engine | None = None


def run(batches: tuple[int, ...] = (1, 16), repeats: int = 3) -> None:
    """Prints the tables; two threads, so that machines compare."""
    torch.set_num_threads(2)
    torch.manual_seed(0)
    rate = read_rate()
    print(f"two threads; memory read rate {rate / 1e9:.1f} GB/s (256 MB); {LENGTH} tokens")
    for batch in batches:
        compare([*peers(), *ours()], batch, rate, repeats)


@torch.no_grad()
def compare(contenders: list[Contender], batch: int, rate: float, repeats: int) -> None:
    """One table: the memory that a first batch adds; then all in turn, the best of some runs."""
    memory = [peak_memory(lambda c=c: c.draw(batch)) / 1e6 for c in contenders]  # packed weights included
    times = in_turn([lambda c=c: c.draw(batch) for c in contenders], repeats)
    speeds = {c.name: batch * LENGTH / t for c, t in zip(contenders, times, strict=True)}
    lines = []
    for contender, took, peak in zip(contenders, times, memory, strict=True):
        ratios = [f"{speeds[contender.name] / speeds[peer.name]:.2f}" for peer in contenders[:2]]
        share = ""
        if contender.engine is not None:
            contender.draw(batch)
            share = f"{contender.engine.bytes_per_step() * LENGTH / took / rate:.0%}"
        first = 1e3 * seconds(lambda c=contender: c.first(batch), 3)
        cells = (f"{speeds[contender.name]:,.0f}", *ratios, share, f"{first:.1f}", f"{peak:.0f}")
        lines.append((contender.name, *cells))
    names = [f"× {peer.name.split(',')[0]}" for peer in contenders[:2]]
    header = (f"batch {batch}", "tokens/s", *names, "of read rate", "first ms", "peak MB")
    table(header, lines)


def peers() -> list[Contender]:
    """GPT-2 and Mamba of transformers, random weights, with the cache that was fastest (dynamic)."""
    try:
        import transformers
    except ImportError as error:
        raise SystemExit("pip install 'caselli[bench]' for the peer") from error
    logging.getLogger("transformers").setLevel(logging.ERROR)
    shape = {"vocab_size": VOCABULARY, "bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
    gpt2 = transformers.GPT2LMHeadModel(
        transformers.GPT2Config(n_positions=LENGTH + 1, n_embd=WIDTH, n_layer=DEPTH, n_head=HEADS, **shape)
    )
    # a Mamba layer has half of the parameters of attention and MLP
    mamba = transformers.MambaForCausalLM(
        transformers.MambaConfig(hidden_size=WIDTH, num_hidden_layers=2 * DEPTH, **shape)
    )
    return [peer("GPT-2, transformers", gpt2), peer("Mamba, transformers", mamba)]


def peer(name: str, model: torch.nn.Module) -> Contender:
    model.eval()

    def generate(batch: int, tokens: int = LENGTH) -> torch.Tensor:
        start = torch.zeros(batch, 1, dtype=torch.int64)
        options = {"do_sample": True, "top_k": 0, "pad_token_id": 0, "use_cache": True}
        lengths = {"max_new_tokens": tokens, "min_new_tokens": tokens}
        return model.generate(start, attention_mask=torch.ones_like(start), **options, **lengths)

    return Contender(f"{name}, {millions(model)}", generate, lambda batch: generate(batch, 1))


def ours() -> list[Contender]:
    """Attention in every engine and precision; Mamba, its MLP narrower for equal parameters."""
    attention = prior("attention", 4.0)
    mamba = prior("mamba", 2.8)
    return [
        contender(f"attention, eager, {millions(attention)}", EagerEngine(attention)),
        *(contender(f"attention, {p}", FusedEngine(attention, p)) for p in ("float32", "bfloat16", "int8")),
        *(
            contender(f"mamba, {p}, {millions(mamba)}", FusedEngine(mamba, p))
            for p in ("float32", "bfloat16")
        ),
    ]


def prior(mixer: str, expansion: float) -> Autoregressive:
    config = PriorConfig(mixer=mixer, width=WIDTH, depth=DEPTH, expansion=expansion)
    return Autoregressive(config, Alphabet((VOCABULARY,), (0,) * LENGTH)).eval()


class _Enough(Exception):
    pass


def contender(name: str, engine: Engine) -> Contender:
    def stop(codes: int) -> None:
        raise _Enough

    def first(batch: int) -> None:
        with contextlib.suppress(_Enough):
            sample(engine, None, list(range(batch)), progress=stop)

    return Contender(name, lambda batch: sample(engine, None, list(range(batch))), first, engine)


def millions(model: torch.nn.Module) -> str:
    return f"{sum(p.numel() for p in model.parameters()) / 1e6:.1f} M"
