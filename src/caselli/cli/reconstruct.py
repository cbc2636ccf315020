"""`caselli reconstruct RUN PICTURES... -o FILE.png`."""

from __future__ import annotations

from caselli.cli.output import PICTURES, free


def command(
    run: str,
    pictures: list[str],
    *,
    split: str = "held_out",
    most: int = 48,
    out: str,
    overwrite: bool = False,
) -> None:
    """Shows pictures beside their reconstructions.

    Arguments:
        pictures: picture files, or one set or folder.
        most: pictures taken of a set.
        out: FILE.png, .jpg, .webp or .tif.
    """
    path = free(out, overwrite, PICTURES)

    from caselli.cli.pictures import read_pictures
    from caselli.engine import on_device
    from caselli.evaluate import psnr
    from caselli.report import pairs, save_picture
    from caselli.run import load

    model = on_device(load(run))
    x = read_pictures(model, pictures, most, split=split)
    y = model.reconstruct(x).cpu()
    save_picture(pairs(x, y), path, {"run": run})
    print(f"{len(x)} pictures in {path}, {psnr(y, x).mean():.2f} dB")
