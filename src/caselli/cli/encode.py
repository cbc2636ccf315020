"""`caselli encode RUN SOURCE -o codes.safetensors`."""

from __future__ import annotations

from caselli.cli.output import free


def command(run: str, source: str, *, split: str = "all", out: str, overwrite: bool = False) -> None:
    """Turns pictures into codes, or into the vectors of a family.

    Arguments:
        out: FILE.safetensors, with names, labels and the tokenizer's fingerprint.
    """
    path = free(out, overwrite, (".safetensors", ""))

    from caselli.cli.pictures import source_for
    from caselli.engine import on_device
    from caselli.run import load

    model = on_device(load(run))
    found = model.encoded(source_for(model, source, split))
    found.save(path)
    print(f"{len(found)} pictures in {path}")
