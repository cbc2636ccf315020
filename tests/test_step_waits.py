"""A training step asks no tensor for its number: on a device it would wait for all work before."""

from __future__ import annotations

import pytest
import torch

from caselli.data import Batch, CodeBatch
from caselli.engine import Fit, TrainingConfig
from caselli.engine.ema import Ema
from caselli.engine.progress import Recent
from caselli.order import Grid, Raster
from caselli.prior import Alphabet, PriorConfig, PriorTask, build
from caselli.private import DispatchMode
from caselli.tokenizer import Tokenizer, TokenizerConfig, TokenizerTask


class Questions(DispatchMode):
    """Counts the tensors that are asked for their number, but for those that are allowed to be."""

    def __init__(self, allowed):
        super().__init__()
        self.allowed, self.count = {id(tensor) for tensor in allowed}, 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function is torch.ops.aten._local_scalar_dense.default:
            self.count += id(args[0]) not in self.allowed
        return function(*args, **(kwargs or {}))


def prior():
    made = build(
        PriorConfig(width=16, depth=1, mixer_options={"heads": 2}), Alphabet((8,), (0,) * 4, classes=2)
    )
    batch = CodeBatch(torch.randint(8, (4, 2, 2)), torch.zeros(4).long(), None, torch.arange(4))
    return PriorTask(made, Raster(), Grid(2, 2)), batch


def tokenizer():
    options = {
        "codebook_size": 8,
        "restart_threshold": 0.0,
    }  # restarts look at the counts on a processor alone
    config = TokenizerConfig(channels=1, width=16, latent_width=8, quantizer_options=options)
    return TokenizerTask(Tokenizer(config)), Batch(torch.rand(4, 1, 16, 16), None, None, torch.arange(4))


@pytest.mark.parametrize("made", [prior, tokenizer])
def test_no_number_is_asked_for_between_two_reports(made):
    task, batch = made()
    fit = Fit(task, None, TrainingConfig(batch=4, accumulate=2, optimiser="muon"))
    ema, recent = Ema(task, 0.9), Recent()
    for _ in range(2):  # the codebook starts, the optimiser makes its averages
        fit.update(task, batch)
    steps = [s["step"] for part in fit.optimiser.parts for s in part.state.values() if "step" in s]
    with Questions(steps) as asked:  # counters of AdamW, which lie in the host's memory
        recent.add(fit.update(task, batch), 4)
        ema.update(task, fit.step)
    assert asked.count == 0
    with Questions(()) as asked:
        recent.take()
    assert asked.count > 0, "a report does ask"
