"""The sections of a run's page; each leaves itself out where its part of the run folder is missing."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from caselli.report.figures import FIGURES, Known, flat, show
from caselli.report.folder import Contents, Curve, is_number
from caselli.report.page import Page
from caselli.report.slim import slimmed

TILES = (
    "psnr", "ssim", "codebook_use", "bits_per_picture", "prior_bits_per_picture", "compression_ratio",
    "bits_per_dimension", "bits_per_dimension_bound", "probe_accuracy",
    "read_share_of_real", "mean_iou", "accuracy",
)  # fmt: skip
"""The key figures, in this order, where they are known."""
CURVES = ("psnr", "ssim", "lpips", "mean_iou")
"""Figures of reconstruction that get a curve beside the loss."""
BITS = (
    "codes_per_picture", "codebook_size", "bits_per_picture", "prior_bits_per_picture",
    "compression_ratio", "bits_per_code", "entropy_bits", "prior_bits_per_dimension",
    "residual_bits_per_dimension", "bits_per_dimension",
)  # fmt: skip
JUDGED = ("kernel", "monge", "frechet", "frechet_ratio", "precision", "recall", "density", "coverage")
"""Figures of samples and reconstructions as sets."""
SPEEDS = ("samples_per_second", "pictures_per_second")
MESSAGES = 40
"""As many of the last messages are shown."""
BAD = 50
"""As many of the bad pictures are named."""


def key_figures(page: Page, run: Contents) -> None:
    """The few figures that say how good the run is."""
    found = [show(name, value) for name in TILES if (value := run.figure(name)) is not None]
    if found:
        page.section("Key figures")
        page.facts(found)


def samples(page: Page, run: Contents) -> None:
    """Pictures that the run made."""
    pictures = {stem: data for stem, data in run.pictures.items() if stem.startswith("samples")}
    if not pictures:
        return
    page.section("Samples", "New pictures, drawn from the model.")
    for stem, data in pictures.items():
        page.picture(data, _caption(stem) if len(pictures) > 1 else "")
    _figures_table(page, run.group("samples"))


def reconstructions(page: Page, run: Contents) -> None:
    """Held-out pictures beside their reconstructions."""
    data = run.pictures.get("reconstructions")
    if data is not None:
        page.section("Reconstructions", "Held-out pictures, and below each what its code gives back.")
        page.picture(data)


def judged(page: Page, run: Contents) -> None:
    """Samples and reconstructions as sets beside held-out pictures, by a network's features."""
    sets = {kind: run.group(f"{kind}_judged") for kind in ("samples", "reconstructions")}
    sets = {kind: figures for kind, figures in sets.items() if figures}
    if not sets:
        return
    first = next(iter(sets.values()))
    made, real = (show(name, first.get(name))[1] for name in ("made_count", "real_count"))
    page.section(
        "Beside held-out pictures",
        f"{made} pictures of each kind beside {real} real ones "
        f"({first.get('reference')}), by {first.get('features')}, which had no part in the training. Figures "
        "compare at equal numbers and with the same network alone; of a few hundred pictures the kernel and "
        "the Monge distance tell most.",
    )
    rows = []
    for name in JUDGED:
        label, _, unit = show(name, 0.0)
        values = [show(name, figures.get(name))[1] for figures in sets.values()]
        rows.append((f"{label}, {unit}" if unit else label, *values))
    page.table(rows, ("", *sets))


def segmentation(page: Page, run: Contents) -> None:
    """Held-out pictures beside their true and predicted masks, and how well each class is found."""
    data = run.pictures.get("segmentation")
    if data is not None:
        page.section(
            "Segmentation", "Held-out pictures, their true masks, and what the network makes of them."
        )
        page.picture(data)
    found = run.group("segmentation").get("iou")
    if isinstance(found, Mapping):
        rows = [(name, f"{value:.1%}") for name, value in found.items() if is_number(value)]
        page.table(rows, ("class", "intersection over union"))


def training(page: Page, run: Contents) -> None:
    """Loss and quality over the steps."""
    plots = {}
    for stage in run.stages():
        for name in ("loss", *CURVES):
            plots |= _plot(run, stage, name)
    if plots:
        page.section("Training", "Loss and quality over the steps; validation is on held-out pictures.")
        page.plots(plots)


