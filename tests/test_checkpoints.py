"""Whole models of others: logits and samples are their source's, and files come out as they went in."""

from __future__ import annotations

import dataclasses
import inspect
import json
import math
import os
import re
import shlex
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

from caselli import data
from caselli.cli import main
from caselli.errors import UserError
from caselli.evaluate import evaluate_model
from caselli.interop import IMPORTERS, Hints, import_files, write_back
from caselli.model import load, save_tokenizer
from caselli.prior import Conditions
from caselli.run import adopt
from caselli.sampling import Sampling, sample
from caselli.tokenizer import Tokenizer, TokenizerConfig
from tests.pictures import bars_and_stripes
from tests.reference import published

SHARED = Path(__file__).parents[2] / "shared" / "golden"
GREEDY = Sampling(temperature=0.0)


def golden(name):
    """Vectors of the reference code; see tests/golden/README.md."""
    found = [
        folder / f"{name}.safetensors" for folder in (SHARED, Path(os.environ.get("CASELLI_GOLDEN", SHARED)))
    ]
    path = next((path for path in found if path.exists()), None)
    if path is None:
        pytest.skip(f"{name}.safetensors is not here; set CASELLI_GOLDEN to a folder with it")
    return load_file(path)


def weights_of(vectors, start="weights."):
    """The reference model's state, in the float32 that the files are written in."""
    return {k[len(start) :]: v.float() for k, v in vectors.items() if k.startswith(start)}


def grid(tmp_path, codes, side, **options):
    """The folder of a tokenizer over a square of codes, two pixels each."""
    torch.manual_seed(0)
    given = {"codebook_size": codes, "kmeans_steps": 0, "restart_threshold": 0.0} | options
    config = TokenizerConfig(factor=2, width=8, latent_width=4, quantizer_options=given)
    (tmp_path / "tokenizer").mkdir(exist_ok=True)
    save_tokenizer(Tokenizer(config).eval(), tmp_path / "tokenizer", 2 * side)
    return tmp_path / "tokenizer"


def written(tmp_path, weights, name="prior.safetensors"):
    save_file({k: v.contiguous() for k, v in weights.items()}, tmp_path / name)
    return tmp_path / name


def imported(tmp_path, vectors, codes, side, start="weights.", **hints):
    """A golden prior over a tiny tokenizer."""
    weights = weights_of(vectors, start)
    return import_files([written(tmp_path, weights), grid(tmp_path, codes, side)], Hints(**hints))


def near(found, wanted, tolerance=1e-5):
    """Equal relative to the largest number."""
    assert found.shape == wanted.shape
    assert (found - wanted).abs().max() <= tolerance * max(1.0, wanted.abs().max().item())


def measured(model, tmp_path):
    """The figures of `caselli evaluate` for four pictures."""
    folder = tmp_path / "measured"
    if not folder.exists():
        bars_and_stripes(folder, count=4)
    pictures = data.open(str(folder), size=model.size, channels=model.channels, split="all")
    return evaluate_model(model, pictures)


def comes_back(found, tmp_path, files):
    """The run that it becomes samples, scores and completes, and its files come out as they went in."""
    run = adopt(found, tmp_path / "run")
    model = load(run)
    pictures = model.sample(2, seed=1)
    assert pictures.shape == (2, model.channels, model.size, model.size)
    assert model.score(pictures).prior_bits.isfinite().all()
    if not model.grid.flat:
        keep = torch.zeros(model.size, model.size, dtype=torch.bool)
        keep[: model.size // 2] = True
        assert model.complete(pictures, keep, seed=2).isfinite().all()
    assert measured(model, tmp_path).prior_bits_per_picture > 0
    networks = {"tokenizer": model.tokenizer, "prior": model.prior}
    (tmp_path / "out").mkdir()
    for path, file in zip(write_back(run, networks, tmp_path / "out"), files, strict=True):
        read = load_file if path.suffix == ".safetensors" else torch.load
        old, new = read(file), read(path)
        while "state_dict" in old:
            old, new = old["state_dict"], new["state_dict"]
        assert old.keys() == new.keys()
        for name, value in old.items():
            assert value.dtype == new[name].dtype and torch.equal(value, new[name]), name
    return model


# taming-transformers ----------------------------------------------------------------------------------------
def whole_taming(tmp_path):
    """A checkpoint of both stages, as its trainer writes it: the golden minGPT over an invented VQGAN."""
    vectors, w = golden("16_taming_mingpt"), published.Weights()
    shape = {"widths": (32, 32), "blocks": 1, "attended": (False, True)}
    x = torch.zeros(1, 3, 8, 8, dtype=torch.float64)
    z = published.encode(w, published.TAMING, x, latents=(4, 4), **shape)
    _, q = published.nearest(w, z, 17)
    published.decode(w, published.TAMING, q, latents=(4, 4), **shape)
    state = {f"first_stage_model.{name}": value.float() for name, value in w.items()}
    state |= {f"transformer.{name}": value for name, value in weights_of(vectors).items()}
    state["first_stage_model.loss.discriminator.main.0.weight"] = torch.randn(3)
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "last.ckpt")
    return vectors, tmp_path / "last.ckpt"


