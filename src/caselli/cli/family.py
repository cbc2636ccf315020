"""What the commands do with the run of a one-stage family."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

from caselli.cli.parser import free
from caselli.errors import UserError


def is_family(run: str) -> bool:
    """Whether a run folder holds a one-stage family."""
    return (Path(run) / "family.json").exists()


def sample(given: Any, drawn: Any) -> None:
    """`caselli sample`: a grid, or a folder of pictures."""
    from tqdm import tqdm

    from caselli.cli.sample import Asked, labels_in_turn, write
    from caselli.family import load_family

    out, model = free(given.out, given.overwrite), load_family(given.run)
    if given.text or given.picture:
        raise UserError(
            f"{'a caption' if given.text else 'another picture'} was given for a family, {model.name}",
            "a family knows labels alone",
            "leave it out",
        )
    labels = labels_in_turn(given.label, given.count, model.classes)
    with tqdm(total=given.count, unit="picture", disable=not sys.stderr.isatty()) as bar:
        pictures = model.sample(given.count, labels, given.seed, drawn, given.batch, bar.update)
    text = {"run": str(given.run), **drawn.described()}
    write(pictures, out, Asked(labels), given.seed, text)
    print(f"{given.count} pictures in {out}", file=sys.stderr)


def encode(given: Any) -> None:
    """`caselli encode`: the representations, with names and labels, as safetensors."""
    import torch
    from safetensors.torch import save_file

    from caselli.cli.pictures import source_for
    from caselli.data import to_float
    from caselli.family import load_family
    from caselli.files import atomic_write

    out, model = free(given.out, given.overwrite), load_family(given.run)
    pictures = source_for(model, given.source, given.split)
    parts = torch.arange(len(pictures)).split(256)
    found = torch.cat([model.encode(to_float(pictures.read(part))).cpu() for part in parts])
    tensors = {"representations": found.contiguous()}
    if pictures.labels is not None:
        tensors["labels"] = pictures.labels
    about = {"run": str(given.run), "names": json.dumps(pictures.names), "data": pictures.fingerprint}
    with atomic_write(out) as temporary:
        save_file(tensors, temporary, about)
    print(f"{len(found)} pictures as {found.shape[1]} numbers each in {out}")


def reconstruct(given: Any) -> None:
    """`caselli reconstruct`: originals beside reconstructions."""
    from caselli.cli.pictures import read_pictures
    from caselli.evaluate.pictures import psnr
    from caselli.family import load_family
    from caselli.report import pairs, save_png

    out, model = free(given.out, given.overwrite), load_family(given.run)
    x = read_pictures(model, given.pictures, given.most)
    y = model.reconstruct(x).cpu()
    save_png(pairs(x, y), out, {"run": given.run})
    print(f"{len(x)} pictures in {out}, {psnr(y, x).mean():.2f} dB")


def evaluate(given: Any) -> None:
    """`caselli evaluate`: likelihood, reconstruction and representation."""
    from caselli.cli.pictures import source_for
    from caselli.evaluate.family import evaluate_family
    from caselli.family import load_family

    if given.features or given.weights or given.lpips:
        raise UserError(
            "features of a network were asked for",
            "a run with a tokenizer was expected",
            "leave them out; the run's own report compares samples with data",
        )
    model = load_family(given.run)
    train, held_out = (source_for(model, given.source, split) for split in ("train", given.split))
    figures = dataclasses.asdict(evaluate_family(model, train, held_out))
    if given.json:
        print(json.dumps(figures))
        return
    for name, value in figures.items():
        shown = "none" if value is None else f"{value:.4f}" if isinstance(value, float) else str(value)
        print(f"{name.replace('_', ' '):<28} {shown:>12}")
