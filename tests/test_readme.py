"""Every command and example of the README and of the page of commands runs, on small pictures, quickly."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import torch

from caselli.cli import COMMANDS, demo, main
from tests.pictures import TINY, bars_and_stripes, options
from tests.reference import published

pytestmark = pytest.mark.drawn

README = (Path(__file__).parent.parent / "README.md").read_text()
PAGES = sorted((Path(__file__).parent.parent / "docs").glob("*.md"))
COMMANDS_PAGE = (Path(__file__).parent.parent / "docs" / "commands.md").read_text().split("## In a shell")[0]
MAKEFILE = (Path(__file__).parent.parent / "Makefile").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README + COMMANDS_PAGE, re.DOTALL)


def shell_lines() -> list[list[str]]:
    lines = [line for block in blocks("sh") for line in block.splitlines() if line.strip()]
    return [shlex.split(line, comments=True) for line in lines]


def small(words: list[str], folder: Path) -> list[str]:
    """The command with a budget of seconds: its pictures replaced by small ones, its time by a few steps."""
    if words[0] == "train":
        keep = ["train", str(folder / "pictures"), *words[2:]]
        for option in ("--minutes", "--size", "--recipe"):
            if option in keep:
                at = keep.index(option)
                del keep[at : at + 2]
        words = [*keep, "--recipe", "tiny", "--steps", "2", "--size", "16", *options(TINY)]
    if words[:2] == ["compare", "estimators"]:
        words = [*words, "--repeats", "50"]
    swaps = {"glyphs": str(folder / "pictures"), "A": "lying"}
    return [swaps.get(word, word) for word in words]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("readme")
    bars_and_stripes(folder / "pictures")
    return folder


def test_every_caselli_command_runs(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    monkeypatch.setattr(demo, "train", lambda *given, **options: trained.append((given, options)))
    trained: list[object] = []
    seen = set()
    for words in shell_lines():
        if words[0] != "caselli":
            assert words[0] in ("make", "pip"), words
            continue
        seen.add(words[1])
        if words[1] == "train" and (folder / "run").exists():
            continue  # both pages train into `run`: once on your pictures, once on glyphs
        assert main(small(words[1:], folder)) == 0, (words, capsys.readouterr().err)
    assert len(trained) == 1  # `tests/test_wheel.py` runs the demo itself
    guide = " ".join(page.read_text() for page in PAGES)
    shown = seen | set(re.findall(r"^caselli ([a-z]+)", guide, re.MULTILINE))
    assert shown == set(COMMANDS), "the README and the guide show every command"
    assert (folder / "letters.png").exists() and len(list((folder / "decoded").rglob("*.png"))) > 0


def test_make_targets_exist():
    for words in shell_lines():
        if words[0] == "make":
            assert re.search(rf"^{words[1]}:", MAKEFILE, re.MULTILINE), words


def test_the_python_example_runs(folder, monkeypatch):
    import caselli

    monkeypatch.chdir(folder)
    train = caselli.train

    def quick(source, out, *, recipe, size, minutes):
        return train(source, out + "-python", recipe=recipe, size=16, steps=2, changes=TINY)

    monkeypatch.setattr(caselli, "train", quick, raising=False)
    (example,) = blocks("python")
    scope: dict[str, object] = {}
    exec(example, scope)
    assert scope["again"].shape == scope["pictures"].shape == (16, 1, 16, 16)
    assert scope["bits"].shape == (16,)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_guides_examples_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    scope = checkpoint_of_taming() if page.stem == "interop" else {}
    for example in re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL):
        exec(example, dict(scope))


def checkpoint_of_taming() -> dict[str, object]:
    """Writes `last.ckpt`, and returns the pictures that its page speaks of."""
    weights, pictures = published.Weights(), torch.zeros(1, 3, 16, 16, dtype=torch.float64)
    shape = {"widths": (32, 32), "blocks": 1, "attended": (False, True), "latents": (8, 8)}
    latents = published.encode(weights, published.TAMING, pictures, **shape)
    _, quantized = published.nearest(weights, latents, 16)
    published.decode(weights, published.TAMING, quantized, **shape)
    torch.save({"state_dict": {name: weight.float() for name, weight in weights.items()}}, "last.ckpt")
    return {"pictures": pictures.float()}


def test_links_of_the_readme_lead_somewhere():
    root = Path(__file__).parent.parent
    for target in re.findall(r"\]\(([^)]+)\)", README):
        assert (root / target).exists(), target