@pytest.mark.parametrize("classes", [None, 5])
def test_taming(tmp_path, classes):
    """The first of the golden indices is the start: code 0 without labels, the label's with them."""
    vectors, file = whole_taming(tmp_path)
    found = import_files([file], Hints(heads=2, classes=classes))
    assert found.size == 8 and "names behind 'first_stage_model.'" in found.words[0]
    idx = vectors["in.idx"]
    label = idx[:, 0] % 5 if classes else None
    first = label if classes else torch.zeros(2, dtype=torch.int64)
    # the reference, on its own first token where it is the start, else by its equation
    sequence = torch.cat((idx[:, 1:], idx[:, :1]), 1)
    own = found.prior.logits(sequence, label)
    table = found.prior.code.weight
    torch.testing.assert_close(found.prior.prefix(label, 2)[:, 0], table[first])
    if classes is None:
        found.prior.conditioner.label.weight.data = table[idx[:1, 0]].data.clone()
        near(found.prior.logits(sequence[:1], None), vectors["out.logits"][:1])
        found.prior.conditioner.label.weight.data = table[:1].data.clone()
    else:
        rows = idx[:, 0] < 5
        near(own[rows], vectors["out.logits"][rows]) if rows.any() else None
    comes_back(found, tmp_path, [file])


# LlamaGen ---------------------------------------------------------------------------------------------------
def test_llamagen(tmp_path):
    vectors = golden("17_llamagen_gpt")
    found = imported(tmp_path, vectors, 20, 3, heads=2)
    assert len(found.classes) == 5
    near(found.prior.logits(vectors["in.idx"], vectors["in.cond"]), vectors["out.logits_train"])
    drawn = sample(found.prior, Conditions(labels=vectors["in.cond"]), [0, 1], GREEDY)
    assert torch.equal(drawn, vectors["out.greedy_tokens"])
    comes_back(found, tmp_path, [tmp_path / "prior.safetensors"])


@pytest.fixture(scope="module")
def t5(tmp_path_factory):
    """The folder of an untrained T5 of five channels, as the golden captions have."""
    library = pytest.importorskip("transformers")
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("t5")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "red", "cat"]
    (path / "vocab.txt").write_text("\n".join(words))
    library.BertTokenizer(str(path / "vocab.txt")).save_pretrained(path)
    sizes = {"d_model": 5, "d_kv": 4, "d_ff": 8, "num_layers": 1, "num_heads": 2}
    library.T5EncoderModel(library.T5Config(vocab_size=len(words), **sizes)).save_pretrained(path)
    return path


