"""One quantizer's figures in a comparison, and how they are measured."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from caselli import markdown
from caselli.data import Pictures
from caselli.evaluate import CodebookUse
from caselli.evaluate.model import evaluate_model
from caselli.evaluate.perceptual import Distance
from caselli.evaluate.reconstruction import reconstructions
from caselli.model import Model, load
from caselli.run.folder import RunFolder

FLOAT_BITS = 32
"""What a number of a continuous bottleneck counts."""
MEASURED = 4096
"""Pictures of either split that are measured, at most."""
HEADER = (
    "quantizer", "codebooks", "bits", "PSNR", "SSIM", "MS-SSIM", "distance",
    "use, held out", "use, trained on", "perplexity", "steps",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Row:
    """One quantizer's figures, on held-out pictures unless said otherwise."""

    quantizer: str
    options: dict[str, Any]
    sizes: list[int]
    """Codes of each codebook; empty for continuous ones."""
    bits_per_picture: float
    """Of the codes; of all latents as 32-bit floats where there are none."""
    psnr: float
    ssim: float
    ms_ssim: float
    perceptual: float
    use_held_out: float | None
    """Share of the codes that occur in the held-out pictures."""
    use_trained: float | None
    """The same over the training pictures."""
    held_out_codes: int
    """How many codes of each codebook the held-out pictures have: with few, not every code can occur."""
    trained_codes: int
    perplexity: float | None
    steps: int
    seconds: float
    parameters: int

    def cells(self) -> list[str]:
        """The line of the table, under `HEADER`."""
        return [
            self.quantizer,
            _books(self.sizes),
            f"{self.bits_per_picture:,.0f}",
            f"{self.psnr:.2f}",
            f"{self.ssim:.3f}",
            f"{self.ms_ssim:.3f}",
            f"{self.perceptual:.4f}",
            *("—" if use is None else f"{use:.1%}" for use in (self.use_held_out, self.use_trained)),
            "—" if self.perplexity is None else f"{self.perplexity:.0f}",
            str(self.steps),
        ]


def table(found: Sequence[Row]) -> str:
    """The rows as a Markdown table."""
    return markdown.table(HEADER, [row.cells() for row in found]) + "\n"


def measure(run: Path, name: str, pictures: Pictures, distance: Distance) -> None:
    """Adds the row to the run's results."""
    model = load(run)
    held_out, trained_on = (some(pictures.split(split), MEASURED) for split in ("held_out", "train"))
    found = evaluate_model(model, held_out, distance=distance)
    tokenizer = model.tokenizer
    sizes, grid = tokenizer.quantizer.sizes, tokenizer.code_shape((model.size, model.size))
    positions = torch.Size(grid).numel()
    bits = found.bits_per_picture
    steps, seconds = _length(run)
    row = Row(
        quantizer=name,
        options=tokenizer.config.quantizer_options,
        sizes=list(sizes),
        bits_per_picture=_floats(model, held_out) * FLOAT_BITS if bits is None else bits,
        psnr=found.psnr,
        ssim=found.ssim,
        ms_ssim=found.ms_ssim,
        perceptual=found.perceptual,
        use_held_out=found.codebook_use,
        use_trained=_use(model, trained_on) if sizes else None,
        held_out_codes=positions * len(held_out),
        trained_codes=positions * len(trained_on),
        perplexity=found.perplexity,
        steps=steps,
        seconds=seconds,
        parameters=sum(p.numel() for p in tokenizer.parameters()),
    )
    RunFolder(run).add_results(comparison=dataclasses.asdict(row))


def row_of(run: Path) -> Row | None:
    found = RunFolder(run).results().get("comparison")
    return None if found is None else Row(**found)


def _use(model: Model, pictures: Pictures) -> float:
    use = CodebookUse(model.tokenizer.quantizer.sizes)
    for _, _, codes, _ in reconstructions(model, pictures):
        use.add(codes)
    return use.together().use


def _floats(model: Model, pictures: Pictures) -> int:
    """Numbers that a continuous bottleneck has for a picture."""
    _, _, codes, _ = next(iter(reconstructions(model, pictures, batch=1)))
    return codes.numel()


def _length(run: Path) -> tuple[int, float]:
    """Steps and seconds of the training, as its log has them."""
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    last = [line for line in lines if line["stage"] == "tokenizer" and "seconds" in line][-1]
    return last["step"], last["seconds"]


def _books(sizes: Sequence[int]) -> str:
    if not sizes:
        return "continuous"
    return f"{sizes[0]:,}" if len(sizes) == 1 else f"{len(sizes)} × {sizes[0]:,}"


def some(pictures: Pictures, most: int) -> Pictures:
    """At most so many of them, spread evenly."""
    return pictures.subset(torch.linspace(0, len(pictures) - 1, min(most, len(pictures))).long())
