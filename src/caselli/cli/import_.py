"""`caselli import FILE... -o RUN`."""

from __future__ import annotations

from pathlib import Path

from caselli.cli.output import free
from caselli.errors import UserError


def command(
    files: list[str],
    *,
    from_: str | None = None,
    size: int | None = None,
    groups: int | None = None,
    heads: int | None = None,
    classes: int | None = None,
    scales: str = "",
    text: str = "",
    out: str,
    overwrite: bool = False,
) -> None:
    """Makes a run of a tokenizer and a prior trained elsewhere; no code in the files is run.

    Arguments:
        files: checkpoints of a tokenizer and, if wanted, a prior; the folder of a run stands for its
            tokenizer.
        from_: family of the files, see `caselli list importer`; by default known by the weights' names.
        size: height and width in pixels that it is used at (256).
        groups: number of groups of the normalisations (config.json's, or 32).
        heads: number of attention heads of the prior (config.json's, or one for each 64 channels).
        classes: number of labels, for priors whose labels are codes.
        scales: sides of a multi-scale tokenizer's maps, such as 1,2,4 (the published ones).
        text: local folder of the text encoder of a prior over captions.
        out: folder of the new run.
    """
    folder = free(out, overwrite, folder=True)

    from caselli.files import alone, atomic_folder, is_taken
    from caselli.interop import Hints, import_files
    from caselli.run import adopt

    sides = numbers(scales)
    text = str(Path(text).resolve()) if text else ""
    hints = Hints(groups=groups, size=size, heads=heads, classes=classes, scales=sides, text=text)
    imported = import_files(files, hints, from_)
    if is_taken(folder):
        with alone(folder):
            adopt(imported, folder)
    else:
        with atomic_folder(folder) as scratch:
            adopt(imported, scratch)
    for words in imported.words:
        print(words)
    print(f"{folder}: {imported.tokenizer.report((imported.size, imported.size))}")
    if imported.prior is not None:
        print(imported.describe_prior())


def numbers(words: str) -> tuple[int, ...]:
    """The numbers of a list with commas.

    Errors: `UserError` for words that are none.

    Example:
        >>> numbers("1,2,4")
        (1, 2, 4)
    """
    parts = [part.strip() for part in words.split(",") if part.strip()]
    if not all(part.isdigit() and int(part) > 0 for part in parts):
        raise UserError(f"scales {words!r} was given", "numbers such as 1,2,4 were expected")
    return tuple(map(int, parts))
