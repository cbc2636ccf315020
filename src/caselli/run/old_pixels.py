"""Runs of recipe `pixels` from when it was a family: read as they are, and rewritten to be resumed."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from caselli.engine import Machine, TrainingConfig
from caselli.errors import UserError
from caselli.files import atomic_write, read_tensors, write_text
from caselli.model import Model, build_prior, save_prior, save_tokenizer
from caselli.plain import of_plain, override, to_plain
from caselli.prior import PriorConfig
from caselli.run.folder import RunFolder
from caselli.run.two_stage_config import TwoStageConfig
from caselli.run.two_stage_recipes import pixel_tokenizer
from caselli.tokenizer import Tokenizer, TokenizerConfig
from caselli.weights import read_description

RECIPE, FAMILY = "pixels", "autoregressive"
"""Names of the recipe, and of the family that it trained."""
PREFIX = "task.prior."
"""Beginning of the names of its weights."""

RENAMED = {"model.levels": "tokenizer.quantizer_options.levels", "model.prior.": "prior."} | {
    f"training.{field.name}": f"training.prior.{field.name}" for field in dataclasses.fields(TrainingConfig)
}
"""Fields, or beginnings of fields, of this recipe that have another name now."""
RENAMED_EVERYWHERE = {"tokenizer.doctor": "tokenizer.diagnostics"}


def refuse_old_names(recipe: str, names: Iterable[str]) -> None:
    """Raises a `UserError` with the present name of a field that was given by its earlier one."""
    table = RENAMED_EVERYWHERE | (RENAMED if recipe == RECIPE else {})
    for name in names:
        for before, now in table.items():
            if name == before or (before.endswith(".") and name.startswith(before)):
                raise UserError(f"--{name} was given", f"--{name} is --{now + name.removeprefix(before)} now")


def is_old(folder: RunFolder) -> bool:
    """True for the folder of a run that has the earlier form."""
    if folder.holds_run():
        return folder.describe()["config"].get("family") == FAMILY
    return (folder.path / "family.json").exists() and _description(folder)["family"] == FAMILY


def config_of(old: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration of a run in the earlier form, as plain data of a run with two stages."""
    model = old["model"]
    tokenizer = pixel_tokenizer(model["channels"], model["size"], model["levels"])
    kept = {name: value for name, value in old.items() if name not in ("family", "model", "training")}
    stages = {"tokenizer": to_plain(tokenizer), "prior": model["prior"]}
    return {**kept, **stages, "training": {"prior": old["training"]}}


def load_old(folder: RunFolder) -> Model:
    """The model of a finished run; the folder stays as it is."""
    described = _description(folder)
    config = described["config"]
    tokenizer = Tokenizer(pixel_tokenizer(config["channels"], config["size"], config["levels"]))
    prior_config = of_plain(PriorConfig, config["prior"], "prior")
    prior, order = build_prior(prior_config, tokenizer, config["size"], config["classes"])
    prior.load_state_dict(_renamed(read_tensors(folder.path / "family.safetensors")[0], PREFIX, ""))
    return Model(tokenizer, prior, order, config["size"], described["classes"])


def modernise(folder: RunFolder) -> None:
    """Rewrites a run in the earlier form, so that it can go on: configuration, results, checkpoints.

    Errors: `UserError` for a run that left the labels of its pictures out; there is no such choice any more.
    """
    described = folder.describe()
    model = described["config"]["model"]
    if model["classes"] != folder.results().get("data", {}).get("classes", model["classes"]):
        raise UserError(
            f"the run in {folder.path} was begun with model.classes {model['classes']}",
            "pixels are learned with the labels that the pictures have now",
            "begin a new run with another -o",
        )
    size = model["size"]
    tokenizer = Tokenizer(of_plain(TokenizerConfig, config_of(described["config"])["tokenizer"]))
    save_tokenizer(tokenizer, folder.path, size)
    if (folder.path / "family.json").exists():
        trained = load_old(folder)
        save_prior(trained.prior, folder.path, tokenizer.fingerprint(), trained.classes)
    for path in (folder.path / "checkpoints" / FAMILY).glob("*.pt"):
        _modernise_checkpoint(path, folder.path / "checkpoints" / "prior" / path.name)
    results = {name: value for name, value in folder.results().items() if name == "data"}
    write_text(folder.path / "results.json", json.dumps(results, indent=2))
    where = of_plain(Machine, described["machine"], "machine")
    config = override(TwoStageConfig(), config_of(described["config"]))
    folder.write("two_stage", config, described["data_fingerprint"], where)
    for path in folder.path.glob("family.*"):
        path.unlink()


def _modernise_checkpoint(old: Path, new: Path) -> None:
    state = torch.load(old, map_location="cpu", weights_only=True)
    for name in {"task", "ema"} & state.keys():
        state[name] = _renamed(state[name], f"family.{PREFIX}", "prior.")
    if "best" in state:
        state["best"] *= math.log(2)  # the loss was in bits, and is in nats now
    with atomic_write(new) as temporary:
        torch.save(state, temporary)


def _renamed(state: Mapping[str, torch.Tensor], before: str, after: str) -> dict[str, torch.Tensor]:
    return {after + name.removeprefix(before): tensor for name, tensor in state.items()}


def _description(folder: RunFolder) -> dict[str, Any]:
    return read_description(folder.path / "family")
