"""The one driver of comparisons: folder, resuming, table, figures, picture, page."""

from __future__ import annotations

import io
import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from caselli import markdown
from caselli.compare.base import Comparison, kept_field, with_tensor
from caselli.errors import UserError
from caselli.files import alone, atomic_write, is_taken, read_tensors, regular, write_tensors, write_text
from caselli.plain import of_plain, to_plain
from caselli.report import Page, save_png
from caselli.version import __version__

FIGURES, TABLE, PLOT, PICTURES = "comparison.json", "table.md", "plot.png", "pictures.png"
PAGE, KEPT, RUNS = "index.html", "kept", "runs"
"""The page, and the folders of the rows' tensors and of intermediate results."""
DPI = 110


def compare(
    comparison: Comparison,
    out: str | Path | None = None,
    *,
    resume: bool = False,
    overwrite: bool = False,
    say: Callable[[str], None] = lambda words: None,
) -> list[Any]:
    """Makes the rows of a comparison, and a folder that shows them.

    After each row `comparison.json` and `table.md` are written, at the end `plot.png`, `pictures.png` and
    `index.html`. A comparison that was stopped, or that gets more subjects, keeps its finished rows.

    Arguments:
        comparison: one of `COMPARISONS`, with its settings.
        out: the folder, a new or empty one; None writes nothing.
        resume: continues the comparison in the folder, or begins it.
        overwrite: replaces the comparison in the folder.
        say: called with a line before each row.

    Returns: all rows of the folder, in the order in which they were made.

    Errors: `UserError` for invalid settings, and for others than those of the comparison in the folder.

    Example:
        >>> from caselli.compare import COMPARISONS
        >>> kind = COMPARISONS["estimators"]
        >>> settings = kind.Settings(estimators=("arm", "disarm"), repeats=10)
        >>> [row.estimator for row in compare(kind(settings))]
        ['arm', 'disarm']
    """
    if out is None:
        with tempfile.TemporaryDirectory() as temporary:
            return compare(comparison, temporary, say=say)
    folder, subjects, agreed = Path(out), comparison.subjects(), to_plain(comparison.agreed())
    _expect_folder(folder)
    with alone(folder):  # before anything in it is looked at, or removed
        rows = _begun(comparison, agreed, folder, resume, overwrite)
        return _compared(comparison, subjects, agreed, rows, folder, say)


def _compared(
    comparison: Comparison,
    subjects: dict[str, Any],
    agreed: dict[str, Any],
    rows: dict[str, Any],
    folder: Path,
    say: Callable[[str], None],
) -> list[Any]:
    """The rows that are missing made, each written when it is, and all shown."""
    todo = {name: subject for name, subject in subjects.items() if name not in rows}
    made = iter(comparison.rows(todo, folder))
    for number, name in enumerate(todo, 1):
        say(f"[{number}/{len(todo)}] {name}")
        rows[name] = next(made)
        _write(comparison, agreed, rows, folder)
    found = list(rows.values())
    _show(comparison, found, folder)
    return found


def load(path: str | Path, kinds: dict[str, type[Comparison]]) -> tuple[Comparison, list[Any]]:
    """The comparison in a folder, or of a file of figures alone, and its rows.

    Errors: `UserError` for a path without a comparison.
    """
    path = Path(path)
    data = _read(path / FIGURES if path.is_dir() else path)
    if data["comparison"] not in kinds:
        raise UserError(
            f"{path} is a comparison of {data['comparison']}", f"one of {', '.join(kinds)} was expected"
        )
    kind = kinds[data["comparison"]]
    return kind(of_plain(kind.Settings, data["settings"])), list(_rows(kind, data, path).values())


def text(comparison: Comparison, rows: list[Any]) -> str:
    """Tables and notes as Markdown.

    Example:
        >>> from caselli.compare import COMPARISONS
        >>> comparison = COMPARISONS["estimators"](COMPARISONS["estimators"].Settings())
        >>> text(comparison, []).splitlines()[1]
        '| --- | --: | --: | --: | --: | --: | --: |'
    """
    parts = []
    for table in comparison.tables(rows):
        parts += [table.words, markdown.table(table.head, table.lines)]
    return "\n\n".join(filter(None, [*parts, comparison.notes(rows)])) + "\n"


# the folder -------------------------------------------------------------------------------------------------


def _expect_folder(folder: Path) -> None:
    """Raises a `UserError` for the name of a file, or a file."""
    if folder.suffix in (".png", ".jpg", ".jpeg", ".webp", ".pdf", ".md", ".html", ".json", ".csv"):
        hint = f"-o {folder.with_suffix('')} holds {PLOT}, {TABLE}"
        raise UserError(f"-o {folder} was given", "a folder was expected", hint)
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file", "a new or empty folder was expected")


