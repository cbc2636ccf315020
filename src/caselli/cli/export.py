"""`caselli export RUN --to onnx -o FOLDER`."""

from __future__ import annotations

from caselli.cli.output import free


def command(run: str, *, to: str = "onnx", out: str, overwrite: bool = False) -> None:
    """Writes encoder and decoder as programs that run without Caselli, and checks them by running them; or an
    imported run as the files that it came from.

    Arguments:
        to: form of the programs, onnx or torch; original for the layout that the run was imported from.
        out: the folder of the programs or files.
    """
    folder = free(out, overwrite, folder=True)

    from caselli.files import atomic_folder
    from caselli.interop import export_tokenizer, write_back
    from caselli.model import load

    model = load(run)
    if to == "original":
        networks = {"tokenizer": model.tokenizer, "prior": model.prior}
        with atomic_folder(folder) as scratch:
            written = [path.relative_to(scratch) for path in write_back(run, networks, scratch)]
        print(", ".join(str(folder / path) for path in written))
        return
    with atomic_folder(folder) as scratch:
        found = export_tokenizer(model.tokenizer, model.size, scratch, to)
    programs = " and ".join(str(folder / path.name) for path in (found.encoder, found.decoder))
    print(
        f"{programs}: {found.differing} of {found.codes} codes differ "
        f"from the run's, pictures by up to {found.largest_difference:.0e}"
    )