def codebook(page: Page, run: Contents) -> None:
    """Which codes are used."""
    from caselli.report.plots import sorted_counts

    plots = {}
    for stage in run.stages():
        for name in ("codebook_use", "perplexity", "dead"):
            # a batch has too few codes for the perplexity of a large codebook: held-out pictures alone
            held_out = (stage, "validation", name) in run.curves
            plots |= _plot(run, stage, name, ("validation",) if held_out else ("train",))
    counts = _counts(run.figure("code_counts"))
    if counts:
        plots["How often each code occurs on held-out pictures; dashed: all alike"] = sorted_counts(counts)
    if plots:
        page.section("Codebook", "How many of the codes are used, and how evenly.")
        page.plots(plots)


def discriminator(page: Page, run: Contents) -> None:
    """How the discriminator and the tokenizer keep each other in balance."""
    plots = {}
    for stage in run.stages():
        for name in ("score_real", "score_fake", "discriminator_right", "discriminator_doubt"):
            plots |= _plot(run, stage, name, ("train",))
        if plots:
            plots |= _plot(run, stage, "adversarial_weight", ("train",))
    if plots:
        text = "What it thinks of pictures and of reconstructions, and how much that counts."
        page.section("Discriminator", text)
        page.plots(plots)


def bits(page: Page, run: Contents) -> None:
    """What pictures cost."""
    plots = {}
    for stage in run.stages():
        plots |= _plot(run, stage, "bits_per_code")
    found = [show(name, value) for name in BITS if (value := run.figure(name)) is not None]
    rows = [(label, f"{number} {unit}".strip()) for label, number, unit in found]
    if plots or rows:
        page.section("Bits", "What a picture costs as codes, and what is left when the prior predicts them.")
    if rows:
        page.table(rows)
    if plots:
        page.plots(plots)


def throughput(page: Page, run: Contents) -> None:
    """How fast training went."""
    from caselli.report.plots import curves

    found = {(s, n): run.curves.get((s, "train", n)) for n in SPEEDS for s in run.stages()}
    rows, plots = [], {}
    for (stage, name), curve in found.items():
        if curve is not None:
            label, number, _ = show(name, sum(curve.values) / len(curve.values))
            rows.append((stage, label, number, run.time(stage)))
    for name in SPEEDS:
        series = {s: (c.steps, c.values) for (s, n), c in found.items() if n == name and c is not None}
        if any(len(steps) > 1 for steps, _ in series.values()):
            plots[FIGURES[name].label] = curves(series, x_label="step", from_zero=True)
    if rows:
        page.section("Throughput", "The mean over training.")
        page.table(rows, ("stage", "figure", "mean", "time"))
        page.plots(plots)


def data(page: Page, run: Contents) -> None:
    """What the run was trained on."""
    group = run.group("data")
    if not group:
        return
    page.section("Data")
    _figures_table(page, group)
    listed = group.get("bad")
    bad = [item for item in listed if isinstance(item, Mapping)] if isinstance(listed, list) else []
    if bad:
        page.paragraph(f"Left out, because they could not be read as pictures ({len(bad)}):")
        page.table([(item.get("name", "?"), item.get("reason", "")) for item in bad[:BAD]], ("file", "why"))
    if len(bad) > BAD:
        page.paragraph(f"and {len(bad) - BAD} more.")


def other(page: Page, run: Contents) -> None:
    """What has no section of its own: other figures, other pictures."""
    own = (
        "data", "samples", "samples_judged", "reconstructions_judged", "segmentation", "slim", "trained"
    )  # fmt: skip
    groups = {k: v for k, v in run.results.items() if k not in own}
    figures = {k: rest for k, v in groups.items() if (rest := _not_shown(v)) != {}}
    if figures:
        page.section("More figures")
        _figures_table(page, figures)
    shown = ("samples", "reconstructions", "segmentation", "slim")
    pictures = {stem: data for stem, data in run.pictures.items() if not stem.startswith(shown)}
    if pictures:
        page.section("More pictures")
    for stem, data in pictures.items():
        page.picture(data, _caption(stem))


def messages(page: Page, run: Contents) -> None:
    """What the run said."""
    if run.messages:
        page.section("Log", "What the run said.")
        page.table(
            [(m.stage, m.step, m.text) for m in run.messages[-MESSAGES:]], ("stage", "step", "message")
        )


def configuration(page: Page, run: Contents) -> None:
    """The whole configuration."""
    if run.config_text.strip():
        page.section("Configuration")
        page.details("The whole configuration, as in run.yaml", run.config_text.strip())


