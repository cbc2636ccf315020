"""Families: every pair with a divergence fits or is refused in words; bounds, likelihoods, both players."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch import distributions as D

from caselli.cli import main
from caselli.data import Pictures
from caselli.divergence import DIVERGENCES, Hinge, Need, Relativistic
from caselli.errors import UserError
from caselli.estimator import ESTIMATORS
from caselli.family import (
    DECODERS,
    ENCODERS,
    FAMILIES,
    GAN,
    LIKELIHOODS,
    VAE,
    FamilyModel,
    FamilyTask,
    GANConfig,
    MixtureConfig,
    VAEConfig,
    adversarial,
)
from caselli.family.base import seeded, seeded_pair
from caselli.family.latents import LATENTS
from caselli.family.likelihood import BernoulliLikelihood, DiscretisedLogistic, GaussianLikelihood
from caselli.family.objective import OBJECTIVES
from caselli.plain import override
from caselli.run import Data, FamilyRun
from caselli.sampling import Sampling

SMALL = {
    "mixture": MixtureConfig(size=8, components=3),
    "vae": VAEConfig(size=8, width=8, count=3, network="perceptron"),
    "gan": GANConfig(size=8, width=8, count=4, network="perceptron", critic_features=16),
}
FITS = {
    "mixture": {Need.DENSITY_AND_SAMPLES, Need.TWO_SAMPLES, Need.CRITIC},
    "vae": {Need.DENSITY_AND_SAMPLES},
    "gan": {Need.TWO_SAMPLES, Need.CRITIC},
}


def pictures(config, count=6):
    return torch.rand(count, *config.shape) * 2 - 1


def built(name, **changes):
    config = dataclasses.replace(SMALL[name], **changes)
    return FAMILIES[name](config), pictures(config)


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("divergence", [name for name in DIVERGENCES if name != "wasserstein_1d"])
def test_every_pair_trains_or_says_what_fits(name, divergence):
    needs = DIVERGENCES[divergence].needs
    if needs not in FITS[name]:
        with pytest.raises(UserError, match=f"{divergence} needs {needs.value}; these fit: "):
            built(name, divergence=divergence)
        return
    family, x = built(name, divergence=divergence)
    losses = FamilyTask(family)(_Batch(x), 0)
    losses.total.backward()
    assert math.isfinite(losses.total.item())
    assert [n for n, p in family.named_parameters() if p.grad is None] == []


@dataclasses.dataclass
class _Batch:
    pictures: torch.Tensor
    labels: torch.Tensor | None = None


@pytest.mark.parametrize("name", FAMILIES)
def test_uses(name):
    """What a family offers works; what it does not is refused; a picture does not depend on its batch."""
    family, x = built(name)
    model = FamilyModel(name, family)
    made = model.sample(3, seed=5)
    assert made.shape == (3, *family.config.shape) and made.abs().max() <= 1
    assert (model.sample(1, seed=6, batch=1)[0] - made[1]).abs().max() < 1e-5
    assert model.encode(x).shape[0] == len(x)
    if family.density:
        score = model.score(x)
        assert score.bits_per_dimension.shape == (len(x),) and score.kind == family.density
        assert torch.equal(score.bits_per_dimension, model.score(x).bits_per_dimension)
    else:
        with pytest.raises(UserError, match="cannot give a probability"):
            model.score(x)
    if name != "vae":
        with pytest.raises(UserError, match="cannot reconstruct"):
            model.reconstruct(x)
    with pytest.raises(UserError, match="temperature alone"):
        model.sample(1, options=Sampling(top_k=3))


def test_labels():
    gan, x = built("gan", classes=3)
    model = FamilyModel("gan", gan, ["a", "b", "c"])
    labels = torch.arange(6) % 3
    gan.losses(x, labels, 0).total.backward()
    assert gan.critic.label.weight.grad.abs().sum() > 0 and gan.generator.label.weight.grad.abs().sum() > 0
    same_seed = [model.sample(1, label=one) for one in ("a", "b")]
    assert not torch.equal(*same_seed) and torch.equal(same_seed[0], model.sample(1, label=0))
    with pytest.raises(UserError, match="did you mean"):
        model.sample(1, label="aa")
    with pytest.raises(UserError, match="takes no labels"):
        built("mixture", classes=3)


@pytest.mark.parametrize("latents", LATENTS)
def test_labels_of_a_vae(latents):
    """Encoder and decoder hear them; the null label stands in where there is none, and is trained too."""
    vae, x = built("vae", classes=3, latents=latents, label_dropout=0.5)
    model, labels = FamilyModel("vae", vae, ["a", "b", "c"]), torch.arange(6) % 3
    for step in range(10):
        vae.train().losses(x, labels, step).total.backward()
    assert (vae.label.weight.grad.abs().sum(1) > 0).all()
    vae.eval()
    assert not torch.equal(model.sample(1, label="a"), model.sample(1, label="b"))
    assert torch.equal(model.sample(2, label="b"), model.sample(2, label=1))
    assert model.sample(2).shape == model.reconstruct(x[:2]).shape == x[:2].shape
    assert model.encode(x).shape[0] == 6
    scores = [model.score(x, given).bits_per_dimension for given in (labels, labels.roll(1), None)]
    assert not torch.equal(scores[0], scores[1]) and not torch.equal(scores[0], scores[2])
    with pytest.raises(UserError, match="0 up to 1"):
        built("vae", classes=3, label_dropout=1.0)


def test_a_vae_learns_its_labels():
    """Pictures that are their label: told it, the bound is better than without."""
    vae, _ = built("vae", classes=2, objective_options={"beta": 100.0})  # so that the latents say nothing
    labels = torch.arange(32) % 2
    x = (labels.float() * 1.6 - 0.8).view(-1, 1, 1, 1).expand(-1, *vae.config.shape)
    adam = torch.optim.Adam(vae.parameters(), 1e-2)
    for step in range(60):
        adam.zero_grad()
        vae.losses(x, labels, step).total.backward()
        adam.step()
    model = FamilyModel("vae", vae.eval(), ["dark", "light"])
    assert model.sample(4, label="light").mean() > model.sample(4, label="dark").mean() + 0.8


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
@pytest.mark.parametrize("network", ENCODERS)
@pytest.mark.parametrize("size", [7, 8, 28])
def test_networks_and_likelihoods(network, likelihood, size):
    assert set(ENCODERS) == set(DECODERS)
    vae, x = built("vae", network=network, likelihood=likelihood, size=size, channels=3)
    vae.losses(x, None, 0).total.backward()
    assert vae.draw([1, 2], None, Sampling()).shape == (2, 3, size, size)
    assert vae.reconstruct(x).shape == x.shape


@pytest.mark.parametrize("likelihood", [BernoulliLikelihood(), DiscretisedLogistic()])
def test_probabilities_of_levels_sum_to_one(likelihood):
    levels = torch.linspace(-1, 1, likelihood.levels).view(-1, 1, 1, 1)
    outputs = torch.tensor([0.97, -4.0])[: likelihood.outputs].view(1, -1, 1, 1)
    total = likelihood.log_prob(outputs.expand(len(levels), -1, 1, 1), levels).exp().sum()
    assert (total - 1).abs() < 1e-4


def test_logistic_is_finite_at_extremes():
    outputs = torch.tensor([[500.0, -500.0], [-500.0, 500.0]]).T.reshape(2, 2, 1, 1).requires_grad_()
    value = DiscretisedLogistic().log_prob(outputs, torch.tensor([-1.0, 0.2]).view(2, 1, 1, 1)).sum()
    value.backward()
    assert value.isfinite() and outputs.grad.isfinite().all()


def test_gaussian_bits_are_those_of_grey_levels():
    """Pictures of uniform noise cost 8 bits under a wide density, and never less than what they hold."""
    vae, _ = built("vae", likelihood="gaussian")
    x = (torch.randint(0, 256, (200, 1, 8, 8)) / 127.5) - 1
    with torch.no_grad():
        vae.likelihood.log_scale.fill_(math.log(1 / 3**0.5))
        vae.decoder.layers[-2].weight.zero_(), vae.decoder.layers[-2].bias.zero_()
        vae.head.weight.zero_(), vae.head.bias.zero_()
    bits = FamilyModel("vae", vae).score(x).bits_per_dimension.mean()
    assert abs(bits - (8 + math.log2(math.sqrt(2 * math.pi * math.e / 12)))) < 0.02
    assert isinstance(vae.likelihood, GaussianLikelihood)


# objectives -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("latents", LATENTS)
def test_divergence_of_latents_is_its_monte_carlo(latents):
    space = LATENTS[latents](4, 3)
    for p in space.parameters():
        torch.nn.init.normal_(p)
    q = space.posterior(torch.randn(2, space.inputs))
    z = q.sample((20_000,))
    each = q.log_prob(z) - space.prior().log_prob(z)
    error = each.std(0) / len(z) ** 0.5
    assert ((space.divergence(q).flatten(1).sum(1) - each.mean(0)).abs() < 5 * error).all()


class Toy:
    """z ~ N(0, 1), x | z ~ N(z, 1) at x = 1.5; q the prior: ELBO and log p as published."""

    latents = LATENTS["gaussian"](1, 2)
    q = latents.posterior(torch.zeros(4000, 2))

    @staticmethod
    def f(z):
        return D.Normal(z[..., 0], 1.0).log_prob(torch.tensor(1.5))


@pytest.mark.parametrize(
    ("objective", "options", "value", "tolerance"),
    [
        ("elbo", {}, -2.54393853, 0.12),
        ("elbo", {"samples": 16}, -2.54393853, 0.03),
        ("elbo", {"free_bits": 0.7}, -2.54393853 - 0.7, 0.12),
        ("iwae", {"samples": 64}, -1.82801212, 0.03),
        ("info_vae", {"alpha": 1.0, "scale": 0.0}, -2.54393853, 0.12),
    ],
)
def test_objectives_on_the_linear_gaussian_model(objective, options, value, tolerance):
    made = OBJECTIVES[objective](**options)
    bound = made(Toy.f, Toy.q, Toy.latents, ESTIMATORS["pathwise"](), 1.0)
    assert abs(bound.value.item() - value) < tolerance and bound.rate.item() == 0
    in_units = made(Toy.f, Toy.q, Toy.latents, ESTIMATORS["pathwise"](), 10.0)
    assert abs(10 * in_units.value.item() - value) < tolerance


@pytest.mark.parametrize("latents", ["bernoulli", "categorical"])
@pytest.mark.parametrize("objective", ["elbo", "iwae"])
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_discrete_latents_by_every_estimator(estimator, objective, latents):
    q = LATENTS[latents](3, 3).posterior(torch.zeros(1, 9 if latents == "categorical" else 3))
    options = {"samples": 2}
    changes = {"latents": latents, "categories": 3, "estimator": estimator, "likelihood": "bernoulli"}
    changes |= {"objective": objective, "objective_options": options}
    if not ESTIMATORS[estimator]().accepts(q):
        with pytest.raises(UserError, match="these fit: "):
            built("vae", **changes)
        return
    if estimator == "vimco" and objective == "elbo":
        with pytest.raises(UserError, match="choose the objective iwae"):
            built("vae", **changes)
        return
    vae, x = built("vae", **changes)
    losses = vae.losses(x, None, 0)
    losses.total.backward()
    assert [n for n, p in vae.named_parameters() if p.grad is None] == []
    assert 0.3 < losses.total.item() < 3, "the estimator's own loss is not in the value"


def test_unbiased_estimators_of_a_vae_agree_with_enumeration():
    """The gradient of the encoder through three binary latents, by estimators and exactly."""
    torch.manual_seed(0)
    vae, x = built("vae", latents="bernoulli", likelihood="bernoulli", estimator="enumeration")
    weights = [vae.head.weight]

    def gradient(name, samples):
        kind = ESTIMATORS[name]
        vae.estimator = kind.fitting(vae.posterior(x))
        vae.objective.samples = samples
        return torch.autograd.grad(vae.losses(x, None, 0).total, weights)[0]

    exact = gradient("enumeration", 1)
    for name in ("disarm", "arm", "measure_valued"):
        found = gradient(name, 4000)
        assert (found - exact).norm() < 0.15 * exact.norm(), name


def test_temperature_follows_its_schedule():
    schedule = {"schedule": "linear", "schedule_options": {"start": 1.0, "end": 0.5, "steps": 10}}
    vae, x = built("vae", latents="categorical", estimator="gumbel_softmax", **schedule)
    vae.losses(x, None, 5)
    assert vae.estimator.temperature == 0.75


def test_refusals():
    for changes, words in [
        ({"latents": "bernoulli", "objective": "info_vae"}, "samples with gradients"),
        ({"objective": "info_vae", "objective_options": {"divergence": "kl"}}, "these fit: mmd"),
        ({"objective_options": {"gamma": 1}}, "objective options"),
        ({"estimator": "disarm"}, "these fit: pathwise"),
        ({"network": "resnet"}, "network 'resnet'"),
    ]:
        with pytest.raises(UserError, match=words):
            built("vae", **changes)
    with pytest.raises(UserError, match="a divergence with a critic was expected"):
        built("gan", divergence="mmd", regularisers={"r1": 1.0})
    with pytest.raises(UserError, match="did you mean r1"):
        built("gan", regularisers={"r11": 1.0})


# two players ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("divergence", [Hinge(), Relativistic()])
def test_each_player_follows_its_own_loss_alone(divergence):
    """The one sum against two separate backward passes."""
    torch.manual_seed(0)
    critic, model = torch.nn.Linear(2, 1).double(), torch.nn.Linear(3, 2).double()
    real, z = torch.randn(5, 2).double(), torch.randn(5, 3).double()
    adversarial(divergence, critic, critic, real, model(z)).total.backward()
    ours = [p.grad.clone() for p in (*critic.parameters(), *model.parameters())]
    fake = model(z).detach()
    loss = divergence.critic_loss(critic(real), critic(fake)) + divergence.penalty(critic, real, fake)
    theirs = [*torch.autograd.grad(loss, list(critic.parameters()))]
    loss = divergence.generator_loss(critic(real), critic(model(z)))
    theirs += torch.autograd.grad(loss, list(model.parameters()))
    for a, b in zip(ours, theirs, strict=True):
        assert torch.allclose(a, b, atol=1e-12)


def test_critic_steps():
    gan, x = built("gan", critic_steps=2)
    gan.losses(x, None, 0).total.backward()
    assert all(p.grad is None for p in gan.generator.parameters())
    gan.losses(x, None, 1).total.backward()
    assert all(p.grad is not None for p in gan.generator.parameters())


@pytest.mark.parametrize(
    "regularisers", [{"spectral_norm": 1}, {"weight_clipping": 0.01}, {"r1": 1.0, "r2": 1.0}]
)
def test_regularised_critics(regularisers):
    gan, x = built("gan", network="convolutional", divergence="hinge", regularisers=regularisers)
    gan.losses(x, None, 0).total.backward()
    twin = GAN(gan.config)
    twin.load_state_dict(gan.state_dict())
    if "weight_clipping" in regularisers:
        assert max(p.abs().max() for p in gan.critic.parameters()) <= 0.01


def test_a_vae_learns():
    """Two stripes of pictures: the bound falls far below what they cost at the start."""
    torch.manual_seed(0)
    vae = VAE(dataclasses.replace(SMALL["vae"], likelihood="bernoulli", latents="bernoulli", width=32))
    rows = torch.arange(8) % 2 * 2.0 - 1
    x = torch.stack([rows.expand(8, 8), rows.expand(8, 8).T]).repeat(8, 1, 1)[:, None]
    adam = torch.optim.Adam(vae.parameters(), lr=1e-2)
    for step in range(80):
        adam.zero_grad()
        vae.losses(x, None, step).total.backward()
        adam.step()
    assert vae.eval().figures(x, None, [])["loss"] < 0.1


def test_binary_autoencoders(tmp_path, capsys):
    """Every way trains for its share of the same budget; the command prints the table."""
    names = "score, leave one out;disarm;vimco"
    words = ["compare", "autoencoders", "digits", "--estimators", names, "--steps", "2", "--latents", "5"]
    quick = ["--most", "20", "--batch", "4", "--learning-rate", "0.01"]
    assert main([*words, *quick, "-o", str(tmp_path / "out")]) == 0
    assert "| disarm | yes | 4 | 2 |" in (tmp_path / "out" / "table.md").read_text()
    assert "Rank correlation" in capsys.readouterr().out
    assert main([*words[:4], "disarn"]) == 2
    assert "did you mean disarm" in capsys.readouterr().err
    assert main([*words, "--batch", "0"]) == 2 and main([*words, "--learning-rate", "0"]) == 2


def test_draws_of_one_seed_are_independent():
    """Normal noise is made of uniform noise: the radius of two numbers must not follow the label."""
    normal, uniform = seeded_pair(list(range(2000)), 16, 1)
    radius = normal[:, 0].square() + normal[:, 8].square()
    assert torch.corrcoef(torch.stack((radius, uniform[:, 0])))[0, 1].abs() < 0.1
    assert torch.equal(normal[:3], seeded([0, 1, 2], 16, normal=True))


def test_another_divergence_brings_its_own_regularisers():
    pictures = Pictures.of("none", torch.zeros(4, 1, 16, 16, dtype=torch.uint8))
    for divergence in ("sinkhorn", "mmd"):
        changes = {"model.divergence": divergence}
        config = override(FamilyRun.start("gan", Data.of(pictures), changes), changes)
        assert config.model.regularisers == {}
    assert FamilyRun.start("gan", Data.of(pictures), {}).model.regularisers == {"r1": 1.0}


def test_an_unknown_label_is_left_out_alone():
    torch.manual_seed(0)
    vae = VAE(VAEConfig(channels=1, size=8, classes=2, network="linear", count=4)).eval()
    z = torch.randn(3, 4)
    both = vae.decode(z, torch.tensor([1, -1, 0]))
    torch.testing.assert_close(both[0], vae.decode(z[:1], torch.tensor([1]))[0])
    torch.testing.assert_close(both[1], vae.decode(z[1:2], None)[0])
