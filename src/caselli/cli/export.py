"""`caselli export RUN --to onnx -o FOLDER`."""

from __future__ import annotations

from caselli.cli.output import free


def command(run: str, *, to: str = "onnx", out: str, overwrite: bool = False) -> None:
    """Writes encoder and decoder as programs that run without Caselli, and checks them by running them.

    Arguments:
        to: form of the programs, onnx or torch.
        out: the folder of the programs.
    """
    folder = free(out, overwrite, folder=True)

    from caselli.interop import export_tokenizer
    from caselli.model import load

    model = load(run)
    found = export_tokenizer(model.tokenizer, model.size, folder, to)
    print(
        f"{found.encoder} and {found.decoder}: {found.differing} of {found.codes} codes differ "
        f"from the run's, pictures by up to {found.largest_difference:.0e}"
    )
