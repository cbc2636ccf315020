"""`caselli compare mixers -o FOLDER`."""

from __future__ import annotations

import argparse
from pathlib import Path

from caselli.cli.parser import add_out, free, parser
from caselli.errors import UserError

MIXERS = "attention,linear,retention,gla,mamba,mamba2,delta_net,gated_delta_net,rwkv7,s4"
"""Compared by default: one or two of each family."""
NAMES = f"names with commas between, a+b for a hybrid, or all ({MIXERS})"


def run(arguments: list[str]) -> None:
    """Parses, measures, prints the table and writes table, picture and figures."""
    given = _parser().parse_args(arguments)
    out = Path(given.out) if given.resume else free(given.out, given.overwrite)

    import torch

    from caselli.errors import lookup
    from caselli.evaluate.mixers import Size, compare_mixers, load, picture, save, table
    from caselli.evaluate.tasks import TASKS, ByteText
    from caselli.files import atomic_write, write_text
    from caselli.mixer import MIXERS as ALL

    mixers = list(ALL) if given.mixers == "all" else given.mixers.split(",")
    names = list(TASKS) if given.tasks == "all" else given.tasks.split(",")
    tasks = {name: lookup(TASKS, "task", name)() for name in names}
    if "byte_text" in tasks and given.text:
        tasks["byte_text"] = ByteText(given.text)
    budget = _budget(given, len(mixers) * len(tasks))
    figures = out / "comparison.json"
    before = load(figures) if given.resume and figures.exists() else None
    found = compare_mixers(
        mixers,
        tasks,
        Size(given.width, given.depth, given.state),
        budget,
        jobs=given.jobs or (torch.get_num_threads() if given.device == "cpu" else 1),
        before=before,
        keep=lambda comparison: save(comparison, figures),
        say=lambda words: print(words, flush=True),
    )
    save(found, figures)
    write_text(out / "comparison.md", table(found))
    with atomic_write(out / "comparison.png") as temporary:
        temporary.write_bytes(picture(found))
    print(table(found), end="")


def _parser() -> argparse.ArgumentParser:
    options = parser("compare mixers", "Tasks learnt by mixers of equal parameters and equal state.")
    add_out(options, "folder for comparison.md, comparison.png and comparison.json")
    options.add_argument("--tasks", default="all", help="names with commas between (all)")
    options.add_argument("--mixers", default=MIXERS, help=NAMES)
    options.add_argument("--steps", type=int, default=600, help="of each mixer on each task (600)")
    options.add_argument("--minutes", type=float, help="of all learning together, instead of the steps")
    options.add_argument("--seed", type=int, default=0, help="of weights and examples (0)")
    options.add_argument("--width", type=int, default=32, help="of the models (32)")
    options.add_argument("--depth", type=int, default=2, help="their blocks (2)")
    options.add_argument("--state", type=int, default=16, help="numbers for each channel of a layer (16)")
    options.add_argument("--text", metavar="FILE", help="for byte_text (Python's reference)")
    options.add_argument("--jobs", type=int, help="processes that learn at the same time (one a core)")
    options.add_argument("--device", default="cpu", help="where, such as cuda (cpu)")
    options.add_argument("--resume", action="store_true", help="go on with what is in the folder")
    return options


def _budget(given: argparse.Namespace, parts: int):
    """The budget of one mixer on one task: of the minutes, the trials of other rates get their share."""
    from caselli.evaluate.mixers import Budget

    if given.minutes is None:
        return Budget(steps=given.steps, seed=given.seed, device=given.device)
    if given.minutes <= 0:
        raise UserError(f"minutes {given.minutes} were given", "more than 0 was expected")
    one = Budget(seed=given.seed)
    trials = 1 + (len(one.rates) - 1) * one.trial
    return Budget(minutes=given.minutes / parts / trials, seed=given.seed, device=given.device)
