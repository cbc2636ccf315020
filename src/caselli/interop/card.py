"""A model card: what a run is, how good it is and how that was measured, how it is used and made again."""

from __future__ import annotations

import json
import numbers
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from caselli.errors import UserError
from caselli.figures import Figure, known
from caselli.version import __version__

PROTOCOLS = {
    "tokenizer": "The tokenizer by its architecture.",
    "evaluation": "On held-out pictures, which no part of the run was trained on.",
    "tune": "Before and after fine-tuning, on held-out pictures of the new set and of the old run.",
    "samples_judged": "Samples beside held-out pictures, by a network of features that had no part in it.",
    "reconstructions_judged": "Reconstructions beside the same pictures, by the same network.",
    "segmentation": "On held-out pictures and their masks.",
}
"""Groups of `results.json` that a card shows, and how each was measured."""


def card(
    folder: Path, name: str, figures: Mapping[str, Figure], licence: str = "", pictures: str = ""
) -> str:
    """The text of a run's model card, in Markdown.

    Arguments:
        folder: the run's.
        name: the model's, as people will load it.
        figures: the figures of such runs.
        licence, pictures: licence, and source of the pictures; left out where empty.

    Errors: `UserError` for a folder without a run.
    """
    described = _described(folder)
    results = folder / "results.json"
    measured = json.loads(results.read_text(encoding="utf-8")) if results.exists() else {}
    tags = {"library_name": "caselli", "tags": ["caselli", described.get("kind", "two_stage")]}
    tags |= {"pipeline_tag": "unconditional-image-generation"} | ({"license": licence} if licence else {})
    parts = ["---", yaml.safe_dump(tags, sort_keys=False).strip(), "---", "", f"# {name}", ""]
    parts += _introduction(measured, described, pictures, licence)
    if (folder / "pictures" / "samples.png").exists():
        parts += ["![Samples](samples.png)", ""]
    parts += _use(name)
    for group, protocol in PROTOCOLS.items():
        parts += _table(measured.get(group), protocol, figures)
    return "\n".join([*parts, *_again(folder, described), ""])


def _described(folder: Path) -> dict[str, Any]:
    try:
        return yaml.safe_load((folder / "run.yaml").read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise UserError(f"{folder / 'run.yaml'} cannot be read ({error})", "a run was expected") from None


def _introduction(
    measured: dict[str, Any], described: dict[str, Any], pictures: str, licence: str
) -> Iterator[str]:
    data = measured.get("data", {})
    config = described["config"]
    kind, home = described.get("kind"), "https://pypi.org/project/caselli/"
    yield f"A run of [Caselli]({home}) {__version__}, kind `{kind}`, recipe `{config.get('recipe')}`."
    if data:
        size, channels = data["size"], {1: "grey", 3: "colour"}.get(data["channels"], "")
        many, few = data["count"], data["held_out"]
        yield f"It was trained on {many} {channels} pictures of {size}×{size} pixels; {few} were held out."
        if data["class_names"]:
            yield f"Labels: {', '.join(data['class_names'])}."
    yield ""
    yield f"**Pictures:** {pictures or 'their source was not said'}. **Licence:** {licence or 'not said'}."
    yield ""


def _use(name: str) -> list[str]:
    return [
        "## Use",
        "",
        "```sh",
        "pip install 'caselli[hub]'",
        f"hf download {name} --local-dir model",
        "caselli sample model -n 16 -o new.png",
        "```",
        "",
        "```python",
        "import caselli",
        "",
        f'pictures = caselli.from_pretrained("{name}").sample(16)  # B C H W in [−1, 1]',
        "```",
        "",
        "Weights are safetensors, the rest is plain data; no code of this repository is run.",
        "",
    ]


def _table(group: Any, protocol: str, figures: Mapping[str, Figure]) -> Iterator[str]:
    """The plain numbers of a group of results."""
    found = {
        k: v for k, v in (group or {}).items() if isinstance(v, numbers.Real) and not isinstance(v, bool)
    }
    if found:
        yield from (f"## {protocol}", "", "| figure | value |", "|---|---|")
        for name, value in found.items():
            label, number, unit = known(figures, name).show(value)
            yield f"| {label} | {number} {unit} |".replace(" |", " |").replace("  |", " |")
        yield ""


def _again(folder: Path, described: dict[str, Any]) -> Iterator[str]:
    yield from ("## Made again by", "", "```sh")
    yield "caselli train PICTURES -o again --config run.yaml"
    yield from ("```", "")
    yield f"The fingerprint of the pictures was {described.get('data_fingerprint') or 'not noted'}."
