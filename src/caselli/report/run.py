"""The page of a run, from what lies in its folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from caselli.figures import Figure
from caselli.report.folder import Contents, read_run
from caselli.report.page import Page
from caselli.report.sections import SECTIONS
from caselli.version import __version__


def write_report(run: str | Path, figures: Mapping[str, Figure] | None = None) -> Path:
    """Writes RUN/report.html from what is in the run folder, and returns its path.

    It reads `run.yaml`, `log.jsonl`, `results.json` and `pictures/*.png`; what is missing or broken leaves
    its section out.

    Arguments:
        run: the run folder.
        figures: the figures that its kind of run has, for people; others are shown under their name.
    """
    contents = read_run(Path(run), figures)
    page = compose(contents)
    path = contents.path / "report.html"
    page.write(path)
    return path


def compose(run: Contents) -> Page:
    """The page, section by section."""
    page = Page(_title(run), _subtitle(run), _footer(run))
    for section in SECTIONS:
        section(page, run)
    return page


def _title(run: Contents) -> str:
    return run.path.resolve().name or "Run"


def _subtitle(run: Contents) -> str:
    name = run.group("data").get("name") or run.source()
    times = [f"{stage} {seconds}" for stage in run.stages() if (seconds := run.time(stage))]
    parts = [f"trained on {name}" if name else "", *times]
    return " · ".join(part for part in parts if part)


def _footer(run: Contents) -> str:
    return f"Written by caselli {__version__} from {run.path.resolve()}"
