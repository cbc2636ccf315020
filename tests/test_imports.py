"""The plan of the rooms: imports only run downward, and leaf rooms know nothing of each other."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import caselli

ROOT = Path(caselli.__file__).parent
FLOORS = [
    "errors figures schedules shapes markdown version",
    "files plain private ranks trained decoding",
    "order data engine ops anatomy weights",
    "layer estimator divergence",
    "mixer quantizer features",
    "prior tokenizer",
    "sampling",
    "model family segmentation",
    "canvas",
    "codec slim interop zoo",
    "evaluate",
    "report",
    "run",
    "compare",
    "studio",
    "cli",
]
"""Rooms, from the ground up; each knows those below it alone. CONTRIBUTING.md draws this list."""
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms.split()}


def modules():
    return sorted(path for path in ROOT.rglob("*.py") if path.parent != ROOT or path.stem in FLOOR)


def imported(path: Path) -> set[str]:
    """Rooms that a file imports from, wherever in the file it does."""
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        rooms |= {name.split(".")[1] for name in names if name.startswith("caselli.")}
    return rooms & set(FLOOR)


def test_a_name_stands_at_one_door():
    """A room's door shows what is defined in the room: else a reader finds one thing under two names."""
    lent = []
    for module in pkgutil.iter_modules(caselli.__path__, "caselli."):
        door = importlib.import_module(module.name)
        for name in getattr(door, "__all__", ()):
            home = getattr(getattr(door, name), "__module__", None) or module.name
            if home.startswith("caselli.") and not f"{home}.".startswith(f"{module.name}."):
                lent.append(f"{module.name}.{name} is of {home}")
    assert not lent


def test_imports_run_downward():
    upward = []
    for path in modules():
        room = path.relative_to(ROOT).parts[0].removesuffix(".py")
        others = imported(path) - {room}
        upward += [f"{path} may not import {other}" for other in others if FLOOR[other] >= FLOOR[room]]
    assert not upward


def test_contributing_draws_this_plan():
    plan = "\n".join("   ".join(rooms.split()).center(60).rstrip() for rooms in reversed(FLOORS))
    assert plan in (ROOT.parent.parent / "CONTRIBUTING.md").read_text(), f"\n{plan}"


def test_other_rooms_are_entered_by_the_door():
    """At least 95 % of the imports from another room name the room, not a file inside it."""
    doors, past = 0, []
    for path in modules():
        room = path.relative_to(ROOT).parts[0].removesuffix(".py")
        for node in ast.walk(ast.parse(path.read_text())):
            module = node.module if isinstance(node, ast.ImportFrom) else None
            if module and module.startswith("caselli.") and module.split(".")[1] != room:
                doors += module.count(".") == 1
                past += [f"{path.relative_to(ROOT)}: {module}"] * (module.count(".") > 1)
    assert doors >= 0.95 * (doors + len(past)), "\n".join(past)


def test_every_room_has_a_floor():
    rooms = {
        path.name.removesuffix(".py") for path in ROOT.iterdir() if path.suffix == ".py" or path.is_dir()
    }
    assert rooms - {"__init__", "__main__", "__pycache__", "py.typed"} <= set(FLOOR)


def test_only_ranks_and_the_engine_import_torch_distributed():
    for path in modules():
        if "torch.distributed" in path.read_text():
            assert path == ROOT / "ranks.py" or path.parent == ROOT / "engine", path


def test_safetensors_is_called_by_files_alone():
    """It ends the process where it finds no memory; `files` asks for that before."""
    found = [path for path in modules() if re.search(r"(?:from|import) safetensors", path.read_text())]
    assert found == [ROOT / "files.py"]


@pytest.mark.parametrize(
    "what", ["caselli.cli as c; c.main(['--help'])", "caselli.sampling as s; s.Sampling()"]
)
def test_help_and_options_do_not_import_torch(what):
    code = f"import sys, {what}; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
