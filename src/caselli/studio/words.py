"""The command lines that do what the page does."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from caselli.sampling import Sampling

PROGRAM = "caselli"


def train_words(source: str, out: Path, fields: dict[str, Any], resume: bool) -> list[str]:
    """`caselli train`, with the options that are given.

    Example:
        >>> train_words("glyphs", Path("runs/a"), {"recipe": "tiny", "minutes": 2.0, "size": None}, False)
        ['train', 'glyphs', '-o', 'runs/a', '--recipe', 'tiny', '--minutes', '2']
    """
    words = ["train", source, "-o", str(out)]
    for name, value in fields.items():
        if value not in (None, ""):
            words += [f"--{name}", f"{value:g}" if isinstance(value, float) else str(value)]
    return [*words, "--resume"] if resume else words


def sample_words(run: Path, asked: Any, sampling: Sampling, out: str = "samples.png") -> str:
    """`caselli sample`, with the options that differ from their defaults."""
    words = ["sample", str(short(run)), "-n", str(asked.count), "--seed", str(asked.seed), "-o", out]
    words += ["--label", asked.label] if asked.label else []
    words += ["--text", asked.text] if asked.text else []
    for name, value in sampling.changed().items():
        words += [f"--{name.replace('_', '-')}", f"{value:g}"]
    return line(words)


def short(path: Path) -> Path:
    """The path from the folder that the studio was started in, where it lies in it."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) and path != here else path


def line(words: list[str]) -> str:
    """A command as it is typed.

    Example:
        >>> line(["list", "my mixer"])
        "caselli list 'my mixer'"
    """
    return shlex.join([PROGRAM, *words])
