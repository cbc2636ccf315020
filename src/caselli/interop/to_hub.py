"""A run as a folder for a hub of models: weights, plain data and a model card."""

from __future__ import annotations

import shutil
from pathlib import Path

import yaml

from caselli.errors import UserError
from caselli.files import write_text
from caselli.interop.card import card
from caselli.interop.target import Exportable, Target

SAMPLES = Path("pictures") / "samples.png"


class ToHub(Target):
    """The whole run as a folder for a hub of models: safetensors, plain data and a model card."""

    name = "hub"

    def write(self, run: Exportable, folder: Path) -> str:
        weights = sorted(run.folder.glob("*.safetensors"))
        files = [file for path in weights for file in (path, path.with_suffix(".json")) if file.exists()]
        if not files:
            raise UserError(f"{run.folder} was given as a run", "a folder with trained weights was expected")
        text = card(run.folder, run.name or folder.name, run.figures, run.licence, run.pictures)
        folder.mkdir(parents=True, exist_ok=True)
        for path in files:
            shutil.copyfile(path, folder / path.name)
        if (run.folder / SAMPLES).exists():
            shutil.copyfile(run.folder / SAMPLES, folder / SAMPLES.name)
        write_text(folder / "run.yaml", _without_paths(run.folder / "run.yaml"))
        write_text(folder / "README.md", text)
        return f"{folder}: {', '.join(path.name for path in files)}, README.md"


def _without_paths(path: Path) -> str:
    """A run's configuration; paths of the machine that it was made on are cut to their last part."""
    described = yaml.safe_load(path.read_text(encoding="utf-8"))
    described.pop("machine", None)
    data = described["config"]["data"]
    for field in ("source", "paired"):
        data[field] = Path(data.get(field) or "").name
    return yaml.safe_dump(described, sort_keys=False, allow_unicode=True)
