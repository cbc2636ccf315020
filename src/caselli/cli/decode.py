"""`caselli decode RUN codes.safetensors -o FOLDER`."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from caselli.cli.parser import add_out, add_run, free, parser
from caselli.errors import UserError


def run(arguments: list[str]) -> None:
    """Parses, decodes, writes a picture each."""
    options = parser("decode", "Turns codes into pictures, a PNG each.")
    add_run(options)
    options.add_argument("codes", metavar="CODES", help="a file made by `caselli encode`")
    add_out(options, "FOLDER")
    given = options.parse_args(arguments)
    out = free(given.out, given.overwrite)

    import torch
    from tqdm import tqdm

    from caselli.data import CodeStore
    from caselli.model import load
    from caselli.report import grid, save_png

    model = load(given.run)
    store = CodeStore.load(given.codes, model.tokenizer.fingerprint())
    for start in tqdm(range(0, len(store), 64), unit="batch", disable=None):
        indices = torch.arange(start, min(start + 64, len(store)))
        for number, picture in zip(indices.tolist(), model.decode(store.read(indices)).cpu(), strict=True):
            save_png(grid(picture[None], scale=1, gap=0), out / _name(store.names, number))
    print(f"{len(store)} pictures in {out}")


def _name(names: tuple[str, ...], number: int) -> Path:
    """A path inside the output folder, whatever a file of codes says."""
    if not names:
        return Path(f"{number:06}.png")
    path = PurePosixPath(names[number])
    if path.is_absolute() or ".." in path.parts:
        raise UserError(
            f"the codes name a picture {names[number]!r}", "a name inside the folder was expected"
        )
    return Path(path.with_suffix(".png"))
