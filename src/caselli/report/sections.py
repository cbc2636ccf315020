"""The sections of a run's page; each leaves itself out where its part of the run folder is missing."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from caselli.figures import Figure, cell, known
from caselli.report.folder import Contents, Curve, flat, is_number
from caselli.report.page import Page
from caselli.report.slim import slimmed

JUDGED = ("kernel", "monge", "frechet", "frechet_ratio", "precision", "recall", "density", "coverage")
"""Figures of samples and reconstructions as sets."""
SPEEDS = ("samples_per_second", "pictures_per_second")
"""Pace of a training; the latter in logs of earlier versions."""
OWN = ("samples", "samples_judged", "reconstructions", "reconstructions_judged", "segmentation", "slim")
"""Groups of figures and pictures that have a section of their own."""
MESSAGES = 40
"""As many of the last messages are shown."""
BAD = 50
"""As many of the bad pictures are named."""


def key_figures(page: Page, run: Contents) -> None:
    """The few figures that say how good the run is."""
    found = [
        figure.show(value)
        for name, figure in run.figures.items()
        if figure.key and (value := run.figure(name)) is not None
    ]
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
    _figures_table(page, run, run.group("samples"))


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
    made, real = (cell(float(first.get(name, 0))) for name in ("made_count", "real_count"))
    page.section(
        "Beside held-out pictures",
        f"{made} pictures of each kind beside {real} real ones "
        f"({first.get('reference')}), by {first.get('features')}, which had no part in the training. Figures "
        "compare at equal numbers and with the same network alone; of a few hundred pictures the kernel and "
        "the Monge distance tell most.",
    )
    rows = []
    for name in JUDGED:
        shown = [known(run.figures, name).show(figures.get(name)) for figures in sets.values()]
        rows.append((shown[0][0], *(f"{number} {unit}".strip() for _, number, unit in shown)))
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
    plots = _plots(run, "Training")
    if plots:
        page.section("Training", "Loss and quality over the steps; validation is on held-out pictures.")
        page.plots(plots)


def codebook(page: Page, run: Contents) -> None:
    """Which codes are used."""
    from caselli.report.plots import sorted_counts

    # a batch has too few codes for the perplexity of a large codebook: held-out pictures alone
    plots = _plots(run, "Codebook", one_split=True)
    counts = _counts(run.figure("code_counts"))
    if counts:
        plots["How often each code occurs on held-out pictures; dashed: all alike"] = sorted_counts(counts)
    if plots:
        page.section("Codebook", "How many of the codes are used, and how evenly.")
        page.plots(plots)


def discriminator(page: Page, run: Contents) -> None:
    """The balance of the discriminator and the tokenizer."""
    plots = _plots(run, "Discriminator")
    if plots:
        text = "What it thinks of pictures and of reconstructions, and how much that counts."
        page.section("Discriminator", text)
        page.plots(plots)


def bits(page: Page, run: Contents) -> None:
    """The cost of pictures in bits."""
    plots = _plots(run, "Bits")
    rows = []
    for name, figure in run.figures.items():
        if figure.section == "Bits" and (value := run.figure(name)) is not None:
            label, number, unit = figure.show(value)
            rows.append((label, f"{number} {unit}".strip()))
    if plots or rows:
        page.section("Bits", "What a picture costs as codes, and what is left when the prior predicts them.")
    if rows:
        page.table(rows)
    if plots:
        page.plots(plots)


def throughput(page: Page, run: Contents) -> None:
    """The speed of the training."""
    from caselli.report.plots import curves

    found = {(s, n): run.curves.get((s, "train", n)) for n in SPEEDS for s in run.stages()}
    rows, plots = [], {}
    for (stage, name), curve in found.items():
        if curve is not None:
            label, number, _ = known(run.figures, name).show(sum(curve.values) / len(curve.values))
            rows.append((stage, label, number, run.time(stage)))
    for name in SPEEDS:
        series = {s: (c.steps, c.values) for (s, n), c in found.items() if n == name and c is not None}
        if any(len(steps) > 1 for steps, _ in series.values()):
            plots[known(run.figures, name).label] = curves(series, x_label="step", from_zero=True)
    if rows:
        page.section("Throughput", "The mean over training.")
        page.table(rows, ("stage", "figure", "mean", "time"))
        page.plots(plots)


def data(page: Page, run: Contents) -> None:
    """The pictures that the run was trained on."""
    group = run.group("data")
    if not group:
        return
    page.section("Data")
    _figures_table(page, run, {name: value for name, value in group.items() if name != "notes"})
    notes = group.get("notes")
    for note in notes if isinstance(notes, list) else ():
        page.paragraph(str(note))
    listed = group.get("bad")
    bad = [item for item in listed if isinstance(item, Mapping)] if isinstance(listed, list) else []
    if bad:
        page.paragraph(f"Left out, because they could not be read as pictures ({len(bad)}):")
        page.table([(item.get("name", "?"), item.get("reason", "")) for item in bad[:BAD]], ("file", "why"))
    if len(bad) > BAD:
        page.paragraph(f"and {len(bad) - BAD} more.")


def other(page: Page, run: Contents) -> None:
    """Figures and pictures that have no section of their own."""
    groups = {k: v for k, v in run.results.items() if k not in (*OWN, "data", "trained")}
    figures = {k: rest for k, v in groups.items() if (rest := _not_shown(run, v)) != {}}
    if figures:
        page.section("More figures")
        _figures_table(page, run, figures)
    pictures = {stem: data for stem, data in run.pictures.items() if not stem.startswith(OWN)}
    if pictures:
        page.section("More pictures")
    for stem, data in pictures.items():
        page.picture(data, _caption(stem))


def messages(page: Page, run: Contents) -> None:
    """The messages of the run."""
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
    """Command lines to go on with."""
    lines = go_on(run)
    if lines:
        page.section("Go on")
        page.commands(lines)


def go_on(run: Contents) -> list[tuple[str, str]]:
    """Uses that a run has shown that it can be put to, each with its command line; the likeliest first."""
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
    return lines


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


def _plots(run: Contents, section: str, one_split: bool = False) -> dict[str, bytes]:
    """Caption → plot of each figure of a section, stage by stage.

    Arguments:
        run: the run.
        section: name of the section.
        one_split: validation alone where there is any, instead of both splits.
    """
    plots = {}
    for stage in run.stages():
        for name, figure in run.figures.items():
            found = {split: run.curves.get((stage, split, name)) for split in ("train", "validation")}
            found = {split: curve for split, curve in found.items() if curve is not None}
            if one_split and "validation" in found:
                found.pop("train", None)
            if figure.section == section and any(len(curve.steps) > 1 for curve in found.values()):
                plots[f"{stage.capitalize()}: {figure.label}"] = _plot(found, figure, name == "loss")
    return plots


def _plot(found: Mapping[str, Curve], figure: Figure, is_loss: bool) -> bytes:
    """The curves of one figure, shares in hundredths and from zero."""
    from caselli.report.plots import curves

    unit, scale = ("%", 100) if figure.form.endswith("%") else (figure.unit, 1)
    label = f"{figure.label} ({unit})" if unit else figure.label
    series = {split: (curve.steps, [scale * y for y in curve.values]) for split, curve in found.items()}
    log_y = is_loss and _spans(found.values())
    return curves(series, x_label="step", y_label=label, log_y=log_y, from_zero=scale == 100)


def _spans(curves: Iterable[Curve]) -> bool:
    """True where values spread so far that a logarithmic axis shows more: all above zero, over fourfold."""
    values = [value for curve in curves for value in curve.values]
    return min(values) > 0 and max(values) > 4 * min(values)


def _figures_table(page: Page, run: Contents, figures: Mapping[str, Any]) -> None:
    rows = []
    for name, value in flat(figures):
        *groups, last = name.split(".")
        label, number, unit = known(run.figures, last).show(value)
        rows.append((" · ".join([*groups, label]), f"{number} {unit}".strip()))
    if rows:
        page.table(rows)


def _not_shown(run: Contents, figures: Any) -> Any:
    """The figures of a group that no other section shows."""
    if not isinstance(figures, Mapping):
        return figures
    shown = {name for name, figure in run.figures.items() if figure.key or figure.section == "Bits"}
    return {k: v for k, v in figures.items() if k not in shown | {"code_counts"}}


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
