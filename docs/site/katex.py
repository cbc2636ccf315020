"""Mathematics rendered while the site is built, by KaTeX in one process of Node: pages need no script."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.errors import ExtensionError

DOCS = Path(__file__).parent.parent
KATEX = DOCS / ".katex" / "node_modules" / "katex" / "dist"
"""Where `make site` puts the npm package."""
PROGRAM = """
const katex = require(process.argv[1]);
require("readline").createInterface({input: process.stdin}).on("line", (line) => {
  const {text, display} = JSON.parse(line);
  let answer;
  try {
    answer = {html: katex.renderToString(text, {displayMode: display, strict: "ignore"})};
  } catch (error) {
    answer = {error: error.message};
  }
  console.log(JSON.stringify(answer));
});
"""


class Renderer:
    """KaTeX, asked line by line."""

    def __init__(self) -> None:
        node = shutil.which("node", path=str(Path(sys.executable).parent)) or shutil.which("node")
        if node is None or not KATEX.exists():
            raise ExtensionError("Node or docs/.katex is missing: `make site` installs both")
        command = [node, "-e", PROGRAM, str(KATEX / "katex.js")]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self.process = subprocess.Popen(command, text=True, encoding="utf-8", **pipes)

    def __call__(self, text: str, display: bool) -> str:
        """HTML and MathML of a formula in TeX.

        Raises:
            ValueError: for what KaTeX cannot read.
        """
        self.process.stdin.write(json.dumps({"text": text, "display": display}) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        if "error" in answer:
            raise ValueError(answer["error"])
        return answer["html"]

    def close(self) -> None:
        """Ends the process."""
        self.process.communicate()


RENDERER: list[Renderer] = []
"""The one renderer, from the first formula to the end of the build."""


def _html(node: nodes.Node, display: bool) -> str:
    if not RENDERER:
        RENDERER.append(Renderer())
    text = node.astext()
    if display and "\\\\" in text and "\\begin" not in text:
        text = rf"\begin{{aligned}}{text}\end{{aligned}}"
    try:
        return RENDERER[0](text, display)
    except ValueError as error:
        raise ExtensionError(f"{node.source}:{node.line}: {text!r}: {error}") from None


def _inline(self: Any, node: nodes.Node) -> None:
    self.body.append(f'<span class="math">{_html(node, display=False)}</span>')
    raise nodes.SkipNode


def _block(self: Any, node: nodes.Node) -> None:
    self.body.append(f'<div class="math">{_html(node, display=True)}</div>')
    raise nodes.SkipNode


def _finish(app: Any, error: Exception | None) -> None:
    """Ends KaTeX, and puts its style and letters beside the pages."""
    while RENDERER:
        RENDERER.pop().close()
    if error is None:
        own = Path(app.outdir) / "_static" / "katex"
        shutil.copytree(
            KATEX / "fonts", own / "fonts", ignore=lambda _, names: _old(names), dirs_exist_ok=True
        )
        shutil.copyfile(KATEX / "katex.min.css", own / "katex.min.css")


def _old(names: list[str]) -> list[str]:
    """Letters in formats that only old browsers ask for."""
    return [name for name in names if not name.endswith(".woff2")]


def setup(app: Any) -> dict[str, bool]:
    app.add_html_math_renderer("katex", inline_renderers=(_inline, None), block_renderers=(_block, None))
    app.connect("build-finished", _finish)
    return {"parallel_read_safe": True, "parallel_write_safe": False}
