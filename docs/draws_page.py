"""The page of the draw comparison, from its folders: `python docs/build.py draws`."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
SETS = {"photos32": "Photographs", "emoji64": "Emoji"}
COMMAND = "caselli compare priors ../shared/data/{0} --mixers all -o runs/draws-{0}"


def draws() -> None:
    """Writes `draws.md` of what `COMMAND` made for each set."""
    tables = {name: HERE.parent / "runs" / f"draws-{name}" / "table.md" for name in SETS}
    missing = [name for name, path in tables.items() if not path.exists()]
    for name in missing:
        print(f"no runs/draws-{name}: `{COMMAND.format(name)}` makes it", file=sys.stderr)
    if missing:
        return
    parts = {name: path.read_text().strip().split("\n\n") for name, path in tables.items()}
    page = ["# Which mixer draws best", *(" ".join(rest) for _, *rest in parts.values())]
    page.append("\n".join(["```sh", *map(COMMAND.format, SETS), "python docs/build.py draws", "```"]))
    for name, title in SETS.items():
        page += [f"## {title}", parts[name][0]]
    (HERE / "draws.md").write_text("\n\n".join(page) + "\n")
