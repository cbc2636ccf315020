"""`caselli import FILE --from taming -o RUN`."""

from __future__ import annotations

from caselli.cli.output import free


def command(
    files: list[str],
    *,
    from_: str,
    size: int | None = None,
    groups: int | None = None,
    out: str,
    overwrite: bool = False,
) -> None:
    """Makes a run of a tokenizer trained elsewhere; no code in the file is run.

    Arguments:
        files: a checkpoint; encoder and decoder where they are apart.
        from_: layout of the checkpoint, see `caselli list importer`.
        size: height and width in pixels that it is used at (256).
        groups: number of groups of the normalisations (config.json's, or 32).
        out: folder of the new run.
    """
    folder = free(out, overwrite, folder=True)

    from caselli.files import atomic_folder, is_taken
    from caselli.interop import import_tokenizer
    from caselli.run import adopt

    imported = import_tokenizer(files, from_, size, groups)
    if is_taken(folder):
        adopt(imported.tokenizer, imported.size, folder)
    else:
        with atomic_folder(folder) as scratch:
            adopt(imported.tokenizer, imported.size, scratch)
    print(f"{folder}: {imported.tokenizer.report((imported.size, imported.size))}")
