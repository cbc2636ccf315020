"""Fine-tuning beside training from nothing: `python -m bench.tune PICTURES CLASS -o OUT`.

PICTURES has a folder for each class. A run is trained on all but CLASS; then, on 50 pictures of CLASS without
a label, a fresh prior of the same form, adapters, and all weights, in turn and for the same minutes or steps.
The fresh prior is over the same tokenizer, so that bits are of the same codes. Bits and distances are of the
other pictures of CLASS, which nothing was trained on. What is done is not done again.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import torch

from bench.measure import table
from caselli import data
from caselli.data import to_float
from caselli.evaluate import compare_sets, installed_judge, judge
from caselli.features import features_of
from caselli.model import Model, build_prior, load, save_prior, save_tokenizer
from caselli.run import TuneConfig, picture_bits, train, tune, tuned_figures

FEW = 50
HEAD = ("", "bits a new picture", "Fréchet distance", "bits more on old pictures", "parameters trained")
SMALL = {"prior.width": 128, "prior.depth": 4, "tokenizer.width": 32, "data.flip": True, "data.views": 8}
"""Changes of the recipe small, for minutes on one core, and the views that `auto` takes for photographs."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pictures", type=Path)
    parser.add_argument("label", metavar="class")
    parser.add_argument("-o", "--out", type=Path, default=Path("tuned"))
    parser.add_argument("--base-steps", type=int, nargs=2, default=(600, 800), metavar="N")
    budget = parser.add_mutually_exclusive_group()
    budget.add_argument("--minutes", type=float, default=1.0)
    budget.add_argument("--steps", type=int)
    asked = parser.parse_args()
    old, few, rest = (asked.out / name for name in ("old", "few", "rest"))
    if not rest.exists():
        _shared_out(asked.pictures, asked.label, old, few, rest)
    steps = dict(zip(("tokenizer", "prior"), asked.base_steps, strict=True))
    changes = SMALL | {f"training.{stage}.steps": count for stage, count in steps.items()}
    base = train(old, asked.out / "base", recipe="small", changes=changes, resume=True)
    _compare(load(base), base, few, rest, asked)


def _shared_out(pictures: Path, label: str, old: Path, few: Path, rest: Path) -> None:
    """Copies of the pictures: other classes, a random 50 of the class, and the rest of it."""
    for folder in sorted(pictures.iterdir()):
        if folder.is_dir() and folder.name != label:
            shutil.copytree(folder, old / folder.name, dirs_exist_ok=True)
    own = sorted((pictures / label).iterdir())
    order = torch.randperm(len(own), generator=torch.Generator().manual_seed(0)).tolist()
    for folder, numbers in ((few, order[:FEW]), (rest, order[FEW:])):
        folder.mkdir(parents=True, exist_ok=True)
        for number in numbers:
            shutil.copy(own[number], folder)


def _compare(old: Model, base: Path, few: Path, rest: Path, asked: argparse.Namespace) -> None:
    ways = {
        "from nothing": (_fresh(old, asked.out / "fresh"), {"rank": 0, "replay": 0, "learning_rate": 2e-3}),
        "adapters": (base, {}),
        "adapters, nothing replayed": (base, {"replay": 0}),
        "all weights": (base, {"rank": 0}),
    }
    budget = {"steps": asked.steps} if asked.steps else {"minutes": asked.minutes}
    kept = data.open(rest, size=old.size, channels=old.channels, split="all")
    lines = [("the run as it was", *_measured(old, kept), "", "")]
    for name, (run, changes) in ways.items():
        out = asked.out / name.replace(", ", "-").replace(" ", "-")
        tune(run, few, out, TuneConfig(**budget, **changes), resume=True)
        found = tuned_figures(out)
        forgotten = "" if name == "from nothing" else f"{found['forgotten']:+.1%}"
        trained = f"{found['parameters_trained']:,}"
        lines.append((name, *_measured(load(out), kept), forgotten, trained))
        table(HEAD, lines)


def _fresh(old: Model, folder: Path) -> Path:
    """A run with the same tokenizer, and a prior of the same form that has learnt nothing."""
    torch.manual_seed(0)
    prior, _ = build_prior(old.prior.config, old.tokenizer, old.size, 0, old.prior.alphabet.text)
    save_tokenizer(old.tokenizer, folder, old.size)
    save_prior(prior, folder, old.tokenizer.fingerprint(), ())
    return folder


def _measured(model: Model, rest: data.Pictures) -> tuple[str, str]:
    """Bits of pictures of the class that nothing was trained on, and the distance of as many samples."""
    bits = picture_bits(model, model.encoded(rest))
    network = judge(installed_judge(model.teachers()), rest.size, model.teachers())
    made = model.sample(len(rest), seed=1_000)
    real = to_float(rest.read(torch.arange(len(rest))))
    features = [features_of(network, x, 64) for x in (real, made)]
    told = {"features": network.features_name, "reference": rest.name}
    return f"{bits:.1f}", f"{compare_sets(*features, **told).frechet:.1f}"


if __name__ == "__main__":
    main()
