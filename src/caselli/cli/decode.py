"""`caselli decode RUN codes.safetensors -o FOLDER`."""

from __future__ import annotations

from caselli.cli.output import free, told_apart


def command(run: str, codes: str, *, out: str, overwrite: bool = False) -> None:
    """Turns codes into pictures, a PNG each.

    Arguments:
        codes: a file made by `caselli encode`.
        out: folder of the pictures.
    """
    folder = free(out, overwrite, folder=True)

    import torch
    from tqdm import tqdm

    from caselli.data import CodeStore
    from caselli.engine import on_device
    from caselli.files import atomic_folder
    from caselli.model import load
    from caselli.report import grid, save_png

    model = on_device(load(run))
    store = CodeStore.load(codes, model.tokenizer.fingerprint())
    names = told_apart(store.names) or [f"{number:06}" for number in range(len(store))]
    with atomic_folder(folder) as scratch:
        for start in tqdm(range(0, len(store), 64), unit="batch", disable=None):
            indices = torch.arange(start, min(start + 64, len(store)))
            pictures = model.decode(store.read(indices)).cpu()
            for number, picture in zip(indices.tolist(), pictures, strict=True):
                save_png(grid(picture[None], scale=1, gap=0), scratch / f"{names[number]}.png")
    print(f"{len(store)} pictures in {folder}")
