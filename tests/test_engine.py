"""The training loop: budgets, accumulation, schedules, trouble."""

from __future__ import annotations

import dataclasses
import errno
import json
import os

import pytest
import torch
from torch import nn

from caselli.engine import Fit, Losses, Machine, Task, Training, TrainingConfig, fit, machine
from caselli.engine.batch import pieces
from caselli.engine.ema import Ema
from caselli.engine.loop import Interrupted
from caselli.engine.optimiser import Optimiser
from caselli.engine.threads import Threads
from caselli.errors import UserError
from caselli.files import atomic_write

CPU = Machine("cpu", "float32", "test")


@dataclasses.dataclass(frozen=True)
class Points:
    x: torch.Tensor
    y: torch.Tensor
    indices: torch.Tensor


class Line(Task):
    """y = w·x by least squares, with dropout, so that random numbers matter."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.2), nn.Linear(8, 1))

    def forward(self, batch, step):
        return Losses((self.layers(batch.x)[:, 0] - batch.y).square().mean(), {})

    def validate(self, batch):
        return {"loss": (self.layers(batch.x)[:, 0] - batch.y).square().mean()}

    def hidden_matrices(self):
        return [self.layers[0].weight]


class Stream:
    def __init__(self, batch=8, poison=None):
        self.batch, self.poison = batch, poison

    def at(self, step):
        x = torch.randn(self.batch, 3, generator=torch.Generator().manual_seed(step))
        y = x @ torch.tensor([1.0, -2.0, 0.5])
        if step == self.poison:
            y = y * torch.nan
        return Points(x, y, torch.arange(self.batch))

    def stream(self, start=0):
        while True:
            yield self.at(start)
            start += 1


def training(folder, stream=None, task=None, early=0.0, **config):
    settings = {"steps": 12, "warmup": 2, "validations": 3, "ema": 0.9, "batch": 8, **config}
    torch.manual_seed(0)
    task = task or Line()
    held_out = [Stream().at(10_000)]
    given = task, stream or Stream(), held_out, TrainingConfig(**settings), folder, "line", CPU
    return Training(*given, early=early)


def lines(folder, split):
    return [
        e for e in map(json.loads, (folder / "log.jsonl").read_text().splitlines()) if e["split"] == split
    ]


@pytest.mark.parametrize("optimiser", ["adamw", "muon"])
def test_it_learns_and_resumes_in_the_same_bits(tmp_path, optimiser):
    options = {"steps": 60, "learning_rate": 0.03, "optimiser": optimiser, "checkpoint_steps": 7}
    whole = training(tmp_path / "whole", **options).run()
    errors = [entry["loss"] for entry in lines(tmp_path / "whole", "validation")]
    assert len(errors) == 3 and errors[-1] < 2, "y has variance 5.25"

    class Cut(Stream):
        def stream(self, start=0):
            for number, batch in enumerate(super().stream(start)):
                if number == 16:
                    raise ConnectionError
                yield batch

    for _ in range(6):
        try:
            resumed = training(tmp_path / "cut", Cut(), **options).run()
            break
        except ConnectionError:
            continue
    for a, b in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    steps = [entry["step"] for entry in lines(tmp_path / "cut", "train")]
    assert steps == sorted(set(steps)), "a resumed run writes no step twice"


def test_an_early_twin_is_kept_and_is_the_same_after_a_resume(tmp_path):
    options = {"steps": 12, "checkpoint_steps": 4, "early": 0.5}
    whole = training(tmp_path / "whole", **options)
    whole.run()
    kept = whole.checkpoints.load_early()
    assert kept["step"] == 6

    class Cut(Stream):
        def at(self, step):
            if step == 6:
                raise ConnectionError
            return super().at(step)

    with pytest.raises(ConnectionError):
        training(tmp_path / "half", Cut(), **options).run()
    (tmp_path / "half" / "checkpoints" / "line" / "early.pt").unlink()
    again = training(tmp_path / "half", **options)
    again.run()
    for a, b in zip(kept["task"].values(), again.checkpoints.load_early()["task"].values(), strict=True):
        assert torch.equal(a, b)
    late = training(tmp_path / "late", steps=12, checkpoint_steps=4)
    late.run()
    longer = training(tmp_path / "late", steps=16, early=0.5)
    longer.run()
    assert longer.checkpoints.load_early()["step"] == 14, "asked for late: as early in what was left"


def test_accumulated_pieces_equal_the_whole_batch(tmp_path):
    class Sure(Line):
        def __init__(self):
            super().__init__()
            self.layers[1].p = 0.0

    torch.manual_seed(0)
    a = training(tmp_path / "a", task=Sure()).run()
    torch.manual_seed(0)
    b = training(tmp_path / "b", task=Sure(), accumulate=4).run()
    for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True):
        assert torch.allclose(x, y, atol=1e-5)


def test_accumulated_figures_are_means_over_the_pieces(tmp_path):
    class Spread(Line):
        def forward(self, batch, step):
            loss = super().forward(batch, step).total
            return Losses(loss, {"target": batch.y.mean()})

    config = {"steps": 1, "ema": 0.0, "accumulate": 4}
    training(tmp_path, task=Spread(), **config).run()
    (line,) = lines(tmp_path, "train")
    assert line["target"] == pytest.approx(Stream().at(0).y.mean().item(), abs=1e-5)


def test_a_piece_that_is_no_number_stops_the_run(tmp_path):
    class Poisoned(Line):
        def forward(self, batch, step):
            losses = super().forward(batch, step)
            wrong = step == 8 and 0 in batch.indices
            return Losses(losses.total.detach() * torch.nan + losses.total if wrong else losses.total, {})

    run = training(tmp_path, task=Poisoned(), accumulate=4, checkpoint_steps=9)
    with pytest.raises(UserError, match="at step 9"):
        run.run()


def test_a_fit_pauses_and_goes_on_in_the_same_bits():
    def made():
        torch.manual_seed(0)
        return Fit(Line(), Stream(), TrainingConfig(steps=9, warmup=2))

    whole, paused = made().run(), made()
    assert paused.run(lambda fit: fit.progress > 0.5).step == 5
    assert paused.run().step == 9 and paused.run().step == 9
    for a, b in zip(whole.task.parameters(), paused.task.parameters(), strict=True):
        assert torch.equal(a, b)
    assert torch.equal(whole.figures["loss"], paused.figures["loss"])


def test_a_fit_is_a_training_without_files(tmp_path):
    run = training(tmp_path, ema=0.0)
    run.run()
    torch.manual_seed(0)
    task = fit(Line(), Stream(), run.config, seed=0)
    assert not task.training
    for a, b in zip(run.task.parameters(), task.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_budget_in_minutes_ends_in_time(tmp_path):
    run = training(tmp_path, minutes=0.01, steps=1)
    run.run()
    assert 0.5 < run.fit.seconds < 3 and run.fit.step > 10
    assert lines(tmp_path, "train")[-1]["learning_rate"] < 1e-4


def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_checkpoint(tmp_path):
    with pytest.raises(UserError, match="a finite number was expected"):
        training(tmp_path, Stream(poison=8), checkpoint_steps=2).run()
    state, _ = training(tmp_path).checkpoints.load()
    assert state["step"] == 8 and all(t.isfinite().all() for t in state["task"].values())


def test_an_interrupted_run_writes_a_checkpoint(tmp_path):
    class Interrupting(Stream):
        def at(self, step):
            if step == 5:
                run.fit.stop()
            return super().at(step)

    run = training(tmp_path, Interrupting())
    with pytest.raises(Interrupted, match="stopped at step 6"):
        run.run()
    assert training(tmp_path).checkpoints.load()[0]["step"] == 6


def test_a_stop_that_is_asked_for_between_steps_is_agreed_upon_in_the_next(tmp_path):
    """Nothing but a step's end makes ranks stop, so that all of them do, and save."""
    run = training(tmp_path)
    after = run._after_step

    def asked(fit):
        if fit.step == 5:
            fit.stop()
            assert not fit.stopping
        return after(fit)

    run._after_step = asked
    with pytest.raises(Interrupted, match="stopped at step 6"):
        run.run()
    assert training(tmp_path).checkpoints.load()[0]["step"] == 6


