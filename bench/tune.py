"""Fine-tuning beside training from nothing, at equal steps: `python -m bench.tune RUN FEW REST`.

FEW is what is trained on, REST are other pictures of the same class, which the run has not seen either. From
nothing is a fresh prior of the same form over the same tokenizer, so that bits are of the same codes.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch

from bench.measure import table
from caselli import data
from caselli.data import to_float
from caselli.evaluate import compare_sets, installed_judge, judge
from caselli.features import features_of
from caselli.model import Model, build_prior, load, save_prior, save_tokenizer
from caselli.run import TuneConfig, picture_bits, tune, tuned_figures

NEW = "new"
HEAD = ("", "bits a new picture", "Fréchet distance", "bits more on old pictures", "minutes")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("run", "few", "rest"):
        parser.add_argument(name, type=str)
    parser.add_argument("-o", "--out", type=Path, default=Path("tuned"))
    parser.add_argument("--steps", type=int, default=400)
    asked = parser.parse_args()
    old = load(asked.run)
    ways = {
        "from nothing": (_fresh(old, asked.out / "fresh"), TuneConfig(rank=0, replay=0, learning_rate=2e-3)),
        "adapters": (asked.run, TuneConfig()),
        "adapters, nothing replayed": (asked.run, TuneConfig(replay=0)),
        "all weights": (asked.run, TuneConfig(rank=0)),
    }
    rest = data.open(asked.rest, size=old.size, channels=old.channels, split="all")
    lines = [("the run as it was", *_measured(old, rest), "", "")]
    for name, (run, config) in ways.items():
        out, begin = asked.out / name.replace(", ", "-").replace(" ", "-"), time.perf_counter()
        config = TuneConfig(**{**vars(config), "steps": asked.steps, "label": NEW})
        tune(run, asked.few, out, config, resume=True)
        minutes = (time.perf_counter() - begin) / 60
        forgotten = "" if name == "from nothing" else f"{tuned_figures(out)['forgotten']:+.1%}"
        lines.append((name, *_measured(load(out), rest), forgotten, f"{minutes:.1f}"))
        table(HEAD, lines)


def _fresh(old: Model, folder: Path) -> Path:
    """A run with the same tokenizer, and a prior of the same form that has learnt nothing."""
    torch.manual_seed(0)
    text = old.prior.alphabet.text
    prior, _ = build_prior(old.prior.config, old.tokenizer, old.size, 0, text)
    save_tokenizer(old.tokenizer, folder, old.size)
    save_prior(prior, folder, old.tokenizer.fingerprint(), ())
    return folder


def _measured(model: Model, rest: data.Pictures) -> tuple[str, str]:
    """Bits of pictures of the class that nothing was trained on, and the distance of as many samples."""
    bits = picture_bits(model, model.encoded(rest), NEW)
    network = judge(installed_judge(model.teachers()), rest.size, model.teachers())
    label = NEW if NEW in model.classes else None
    made = model.sample(len(rest), label=label, seed=1_000)
    real = to_float(rest.read(torch.arange(len(rest))))
    features = [features_of(network, x, 64) for x in (real, made)]
    told = {"features": network.features_name, "reference": rest.name}
    return f"{bits:.1f}", f"{compare_sets(*features, **told).frechet:.1f}"


if __name__ == "__main__":
    main()
