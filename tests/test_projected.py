"""Projected discriminator and differentiable augmentation, against the published vectors."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional
from torch.testing import assert_close

from caselli.data import Batch
from caselli.features import ProjectedDiscriminator
from caselli.features.efficientnet import EfficientNetLite1
from caselli.features.projected import Head, RandomMixing
from caselli.layer import diff_augment
from caselli.layer.diff_augment import cut_out, recoloured, translated
from caselli.tokenizer import AdversarialConfig, AdversarialTask, Tokenizer, TokenizerConfig
from tests.reference.golden import golden
from tests.test_features_efficientnet import package_layout

HALF = 0.5
"""What changes nothing."""


def test_augmentation_equals_the_published_vectors():
    v = golden("35_diffaugment")
    x, half = v["in.x"].requires_grad_(), torch.full((3,), HALF, dtype=torch.float64)
    u = [v[f"in.u_{name}"] for name in ("brightness", "saturation", "contrast")]
    shifts, holes = (v["in.shift_h"], v["in.shift_w"]), (v["in.offset_h"], v["in.offset_w"])
    found = {
        "brightness": recoloured(x, u[0], half, half),
        "saturation": recoloured(x, half, u[1], half),
        "contrast": recoloured(x, half, half, u[2]),
        "translation": translated(x, *shifts),
        "cutout": cut_out(x, *holes),
        "all": cut_out(translated(recoloured(x, *u), *shifts), *holes),
    }
    for name, y in found.items():
        assert_close(y, v[f"out.{name}"])
    sum((y * v[f"cot.{name}"]).sum() for name, y in found.items()).backward()
    assert_close(x.grad, v["grad.x"])


def test_augmentation_changes_each_picture_by_itself_and_stays_in_bounds():
    x = torch.ones(64, 3, 32, 32)
    y = diff_augment(x)
    assert y.shape == x.shape and len({part.sum().item() for part in y}) > 32
    black = (y == 0).all(1).flatten(1).sum(1)
    assert black.max() <= 6 * 6 + 2 * 4 * 32 and black.float().mean() > 16


def mixing(v):
    """The mixing with the published weights."""
    made = RandomMixing([3, 4, 5, 6], 2).double()
    names = {"channels": "ccm", "scales": "csm.out_conv"}
    state = {
        f"{ours}{level}{end}": v[f"weights.scratch.layer{level}_{theirs}.{name}"]
        for level in range(4)
        for ours, theirs in names.items()
        for end, name in (("", "weight"), ("_bias", "bias"))
    }
    made.load_state_dict(state)
    return made


def test_mixing_equals_the_published_vectors():
    v = golden("35_projected_gan")
    made = mixing(v)
    found = made([v[f"in.feature{level}"] for level in range(4)])
    assert made.widths == [2, 2, 4, 8] == [x.shape[1] for x in found]
    for level, x in enumerate(found):
        assert_close(x, v[f"out.mixed{level}"])
    assert not list(made.parameters())


def test_heads_equal_the_published_vectors():
    """In evaluation with the published state: torch's two spectral norms iterate in another order."""
    v, logits = golden("35_projected_gan"), []
    for level, widths in enumerate(([4, 5, 6], [5, 6], [6], [])):
        x = v[f"out.mixed{level}"]
        head = Head(x.shape[1], widths, torch.nn.BatchNorm2d).double().eval()
        prefix, state = f"discriminator.mini_discs.{level}.main", {}
        for block in range(len(widths) + 1):
            last = block == len(widths)
            conv = f"{prefix}.{block}" if last else f"{prefix}.{block}.main.0"
            place = f"{3 * block}.parametrizations.weight"
            state[f"{place}.original"] = v[f"weights.{conv}.weight_orig"]
            for name in "uv":
                state[f"{place}.0._{name}"] = v[f"out.after.{conv}.weight_{name}"]
            if last:
                continue
            state[f"{3 * block}.bias"] = v[f"weights.{conv}.bias"]
            norm = f"{prefix}.{block}.main.1"
            for name in ("weight", "bias"):
                state[f"{3 * block + 1}.{name}"] = v[f"weights.{norm}.{name}"]
            for name in ("running_mean", "running_var"):
                state[f"{3 * block + 1}.{name}"] = v[f"out.after.{norm}.{name}"]
            state[f"{3 * block + 1}.num_batches_tracked"] = torch.tensor(1)
        head.load_state_dict(state)
        logits.append(head(functional.interpolate(x, size=(64 >> level, 64 >> level))).flatten(1))
    assert_close(torch.cat(logits, 1), v["out.logits_eval"])


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "lite1.pth"
    torch.save(package_layout(EfficientNetLite1()), path)
    return str(path)


@pytest.fixture(scope="module")
def critic(weights):
    return ProjectedDiscriminator(4, weights=weights)


@pytest.mark.parametrize("size", [(16, 16), (28, 28), (40, 72)])
def test_scores_of_pictures_of_any_size(critic, size):
    x = torch.rand(2, 3, *size, requires_grad=True)
    scores = critic(x)
    assert scores.shape[:3] == (2, 1, 1) and scores.shape[3] >= 4
    scores.square().sum().backward()
    assert x.grad.isfinite().all() and x.grad.any()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in critic.parameters())
    critic.eval()
    assert_close(critic(x)[:1], critic(x[:1]), rtol=1e-3, atol=1e-5)
    critic.train()


def test_the_network_is_borrowed_and_the_projections_are_kept(critic):
    assert {name.split(".")[0] for name in critic.state_dict()} == {"mixing", "heads"}
    assert not any(name.startswith("mixing") for name, _ in critic.named_parameters())


@pytest.mark.parametrize("discriminator,options", [("projected", {}), ("patch", {"layers": 2})])
def test_a_tokenizer_is_trained_against_it_and_knows_its_teacher(weights, discriminator, options):
    torch.manual_seed(0)
    if discriminator == "projected":
        options = {"weights": weights}
    adversarial = AdversarialConfig(
        weight=0.5, width=4, discriminator=discriminator, discriminator_options=options, augment=True, r1=1.0
    )
    config = TokenizerConfig(
        width=8, latent_width=8, channels=1, factor=4, quantizer_options={"codebook_size": 16},
        adversarial=adversarial,
    )  # fmt: skip
    task = AdversarialTask(Tokenizer(config))
    task.progress = 0.9
    pictures = torch.rand(4, 1, 16, 16) * 2 - 1
    losses = task(Batch(pictures, None, None, torch.arange(4)), 0)
    losses.total.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in task.parameters() if p.requires_grad)
    assert losses.metrics["adversarial_weight"] > 0
    assert config.teachers() == (("efficientnet-lite1",) if discriminator == "projected" else ())
