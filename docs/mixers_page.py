"""The tables and the picture of `mixers.md`: `python docs/build.py mixers`.

Nothing in them is typed by hand: the sources are those of the docstrings, what a mixer can do is tried, and
the tolerances are those that the tests hold it to.
"""

from __future__ import annotations

import inspect
import math
import re
import shutil
import sys
from pathlib import Path

import torch

HERE = Path(__file__).parent
PAGE = HERE / "mixers.md"
COMPARED = HERE / "mixers.json"
"""What the comparison measured."""
INK, COLOURS = "#3c3c3c", ("#c8553d", "#2f6f9f")


def mixers() -> None:
    """Writes the tables into the page, and its pictures."""
    from caselli.compare import COMPARISONS, load

    new = HERE.parent / "runs" / "mixers" / "comparison.json"
    if new.exists():
        shutil.copyfile(new, COMPARED)
    else:
        print("no runs/mixers: `caselli compare mixers -o runs/mixers` makes new figures", file=sys.stderr)
    text = PAGE.read_text()
    for name, table in tables().items():
        text = between(text, name, table)
    PAGE.write_text(text)
    comparison, rows = load(COMPARED, COMPARISONS)
    comparison.plot(rows).savefig(HERE / "pictures" / "mixers.png", dpi=110)
    remembered()


def tables() -> dict[str, str]:
    """Name → Markdown, as between `<!-- name -->` and `<!-- end -->`."""
    from caselli.compare import COMPARISONS, load, text

    return {
        "mixers": _mixers(),
        "tolerances": _tolerances(),
        "comparison": text(*load(COMPARED, COMPARISONS)),
    }


def between(text: str, name: str, table: str) -> str:
    """The page with one table replaced."""
    pattern = rf"(<!-- {name} -->\n).*?(<!-- end -->)"
    assert re.search(pattern, text, re.DOTALL), name
    return re.sub(pattern, lambda found: found[1] + table + found[2], text, flags=re.DOTALL)


# tables -----------------------------------------------------------------------------------------------------


def _mixers() -> str:
    from caselli.mixer import MIXERS

    rows = ["| name | causal | both ways | numbers of state, E = 64 | source |", "|---|---|---|--:|---|"]
    for name, kind in MIXERS.items():
        causal = kind(width=64).causal
        ways = "only" if not causal else "yes" if _both_ways(kind) else "`Bidirectional`"
        state = _state(kind) if causal else "none"
        rows.append(f"| `{name}` | {'yes' if causal else 'no'} | {ways} | {state} | {_source(kind)} |")
    return "\n".join(rows) + "\n"


def _both_ways(kind: type) -> bool:
    from caselli.errors import UserError

    try:
        return not kind(width=64, causal=False).causal
    except (TypeError, UserError):
        return False


def _state(kind: type) -> str:
    """Numbers after 512 tokens; where they still grow, how many each token adds."""
    mixer, sizes = kind(width=64), {}
    with torch.no_grad():
        for length in (512, 1024):
            _, state = mixer(torch.zeros(1, length, 64))
            floats = [tensor for tensor in state.tensors() if tensor.is_floating_point()]
            sizes[length] = sum(tensor.numel() for tensor in floats)
    grown = sizes[1024] - sizes[512]
    if 0 < grown < sizes[512] / 2:
        return f"{sizes[1024]:,} at 1,024 tokens, {grown:,} more at twice as many"
    return f"{grown // 512:,} a token" if grown else f"{sizes[512]:,}"


def _source(kind: type) -> str:
    text = inspect.getdoc(kind)
    found = re.search(r"^Sources?: (.*?)(?:\n\s*\n|\Z)", text, re.DOTALL | re.MULTILINE)
    return " ".join(found[1].split()).rstrip(".") if found else ""


def _tolerances() -> str:
    if str(HERE.parent) not in sys.path:
        sys.path.insert(0, str(HERE.parent))
    from tests.conformance.cases_mixer import DEFAULT_TOLERANCE, TOLERANCES

    from caselli.mixer import MIXERS

    rows = ["| mixer | float32 | bfloat16 |", "|---|--:|--:|"]
    for name in MIXERS:
        single, half = TOLERANCES.get(name, DEFAULT_TOLERANCE)
        rows.append(f"| `{name}` | {single:g} | {half:g} |")
    return "\n".join(rows) + "\n"


# the picture ------------------------------------------------------------------------------------------------


def remembered() -> None:
    """A signal of 1,000 samples, and what few coefficients still know of it at its end."""
    from matplotlib.figure import Figure

    signal = _signal(1000)
    time = torch.linspace(0, 1, len(signal))
    figure = Figure(figsize=(9, 6.4), layout="constrained", facecolor="white")
    for axes, (words, known) in zip(
        figure.subplots(4, 1, sharex=True), _memories(signal).items(), strict=True
    ):
        axes.plot(time, signal, color="#b8b8b4", linewidth=2.4)
        for colour, (size, (where, values)) in zip(COLOURS, known.items(), strict=True):
            axes.plot(where, values, color=colour, linewidth=1.3, label=f"{size} coefficients")
        axes.set_title(words, loc="left", fontsize=10, color=INK)
        axes.set_ylim(-1.6, 1.6)
        axes.spines[:].set_visible(False)
        axes.tick_params(colors=INK, labelsize=8, length=0)
    axes.set_xlabel("time; the memory is read at its end, 1", fontsize=9, color=INK)
    figure.axes[0].legend(frameon=False, fontsize=9, labelcolor=INK, loc="upper left", ncols=2)
    (HERE / "pictures").mkdir(exist_ok=True)
    figure.savefig(HERE / "pictures" / "hippo.png", dpi=110)


def _signal(samples: int) -> torch.Tensor:
    """A few slow waves of random phase."""
    random = torch.Generator().manual_seed(2)
    waves = torch.arange(1, 9, dtype=torch.float64)
    phase = 2 * math.pi * torch.rand(8, generator=random, dtype=torch.float64)
    time = torch.linspace(0, 1, samples, dtype=torch.float64)[:, None]
    signal = (torch.sin(2 * math.pi * waves * time + phase) / waves.sqrt()).sum(1)
    return signal / signal.abs().max()


def _memories(signal: torch.Tensor) -> dict[str, dict[int, tuple]]:
    """Words → coefficients → (times, what is remembered of them)."""
    from caselli.ops.hippo import discretise, fourier, lagt, legt, reconstruct, remember, remember_all

    step, window, scale = 1 / len(signal), 0.4, 40.0
    whole = torch.linspace(0, 1, 400, dtype=torch.float64)
    recent = 1 - window + window * whole
    found: dict[str, dict[int, tuple]] = {
        "LegS: the whole past, evenly": {},
        "LegT: a sliding window of 0.4": {},
        "Fourier: the same window, as waves": {},
        "LagT: the whole past, fading": {},
    }
    legs_of, legt_of, fourier_of, lagt_of = found.values()
    for size in (8, 32):
        last = remember_all(signal, size, "zoh")[-1]
        legs_of[size] = (whole, reconstruct(last, "legs", whole))
        last = remember(signal, discretise(legt(size, window), step, "zoh"))[-1]
        legt_of[size] = (recent, reconstruct(last, "legt", whole))
        last = remember(signal, discretise(fourier(size, window), step, "zoh"))[-1]
        fourier_of[size] = (recent, reconstruct(last, "fourier", 1 - whole))
        last = remember(signal, discretise(lagt(size), step * scale, "zoh"))[-1]
        lagt_of[size] = (whole, reconstruct(last, "lagt", scale * (1 - whole)))
    return found
