"""`caselli decode RUN codes.safetensors -o FOLDER`."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from caselli.cli.output import free
from caselli.errors import UserError


def command(run: str, codes: str, *, out: str, overwrite: bool = False) -> None:
    """Turns codes into pictures, a PNG each.

    Arguments:
        codes: a file made by `caselli encode`.
        out: folder of the pictures.
    """
    folder = free(out, overwrite)

    import torch
    from tqdm import tqdm

    from caselli.data import CodeStore
    from caselli.model import load
    from caselli.report import grid, save_png

    model = load(run)
    store = CodeStore.load(codes, model.tokenizer.fingerprint())
    for start in tqdm(range(0, len(store), 64), unit="batch", disable=None):
        indices = torch.arange(start, min(start + 64, len(store)))
        for number, picture in zip(indices.tolist(), model.decode(store.read(indices)).cpu(), strict=True):
            save_png(grid(picture[None], scale=1, gap=0), folder / _name(store.names, number))
    print(f"{len(store)} pictures in {folder}")


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
