"""The sections of a run's page that have curves: losses, codebook, discriminator, bits and speed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from caselli.figures import Figure, known
from caselli.report.folder import Contents, Curve, is_number
from caselli.report.page import Page

SPEEDS = ("samples_per_second", "pictures_per_second")
"""Pace of a training; the latter in logs of earlier versions."""


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


def _counts(value: Any) -> list[list[float]]:
    """One list of counts a codebook; empty where that is not what was found."""
    rows = value if isinstance(value, list) and value and isinstance(value[0], list) else [value]
    return rows if all(isinstance(row, list) and row and all(map(is_number, row)) for row in rows) else []
