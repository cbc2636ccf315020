"""Parts are compiled where a step gains by it, and nothing else changes; float8 where a device has it."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest
import torch
from torch import nn

from caselli.data import Batch, CodeBatch
from caselli.engine import CPU, Fit, Generated, Losses, Task, TrainingConfig
from caselli.engine.compiling import _unchanged, convert
from caselli.errors import UserError
from caselli.order import ORDERS, Grid
from caselli.prior import Alphabet, PriorConfig, PriorTask, build
from caselli.tokenizer import Tokenizer, TokenizerConfig, TokenizerTask

STEPS = 3


class Slow(nn.Module):
    """A block that takes its time, and counts."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(16, 16)
        self.register_buffer("count", torch.zeros(()))

    def forward(self, x):
        self.count += 1
        time.sleep(0.004)
        return self.linear(x).relu()


class Stack(Task):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(Slow() for _ in range(2))

    def forward(self, batch, step):
        x = nn.functional.dropout(batch, 0.1)
        for layer in self.layers:
            x = layer(x)
        return Losses(x.square().mean(), {})

    def blocks(self):
        return list(self.layers)


def trained(**settings):
    torch.manual_seed(0)
    batches = Generated(lambda step: torch.randn(8, 16, generator=torch.Generator().manual_seed(step)))
    fit = Fit(Stack(), batches, TrainingConfig(steps=STEPS, batch=8, **settings), CPU)
    return fit.run()


@pytest.mark.parametrize("seconds", [0.0, 0.02], ids=["faster", "slower"])
def test_parts_are_kept_where_they_are_faster(monkeypatch, seconds):
    def compiled(forward):
        block = forward.__self__
        return lambda x: time.sleep(seconds) or block.count.add_(1) * 0 + block.linear(x).relu()

    monkeypatch.setattr(torch, "compile", compiled)
    fit, plain = trained(compile=True), trained()
    is_kept = ["forward" in layer.__dict__ for layer in fit.task.layers]
    assert is_kept == [seconds == 0] * 2
    assert ("parts stay compiled" in fit.notes[0]) == (seconds == 0) and not plain.notes
    for ours, theirs in zip(fit.task.state_dict().items(), plain.task.state_dict().items(), strict=True):
        assert ours[0] == theirs[0] and torch.equal(ours[1], theirs[1]), ours[0]


def test_a_compiler_that_fails_changes_nothing(monkeypatch):
    def compiled(forward):
        def broken(x):
            raise RuntimeError("no compiler was found\nat all")

        return broken

    monkeypatch.setattr(torch, "compile", compiled)
    fit = trained(compile=True)
    assert fit.notes == ["nothing was compiled: no compiler was found"] and fit.step == STEPS


def test_float8_is_refused_where_there_is_none():
    with pytest.raises(UserError, match="float8 was asked for on cpu"):
        trained(float8=True)


def test_layers_in_float8_keep_names_and_nearly_all_bits():
    pytest.importorskip("torchao")
    found = []
    for is_low in (False, True):
        torch.manual_seed(0)
        task = Stack()
        if is_low:
            convert(task, emulate=True)
        losses = task.eval()(torch.randn(16, 16, generator=torch.Generator().manual_seed(1)), 0)
        losses.total.backward()
        found.append({name: p.grad for name, p in task.named_parameters()})
    assert found[0].keys() == found[1].keys()
    assert type(task.layers[0].linear) is not nn.Linear
    weights = [one["layers.0.linear.weight"] for one in found]
    assert 0 < (weights[0] - weights[1]).norm() / weights[0].norm() < 0.2


def test_the_layers_of_a_prior_go_to_float8():
    """Which are a kind of linear layer of their own, and are asked for their outputs in parts."""
    pytest.importorskip("torchao")
    torch.manual_seed(0)
    prior = build(PriorConfig(width=32, depth=2), Alphabet((16,), (0,) * 16))
    task = PriorTask(prior, ORDERS["raster"](), Grid(4, 4)).eval()
    batch = CodeBatch(torch.randint(16, (4, 4, 4)), None, None, torch.arange(4))
    before = task(batch, 0).total
    kinds = {name: type(module) for name, module in task.named_modules()}
    convert(task, emulate=True)
    changed = [name for name, module in task.named_modules() if type(module) is not kinds.get(name)]
    assert len(changed) >= 4 * 2
    assert task(batch, 0).total.item() == pytest.approx(before.item(), rel=0.02)


PRIOR = """
from caselli.engine import CPU, Fit, Generated, TrainingConfig
from tests.test_ranks_sharded import batch, task

fit = Fit(task(), Generated(batch), TrainingConfig(steps=2, batch=8, compile=True), CPU).run()
print(fit.notes[0])
"""


@pytest.mark.slow
def test_the_compiler_compiles_a_prior():
    """In a process of its own, where shapes are not checked: the compiler has other tensors."""
    said = subprocess.run([sys.executable, "-c", PRIOR], capture_output=True, text=True, check=True).stdout
    assert "s to compile" in said


def test_a_codebook_that_begins_in_a_trial_begins_anew():
    """A trial step leaves weights, buffers and the start of a codebook as they were."""
    torch.manual_seed(0)
    config = TokenizerConfig(channels=1, factor=2, width=8, latent_width=4)
    task = TokenizerTask(Tokenizer(config)).train()
    batch = Batch(torch.rand(8, 1, 8, 8), None, None, torch.arange(8))
    before = {name: value.clone() for name, value in task.state_dict().items() if torch.is_tensor(value)}
    with _unchanged(task):
        task(batch, 0)
    assert all(torch.equal(task.state_dict()[name], value) for name, value in before.items())
    task(batch, 0)
    assert task.tokenizer.quantizer.codebook.started