def commands(page: Page, run: Contents) -> None:
    """Command lines to go on with, for what the run has shown that it can do."""
    folder, source, label = shlex.quote(str(run.path)), run.source(), _label(run)
    asked = f" --label {shlex.quote(label)}" if label else ""
    lines = []
    if any(stem.startswith("samples") for stem in run.pictures):
        lines.append(("New pictures:", f"caselli sample {folder} -n 16{asked} -o samples.png"))
    if "reconstructions" in run.pictures:
        command = f"caselli reconstruct {folder} PICTURES -o pairs.png"
        lines.append(("Pictures of your own, coded and decoded:", command))
    if "segmentation" in run.results:
        command = f"caselli segment {folder} PICTURES -o masks"
        lines.append(("Masks of pictures of your own:", command))
    if run.figure("bits_per_dimension") or run.figure("bits_per_dimension_bound"):
        lines.append(("The odd ones among pictures of your own:", f"caselli score {folder} PICTURES"))
    if source is not None:
        quoted = shlex.quote(source)
        lines.append(("Measure on held-out pictures:", f"caselli evaluate {folder} {quoted}"))
        if "slim" not in run.results:
            longer = _twice(run.setting("training"), "training", run.stages())
            train = f"caselli train {quoted} -o {folder} --resume"
            lines.append(("Train on, to twice the budget:", " ".join([train, *longer])))
    if lines:
        page.section("Go on")
        page.commands(lines)


def _twice(training: Any, name: str, stages: Sequence[str]) -> list[str]:
    """Options that give twice the budget to every stage that was trained."""
    if not isinstance(training, Mapping):
        return []
    if "steps" in training:
        budget = "minutes" if training.get("minutes") else "steps"
        return [f"--{name}.{budget} {2 * training[budget]:.12g}"] if is_number(training[budget]) else []
    parts = [(key, part) for key, part in training.items() if key in stages]
    return [word for key, part in parts for word in _twice(part, f"{name}.{key}", stages)]


def _label(run: Contents) -> str:
    """A label that can be asked for, as an example; empty where the data or the model have none."""
    config = run.config.get("config")
    own = config.get("model") if isinstance(config, Mapping) else None
    if isinstance(own, Mapping) and not own.get("classes", True):
        return ""
    names = run.group("data").get("class_names")
    return str(names[0]) if isinstance(names, list) and names else ""


def _plot(
    run: Contents, stage: str, name: str, splits: tuple[str, ...] = ("train", "validation")
) -> dict[str, bytes]:
    """Caption → plot of one figure of a stage, train and validation; empty where there is nothing to see."""
    from caselli.report.plots import curves

    found = {split: run.curves.get((stage, split, name)) for split in splits}
    series = {split: (curve.steps, curve.values) for split, curve in found.items() if curve is not None}
    if not series or max(len(xs) for xs, _ in series.values()) < 2:
        return {}
    known = FIGURES.get(name, Known(name.replace("_", " ")))
    label = f"{known.label} ({known.unit})" if known.unit else known.label
    scale = 100 if known.unit == "%" else 1
    series = {split: (xs, [scale * y for y in ys]) for split, (xs, ys) in series.items()}
    log_y = name == "loss" and _spans(list(found.values()))
    caption = f"{stage.capitalize()}: {known.label}"
    return {caption: curves(series, x_label="step", y_label=label, log_y=log_y, from_zero=scale == 100)}


def _spans(curves: list[Curve | None]) -> bool:
    """Whether the values cover so much that a logarithmic axis shows more: all above zero, over fourfold."""
    values = [value for curve in curves if curve is not None for value in curve.values]
    return min(values) > 0 and max(values) > 4 * min(values)


def _figures_table(page: Page, figures: Mapping[str, Any]) -> None:
    rows = []
    for name, value in flat(figures):
        *groups, last = name.split(".")
        label, number, unit = show(last, value)
        rows.append((" · ".join([*groups, label]), f"{number} {unit}".strip()))
    if rows:
        page.table(rows)


def _not_shown(figures: Any) -> Any:
    """The figures of a group that no other section shows."""
    if not isinstance(figures, Mapping):
        return figures
    return {k: v for k, v in figures.items() if k not in {*TILES, *BITS, "code_counts"}}


def _counts(value: Any) -> list[list[float]]:
    """One list of counts a codebook; empty where that is not what was found."""
    rows = value if isinstance(value, list) and value and isinstance(value[0], list) else [value]
    return rows if all(isinstance(row, list) and row and all(map(is_number, row)) for row in rows) else []


def _caption(stem: str) -> str:
    return stem.replace("_", " ").replace("-", " ").capitalize()


SECTIONS: tuple[Callable[[Page, Contents], None], ...] = (
    key_figures,
    slimmed,
    samples,
    reconstructions,
    judged,
    segmentation,
    training,
    codebook,
    discriminator,
    bits,
    throughput,
    data,
    other,
    messages,
    configuration,
    commands,
)
"""In the order of the page."""