def test_an_optimiser_takes_up_its_own_averages_alone(tmp_path):
    training(tmp_path, steps=4, optimiser="muon").run()
    run = training(tmp_path, steps=8, optimiser="adamw")
    run.run()
    assert run.fit.step == 8


@pytest.mark.parametrize(("batches", "own"), [(1, 1), (3, 3), (4, 2)])
def test_ranks_that_share_weights_validate_as_often(tmp_path, monkeypatch, batches, own):
    """Each validation gathers the layers, so a rank with one more would wait for ever."""
    run = training(tmp_path)
    run.validation, run.shell = list(range(batches)), run.task
    monkeypatch.setattr("caselli.engine.loop.ranks.count", lambda: 2)
    assert len(run._own_validation()) == own


def test_pieces_leave_no_sample_out():
    with pytest.raises(AssertionError):
        pieces(torch.zeros(24, 1), 16)


def test_an_early_twin_that_was_forgotten_is_kept_anew(tmp_path):
    """As early in what is left of the budget; the same after another kill."""
    training(tmp_path, early=0.5).run()
    training(tmp_path).checkpoints.forget_kept()
    longer = training(tmp_path, steps=24, early=0.5)
    longer.run()
    assert longer.checkpoints.load_early()["step"] == 18
    assert training(tmp_path, steps=48, early=0.5).checkpoints.has_early()


