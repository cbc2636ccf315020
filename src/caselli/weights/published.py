"""Published weights for one network: read from a local file, and exactly what the network has."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from caselli.errors import UserError
from caselli.shapes import Tensor
from caselli.weights.foreign import read_foreign


def read_weights(path: str | Path, what: str, source: str) -> dict[str, Tensor]:
    """The tensors of a `.pth` or `.safetensors` file by name; nothing is ever downloaded.

    Arguments:
        path: the file.
        what: what it should hold, for messages.
        source: where it can be had, for messages.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path} was given for {what}", "a file was expected", f"it is published at {source}")
    try:
        return read_foreign(path)
    except UserError as error:
        raise UserError(f"{path} cannot be read as weights of {what} ({error})", remedy=source) from error


def fill(module: nn.Module, weights: dict[str, Tensor], what: str) -> None:
    """Loads tensors into a module that must have exactly these names and shapes."""
    wanted = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    found = {name: tuple(value.shape) for name, value in weights.items()}
    # files written before batch normalisation counted its batches lack the counter; it has no effect here
    missing = [n for n in wanted if n not in found and not n.endswith("num_batches_tracked")]
    other = [n for n in found if wanted.get(n) != found[n]]
    if missing or other:
        name = (missing + other)[0]
        raise UserError(
            f"weights were given that are not those of {what}: {len(missing)} are missing and {len(other)} "
            f"are foreign or of another shape, such as {name} {found.get(name, '(missing)')}",
            f"{name} {wanted.get(name, '(none)')} was expected",
        )
    module.load_state_dict(weights, strict=False)
