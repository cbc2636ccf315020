"""`caselli export RUN --to onnx -o FOLDER`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from caselli.cli.output import free

if TYPE_CHECKING:
    from caselli.interop import Exportable


def command(
    run: str, *, to: str = "onnx", out: str, licence: str = "", pictures: str = "", overwrite: bool = False
) -> None:
    """Writes a run in a form that other tools open, and checks it by opening it.

    Arguments:
        to: diffusers (a VQGAN's tokenizer), onnx (tokenizer and prior's step, with a script that samples),
            torch (the tokenizer), hub (the whole run with a model card), or original for the layout that the
            run was imported from.
        out: the folder to write.
        licence: licence for the model card, such as cc0-1.0 (hub).
        pictures: where the pictures came from, for the model card (hub).
    """
    folder = free(out, overwrite, folder=True)

    from caselli.errors import lookup
    from caselli.files import atomic_folder
    from caselli.interop import TARGETS

    target = lookup(TARGETS, "form", to)()
    given = exportable(run, folder.name, licence, pictures)
    with atomic_folder(folder) as scratch:
        said = target.write(given, scratch)
    print(said.replace(str(scratch), str(folder)))


def exportable(run: str, name: str, licence: str, pictures: str) -> Exportable:
    """The run in a folder, as targets take it."""
    from pathlib import Path

    from caselli.interop import Exportable
    from caselli.run import kind_of

    return Exportable(Path(run), kind_of(run).figures(), name, licence, pictures)
