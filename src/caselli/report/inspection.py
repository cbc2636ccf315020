"""The page of an inspection: what a network sees, drawn over a picture, and what it costs."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path

from caselli.anatomy import (
    Bias,
    Effect,
    Inspection,
    MachineRates,
    NetworkCost,
    draw_fields,
    in_bytes,
    in_thousands,
)
from caselli.report.page import Page
from caselli.shapes import Float, Tensor

MOST = 16
"""Rows of a table before the rest is folded away."""


@dataclasses.dataclass(frozen=True)
class Timing:
    """A floor time, and what was measured."""

    what: str
    floor: float
    """Seconds that the machine needs at the very least."""
    measured: float | None = None
    """Seconds that it took."""

    def words(self) -> tuple[str, str, str, str]:
        """A row of a table: name, floor, measured time, share.

        Example:
            >>> Timing("forward", 0.001, 0.004).words()
            ('forward', '1.000 ms', '4.000 ms', '25.0 %')
        """
        floor = f"{1000 * self.floor:.3f} ms"
        if self.measured is None:
            return self.what, floor, "", ""
        return (
            self.what,
            floor,
            f"{1000 * self.measured:.3f} ms",
            f"{self.floor / self.measured:.1%}".replace("%", " %"),
        )


def inspection_page(
    found: Inspection,
    title: str,
    picture: Float[Tensor, "C H W"] | None = None,
    effective: Float[Tensor, "H W"] | None = None,
    machine: MachineRates | None = None,
    timings: tuple[Timing, ...] = (),
) -> Page:
    """The page of what `inspect` found.

    Arguments:
        found: the inspection.
        title: the network's name.
        picture: what the fields are drawn over, in [−1, 1].
        effective: the effective field of the middle position.
        machine: what floor times hold for.
        timings: floor times, measured or not.
    """
    page = Page(
        title, f"{found.name} on {' × '.join(map(str, found.input_shape))}: what it sees, what it costs"
    )
    _summary(page, found)
    if len(found.input_shape) == 3 and found.at.axes:
        _fields(page, found, picture, effective)
    if machine is not None:
        _times(page, machine, timings)
    _costs(page, found.cost)
    _biases(page, found.biases)
    page.section("Layers", "Field, effective stride and padding of each layer, as seen from the input.")
    page.details("every layer", found.table().split("\n\n")[0])
    return page


def _summary(page: Page, found: Inspection) -> None:
    counted, idle = found.cost, [bias for bias in found.biases if bias.effect is not Effect.NEEDED]
    page.section("Summary")
    page.facts(
        [
            ("parameters", in_thousands(counted.parameters), in_bytes(counted.parameter_bytes)),
            ("multiply-accumulates forward", in_thousands(counted.macs), ""),
            ("backward", in_thousands(counted.backward_macs), ""),
            ("moved forward", *in_bytes(counted.bytes).split()),
            ("activations at most", *in_bytes(counted.peak_bytes).split()),
            ("kept for training", *in_bytes(counted.saved_bytes).split()),
            ("biases that do nothing or little", str(len(idle)), f"of {len(found.biases)}"),
        ]
    )
    for line in found.notes():
        page.paragraph(line)


def _fields(page: Page, found: Inspection, picture: Tensor | None, effective: Tensor | None) -> None:
    text = "What the corners and the middle of the chosen layer see: a frame and a cross at the centre, each."
    if effective is not None:
        text += (
            " Beside it the effective field of the middle: the share of the gradient at each pixel, as heat."
        )
    page.section("Field", text)
    with tempfile.TemporaryDirectory() as folder:
        drawing = draw_fields(found.spread, Path(folder, "field.png"), picture, effective)
        page.plot(drawing.read_bytes())


def _times(page: Page, machine: MachineRates, timings: tuple[Timing, ...]) -> None:
    page.section(
        "Time",
        f"The floor on {machine.name}: {machine.macs_per_second / 1e9:.1f} G multiply-accumulates and "
        f"{machine.bytes_per_second / 1e9:.1f} GB a second, each operation bound by one or the other.",
    )
    page.table([timing.words() for timing in timings], ("what", "floor", "measured", "share of the limit"))


def _costs(page: Page, counted: NetworkCost) -> None:
    page.section("Costs", "The most expensive layers, for one picture.")
    dear = sorted((layer for layer in counted.layers if layer.macs), key=lambda layer: -layer.macs)
    rows = [
        (
            layer.path or "(itself)",
            layer.kind,
            in_thousands(layer.macs),
            f"{layer.macs / max(counted.macs, 1):.1%}",
            in_thousands(layer.backward_macs),
            in_thousands(layer.parameters),
            in_bytes(layer.bytes),
            in_bytes(layer.activation_bytes),
        )
        for layer in dear
    ]
    head = ("layer", "kind", "MACs", "share", "backward", "parameters", "moved", "output")
    page.table(rows[:MOST], head)
    if len(rows) > MOST:
        lines = ["\t".join(row) for row in (head, *rows)]
        page.details(f"all {len(rows)} layers that multiply", "\n".join(lines))


def _biases(page: Page, found: tuple[Bias, ...]) -> None:
    page.section("Biases", "Every bias, and what becomes of it; the marked ones can go.")
    if not found:
        page.paragraph("There are none.")
        return
    ordered = sorted(found, key=lambda bias: bias.effect is Effect.NEEDED)
    rows = [
        (
            "✗" if bias.effect in (Effect.REDUNDANT, Effect.UNUSED) else "",
            bias.name,
            bias.elements,
            bias.effect.value,
            ", ".join(bias.removed_by),
        )
        for bias in ordered
    ]
    page.table(rows[:MOST], ("", "bias", "numbers", "what it does", "removed by"))
    if len(rows) > MOST:
        page.details(f"all {len(rows)} biases", "\n".join("\t".join(map(str, row)) for row in rows))
