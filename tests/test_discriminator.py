"""Discriminators: laws over the table, and the parts they are made of."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from caselli.divergence import DIVERGENCES, R1, CriticDivergence
from caselli.errors import UserError
from caselli.layer import DISCRIMINATORS, LeCam, PatchDiscriminator
from caselli.layer.discriminator_stylegan import EqualisedConv2d, minibatch_deviation
from tests.reference.golden import golden

CASES = [("patch", {"norm": norm, "layers": 2}) for norm in ("spectral", "group", "none")]
CASES += [("stylegan", {"layers": 2})]


def build(name, options, width=8, channels=3):
    torch.manual_seed(0)
    return DISCRIMINATORS[name](width, channels, **options)


@pytest.mark.parametrize("name", DISCRIMINATORS)
def test_every_entry_is_built_from_its_width(name):
    assert DISCRIMINATORS[name](width=64)(torch.zeros(2, 3, 64, 64)).shape[:2] == (2, 1)


@pytest.mark.parametrize("name,options", CASES)
@pytest.mark.parametrize("size", [(16, 16), (24, 20)])
def test_scores_for_any_size(name, options, size):
    for channels in (1, 3):
        scores = build(name, options, channels=channels)(torch.rand(4, channels, *size))
        assert scores.shape[:2] == (4, 1) and scores.isfinite().all()


@pytest.mark.parametrize("name,options", CASES)
def test_every_parameter_gets_a_gradient_and_so_do_pictures_twice(name, options):
    critic = build(name, options).double()
    x = torch.rand(4, 3, 16, 16, dtype=torch.float64)
    (critic(x).square().mean() + R1(1.0).penalty(critic, x, x)).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() and p.grad.any() for p in critic.parameters())


@pytest.mark.parametrize("name,options", CASES)
def test_the_slope_penalty_has_the_gradient_of_finite_differences(name, options):
    critic = build(name, options, width=4).double()
    critic.eval()  # spectral norm's power method stands still
    x = torch.rand(2, 3, 16, 16, dtype=torch.float64)
    weight = next(p for p in critic.parameters() if p.ndim == 4)
    R1(2.0).penalty(critic, x, x).backward()
    place, step = (0, 0, 0, 0), 1e-5
    values = []
    for move in (step, -2 * step):
        with torch.no_grad():
            weight[place] += move
        values.append(R1(2.0).penalty(critic, x, x).item())
    assert weight.grad[place].item() == pytest.approx(
        (values[0] - values[1]) / (2 * step), rel=1e-3, abs=1e-9
    )


@pytest.mark.parametrize("name,options", CASES)
def test_save_and_load_are_bit_equal(name, options):
    critic, x = build(name, options), torch.rand(4, 3, 16, 16)
    critic(x)
    twin = DISCRIMINATORS[name](8, 3, **options)
    twin.load_state_dict(critic.state_dict())
    assert torch.equal(critic(x), twin(x))


@pytest.mark.parametrize("objective", [n for n, k in DIVERGENCES.items() if issubclass(k, CriticDivergence)])
def test_every_critic_objective_takes_the_scores(objective):
    made = DIVERGENCES[objective]()
    real, fake = build("patch", {"layers": 2})(torch.rand(2, 2, 3, 16, 16).flatten(0, 1)).chunk(2)
    assert made.critic_loss(real, fake).ndim == 0 and made.generator_loss(real, fake).ndim == 0


@pytest.mark.parametrize("name,options", [CASES[0], CASES[3]])
def test_it_learns_to_tell_blurred_pictures_apart(name, options):
    critic = build(name, options, channels=1)
    optimiser = torch.optim.Adam(critic.parameters(), 3e-3)
    objective = DIVERGENCES["hinge"]()
    for _ in range(60):
        x = (torch.rand(8, 1, 16, 16) > 0.5).float()
        loss = objective.critic_loss(critic(x), critic(F.avg_pool2d(x, 3, 1, 1)))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    x = (torch.rand(8, 1, 16, 16) > 0.5).float()
    assert critic(x).mean() > critic(F.avg_pool2d(x, 3, 1, 1)).mean() + 0.5


@pytest.mark.parametrize("layers,patch", [(1, 16), (2, 34), (3, 70)])
def test_patches_are_as_large_as_said(layers, patch):
    critic = PatchDiscriminator(4, 1, layers=layers, norm="none")
    x = torch.rand(1, 1, 96, 96, requires_grad=True)
    scores = critic(x)
    middle = scores.shape[-1] // 2
    scores[0, 0, middle, middle].backward()
    rows = x.grad[0, 0].abs().sum(1).nonzero().flatten()
    assert rows.max() - rows.min() + 1 == patch


def test_spectral_norm_bounds_every_layer():
    critic = PatchDiscriminator(8, layers=2)
    for _ in range(30):
        critic(torch.rand(1, 3, 16, 16))
    for layer in critic.layers:
        if isinstance(layer, torch.nn.Conv2d):
            assert torch.linalg.matrix_norm(layer.weight.flatten(1), 2).item() == pytest.approx(1, abs=0.05)


def test_minibatch_deviation_by_its_definition():
    x = torch.randn(6, 2, 3, 3)
    found = minibatch_deviation(x)  # groups of 3: the largest that divides 6
    for group in range(2):
        members = x[group::2]
        expected = members.std(0, correction=0).mean()
        assert torch.allclose(found[group::2], expected.expand(3, 1, 3, 3), atol=1e-3)
    assert minibatch_deviation(x[:1]).abs().max() < 1e-6


def test_equalised_weights_keep_the_scale():
    torch.manual_seed(0)
    y = EqualisedConv2d(64, 64, 3)(torch.randn(4, 64, 8, 8))
    assert y[..., 1:-1, 1:-1].std().item() == pytest.approx(1, abs=0.1)


def test_lecam_by_its_definition():
    lecam, averages = LeCam(0.9), None
    for step in range(20):
        real, fake = torch.randn(5) + 1, torch.randn(5) - 1
        lecam.update(real.mean(), fake.mean())
        keep = 0 if step == 0 else min(0.9, (1 + step) / (10 + step))
        new = torch.stack((real.mean(), fake.mean()))
        averages = new if averages is None else keep * averages + (1 - keep) * new
    expected = [
        sum(max(0.0, r - averages[1].item()) ** 2 for r in real.tolist()) / 5,
        sum(max(0.0, averages[0].item() - f) ** 2 for f in fake.tolist()) / 5,
    ]
    assert lecam(real, fake).item() == pytest.approx(sum(expected), rel=1e-4)
    assert math.isclose(lecam.state_dict()["step"], 20)


def test_mistakes():
    with pytest.raises(UserError, match=r"at least 12 pixels.*fewer layers"):
        build("patch", {"layers": 2})(torch.zeros(1, 3, 8, 8))
    with pytest.raises(UserError, match="B 3 H W"):
        build("stylegan", {"layers": 2})(torch.zeros(1, 1, 16, 16))
    with pytest.raises(UserError, match="did you mean group"):
        PatchDiscriminator(8, norm="groups")
    for wrong in ({"width": 0}, {"width": 8, "layers": 0}):
        for kind in DISCRIMINATORS.values():
            with pytest.raises(UserError, match="at least 1"):
                kind(**wrong)
    with pytest.raises(UserError, match=r"\[0, 1\)"):
        LeCam(1.0)


def test_patches_with_batch_normalisation_are_as_published():
    """taming-transformers' discriminator: statistics of the batch in training, running ones in evaluation."""
    g = golden("16_taming_discriminator")
    critic = PatchDiscriminator(8, layers=2, norm="batch").double()
    critic.layers.load_state_dict(
        {name[13:]: value for name, value in g.items() if name.startswith("weights.main.")}
    )
    for mode, training in (("eval", False), ("train", True)):
        critic.train(training)
        assert_close(critic(g["in.real"]), g[f"out.logits_real_{mode}"], rtol=1e-9, atol=1e-9)
    for name in (f"{layer}.running_{moment}" for layer in (3, 6) for moment in ("mean", "var")):
        assert_close(critic.layers.state_dict()[name], g[f"out.after_train_forward.main.{name}"])
    assert_close(critic(g["in.fake"]), g["out.logits_fake_train"], rtol=1e-9, atol=1e-9)
