"""A plan: memory as it is measured, time by the devices' rates, what does not fit and what to change."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from bench import plan as bench_plan
from torch import nn

from caselli.anatomy import step_cost
from caselli.cli import main
from caselli.data import listing
from caselli.errors import UserError
from caselli.private import onednn_linear
from caselli.run import RECIPES, plan, plan_words
from caselli.run.devices import DEVICES, devices_of
from caselli.run.planning import USABLE, advice, prepared
from caselli.run.training import budget_of
from tests.pictures import TINY, bars_and_stripes, options


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return str(bars_and_stripes(tmp_path_factory.mktemp("pictures")))


@pytest.fixture(scope="module")
def planned(pictures):
    """A plan for pictures that stay in their files."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(listing, "MEMORY_LIMIT", 0)
        return plan(pictures, recipe="tiny", on="2xL4", hours=1, pictures=1000, changes=TINY)


def test_a_step_is_counted_by_hand():
    linear = nn.Linear(100, 50, bias=False)

    def begin():
        optimiser = torch.optim.SGD(linear.parameters(), lr=0.1, momentum=0.9)

        def step(x):
            optimiser.zero_grad()
            linear(x).square().sum().backward()
            optimiser.step()

        return step

    counted = step_cost(linear, begin, lambda: torch.ones(8, 100))
    assert counted.flops == 2 * 2 * 8 * 100 * 50
    assert counted.standing_bytes == 3 * 4 * 100 * 50, "weights, gradients, momentum"
    assert counted.peak_bytes >= counted.standing_bytes + 4 * 8 * 50


def test_a_product_of_onednn_is_counted():
    linear = nn.Linear(100, 50, bias=False)
    counted = step_cost(
        linear, lambda: lambda x: onednn_linear(x, linear.weight.detach(), None), lambda: torch.ones(8, 100)
    )
    assert counted.flops == 2 * 8 * 100 * 50


def test_the_hours_decide_the_sizes_of_auto(pictures, monkeypatch):
    monkeypatch.setattr("caselli.run.auto.LARGEST", 1e6)
    monkeypatch.setattr("caselli.run.auto.rate_of", lambda machine: 2e11)
    kind = RECIPES["auto"].kind

    def width(hours):
        budget = budget_of(kind.stage_shares("auto"), 60 * hours, None)
        return prepared(kind, pictures, "auto", {}, budget).config.prior.width

    assert width(0.1) < width(1) < width(100)


def test_auto_is_planned_by_the_rate_of_the_devices(pictures, monkeypatch):
    monkeypatch.setattr("caselli.run.auto.rate_of", lambda machine: 2e11)
    sizes = {name: value for name, value in TINY.items() if "batch" not in name}
    here, there = (plan(pictures, recipe="auto", on=on, hours=1, changes=sizes) for on in ("cpu", "L4"))
    assert [stage.name for stage in here.stages] == ["tokenizer", "prior", "decoder"]
    assert (here.stages[0].config.batch, there.stages[0].config.batch) == (32, 64)
    with pytest.raises(UserError, match="rate -1"):
        plan(pictures, recipe="auto", changes={"rate": -1.0})


def test_more_pictures_than_the_set_has_are_planned_for(pictures, monkeypatch):
    """The recipe auto sizes the prior by that number, not by the few that show what they are like."""
    monkeypatch.setattr("caselli.run.auto.rate_of", lambda machine: 2e11)
    sizes = {name: value for name, value in TINY.items() if "width" not in name and "depth" not in name}
    few, many = (plan(pictures, recipe="auto", hours=1, pictures=n, changes=sizes) for n in (None, 100_000))
    assert few.stages[1].parameters < many.stages[1].parameters
    assert few.stages[1].hours < many.stages[1].hours, "few are learnt by heart, so the tokenizer gets more"
    with pytest.raises(UserError, match="pictures 0"):
        plan(pictures, recipe="auto", pictures=0)


def test_the_parts_of_the_memory_add_up(planned):
    for stage in planned.stages:
        memory = stage.memory
        assert memory.optimiser in range(memory.gradients, 2 * memory.gradients + 10_000)
        assert memory.total == memory.standing + memory.activations
        assert stage.own == 4 and memory.activations > 0
    tokenizer, prior = planned.stages
    assert tokenizer.samples == 1000 and prior.samples == 3000, "the tiny recipe has three views"


def test_hours_become_steps_and_passes(planned):
    for stage, hours in zip(planned.stages, (0.35, 0.65), strict=True):
        assert stage.steps * stage.seconds == pytest.approx(3600 * hours, rel=0.01)
        assert stage.passes == pytest.approx(stage.steps * 8 / stage.samples)


def test_it_says_what_does_not_fit_and_what_to_change(planned):
    memory = planned.stages[0].memory
    tight, hopeless = (
        dataclasses.replace(planned, device=dataclasses.replace(DEVICES["L4"], memory=room / USABLE))
        for room in (memory.standing + 0.6 * memory.activations, 0.9 * memory.standing)
    )
    said = advice(tight, tight.stages[0])
    assert "--training.tokenizer.accumulate 2 makes it fit" in said and f"! {said}" in plan_words(tight)
    assert "alone take" in advice(hopeless, tight.stages[0])
    assert not any(advice(planned, stage) for stage in planned.stages)


def test_the_command(pictures, capsys):
    words = ["plan", pictures, "--recipe", "vae", "--on", "4xa100", "--model.width", "8"]
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert "recipe vae on 4 × A100, bfloat16" in shown and "computed, not measured" in shown
    assert "memory a rank" in shown and "samples a second" in shown
    assert main(["plan", pictures, "--recipe", "tiny", "--on", "3xA100", *options(TINY)]) == 2
    assert "a batch of 8" in capsys.readouterr().err


def test_unknown_devices():
    with pytest.raises(UserError, match="H100"):
        devices_of("8xH10")
    with pytest.raises(UserError, match="8xH100"):
        devices_of("0xH100")


@pytest.mark.slow
@pytest.mark.parametrize("name", bench_plan.RUNS)
def test_memory_is_as_planned(name):
    memory, _ = bench_plan.planned(*bench_plan.RUNS[name])
    taken, _ = bench_plan.measured(*bench_plan.RUNS[name])
    assert memory == pytest.approx(taken, rel=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("stage", bench_plan.BASE)
def test_base_takes_a_real_step_in_the_memory_planned(stage):
    memory, _ = bench_plan.planned(*bench_plan.BASE[stage])
    taken, _ = bench_plan.measured(*bench_plan.BASE[stage], steps=2)
    assert memory == pytest.approx(taken, rel=0.1)
