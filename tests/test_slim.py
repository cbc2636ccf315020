"""Quantising, pruning and distilling networks."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn

from caselli.errors import UserError
from caselli.layer import ResidualBlock, TransformerBlock
from caselli.mixer import MIXERS, Mamba2
from caselli.prior import Alphabet, Autoregressive, Masked, PriorConfig
from caselli.prior.block import Block
from caselli.sampling import EagerEngine, best_engine, sample
from caselli.sampling.rounding import own_precision
from caselli.slim import (
    CHANNELS,
    HEADS,
    PRECISIONS,
    Distilled,
    Distilling,
    importance,
    inherit,
    keep_zeros,
    leave_zeros_out,
    quantise,
    quantise_in_training,
    refuse_other_kinds,
    remove_layers,
    remove_units,
    remove_weights,
    settle,
    survivors,
    units_of,
    with_smaller_decoder,
)
from caselli.slim.distil import divergence, hidden, layers_loss
from caselli.slim.quantise import matrices
from caselli.tokenizer import Tokenizer, TokenizerConfig
from caselli.weights import IntegerLinear, Packing, narrow, narrowed, rounded


def prior_of(mixer="attention", width=32, depth=2, length=6, **options):
    config = PriorConfig(mixer=mixer, width=width, depth=depth, mixer_options=options)
    return Autoregressive(config, Alphabet((16,), (0,) * length, classes=3)).eval()


def mixer_block(name, **options):
    return Block(MIXERS[name](32, **options), 2.0, 0.0)


PARTS = {
    "attention": (lambda: mixer_block("attention", heads=4), HEADS),
    "grouped attention": (lambda: mixer_block("attention", heads=4, kv_heads=2), HEADS),
    "local": (lambda: mixer_block("local", heads=4, window=3), HEADS),
    "transformer": (lambda: TransformerBlock(32, heads=4), HEADS),
    "mlp": (lambda: mixer_block("attention", heads=4), CHANNELS),
    "transformer's mlp": (lambda: TransformerBlock(32, heads=4), CHANNELS),
    "convolutions": (lambda: ResidualBlock(16, 16), CHANNELS),
}


def inputs_of(part):
    return torch.randn(2, 16, 4, 4) if isinstance(part, ResidualBlock) else torch.randn(2, 7, 32)


def result(part, x):
    made = part(x, None) if isinstance(part, Block) else part(x)
    return made[0] if isinstance(made, tuple) else made


def silence(network, units, gone):
    """Zeroes what the units say."""
    piece = units.slices[-1]
    with torch.no_grad():
        units.parameter(network, piece).index_fill_(piece.axis, piece.entries[gone].flatten(), 0)


@pytest.mark.parametrize("name", PARTS)
def test_taking_out_units_that_say_nothing_changes_nothing(name):
    build, table = PARTS[name]
    network = nn.Sequential(build())
    x = inputs_of(network[0])
    units = max(units_of(network, table), key=len)
    gone, kept = torch.tensor([1]), torch.tensor([i for i in range(len(units)) if i != 1])
    silence(network, units, gone)
    wanted, parameters = result(network[0], x), sum(p.numel() for p in network.parameters())
    units.keep(network, kept)
    torch.testing.assert_close(result(network[0], x), wanted)
    assert parameters - sum(p.numel() for p in network.parameters()) == units_weights(build(), table)
    fresh = nn.Sequential(build())
    narrow(fresh, narrowed(network, fresh))
    fresh.load_state_dict(network.state_dict())
    torch.testing.assert_close(result(fresh[0], x), wanted)


def units_weights(part, table):
    network = nn.Sequential(part)
    return max(units_of(network, table), key=len).parameters(network)


@pytest.mark.parametrize("groups", [1, 2])
def test_mamba2_heads(groups):
    """Heads that say nothing still count in the mean square of its norm."""
    network = nn.Sequential(Mamba2(32, head_width=8, groups=groups, epsilon=0.0, state_size=4))
    units = units_of(network, HEADS)[0]
    kept = torch.arange(len(units))[1:]
    x, mixer = torch.randn(2, 7, 32), network[0]
    silence(network, units, torch.tensor([0]))
    with torch.no_grad():  # y = 0: no x goes in
        convolved = units.slices[1]
        mixer.convolution.weight[convolved.entries[0]] = 0
        mixer.convolution.bias[convolved.entries[0]] = 0
    wanted = mixer(x)[0]
    units.keep(network, kept)
    scale = math.sqrt(len(kept) / len(units))
    for form in ("parallel", "chunk", "step"):
        torch.testing.assert_close(mixer(x, form=form)[0] / scale, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", PARTS)
def test_the_first_order_is_the_slope_of_the_loss_as_the_unit_fades(name):
    build, table = PARTS[name]
    network = nn.Sequential(build()).double()
    x = inputs_of(network[0]).double()
    units = max(units_of(network, table), key=len)

    def loss():
        return result(network[0], x).square().mean()

    loss().backward()
    found = units.first_order(network)
    piece, weight = units.slices[-1], units.parameter(network, units.slices[-1])
    whole, step = weight.detach().clone(), 1e-6
    for unit in range(min(3, len(units))):
        scale = torch.zeros(weight.shape[piece.axis], dtype=torch.float64)
        scale[piece.entries[unit]] = step
        along = whole * scale.view([-1 if a == piece.axis else 1 for a in range(weight.ndim)])
        with torch.no_grad():
            weight.copy_(whole + along)
            more = loss().item()
            weight.copy_(whole - along)
            less = loss().item()
            weight.copy_(whole)
        assert found[unit].item() == pytest.approx((more - less) / (2 * step), rel=1e-4, abs=1e-8)


def test_the_least_important_go():
    network = nn.Sequential(TransformerBlock(16, heads=4), TransformerBlock(16, heads=4))
    for layer, quiet in ((0, [2]), (1, [0, 1, 3])):
        units = units_of(network, HEADS)[layer]
        silence(network, units, torch.tensor(quiet))
    x = torch.randn(4, 5, 16)
    losses = [lambda: network(x).square().mean()] * 2
    found = importance(network, units_of(network, HEADS), losses)
    assert [s.tolist() for s in survivors(found, 0.5)] == [[0, 1, 3], [2]]
    wanted = network(x)
    words = remove_units(network, "heads", 0.5, losses)
    assert words == "4 of 8 heads stay: 3, 1"
    torch.testing.assert_close(network(x), wanted)
    assert all(p.grad is None for p in network.parameters())


def test_every_part_keeps_a_unit():
    assert [len(s) for s in survivors([torch.zeros(4), torch.ones(4)], 0.99)] == [1, 1]


@pytest.mark.parametrize("structure", ["heads", "channels"])
def test_a_pruned_prior_samples_in_every_engine(structure):
    prior = prior_of(heads=4)
    sequence = torch.randint(16, (8, 6))
    remove_units(prior, structure, 0.5, [lambda: -prior.log_prob(sequence, None).mean()])
    prior.requires_grad_(False)
    engine, _ = best_engine(prior)
    assert torch.equal(sample(engine, None, [0, 1]), sample(EagerEngine(prior), None, [0, 1]))


def test_layers_go_by_what_their_absence_costs():
    prior = prior_of(["attention", "linear"], depth=4, heads=2)
    with torch.no_grad():
        for layer in (1, 2):  # these say nothing
            prior.blocks[layer].mixer.output.weight.zero_()
            prior.blocks[layer].down.weight.zero_()
            prior.blocks[layer].down.bias.zero_()
    sequence = torch.randint(16, (8, 6))
    wanted = prior.log_prob(sequence, None)
    words = remove_layers(prior, 0.5, [lambda: (prior.log_prob(sequence, None) - wanted).square().mean()])
    assert words == "layers 1, 4 of 4 stay"
    assert prior.config.mixer == ["attention", "linear"] and prior.config.depth == 2
    torch.testing.assert_close(prior.log_prob(sequence, None), wanted)
    with pytest.raises(UserError, match="none"):
        remove_layers(prior, 0.1, [])


def test_what_has_no_units_is_refused():
    with pytest.raises(UserError, match="without heads"):
        remove_units(prior_of("rwkv4"), "heads", 0.5, [])


# weights ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pattern", ["weights", "2:4"])
def test_removed_weights_stay_away_in_training(pattern):
    prior = prior_of(heads=2)
    remove_weights(prior, pattern, 0.5)
    zeros = {name: p == 0 for name, p in prior.named_parameters() if "up.weight" in name}
    for zero in zeros.values():
        assert zero.float().mean() == pytest.approx(0.5, abs=0.01)
        if pattern == "2:4":
            assert (zero.unflatten(1, (-1, 4)).sum(-1) == 2).all()
    keep_zeros(prior)
    optimiser = torch.optim.AdamW(prior.parameters(), lr=0.1)
    before = prior.blocks[0].up.weight.detach().clone()
    for _ in range(2):
        optimiser.zero_grad()
        (-prior.log_prob(torch.randint(16, (4, 6)), None).mean()).backward()
        optimiser.step()
    copied = copy.deepcopy(prior)  # as the average of the weights is made
    for network in (prior, copied):
        settle(network)
        for name, zero in zeros.items():
            assert torch.equal(network.get_parameter(name) == 0, zero)
        assert not torch.equal(network.blocks[0].up.weight, before)
        packed = leave_zeros_out(network).packed
        assert packed["blocks.0.up.weight"] == Packing(32, sparse=True)
        assert "code.weight" not in packed


# bits -------------------------------------------------------------------------------------------------------


def test_no_weight_of_a_quantizer_is_rounded():
    config = TokenizerConfig(factor=4, channels=1, width=32, latent_width=8, quantizer="lfq")
    for quantizer in ("vq", "fsq", "simvq"):
        options = {"codebook_size": 16} if quantizer != "fsq" else {}
        config = TokenizerConfig(
            factor=4, channels=1, width=32, latent_width=8, quantizer=quantizer, quantizer_options=options
        )
        tokenizer = Tokenizer(config)
        before = copy.deepcopy(tokenizer.quantizer.state_dict())
        names = quantise(tokenizer, "int4").packed
        assert all(torch.equal(before[k], v) for k, v in tokenizer.quantizer.state_dict().items())
        assert names and not any(name.startswith("quantizer") for name in names)


def test_int8_priors_are_sampled_as_they_are_stored(monkeypatch):
    monkeypatch.setattr("caselli.sampling.rounding._CACHED", 0)
    prior = prior_of(heads=2, width=128)
    assert own_precision(prior) == "float32"
    packed = quantise(prior, "int8").packed
    assert own_precision(prior) == "int8"
    assert {how.bits for how in packed.values()} == {8} and "blocks.0.up.weight" in packed
    engine, _ = best_engine(prior)
    assert engine.precision == "int8"
    for name, weight in prior.named_parameters():
        assert torch.equal(weight, engine.prior.get_parameter(name)), "nothing is rounded a second time"
    quantise(prior, "int4")
    assert own_precision(prior) == "float32"


@pytest.mark.parametrize("precision", PRECISIONS)
def test_training_on_the_grid(precision):
    prior = prior_of(width=128, depth=1, heads=2)
    quantise_in_training(prior, precision)
    layer = prior.blocks[0].up
    weight = layer.weight
    bits = 4 if precision == "int4" else 8
    assert len(weight[0, :32].unique()) <= 2**bits
    weight.sum().backward()
    hidden_weight = layer.parametrizations.weight.original
    assert torch.equal(hidden_weight.grad, torch.ones_like(hidden_weight)), "straight through"
    values = weight.detach().clone()
    settle(prior)
    assert torch.equal(layer.weight, values)
    quantise(prior, precision)
    assert torch.equal(layer.weight, values), "what training saw is what is stored"


def test_rounding_is_that_of_the_file():
    module = nn.Sequential(nn.Linear(96, 64), nn.Conv2d(64, 8, 3), nn.Embedding(10, 8))
    whole = copy.deepcopy(module)
    packed = quantise(module, "int4").packed
    assert packed["0.weight"] == Packing(4, group=32) and packed["2.weight"] == Packing(8)
    for path, part in matrices(module):
        name = f"{path}.weight"
        assert torch.equal(part.weight, rounded(whole.get_parameter(name), packed[name]))
        if getattr(part, "bias", None) is not None:
            assert torch.equal(part.bias, whole.get_parameter(f"{path}.bias"))


# teacher and student ----------------------------------------------------------------------------------------


def test_divergence_is_that_of_kullback_and_leibler():
    teacher, student = torch.randn(2, 3, 5, dtype=torch.float64), torch.randn(2, 3, 5, dtype=torch.float64)
    p = (teacher / 2).softmax(-1)
    wanted = 4 * (p * (p.log() - (student / 2).log_softmax(-1))).sum(-1).mean()
    torch.testing.assert_close(divergence(teacher, student, 2.0), wanted)
    barred = torch.tensor([True, False, False, True, False])
    teacher, student = (x.masked_fill(barred, -torch.inf).requires_grad_() for x in (teacher, student))
    loss = divergence(teacher, student, 1.0)
    loss.backward()
    assert loss.isfinite() and student.grad.isfinite().all()


def test_a_student_that_is_the_teacher_has_nothing_to_learn():
    teacher = prior_of(heads=2)
    student = copy.deepcopy(teacher)
    sequence, labels = torch.randint(16, (4, 6)), torch.tensor([0, 1, 2, -1])
    assert layers_loss(student, teacher, sequence, labels) < 1e-10
    distilled = Distilled(student, teacher, Distilling(data=0.0))
    assert distilled.training_loss(sequence, None, sequence, 0.9).abs() < 1e-6
    assert not any("teacher" in name for name in distilled.state_dict())


def test_what_layers_are_matched_by():
    teacher = prior_of(heads=2, depth=3)
    sequence = torch.randint(16, (4, 6))
    inputs, mixed, outputs = hidden(teacher, sequence, None)
    assert len(inputs) == len(mixed) == len(outputs) == 3
    torch.testing.assert_close(inputs[1], outputs[0])
    torch.testing.assert_close(mixed[2], teacher.blocks[2].mixer(teacher.blocks[2].norm1(inputs[2]))[0])


def test_both_parts_of_distilling_reach_their_weights():
    teacher, student = prior_of(heads=2, depth=4), prior_of("linear", depth=2)
    copied = inherit(student, teacher)
    assert torch.equal(student.blocks[0].up.weight, teacher.blocks[1].up.weight)
    assert torch.equal(student.blocks[1].up.weight, teacher.blocks[3].up.weight)
    assert "head.weight" in copied and not any(".mixer." in name for name in copied)
    distilled = Distilled(student, teacher.requires_grad_(False), Distilling())
    sequence = torch.randint(16, (4, 6))
    for progress in (0.0, 0.9):
        student.zero_grad(set_to_none=True)
        distilled.training_loss(sequence, None, sequence, progress).backward()
        assert all(p.grad is not None for p in student.parameters())
    assert all(p.grad is None for p in teacher.parameters())


def test_the_transfer_teaches_the_mixers():
    torch.manual_seed(0)
    teacher, student = prior_of(heads=2).requires_grad_(False), prior_of("linear", heads=2)
    inherit(student, teacher)
    distilled = Distilled(student, teacher, Distilling())
    optimiser = torch.optim.AdamW(student.parameters(), lr=1e-2)
    losses = []
    for _ in range(30):
        sequence = torch.randint(16, (16, 6))
        loss = distilled.training_loss(sequence, None, sequence, 0.0)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]


def test_bad_input():
    with pytest.raises(UserError, match="temperature"):
        Distilling(temperature=0.0)
    with pytest.raises(UserError, match="transfer"):
        Distilling(transfer=1.5)
    with pytest.raises(UserError, match="autoregressive"):
        refuse_other_kinds(Masked(PriorConfig(kind="masked", width=32, depth=1), Alphabet((16,), (0,) * 4)))
    with pytest.raises(UserError, match="int3"):
        quantise(nn.Linear(2, 2), "int3")


@pytest.mark.parametrize("architecture", ["convolutional", "vqgan", "dvae", "vit"])
def test_a_smaller_decoder_is_rebuilt_from_its_note(architecture):
    options = {"vit": {"tokens": 4, "model_width": 32, "depth": 1}}.get(architecture, {})
    config = TokenizerConfig(
        architecture=architecture,
        architecture_options=options,
        size=16,
        factor=4,
        channels=1,
        width=96 if architecture == "dvae" else 64,
        latent_width=8,
        quantizer_options={"codebook_size": 16},
        attention=(4,) if architecture == "convolutional" else (),
    )
    tokenizer = Tokenizer(config).eval()
    student = with_smaller_decoder(tokenizer, 0.5)
    x = torch.rand(2, 1, 16, 16)
    assert torch.equal(student.encode(x), tokenizer.encode(x))
    again = Tokenizer(config).eval()
    narrow(again, narrowed(student, again))
    again.load_state_dict(student.state_dict())
    torch.testing.assert_close(again.decode(again.encode(x)), student.decode(student.encode(x)))
    with pytest.raises(UserError, match="smaller"):
        with_smaller_decoder(tokenizer, 0.999)


# integers ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [1, 7, 100])
def test_integer_products_are_those_of_the_rounded_numbers(rows):
    layer = nn.Linear(40, 24)
    with torch.no_grad():
        layer.weight.copy_(rounded(layer.weight, Packing(8)))
    x = torch.randn(2, rows, 40) * torch.logspace(-3, 3, rows)[:, None]
    scale = x.abs().amax(-1, keepdim=True) / 127
    wanted = ((x / scale).round() * scale) @ layer.weight.T + layer.bias
    product = IntegerLinear(layer)
    with torch.no_grad():
        fast = product(x)
    slow = product(x)
    torch.testing.assert_close(slow, wanted, rtol=1e-5, atol=1e-5 * float(x.abs().max()))
    torch.testing.assert_close(fast, wanted, rtol=1e-5, atol=1e-5 * float(x.abs().max()))
    with torch.no_grad():
        layer.weight.mul_(2)
        torch.testing.assert_close(copy.deepcopy(product)(x), product(x))
        assert not torch.allclose(product(x), fast), "the integers follow the weight"


def test_integer_products_have_the_gradients_of_a_linear_layer():
    layer = nn.Linear(6, 5)
    x = torch.randn(3, 6, requires_grad=True)
    IntegerLinear(layer)(x).sum().backward()
    torch.testing.assert_close(x.grad, layer.weight.sum(0).expand(3, 6))


@pytest.mark.parametrize("mixer", ["attention", "mamba2"])
def test_a_prior_that_multiplies_integers(mixer):
    prior = prior_of(mixer, width=64)
    sequence = torch.randint(16, (8, 6))
    with torch.no_grad():
        wanted = prior.log_prob(sequence, None)
        quantise(prior, "int8", "int8")
        assert isinstance(prior.blocks[0].up, IntegerLinear)
        found = prior.log_prob(sequence, None)
    assert (found - wanted).abs().max() < 0.05 and not torch.equal(found, wanted)
    assert prior.hidden_matrices()
    with torch.no_grad():  # a row's rounding is its own: any batch, one token at a time
        torch.testing.assert_close(prior.log_prob(sequence[:1], None), found[:1], rtol=1e-4, atol=1e-4)
    sample(best_engine(prior)[0], None, [0])
