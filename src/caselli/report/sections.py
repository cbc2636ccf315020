"""The sections of a run's page; each leaves itself out where its part of the run folder is missing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from caselli.figures import cell, known
from caselli.report.folder import Contents, flat, is_number
from caselli.report.going_on import commands
from caselli.report.page import Page
from caselli.report.progress import bits, codebook, discriminator, throughput, training
from caselli.report.slim import slimmed

JUDGED = ("kernel", "monge", "frechet", "frechet_ratio", "precision", "recall", "density", "coverage")
"""Figures of samples and reconstructions as sets."""
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