class Given:
    """A text encoder that has one answer, cut to the tokens that there are and put in front of them."""

    width = 5

    def __init__(self, features, mask):
        rows = zip(features, (mask == 0).sum(1).tolist(), strict=True)
        self.features = torch.stack([row.roll(-pads, 0) for row, pads in rows])

    def __call__(self, tokens, mask):
        return self.features.repeat(len(tokens) // len(self.features), 1, 1)


def test_llamagen_with_captions(tmp_path, t5):
    """Captions whole, filled up in front, and guided; logits are read off the codes before."""
    vectors = golden("31_llamagen_t2i")
    found = imported(tmp_path, vectors, 12, 3, heads=2, text=str(t5))
    prior, codes = found.prior, vectors["in.idx"]
    whole = torch.ones(2, 3, dtype=torch.int64)
    padded = vectors["in.emb_mask"].long().flip(1)  # numbers of captions stand in front
    own = prior.conditioner.encoder
    for mask, logits, drawn in (
        (whole, "out.logits_train", "out.greedy_tokens"),
        (padded, "out.logits_cached_padded", "out.greedy_tokens_padded"),
    ):
        prior.conditioner.encoder = Given(vectors["in.caption"].float(), mask.flip(1))
        seen = codes if mask is whole else vectors["out.greedy_tokens_padded"]
        near(prior.logits(seen, Conditions(text=mask)), vectors[logits])
        assert torch.equal(sample(prior, Conditions(text=mask), [0, 1], GREEDY), vectors[drawn])
    guided = dataclasses.replace(GREEDY, guidance=2.5)
    drawn = sample(prior, Conditions(text=padded), [0, 1], guided)
    assert torch.equal(drawn, vectors["out.greedy_tokens_padded_cfg"])
    prior.conditioner.encoder = own
    model = comes_back(found, tmp_path, [tmp_path / "prior.safetensors"])
    one, other = (model.sample(2, text=text, seed=1) for text in ("red cat", ["red cat", "red"]))
    assert torch.equal(one[0], other[0])


# 1d-tokenizer -----------------------------------------------------------------------------------------------


def test_rar(tmp_path):
    vectors = golden("30_rar")
    weights = weights_of(vectors)
    (tmp_path / "tokenizer").mkdir()
    config = TokenizerConfig(factor=2, width=8, latent_width=4, quantizer_options={"codebook_size": 9})
    save_tokenizer(Tokenizer(flat(config, 6)).eval(), tmp_path / "tokenizer", 8)
    found = import_files([written(tmp_path, weights), tmp_path / "tokenizer"])
    prior, ids, label, order = found.prior, vectors["in.ids"], vectors["in.y"], vectors["in.orders"]
    near(prior.logits(ids, label, torch.arange(6).expand(2, -1)), vectors["out.logits_raster"][:, :6])
    near(prior.logits(ids, None, torch.arange(6).expand(2, -1)), vectors["out.logits_uncond"][:, :6])
    near(prior.logits(ids.gather(1, order), label, order), vectors["out.logits_permuted"][:, :6])
    drawn = sample(prior, Conditions(labels=label), [0, 1], GREEDY)
    assert torch.equal(drawn, vectors["out.greedy_tokens"])
    comes_back(found, tmp_path, [tmp_path / "prior.safetensors"])


def flat(config, tokens):
    """The configuration of a tokenizer whose codes lie on one axis."""
    options = {"tokens": tokens, "model_width": 8, "depth": 1, "heads": 2}
    return dataclasses.replace(config, architecture="vit", architecture_options=options, size=8)


def test_image_bert(tmp_path):
    """Logits, and the reference's rounds over them."""
    vectors = golden("30_imagebert")
    (tmp_path / "tokenizer").mkdir()
    config = TokenizerConfig(factor=2, width=8, latent_width=4, quantizer_options={"codebook_size": 15})
    save_tokenizer(Tokenizer(flat(config, 6)).eval(), tmp_path / "tokenizer", 8)
    file = written(tmp_path, weights_of(vectors))
    found = import_files([file, tmp_path / "tokenizer"], Hints(heads=2))
    prior, ids, label = found.prior, vectors["in.ids"], vectors["in.y"]
    near(prior.logits(ids, ids == 15, prior.conditioned(label, 2)), vectors["out.logits"])
    near(prior.logits(ids, ids == 15, prior.conditioned(None, 2)), vectors["out.logits_uncond"])
    assert torch.equal(reference_rounds(prior, label), vectors["out.generated_power_cosine"])
    comes_back(found, tmp_path, [file])


@torch.no_grad()
def reference_rounds(prior, label, steps=4, guidance=3.0, power=2.5):
    """MaskGIT's rounds as 1d-tokenizer has them: the surest by their logits stay."""
    codes, told, null = torch.full((2, 6), -1), prior.conditioned(label, 2), prior.conditioned(None, 2)
    for step in range(steps):
        strength = (guidance - 1) * (1 - math.cos(math.pi * (step / steps) ** power)) / 2 + 1
        one, other = (prior.logits(codes, codes < 0, given) for given in (told, null))
        best, chosen = (other + (one - other) * strength).max(-1)
        new = torch.where(codes < 0, chosen, codes)
        if step == steps - 1:
            return new
        sure = best.masked_fill(codes >= 0, torch.inf)
        left = math.floor(6 * math.acos((step + 1) / steps) / (math.pi / 2))
        left = max(1, min(int((codes[0] < 0).sum()) - 1, left))
        least = sure.sort(1).values[:, left - 1 : left]
        codes = new.masked_fill(sure <= least, -1)


# MaskBit ----------------------------------------------------------------------------------------------------


def bit_grid(tmp_path):
    """The folder of a tokenizer over four codes of six bits, each two codebooks of three."""
    options = {"codebook_size": 64, "codebooks": 2}
    config = TokenizerConfig(factor=2, width=8, latent_width=6, quantizer="lfq", quantizer_options=options)
    (tmp_path / "bits").mkdir()
    save_tokenizer(Tokenizer(config).eval(), tmp_path / "bits", 4)
    return tmp_path / "bits"


@pytest.mark.parametrize("name", ["lfq", "bert"])
def test_maskbit(tmp_path, name):
    """Codes of six bits in two parts, each masked for itself: by bits, and by tables."""
    vectors = golden("33_maskbit")
    file = written(tmp_path, weights_of(vectors, f"weights.{name}."))
    found = import_files([file, bit_grid(tmp_path)], Hints(heads=2))
    prior, tokens = found.prior, vectors["in.tokens"]
    masked, sequence = (torch.empty(2, 8, dtype=kind) for kind in (torch.bool, torch.int64))
    masked[:, prior.slots], sequence[:, prior.slots] = tokens == 8, tokens % 8

    def logits(label):
        """Logits of each place and part."""
        made = prior.logits(sequence, masked, prior.conditioned(label, 2))[:, prior.slots]
        return torch.stack((made[:, :, 0, :8], made[:, :, 1, 8:]), 2)

    near(logits(vectors["in.y"]), vectors[f"out.logits_{name}"])
    if name == "lfq":
        near(logits(torch.where(torch.tensor([True, True]), -1, 0)), vectors["out.logits_lfq_dropped"])
    comes_back(found, tmp_path, [file])


# AiM --------------------------------------------------------------------------------------------------------


def test_aim(tmp_path):
    vectors = golden("34_aim")
    found = imported(tmp_path, vectors, 16, 3)
    label = vectors["in.y"][:, 0]
    near(found.prior.logits(vectors["in.idx"], label), vectors["out.logits"])
    drawn = sample(found.prior, Conditions(labels=label), [0, 1], GREEDY)
    assert torch.equal(drawn, vectors["out.greedy_tokens"])
    guided = dataclasses.replace(GREEDY, guidance=2.0)
    drawn = sample(found.prior, Conditions(labels=label), [0, 1], guided)
    assert torch.equal(drawn, vectors["out.greedy_tokens_cfg"])
    comes_back(found, tmp_path, [tmp_path / "prior.safetensors"])


# VAR --------------------------------------------------------------------------------------------------------


def test_var_tokenizer_and_prior(tmp_path):
    """Logits and samples of the prior over the reference tokenizer's own codes."""
    tokenizer, vectors = golden("29_var_vqvae"), golden("29_var")
    files = [
        written(tmp_path, weights_of(tokenizer), "vae.safetensors"),
        written(tmp_path, weights_of(vectors), "var.safetensors"),
    ]
    found = import_files(files, Hints(size=8, scales=(1, 2, 4)))
    own, x = found.tokenizer, tokenizer["in.x"].float()
    codes = torch.cat([tokenizer[f"out.idx_scale{k}"] for k in range(3)], 1)
    assert torch.equal(own.encode(x), codes)
    near(own.decode(codes), tokenizer["out.decoded_last"])
    prior, label, idx = found.prior, vectors["in.label"], vectors["in.idx"]
    near(prior.logits(idx, label), vectors["out.logits"])
    near(prior.logits(idx, None), vectors["out.logits_null"])
    guided = dataclasses.replace(GREEDY, guidance=2.5, guidance_schedule="linear")
    assert torch.equal(sample(prior, Conditions(labels=label), [0, 1], guided), vectors["out.greedy_idx"])
    comes_back(found, tmp_path, files)


# transformers -----------------------------------------------------------------------------------------------
def library_model(kind, tied):
    library = pytest.importorskip("transformers")
    torch.manual_seed(0)
    shared = {"vocab_size": 12, "tie_word_embeddings": tied}
    if kind == "gpt2":
        config = library.GPT2Config(n_embd=16, n_layer=2, n_head=2, n_positions=30, **shared)
        return library.GPT2LMHeadModel(config).eval()
    if kind == "mamba":
        config = library.MambaConfig(hidden_size=16, state_size=4, num_hidden_layers=2, **shared)
        return library.MambaForCausalLM(config).eval()
    sizes = {"num_heads": 4, "head_dim": 8, "state_size": 4, "n_groups": 2, "chunk_size": 8}
    config = library.Mamba2Config(hidden_size=16, num_hidden_layers=2, **sizes, **shared)
    return library.Mamba2ForCausalLM(config).eval()


@pytest.mark.parametrize(("kind", "tied"), [("gpt2", True), ("mamba", True), ("mamba2", False)])
def test_language_models(tmp_path, kind, tied):
    """Nine codes, two labels and a start; logits and greedy samples, cached and not, are the library's."""
    model = library_model(kind, tied)
    model.save_pretrained(tmp_path / "model")
    found = import_files([tmp_path / "model", grid(tmp_path, 9, 4)])
    assert f"prior of {kind}" in found.words[0] and found.classes == ("0", "1")
    codes = torch.randint(9, (2, 16), generator=torch.Generator().manual_seed(1))
    for label, start in ((torch.tensor([1, 0]), torch.tensor([10, 9])), (None, torch.tensor([11, 11]))):
        given = torch.cat((start[:, None], codes[:, :-1]), 1)
        with torch.no_grad():
            near(found.prior.logits(codes, label), model(given).logits[..., :9])
        drawn = sample(found.prior, Conditions.of(label), [0, 1], GREEDY)
        assert torch.equal(drawn, greedy(model, start))
    file = next((tmp_path / "model").glob("*.safetensors"))
    comes_back(found, tmp_path, [file])


@torch.no_grad()
def greedy(model, start):
    """The likeliest codes, the whole sequence computed anew for each."""
    given = start[:, None]
    for _ in range(16):
        given = torch.cat((given, model(given).logits[:, -1:, :9].argmax(-1)), 1)
    return given[:, 1:]


@pytest.mark.parametrize("name", ["21_hf_mamba", "21_hf_mamba2"])
def test_golden_mamba(tmp_path, name):
    vectors = golden(name)
    (tmp_path / "config.json").write_text(json.dumps({"n_groups": 2}))
    found = imported(tmp_path, vectors, 20, 4)
    assert len(found.classes) == 8
    prior, given = found.prior, vectors["in.input_ids"]
    table = torch.cat((prior.code.weight, prior.conditioner.label.weight))
    with torch.no_grad():
        found_logits = prior.outputs(prior.through(table[given])[0], slice(0, 1))
    near(found_logits, vectors["out.logits"][..., :20], 3e-5)


# tokenizers -------------------------------------------------------------------------------------------------


def tokenizer_comes_back(found, tmp_path, file):
    """The run that it becomes reconstructs, and its file comes out as it went in."""
    run = adopt(found, tmp_path / "run")
    model = load(run)
    pictures = torch.rand(2, 3, model.size, model.size) * 2 - 1
    torch.testing.assert_close(
        model.reconstruct(pictures), found.tokenizer.decode(found.tokenizer.encode(pictures))
    )
    assert measured(model, tmp_path).psnr > 0
    (path,) = write_back(run, {"tokenizer": model.tokenizer}, tmp_path / "out")
    old, new = load_file(file), load_file(path)
    assert old.keys() == new.keys() and all(torch.equal(old[name], new[name]) for name in old)


def test_open_magvit2(tmp_path):
    vectors = golden("32_open_magvit2")
    file = written(tmp_path, weights_of(vectors))
    (tmp_path / "config.json").write_text(json.dumps({"commit_weight": 0.5}))
    found = import_files([file], Hints(size=8))
    x = vectors["in.x"].float()
    assert torch.equal(found.tokenizer.encode(x), vectors["out.indices"])
    assert found.tokenizer.quantizer.commitment == 0.5
    with torch.no_grad():
        near(found.tokenizer(x)[0], vectors["out.rec"], 2e-5)
    tokenizer_comes_back(found, tmp_path, file)


def test_ibq(tmp_path):
    """The quantizer is the reference's; the network around it is taming's."""
    vectors = golden("32_ibq")
    w = published.Weights()
    shape = {"widths": (32, 32), "blocks": 1, "attended": (False, False)}
    z = published.encode(w, published.TAMING, torch.zeros(1, 3, 8, 8).double(), latents=(4, 4), **shape)
    published.decode(w, published.TAMING, z, latents=(4, 4), **shape)
    weights = {name: value.float() for name, value in w.items()}
    weights["quantize.embedding.weight"] = vectors["weights.embedding.weight"].float()
    file = written(tmp_path, weights, "ibq.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"params": {"beta": 0.5}}))
    found = import_files([file], Hints(size=8), "ibq")
    quantizer = found.tokenizer.quantizer
    codes = quantizer.encode(vectors["in.z"].float())
    assert torch.equal(codes, vectors["out.indices"])
    near(quantizer.decode(codes), vectors["out.codebook_entry"])
    assert quantizer.codebook_weight == 0.5
    assert import_files([file], Hints(size=8)).tokenizer.config.quantizer == "vq"
    tokenizer_comes_back(found, tmp_path, file)


@pytest.mark.parametrize("name", ["30_titok", "30_titok_pixels"])
def test_titok(tmp_path, name):
    vectors = golden(name)
    file = written(tmp_path, weights_of(vectors))
    (tmp_path / "config.json").write_text(json.dumps({"model": {"vq_model": {"commitment_cost": 0.5}}}))
    found = import_files([file], Hints(heads=2))
    assert found.size == 8 and found.tokenizer.quantizer.commitment == 0.5
    codes = vectors["out.indices"][:, 0]
    assert torch.equal(found.tokenizer.encode(2 * vectors["in.x"].float() - 1), codes)
    decoded = 2 * vectors["out.decoded_from_tokens"] - 1
    near(found.tokenizer.decode(codes), decoded.clamp(-1, 1), 2e-5)
    tokenizer_comes_back(found, tmp_path, file)


def maskgit_block(w, name, x):
    """A residual block as published: its projection, where it has one, is of its own output."""

    def convolved(part, x):
        weight = w[f"{name}.{part}.weight"]
        return F.conv2d(x, weight, padding=weight.shape[-1] // 2)

    h = x
    for number in (1, 2):
        norm = f"{name}.norm{number}"
        h = F.group_norm(h, 32, w[f"{norm}.weight"], w[f"{norm}.bias"], 1e-6)
        h = convolved(f"conv{number}", h * h.sigmoid())
    return h + (convolved("nin_shortcut", h) if f"{name}.nin_shortcut.weight" in w else x)


def maskgit_weights(latents=4):
    """The smallest checkpoint of the published layout: levels of 32 and 64 channels, one block each."""
    torch.manual_seed(0)
    w = {}

    def layer(name, out, width, side=3, bias=True):
        w[f"{name}.weight"] = torch.randn(out, width, side, side) * (width * side**2) ** -0.5
        if bias:
            w[f"{name}.bias"] = 0.1 * torch.randn(out)

    def block(name, width, out):
        for number, (channels, given) in enumerate(((width, width), (out, out)), 1):
            w[f"{name}.norm{number}.weight"] = 1 + 0.1 * torch.randn(channels)
            w[f"{name}.norm{number}.bias"] = 0.1 * torch.randn(given)
        layer(f"{name}.conv1", out, width, bias=False)
        layer(f"{name}.conv2", out, out, bias=False)
        if width != out:
            layer(f"{name}.nin_shortcut", out, out, 1, bias=False)

    layer("encoder.conv_in", 32, 3, bias=False)
    block("encoder.down.0.block.0", 32, 32)
    block("encoder.down.1.block.0", 32, 64)
    layer("decoder.conv_in", 64, latents)
    for half, width in (("encoder", 64), ("decoder", 32)):
        block(f"{half}.mid.0", 64, 64)
        w[f"{half}.norm_out.weight"], w[f"{half}.norm_out.bias"] = torch.ones(width), torch.zeros(width)
    layer("encoder.conv_out", latents, 64, 1)
    block("decoder.up.1.block.0", 64, 64)
    layer("decoder.up.1.upsample_conv", 64, 64)
    block("decoder.up.0.block.0", 64, 32)
    layer("decoder.conv_out", 3, 32)
    w["quantize.embedding.weight"] = torch.randn(24, latents)
    return w


def maskgit_convolved(w, name, x):
    weight = w[f"{name}.weight"]
    return F.conv2d(x, weight, w.get(f"{name}.bias"), padding=weight.shape[-1] // 2)


def maskgit_ended(w, half, x):
    x = F.group_norm(x, 32, w[f"{half}.norm_out.weight"], w[f"{half}.norm_out.bias"], 1e-6)
    return maskgit_convolved(w, f"{half}.conv_out", x * x.sigmoid())


def maskgit_latents(w, x, halve=lambda x: F.avg_pool2d(x, 2)):
    """The published equations of the encoder, written apart."""
    z = maskgit_block(w, "encoder.down.0.block.0", maskgit_convolved(w, "encoder.conv_in", x))
    z = maskgit_block(w, "encoder.down.1.block.0", halve(z))
    return maskgit_ended(w, "encoder", maskgit_block(w, "encoder.mid.0", z))


def maskgit_pictures(w, y):
    """The published equations of the decoder, written apart."""
    y = maskgit_block(w, "decoder.mid.0", maskgit_convolved(w, "decoder.conv_in", y))
    y = maskgit_block(w, "decoder.up.1.block.0", y)
    y = maskgit_convolved(w, "decoder.up.1.upsample_conv", F.interpolate(y, scale_factor=2.0))
    y = maskgit_ended(w, "decoder", maskgit_block(w, "decoder.up.0.block.0", y))
    return (2 * y - 1).clamp(-1, 1)


def test_maskgit_vqgan(tmp_path):
    """There is no vector of its encoder: held against the published equations."""
    w, x = maskgit_weights(), torch.rand(2, 3, 8, 8)
    file = written(tmp_path, w)
    found = import_files([file], Hints(size=8))
    assert "tokenizer of maskgit_vqgan" in found.words[0]
    vectors = w["quantize.embedding.weight"]
    codes = torch.cdist(maskgit_latents(w, x).flatten(2).transpose(1, 2), vectors[None]).argmin(2)
    assert torch.equal(found.tokenizer.encode(2 * x - 1).flatten(1), codes)
    q = F.embedding(codes, vectors).transpose(1, 2).unflatten(2, (4, 4))
    near(found.tokenizer.decode(codes.view(2, 4, 4)), maskgit_pictures(w, q))
    tokenizer_comes_back(found, tmp_path, file)


def maskbit_names(w):
    """Weights under MaskBit's names: the decoder's levels from the coarsest, a convolution between two."""
    found = {}
    for name, value in w.items():
        new = name.replace("mid.", "mid.res_blocks.").replace("block.", "res_blocks.")
        if new.startswith("decoder.up."):
            new = f"decoder.up.{1 - int(new[11])}{new[12:]}"
        found[new] = value
    found["encoder.down.0.down_conv.weight"] = 0.1 * torch.randn(32, 32, 3, 3)
    found["encoder.down.0.down_conv.bias"] = 0.1 * torch.randn(32)
    del found["quantize.embedding.weight"]
    return found | {"quantize.bits_to_indices": 2 ** torch.arange(6, dtype=torch.int32)}


def test_maskbit_with_its_tokenizer(tmp_path):
    """Codes of six bits, the first channel the least, as two of three: held against the equations."""
    vectors, w, x = golden("33_maskbit"), maskgit_weights(latents=6), torch.rand(2, 3, 4, 4)
    named = maskbit_names(w)
    files = [
        written(tmp_path, named, "tokenizer.safetensors"),
        written(tmp_path, weights_of(vectors, "weights.lfq.")),
    ]
    found = import_files(files, Hints(heads=2, size=4))

    def halve(x):
        down = [named[f"encoder.down.0.down_conv.{kind}"] for kind in ("weight", "bias")]
        return F.conv2d(F.pad(x, (0, 1, 0, 1)), *down, stride=2)

    signs = torch.where(maskgit_latents(w, x, halve) > 0, 1, -1)
    bits = (signs > 0).unflatten(1, (2, 3)) * torch.tensor([1, 2, 4])[:, None, None]
    codes = found.tokenizer.encode(2 * x - 1)
    assert torch.equal(codes, bits.sum(2))
    near(found.tokenizer.decode(codes), maskgit_pictures(w, signs.float()))
    comes_back(found, tmp_path, files)


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("17_llamagen_vq", "llamagen"),
        ("18_diffusers_vqmodel", "diffusers"),
        ("18_diffusers_autoencoderkl", "diffusers"),
        ("20_dalle_dvae", "dalle"),
    ],
)
def test_tokenizers_alone_come_back(tmp_path, name, family):
    """Their reconstructions are compared in test_interop.py."""
    file = written(tmp_path, weights_of(golden(name)))
    groups = 4 if name.startswith("18_") else 32
    (tmp_path / "config.json").write_text(json.dumps({"norm_num_groups": groups}))
    tokenizer_comes_back(import_files([file], Hints(size=16), family), tmp_path, file)


LAWS = {
    "taming": test_taming,
    "mingpt": test_taming,
    "llamagen": test_tokenizers_alone_come_back,
    "diffusers": test_tokenizers_alone_come_back,
    "dalle": test_tokenizers_alone_come_back,
    "llamagen_gpt": test_llamagen,
    "llamagen_captions": test_llamagen_with_captions,
    "rar": test_rar,
    "image_bert": test_image_bert,
    "titok": test_titok,
    "maskgit_vqgan": test_maskgit_vqgan,
    "maskbit": test_maskbit_with_its_tokenizer,
    "maskbit_table": test_maskbit,
    "maskbit_tokenizer": test_maskbit_with_its_tokenizer,
    "aim": test_aim,
    "var": test_var_tokenizer_and_prior,
    "var_tokenizer": test_var_tokenizer_and_prior,
    "gpt2": test_language_models,
    "mamba": test_language_models,
    "mamba2": test_language_models,
    "open_magvit2": test_open_magvit2,
    "ibq": test_ibq,
}
"""Importer → the test in which it samples, scores, completes, is measured and comes back; tokenizers alone
reconstruct, are measured and come back."""


def test_every_importer_is_under_the_laws():
    assert LAWS.keys() == IMPORTERS.keys()
    assert all("comes_back(" in inspect.getsource(test) for test in LAWS.values())


# the guide's page -------------------------------------------------------------------------------------------


def test_the_page_does_what_it_says(tmp_path, monkeypatch, t5):
    """Every command of the page, with small files in the place of the published ones."""
    vectors = golden("17_llamagen_gpt")
    w = published.Weights()
    shape = {"widths": (32, 32), "blocks": 1, "attended": (False, False)}
    z = published.encode(w, published.LLAMAGEN, torch.zeros(1, 3, 6, 6).double(), latents=(4, 4), **shape)
    _, q = published.nearest(w, z, 20, unit=True)
    published.decode(w, published.LLAMAGEN, q, latents=(4, 4), **shape)
    written(tmp_path, {name: value.float() for name, value in w.items()}, "vq.safetensors")
    written(tmp_path, weights_of(vectors), "gpt.safetensors")
    w["quantize.embedding.weight"] = w["quantize.embedding.weight"][
        :12
    ]  # the prior over captions has 12 codes
    captioned = written(tmp_path, {name: value.float() for name, value in w.items()}, "vq_t2i.safetensors")
    written(tmp_path, weights_of(golden("31_llamagen_t2i")), "t2i.safetensors")
    own = grid(tmp_path, 9, 4)
    library_model("gpt2", True).save_pretrained(tmp_path / "model")
    source = bars_and_stripes(tmp_path / "pictures", count=20)
    page = (Path(__file__).parents[1] / "docs" / "checkpoints.md").read_text()
    monkeypatch.chdir(tmp_path)
    commands = [line for block in re.findall(r"```sh\n(.*?)```", page, re.S) for line in block.splitlines()]
    assert len(commands) == 7
    for command in commands:
        names = {"PICTURES": str(source), "OWN_RUN": str(own), "vq_t2i.pt": str(captioned)}
        names |= {
            "t2i.pt": str(tmp_path / "t2i.safetensors"),
            "flan-t5-xl": str(t5),
            "--size=256": "--size=6",
        }
        given = [names.get(word, word) for word in shlex.split(command)[1:]]
        assert main(given) == 0, command


# the commands, and mistakes ---------------------------------------------------------------------------------
def words(*parts):
    return [str(part) for part in parts]


def test_the_commands(tmp_path, capsys):
    """From two files to a run that every command takes, and back to files."""
    _, file = whole_taming(tmp_path)
    run, source = tmp_path / "run", bars_and_stripes(tmp_path / "pictures", count=20)
    assert main(words("import", file, "--heads", 2, "--classes", 4, "-o", run)) == 0
    said = capsys.readouterr().out
    assert "tokenizer of taming, prior of mingpt" in said and "2 layers of attention of 2 heads" in said
    assert main(words("sample", run, "-n", 2, "--label", 3, "-o", tmp_path / "new.png")) == 0
    assert main(words("evaluate", run, source)) == 0
    assert main(words("train", source, "-o", run, "--stage", "prior", "--resume", "--recipe", "tiny")) == 2
    assert "a prior that was trained elsewhere" in capsys.readouterr().err
    assert main(words("export", run, "--to", "original", "-o", tmp_path / "files")) == 0
    old, new = (torch.load(path)["state_dict"] for path in (file, tmp_path / "files" / "last.ckpt"))
    assert all(torch.equal(value, new[name]) for name, value in old.items())
    capsys.readouterr()
    assert main(words("export", grid(tmp_path, 9, 4), "--to", "original", "-o", tmp_path / "none")) == 2
    assert "a run that `caselli import` made was expected" in capsys.readouterr().err


def test_weights_that_no_longer_fit_the_files_are_not_written(tmp_path):
    _, file = whole_taming(tmp_path)
    run = adopt(import_files([file], Hints(heads=2)), tmp_path / "run")
    model = load(run)
    networks = {"tokenizer": model.tokenizer, "prior": model.prior}
    model.prior.conditioner.label.weight.data += 1
    with pytest.raises(UserError, match="no place for"):
        write_back(run, networks, tmp_path)


def mistaken(vectors):
    """Changes of the golden LlamaGen's weights → what is said."""
    whole = weights_of(vectors)
    without = {k: v for k, v in whole.items() if k != "layers.1.ffn_norm.weight"}
    return {
        "missing": (without, "1 missing weights: blocks.1.norm2.weight"),
        "extra": (whole | {"layers.0.attention.surprise": torch.ones(2)}, "1 unknown weights"),
        "shape": (whole | {"norm.weight": torch.ones(7)}, "1 misshapen weights: norm.weight"),
        "other": ({"a.weight": torch.ones(2)}, "no known network, such as a.weight"),
        "codes": (whole | {"tok_embeddings.weight": torch.ones(21, 16)}, "a prior over 21 codes"),
        "numbers": (whole | {"norm.weight": torch.full((16,), torch.nan)}, "no numbers: norm.weight"),
    }


def test_mistakes_are_one_line_and_nothing_is_written(tmp_path, capsys):
    vectors, tokenizer = golden("17_llamagen_gpt"), grid(tmp_path, 20, 3)
    out = ("-o", tmp_path / "run")

    def fails(*given):
        assert main(words("import", *given, *out)) == 2
        error = capsys.readouterr().err.strip().splitlines()
        assert len(error) == 1 and not (tmp_path / "run").exists()
        return error[0]

    for weights, said in mistaken(vectors).values():
        assert said in fails(written(tmp_path, weights), tokenizer, "--heads", 2)
    whole = written(tmp_path, weights_of(vectors))
    assert "a prior without its tokenizer" in fails(whole)
    assert "two tokenizers" in fails(whole, tokenizer, tokenizer)
    assert "2 files of llamagen_gpt" in fails(whole, whole, tokenizer)
    assert "3 heads and a width of 16" in fails(whole, tokenizer, "--heads", 3)
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(whole.read_bytes()[:3000])
    assert "cut short" in fails(cut, tokenizer)
    torch.save({"model": weights_of(vectors), "evil": Code()}, tmp_path / "evil.pt")
    assert "would run code" in fails(tmp_path / "evil.pt", tokenizer)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("name", "start", "given", "said"),
    [
        ("31_llamagen_t2i", "weights.", ("--text", "T5"), "a prior over 12 codes and a codebook of 20"),
        ("31_llamagen_t2i", "weights.", (), "a prior over captions was given without its text encoder"),
        ("33_maskbit", "weights.lfq.", (), "2 codebooks of 8 and a tokenizer of 1 of 20"),
        ("33_maskbit", "weights.bert.", (), "2 codebooks of 8 and a tokenizer of 1 of 20"),
    ],
)
def test_mistakes_with_captions_and_parts_of_codes(tmp_path, capsys, t5, name, start, given, said):
    weights, tokenizer = weights_of(golden(name), start), grid(tmp_path, 20, 3)
    given = [str(t5) if word == "T5" else word for word in given]

    def fails(path):
        assert main(words("import", path, tokenizer, "--heads", 2, *given, "-o", tmp_path / "run")) == 2
        error = capsys.readouterr().err.strip().splitlines()
        assert len(error) == 1 and not (tmp_path / "run").exists()
        return error[0]

    whole = written(tmp_path, weights)
    assert said in fails(whole)
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(whole.read_bytes()[:3000])
    assert "cut short" in fails(cut)
    torch.save({"model": weights, "evil": Code()}, tmp_path / "evil.pt")
    assert "would run code" in fails(tmp_path / "evil.pt") and not Path("ran").exists()


@pytest.mark.parametrize(
    ("name", "start"),
    [("31_llamagen_t2i", "weights."), ("33_maskbit", "weights.lfq."), ("33_maskbit", "weights.bert.")],
)
def test_weights_of_another_shape_or_none_are_named(tmp_path, t5, name, start):
    weights = weights_of(golden(name), start)
    tokenizer = bit_grid(tmp_path) if name == "33_maskbit" else grid(tmp_path, 12, 3)
    last = sorted(key for key, value in weights.items() if value.ndim == 1 and "norm" in key)[-1]
    for changed, said in (
        (weights | {last: torch.ones(7)}, "1 misshapen weights"),
        ({key: value for key, value in weights.items() if key != last}, "1 missing weights"),
        (weights | {"surprise.weight": torch.ones(2)}, "1 unknown weights"),
    ):
        with pytest.raises(UserError, match=said):
            import_files([written(tmp_path, changed), tokenizer], Hints(heads=2, text=str(t5)))


class Code:
    """An object whose pickle runs code in a careless reader."""

    def __reduce__(self):
        return (os.system, ("touch ran",))
