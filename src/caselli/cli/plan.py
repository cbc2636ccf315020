"""`caselli plan PICTURES --recipe base --on 8xH100 --hours 24`."""

from __future__ import annotations

from caselli.cli.train import typed


def command(
    source: str,
    *,
    recipe: str = "small",
    on: str = "cpu",
    hours: float | None = None,
    size: int | None = None,
    pictures: int | None = None,
    precision: str | None = None,
    share: float | None = None,
    **fields: str,
) -> None:
    """Says what a run will take, without training: sizes, memory a rank, samples a second, when the pictures
    repeat, and what does not fit.

    Every field of a run can be set by its dotted name, as for `caselli train`.

    Arguments:
        recipe: recipe of the run, see `caselli list recipe`.
        on: devices, such as 8xH100, see `caselli list device`; cpu for this machine.
        hours: wall-clock budget of the training (the recipe's steps).
        size: height and width in pixels (the set's own).
        pictures: number of pictures to plan for (the set's).
        precision: auto, float32 or bfloat16 (auto).
        share: share of the pace that the devices' rates allow, 0 to 1 (0.6; 0.95 of this machine's own).
    """
    from caselli.errors import lookup
    from caselli.run import RECIPES, plan, plan_words

    changes = typed(lookup(RECIPES, "recipe", recipe).kind, recipe, fields, None)
    changes |= {} if precision is None else {"precision": precision}
    budget = {"hours": hours, "size": size, "pictures": pictures, "share": share}
    print("\n".join(plan_words(plan(source, recipe=recipe, on=on, changes=changes, **budget))))