def _begun(
    comparison: Comparison, agreed: dict[str, Any], folder: Path, resume: bool, overwrite: bool
) -> dict[str, Any]:
    """The finished rows in the folder, by subject."""
    if not is_taken(folder):
        return {}
    if not (folder / FIGURES).exists():
        if resume and {path.name for path in folder.iterdir()} <= {RUNS, KEPT}:
            return {}  # killed before the first row: its runs go on
        raise UserError(f"{folder} holds other files", "a new or empty folder was expected")
    if overwrite:
        for name in (TABLE, PLOT, PICTURES, PAGE, FIGURES):
            (folder / name).unlink(missing_ok=True)
        for name in (KEPT, RUNS):
            shutil.rmtree(folder / name, ignore_errors=True)
        return {}
    if not resume:
        hint = "go on with --resume, replace it with --overwrite, or choose another -o"
        raise UserError(f"{folder} holds a comparison already", "a new folder was expected", hint)
    data = _read(folder / FIGURES)
    _expect_same(comparison, agreed, data, folder)
    return _rows(type(comparison), data, folder)


def _expect_same(comparison: Comparison, agreed: dict[str, Any], data: dict[str, Any], folder: Path) -> None:
    if data["comparison"] != comparison.name:
        raise UserError(f"{folder} holds a comparison of {data['comparison']}", "another -o was expected")
    for name, value in agreed.items():
        before = data["agreed"].get(name, getattr(comparison.Settings, name, None))  # settings are added
        if before != value:
            raise UserError(
                f"{name} {value!r} was given to a comparison that was begun with {before!r}",
                "rows compare at equal settings alone",
                "leave it as it was, or choose another -o",
            )


def _read(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(regular(path).read_text(encoding="utf-8"))
        if not {"comparison", "settings", "agreed", "rows"} <= data.keys():
            raise ValueError("it lacks fields")
        return data
    except (OSError, ValueError, AttributeError) as error:
        raise UserError(
            f"{path} cannot be read ({error})", "figures of a comparison were expected"
        ) from error


def _rows(kind: type[Comparison], data: dict[str, Any], folder: Path) -> dict[str, Any]:
    rows = {}
    for number, (name, plain) in enumerate(data["rows"].items(), 1):
        row, path = of_plain(kind.Row, plain), folder / KEPT / f"{number}.safetensors"
        rows[name] = with_tensor(row, read_tensors(path)[0]["kept"]) if path.exists() else row
    return rows


def _write(comparison: Comparison, agreed: dict[str, Any], rows: dict[str, Any], folder: Path) -> None:
    """Stores the last row's tensor, then figures and tables of all rows."""
    last = list(rows.values())[-1]
    tensor = getattr(last, kept_field(type(last)) or "", None)
    if tensor is not None:
        write_tensors(folder / KEPT / f"{len(rows)}.safetensors", {"kept": tensor})
    found = {
        "comparison": comparison.name,
        "settings": to_plain(comparison.settings),
        "agreed": agreed,
        "rows": {name: to_plain(with_tensor(row, None)) for name, row in rows.items()},
    }
    write_text(folder / FIGURES, json.dumps(found, indent=1) + "\n")
    write_text(folder / TABLE, text(comparison, list(rows.values())))


def _show(comparison: Comparison, rows: list[Any], folder: Path) -> None:
    """Draws the plot, the pictures and the page."""
    settings = ", ".join(
        f"{name} {value}" for name, value in comparison.agreed().items() if value is not None
    )
    page = Page(type(comparison).__name__, f"{comparison.words()}: {settings}", f"caselli {__version__}")
    page.section("Figures", comparison.notes(rows))
    for table in comparison.tables(rows):
        if table.words:
            page.paragraph(table.words)
        page.table(table.lines, table.head)
    plot = comparison.plot(rows)
    if plot is not None:
        with atomic_write(folder / PLOT) as temporary:
            temporary.write_bytes(_drawn(plot, "png"))
        page.section("Plot")
        page.plot(_drawn(plot, "svg"))
    sheet = comparison.sheet(rows)
    if sheet is not None:
        save_png(sheet, folder / PICTURES)
        page.section("Pictures")
        page.picture(sheet)
    page.write(folder / PAGE)


def _drawn(plot: Any, kind: str) -> bytes:
    buffer = io.BytesIO()
    plot.savefig(buffer, format=kind, dpi=DPI, metadata={"Date": None} if kind == "svg" else None)
    return buffer.getvalue()