def test_the_random_state_outside_is_left_alone(tmp_path):
    torch.manual_seed(3)
    before = torch.get_rng_state()
    run = training(tmp_path)
    torch.set_rng_state(before)
    run.run()
    assert torch.equal(torch.get_rng_state(), before)


def test_ema_against_its_definition():
    task, averages = Line(), None
    ema = Ema(task, 0.9)
    averages = task.layers[0].weight.detach().clone()
    for step in range(1, 6):
        with torch.no_grad():
            task.layers[0].weight.add_(1)
        ema.update(task, step)
        decay = min(0.9, (1 + step) / (10 + step))
        averages = decay * averages + (1 - decay) * task.layers[0].weight.detach()
    assert torch.allclose(ema.module.layers[0].weight, averages)


def test_machine():
    assert machine("float32").precision == "float32"
    with pytest.raises(UserError, match="float16"):
        machine("float16")


@pytest.mark.parametrize(
    ("found", "precision"),
    [
        ({}, "float32"),
        ({"avx512_bf16": False}, "float32"),
        ({"amx_bf16": True}, "bfloat16"),
    ],
)
def test_the_kind_of_processor_decides_the_precision(monkeypatch, found, precision):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: found, raising=False)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    assert machine("auto", "cpu").precision == precision
    assert precision in machine("auto", "cpu").reason


@pytest.mark.parametrize("optimiser", ["adamw", "muon"])
@pytest.mark.parametrize("old", [False, True])
def test_the_optimiser_goes_on_by_name_and_from_old_checkpoints(optimiser, old):
    class Turned(Line):
        """The same parameters under the same names, registered in another order."""

        def __init__(self):
            super().__init__()
            layers = self.layers
            self.layers = nn.Sequential()
            for name in ("2", "1", "0"):
                self.layers.add_module(name, layers[int(name)])

        def forward(self, batch, step):
            x = self.layers.get_submodule("0")(batch.x)
            return Losses((self.layers.get_submodule("2")(x)[:, 0] - batch.y).square().mean(), {})

        def hidden_matrices(self):
            return [self.layers.get_submodule("0").weight]

    config = TrainingConfig(steps=9, optimiser=optimiser)
    first = Fit(Line(), Stream(), config).run(lambda fit: fit.step == 3)
    states = [part.state_dict() for part in first.optimiser.parts] if old else first.optimiser.state_dict()
    other = Line() if old else Turned()
    other.load_state_dict(first.task.state_dict())
    second = Optimiser(other, config, torch.float32)
    second.load_state_dict(states)
    expected, found = first.optimiser.state_dict(), second.state_dict()
    assert expected.keys() == found.keys() == dict(other.named_parameters()).keys()
    for name, state in expected.items():
        assert state and state.keys() == found[name].keys()
        assert all(torch.equal(value, found[name][key]) for key, value in state.items()), name


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"minutes": -1.0}, {"accumulate": 3}, {"ema": 1.0}])
def test_wrong_budgets(wrong):
    with pytest.raises(UserError, match="was expected"):
        TrainingConfig(**{"batch": 8, **wrong})


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
        RuntimeError("[enforce fail] PytorchStreamWriter failed writing file data.pkl"),
    ],
)
def test_a_full_disk_leaves_the_old_file(tmp_path, error):
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(UserError, match="the disk is full"), atomic_write(path) as temporary:
        temporary.write_text("half")
        raise error
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_threads_are_those_of_the_fastest_steps():
    """Beside a process that holds a core, and again when it is gone; in quiet all stay."""
    held, threads, taken = True, Threads(most=2), []
    for step in range(400):
        held = step < 200
        taken.append(threads.next)
        threads.after({1: 1.0, 2: 5.0 if held else 0.6}[threads.next])
    assert taken[:3] == [2, 2, 1] and taken[150] == 1 and taken[-1] == 2
    assert taken[3:200].count(2) < 8 and taken[300:].count(1) < 4
    quiet = Threads(most=2)
    for _ in range(100):
        quiet.after({1: 1.7, 2: 1.0}[quiet.next])
    assert quiet.count == 2 and Threads(most=1).next == 1
