"""Recorded drawings: the same codes as step by step, whatever the batch's contents."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx

from caselli.prior import Alphabet, Autoregressive, Conditions, Masked, PriorConfig
from caselli.sampling import EagerEngine, GraphEngine, Sampling, Unavailable, best_engine, sample
from caselli.sampling.graph import MOST_RECORDINGS, GraphRecorder

PLACES = ((0, 0), (0, 1), (1, 0), (1, 1))
ALPHABET = Alphabet((5,), (0,) * 4, classes=2, picture=(0, 0), picture_shape=(1, 2), places=PLACES)
MIXERS = ["attention", "local", "linear", "retention", "gla", "mamba", "mamba2", "rwkv6", "rwkv7"]
MIXERS += ["delta_net", "gated_delta_net", "s4d", "lru"]


class Traced(GraphRecorder):
    """Notes every operation, as a CUDA graph notes kernels: what depends on the contents cannot be noted, and
    nothing may come from the host."""

    device = "cpu"

    def __init__(self):
        self.times = 0

    def record(self, function, tensors):
        self.times += 1
        graph = make_fx(lambda *given: function(*given) and None)(*tensors)
        names = {str(node.target) for node in graph.graph.nodes if node.op == "call_function"}
        assert not any(word in name for name in names for word in ("lift_fresh", "_local_scalar", "nonzero"))
        return lambda: graph(*tensors)


SHORT = dataclasses.replace(ALPHABET, codebooks=(0,) * 3, places=PLACES[:3])
"""Two steps: the second reads what the first has kept."""


def prior(mixer="attention", kind=Autoregressive, device="cpu", alphabet=ALPHABET):
    torch.manual_seed(0)
    config = PriorConfig(kind=kind.kind, mixer=mixer, width=32, depth=1, text="none")
    made = kind(config, alphabet).eval()
    with torch.no_grad():
        made.head.weight.mul_(40)
        made.conditioner.beside.weight.mul_(20)
    return made.to(device)


def told(rows, seed=0):
    torch.manual_seed(seed)
    return Conditions(labels=torch.randint(2, (rows,)), codes=torch.randint(5, (rows, 2)))


@pytest.mark.parametrize("mixer", MIXERS)
def test_recorded_is_step_by_step(mixer):
    model = prior(mixer, alphabet=SHORT)
    engine, eager = GraphEngine(model, recorder=Traced()), EagerEngine(model)
    options = Sampling(guidance=2.0, top_p=0.9, temperature=0.8)
    for number in range(3):
        seeds = list(range(10 * number, 10 * number + 3))
        drawn = sample(engine, told(3, number), seeds, options)
        assert torch.equal(drawn, sample(eager, told(3, number), seeds, options))
    assert engine.name == "recorded steps" and engine.recorder.times == 1
    assert engine.bytes_per_step() == eager.bytes_per_step()


def test_each_shape_has_its_recording():
    model = prior()
    engine, eager = GraphEngine(model, recorder=Traced()), EagerEngine(model)
    known = torch.tensor([[1, 2, -1, -1], [1, -1, -1, 4]])
    for _ in range(3):
        for rows, codes in ((3, None), (2, None), (2, known)):
            seeds = list(range(rows))
            drawn = sample(engine, told(rows), seeds, known=codes)
            assert torch.equal(drawn, sample(eager, told(rows), seeds, known=codes))
    assert engine.recorder.times == 3


def test_progress_is_told():
    counted = []
    engine = GraphEngine(prior(), recorder=Traced())
    for _ in range(3):
        sample(engine, None, [1, 2], progress=counted.append)
    assert sum(counted) == 24 and engine.recorder.times == 1


class Counted(Traced):
    """Repeats the steps, untraced."""

    def record(self, function, tensors):
        self.times += 1
        return lambda: function(*tensors)


def test_what_comes_once_is_not_recorded_and_no_more_than_a_few_are():
    engine = GraphEngine(prior(), recorder=Counted())
    for rows in range(1, 7):
        sample(engine, None, list(range(rows)))
    assert engine.recorder.times == 0
    for rows in range(1, 7):
        sample(engine, None, list(range(rows)))
    assert engine.recorder.times == MOST_RECORDINGS


class Refusing(Traced):
    def record(self, function, tensors):
        raise RuntimeError("not here")


class Forgetful(Traced):
    def record(self, function, tensors):
        return lambda: None


@pytest.mark.parametrize("recorder", [Refusing, Forgetful])
def test_what_cannot_be_recorded_is_drawn_step_by_step(recorder):
    model = prior()
    engine, eager = GraphEngine(model, recorder=recorder()), EagerEngine(model)
    for seed in range(3):
        assert torch.equal(sample(engine, told(2), [seed, 9]), sample(eager, told(2), [seed, 9]))
    assert engine.name == eager.name


def test_what_it_does_not_serve():
    with pytest.raises(Unavailable, match="cuda"):
        GraphEngine(prior())
    with pytest.raises(Unavailable, match="masked"):
        GraphEngine(prior(kind=Masked), recorder=Traced())
    assert not isinstance(best_engine(prior())[0], GraphEngine)


@pytest.mark.gpu
@pytest.mark.parametrize("mixer", MIXERS)
def test_on_a_device(mixer):
    model = prior(mixer, device="cuda")
    engine, eager = best_engine(model)[0], EagerEngine(model)
    assert isinstance(engine, GraphEngine)
    for seed in range(3):
        seeds = [seed, seed + 7]
        assert torch.equal(sample(engine, told(2, seed), seeds), sample(eager, told(2, seed), seeds))
    assert engine.name == "recorded steps"
