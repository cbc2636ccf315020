"""Quality against rounds and seconds: priors of runs, drawn one code at a time and in fewer rounds.

`CASELLI_RUNS` names runs, with commas between, whose priors draw many codes at once, `CASELLI_PICTURES` the
pictures that they were trained on, `CASELLI_ROUNDS` the numbers of rounds (4,8,12,20,32), `CASELLI_SAMPLES`
the number of pictures that are judged for each (1,024). `CASELLI_LARGE` and `CASELLI_DRAFT` name two more
runs, of which one drafts for the other.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator

import torch

from bench.measure import in_turn, table
from caselli.cli.pages import keep_pages
from caselli.compare.pictures import pictures_for, pixels
from caselli.evaluate import frechet_between, installed_judge, judge
from caselli.features import accuracy, features_of, train_classifier
from caselli.model import Model, load
from caselli.sampling import Engine, Sampling, SpeculativeEngine, best_engine

ROUNDS, COUNT = "4,8,12,20,32", 1024
"""Numbers of rounds, and pictures that are judged, unless others are asked for."""
TIMED, AT_ONCE = 16, 128
"""Pictures that are timed, and those drawn at a time where no clock runs."""
HEADER = ("run", "rounds", "seconds for 16", "times as fast", "read as asked", "Fréchet distance")


def run() -> None:
    """Prints a table for each run, and for the draft."""
    keep_pages()  # as the command `caselli` does
    torch.set_num_threads(min(2, len(os.sched_getaffinity(0))))
    source = os.environ.get("CASELLI_PICTURES", "glyphs")
    for name in filter(None, os.environ.get("CASELLI_RUNS", "").split(",")):
        quality(name, load(name), source)
    if "CASELLI_DRAFT" in os.environ:
        speculation(load(os.environ["CASELLI_LARGE"]), load(os.environ["CASELLI_DRAFT"]))
    if not {"CASELLI_RUNS", "CASELLI_DRAFT"} & set(os.environ):
        print("name runs in CASELLI_RUNS, or two in CASELLI_LARGE and CASELLI_DRAFT")


def quality(name: str, model: Model, source: str) -> None:
    """Label agreement, Fréchet distance and seconds of each number of rounds, against one code at a time."""
    train, real = (pictures_for(model, source, split) for split in ("train", "held_out"))
    classifier = train_classifier(train, steps=600, seed=1) if model.classes else None
    network = judge(installed_judge(model.teachers()) or "efficientnet-lite0", model.size)
    reference, engine = features_of(network, pixels(real)), best_engine(model.prior)[0]
    settings, count = list(numbers_of_rounds(model)), int(os.environ.get("CASELLI_SAMPLES", COUNT))
    times = in_turn([lambda o=o: drawn(model, engine, o, TIMED) for o in settings], repeats=3)
    lines = []
    for options, took in zip(settings, times, strict=True):
        made = drawn(model, engine, options, count)
        read = "" if classifier is None else f"{accuracy(classifier, made, labels(model, count)):.1%}"
        distance = frechet_between(reference, features_of(network, made))
        cells = (model.prior.rounds(options.steps), f"{took:.2f}", f"{times[0] / took:.1f}", read)
        lines.append((name, *cells, f"{distance:.1f}"))
    table(HEADER, lines)


def numbers_of_rounds(model: Model) -> Iterator[Sampling]:
    """One code a round, then fewer rounds, for a prior that follows `steps`."""
    length, masked = model.codes_per_picture, "choice_temperature" in model.prior.sampling_options
    yield Sampling(steps=length, **({"choice_temperature": math.inf} if masked else {}))
    for steps in sorted(map(int, os.environ.get("CASELLI_ROUNDS", ROUNDS).split(",")), reverse=True):
        if steps < length:
            yield Sampling(steps=steps)


def labels(model: Model, count: int) -> torch.Tensor:
    """Labels in turn."""
    return torch.arange(count) % max(1, len(model.classes))


def drawn(model: Model, engine: Engine, options: Sampling, count: int) -> torch.Tensor:
    """Samples, of every label alike where there are labels."""
    told = labels(model, count).tolist() if model.classes else None
    return model.sample(count, told, seed=20_000, options=options, engine=engine, batch=AT_ONCE)


def speculation(large: Model, draft: Model) -> None:
    """Seconds of the large prior alone, in each engine that serves it, and with a draft."""
    large.expect_same_codes(draft)
    pair = SpeculativeEngine(large.prior, draft.prior)
    engines = {kind.__name__: kind(large.prior) for kind in alone(large)} | {"with a draft": pair}
    for guided, options in (("without guidance", Sampling(guidance=1.0)), ("as the run draws", Sampling())):
        times = in_turn([lambda e=e, o=options: drawn(large, e, o, 1) for e in engines.values()], repeats=5)
        each = zip(engines, times, strict=True)
        lines = [(name, f"{took:.3f}", f"{took / times[-1]:.2f}") for name, took in each]
        table((f"one picture, {guided}", "seconds", "times the draft's"), lines)
    print(pair.name)


def alone(model: Model) -> list[type[Engine]]:
    """Engines that serve the prior by itself."""
    from caselli.sampling import ENGINES

    return [kind for kind in ENGINES.values() if kind.refusal(model.prior) is None]
