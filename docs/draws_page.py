"""The page of the draw comparison, from its folders: `python docs/build.py draws`."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
COMMAND = (
    "caselli compare priors ../shared/data/{0} --mixers all --recipe small --tokenizer-steps 600 --minutes 1"
)
SETS = {"photos32": "photographs", "emoji64": "emoji"}
COMMANDS = {
    "photos32": f"{COMMAND.format('photos32')} -o runs/draws-photos32",
    "emoji64": f"{COMMAND.format('emoji64')} --batch 16 -o runs/draws-emoji64",
}
"""Small batches where few pictures leave room for more steps."""


def draws() -> None:
    """Writes `draws.md` of what the commands made."""
    from caselli.compare import COMPARISONS, load

    folders = {name: HERE.parent / "runs" / f"draws-{name}" for name in SETS}
    missing = [name for name, folder in folders.items() if not (folder / "plot.png").exists()]
    for name in missing:
        print(f"no runs/draws-{name}: `{COMMANDS[name]}` makes it", file=sys.stderr)
    if missing:
        return
    rows = {SETS[name]: load(folder, COMPARISONS)[1] for name, folder in folders.items()}
    page = ["# Which mixer draws best", _sentences(rows)]
    page.append("\n".join(["```sh", *COMMANDS.values(), "python docs/build.py draws", "```"]))
    for name, folder in folders.items():
        table = (folder / "table.md").read_text().split("\n\n")[0]
        shutil.copyfile(folder / "plot.png", HERE / "pictures" / f"draws-{name}.png")
        words = f"bits a code and Fréchet distance of every mixer on {SETS[name]}"
        page += [f"## {SETS[name].capitalize()}", table, f"![{words}](pictures/draws-{name}.png)"]
    (HERE / "draws.md").write_text("\n\n".join(page) + "\n")


def _sentences(sets: dict[str, Sequence[Any]]) -> str:
    """Three sentences on both tables: the fewest bits, the nearest samples, steps against bits."""

    def first(key: Callable[[Any], float], words: str) -> str:
        best = {title: min(rows, key=key) for title, rows in sets.items()}
        return " and ".join(f"`{row.mixer}` on {title} ({words.format(row)})" for title, row in best.items())

    fewest = first(lambda row: row.bits, "{0.bits:.3f}")
    nearest = first(lambda row: row.distance, "Fréchet distance {0.distance:.1f}")
    order = " and ".join(f"{_rank_correlation(rows):.2f} on {title}" for title, rows in sets.items())
    return (
        "After a minute of one core each, with equal parameters over the same 64 codes, the fewest bits a "
        f"code are needed by {fewest}. The samples nearest to held-out pictures are those of {nearest}. In "
        "so short a time and at so short a length a mixer is as good as it is fast in training: the rank "
        f"correlation of steps and bits is {order}."
    )


def _rank_correlation(rows: Sequence[Any]) -> float:
    """Spearman's coefficient of training steps and bits."""
    from scipy.stats import spearmanr

    return spearmanr([row.steps for row in rows], [row.bits for row in rows]).statistic
