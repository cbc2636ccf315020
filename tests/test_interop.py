"""Checkpoints of others: every one reproduces its source, nothing in them is run, mistakes are one line."""

from __future__ import annotations

import argparse
import json
import os
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from caselli.cli import main
from caselli.errors import UserError
from caselli.interop import import_tokenizer
from caselli.model import load, load_tokenizer
from tests.pictures import TINY, bars_and_stripes, options
from tests.reference import published
from tests.reference.golden import FOLDER

VECTORS = {
    "16_taming_vqmodel": "taming",
    "17_llamagen_vq": "llamagen",
    "18_diffusers_vqmodel": "diffusers",
    "18_diffusers_autoencoderkl": "diffusers",
    "20_dalle_dvae": "dalle",
}


def vectors(name):
    """Of tests/golden, or, for those too large for it, of the folder that CASELLI_GOLDEN names."""
    folders = [FOLDER, Path(os.environ.get("CASELLI_GOLDEN", FOLDER))]
    found = [folder / f"{name}.safetensors" for folder in folders]
    path = next((path for path in found if path.exists()), None)
    if path is None:
        pytest.skip(f"{name}.safetensors is not in tests/golden; set CASELLI_GOLDEN to a folder with it")
    return load_file(path)


@pytest.mark.parametrize("name", VECTORS)
def test_published_vectors(name, tmp_path):
    golden = vectors(name)
    weights = {key[8:]: value for key, value in golden.items() if key.startswith("weights.")}
    save_file(weights, tmp_path / "weights.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"norm_num_groups": 4 if "18_" in name else 32}))
    found = import_tokenizer([tmp_path / "weights.safetensors"], VECTORS[name], size=16)
    x, expected = golden["in.x"], golden.get("out.reconstruction", golden.get("out.sample"))
    if name == "18_diffusers_autoencoderkl":
        expected = golden["out.sample_mode"]
    if name == "20_dalle_dvae":
        x, expected = 2 * golden["in.x01"] - 1, 2 * golden["out.rec"] - 1
    agrees(found.tokenizer, x, golden.get("out.indices"), expected)
    if "out.mean" in golden:
        codes = found.tokenizer.double().encode(x)
        assert (codes - golden["out.mean"]).abs().max() < 1e-10


def agrees(tokenizer, x, codes, pictures):
    """In float32 to what is asked for, in float64 to rounding."""
    for dtype, tolerance in ((torch.float32, 1e-5), (torch.float64, 1e-9)):
        own = tokenizer.to(dtype)
        with torch.no_grad():
            output, quantized = own(x.to(dtype))
        if codes is not None:
            assert torch.equal(quantized.codes.flatten(), codes.flatten())
            assert torch.equal(own.encode(x.to(dtype)), quantized.codes)
        bounded = output.clamp(-1, 1) if pictures.abs().max() <= 1 else output
        assert (bounded - pictures).abs().max() < tolerance * max(1, pictures.abs().max())
    tokenizer.float()


# the families, against arithmetic written apart -------------------------------------------------------------

WIDTHS, BLOCKS, ATTENDED = (32, 64, 64), 2, (False, False, True)
SHAPE = {"widths": WIDTHS, "blocks": BLOCKS, "attended": ATTENDED}


def invented(family, latents, quantize):
    """A random checkpoint of a family, with pictures, their codes and reconstructions."""
    w, x = published.Weights(), torch.rand(2, 3, 16, 16, dtype=torch.float64) * 2 - 1
    z = published.encode(w, family, x, latents=latents, **SHAPE)
    codes, q = quantize(w, z)
    return w, x, codes, published.decode(w, family, q, latents=latents, **SHAPE)


def taming():
    return invented(published.TAMING, (16, 16), lambda w, z: published.nearest(w, z, 24))


def test_taming_vqmodel(tmp_path):
    w, x, codes, y = taming()
    state = {
        **w,
        "loss.discriminator.main.0.weight": torch.zeros(3),
        "loss.perceptual_loss.lin0": torch.ones(1),
    }
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "last.ckpt")
    found = import_tokenizer([tmp_path / "last.ckpt"], "taming", size=16)
    config = found.tokenizer.config
    assert (config.factor, config.multipliers, config.blocks, config.attention) == (4, (1, 2, 2), 2, (4,))
    agrees(found.tokenizer, x, codes, y)


def test_taming_gumbelvq(tmp_path):
    w, x, codes, y = invented(published.TAMING, (16, 16), lambda w, z: published.likeliest(w, z, 24))
    torch.save({"state_dict": dict(w)}, tmp_path / "last.ckpt")
    agrees(import_tokenizer([tmp_path / "last.ckpt"], "taming", size=16).tokenizer, x, codes, y)


def test_what_a_trainer_leaves_beside_the_weights(tmp_path, monkeypatch):
    """Callbacks by their class, numbers of NumPy: neither library's code is needed, or run."""
    w, x, codes, y = taming()
    trainer = types.ModuleType("pytorch_lightning.callbacks")
    trainer.ModelCheckpoint = type("ModelCheckpoint", (), {"__module__": "pytorch_lightning.callbacks"})
    monkeypatch.setitem(sys.modules, "pytorch_lightning", types.ModuleType("pytorch_lightning"))
    monkeypatch.setitem(sys.modules, "pytorch_lightning.callbacks", trainer)
    beside = {
        "callbacks": {trainer.ModelCheckpoint: {"best": np.float64(3.5)}},
        "object": trainer.ModelCheckpoint(),
    }
    torch.save({"state_dict": dict(w), **beside}, tmp_path / "last.ckpt")
    monkeypatch.undo()
    agrees(import_tokenizer([tmp_path / "last.ckpt"], "taming", size=16).tokenizer, x, codes, y)


def test_latent_diffusion_kl_under_tamings_names(tmp_path):
    w, x = published.Weights(), torch.rand(2, 3, 16, 16, dtype=torch.float64) * 2 - 1
    moments = published.encode(w, published.TAMING, x, latents=(8, 8), **SHAPE)
    y = published.decode(w, published.TAMING, moments.chunk(2, 1)[0], latents=(4, 4), **SHAPE)
    torch.save(dict(w), tmp_path / "kl.pt")
    tokenizer = import_tokenizer([tmp_path / "kl.pt"], "taming", size=16).tokenizer
    agrees(tokenizer, x, None, y)
    with torch.no_grad():
        _, log_variance = tokenizer.double().quantizer._moments(tokenizer.encoder(x))
    assert (log_variance - moments.chunk(2, 1)[1].clamp(-30, 20)).abs().max() < 1e-9


def llamagen():
    return invented(published.LLAMAGEN, (16, 8), lambda w, z: published.nearest(w, z, 24, unit=True))


def test_llamagen_with_what_its_trainer_leaves_beside(tmp_path):
    w, x, codes, y = llamagen()
    state = {
        **{f"module.{name}": value for name, value in w.items()},
        "module.quantize.codebook_used": torch.zeros(9),
    }
    other = {name: torch.zeros_like(value) for name, value in state.items()}
    saved = {"model": other, "ema": state, "args": argparse.Namespace(commit_loss_beta=0.5), "steps": 7}
    torch.save(saved, tmp_path / "vq.pt")
    tokenizer = import_tokenizer([tmp_path / "vq.pt"], "llamagen", size=16).tokenizer
    agrees(tokenizer, x, codes, y)
    assert tokenizer.quantizer.commitment == 0.5 and tokenizer.quantizer.codebook_weight == 1.0


def dalle():
    w, x = published.Weights(), torch.rand(2, 3, 16, 16, dtype=torch.float64)
    codes, y = published.dalle(w, x, width=8, start=12, size=24, blocks=2)
    return w, 2 * x - 1, codes, 2 * y - 1


def test_dalle_in_one_file(tmp_path):
    w, x, codes, y = dalle()
    torch.save(dict(w), tmp_path / "dvae.pt")
    agrees(import_tokenizer([tmp_path / "dvae.pt"], "dalle", size=16).tokenizer, x, codes, y)


def test_dalle_as_two_pickled_modules(tmp_path, monkeypatch):
    """As OpenAI published it: whole modules of a package that need not be installed to read them."""
    w, x, codes, y = dalle()
    package = types.ModuleType("dall_e")
    monkeypatch.setitem(sys.modules, "dall_e", package)

    class Part(nn.Module):
        pass

    Part.__module__, Part.__qualname__, package.Part = "dall_e", "Part", Part
    for half in ("encoder", "decoder"):
        root = Part()
        for name, value in w.items():
            if name.startswith(half):
                *path, last = name.split(".")[1:]
                module = root
                for step in path:
                    if step not in module._modules:
                        module.add_module(step, nn.Sequential() if step == "res_path" else Part())
                    module = module._modules[step]
                module.register_parameter(last, nn.Parameter(value))
        torch.save(root, tmp_path / f"{half}.pkl")
    monkeypatch.delitem(sys.modules, "dall_e")
    for order in (("encoder", "decoder"), ("decoder", "encoder")):
        files = [tmp_path / f"{half}.pkl" for half in order]
        agrees(import_tokenizer(files, "dalle", size=16).tokenizer, x, codes, y)


DIFFUSERS = {
    "down_block_types": ("DownEncoderBlock2D", "AttnDownEncoderBlock2D"),
    "up_block_types": ("AttnUpDecoderBlock2D", "UpDecoderBlock2D"),
    "block_out_channels": (8, 12),
    "layers_per_block": 2,
    "latent_channels": 4,
    "norm_num_groups": 4,
}


def saved(model, folder):
    """Written as the library writes it, then in float64 for the comparison."""
    model.eval().save_pretrained(folder)
    return model.double(), torch.rand(2, 3, 16, 16, dtype=torch.float64) * 2 - 1


@pytest.mark.parametrize("extra", [{}, {"vq_embed_dim": 6}], ids=str)
def test_diffusers_vqmodel(tmp_path, extra):
    library = pytest.importorskip("diffusers")
    built = library.VQModel(**DIFFUSERS, num_vq_embeddings=24, **extra)
    built.quantize.embedding.weight.data.normal_()
    model, x = saved(built, tmp_path)
    with torch.no_grad():
        quantized, _, (_, _, codes) = model.quantize(model.encode(x).latents)
        y = model.decoder(model.post_quant_conv(quantized))
    tokenizer = import_tokenizer([tmp_path], "diffusers", size=16).tokenizer
    assert tokenizer.config.attention == (2,) and tokenizer.config.width == 4
    agrees(tokenizer, x, codes, y)


@pytest.mark.parametrize(
    "extra",
    [{}, {"use_quant_conv": False, "use_post_quant_conv": False}, {"mid_block_add_attention": False}],
    ids=str,
)
def test_diffusers_autoencoderkl(tmp_path, extra):
    library = pytest.importorskip("diffusers")
    model, x = saved(library.AutoencoderKL(**DIFFUSERS, **extra, sample_size=16), tmp_path)
    with torch.no_grad():
        mode = model.encode(x).latent_dist.mode()
        y = model.decode(mode).sample
    found = import_tokenizer([tmp_path], "diffusers")
    assert found.size == 16
    agrees(found.tokenizer, x, None, y)
    assert (found.tokenizer.double().encode(x) - mode).abs().max() < 1e-9


def test_diffusers_attention_as_it_was_once_named(tmp_path):
    library = pytest.importorskip("diffusers")
    model, _ = saved(library.VQModel(**DIFFUSERS, num_vq_embeddings=24), tmp_path)
    names = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    old = {}
    for name, value in model.float().state_dict().items():
        for new, before in names.items():
            name = name.replace(f".{new}.", f".{before}.")
        old[name] = value
    torch.save(old, tmp_path / "old.bin")
    now, then = (import_tokenizer([f], "diffusers", 16).tokenizer for f in (tmp_path, tmp_path / "old.bin"))
    assert now.fingerprint() == then.fingerprint()


def test_a_wrong_number_of_groups_is_found_before_it_is_used(tmp_path):
    library = pytest.importorskip("diffusers")
    saved(library.VQModel(**DIFFUSERS, num_vq_embeddings=24), tmp_path)
    (tmp_path / "config.json").unlink()
    with pytest.raises(UserError, match="--groups"):
        import_tokenizer([tmp_path], "diffusers", size=16)
    assert import_tokenizer([tmp_path], "diffusers", size=16, groups=4).size == 16


# the command, and the run it makes --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("checkpoint")
    for name, family in (("taming", taming), ("llamagen", llamagen)):
        torch.save({"state_dict": dict(family()[0])}, folder / f"{name}.ckpt")
    return folder


def words(*parts):
    return [str(part) for part in parts]


@pytest.mark.parametrize("family", ["taming", "llamagen"])
def test_a_run_of_an_imported_tokenizer_round_trips(checkpoint, tmp_path, family):
    file, run = checkpoint / f"{family}.ckpt", tmp_path / "run"
    assert main(words("import", file, "--from", family, "--size", 16, "-o", run)) == 0
    tokenizer, size = load_tokenizer(run)
    imported = import_tokenizer([file], family, size=16).tokenizer
    assert size == 16 and tokenizer.fingerprint() == imported.fingerprint()
    assert tokenizer.config == imported.config


def test_every_command_and_a_prior_on_an_imported_tokenizer(checkpoint, tmp_path, capsys):
    source, run = bars_and_stripes(tmp_path / "pictures"), tmp_path / "run"
    assert main(words("import", checkpoint / "taming.ckpt", "--from", "taming", "--size", 16, "-o", run)) == 0
    codes = tmp_path / "codes.safetensors"
    assert main(words("encode", run, source, "-o", codes)) == 0
    assert main(words("decode", run, codes, "-o", tmp_path / "decoded")) == 0
    assert main(words("reconstruct", run, source, "-o", tmp_path / "pairs.png")) == 0
    assert main(words("evaluate", run, source)) == 0
    before = (run / "tokenizer.safetensors").read_bytes()
    prior = {name: value for name, value in TINY.items() if not name.startswith("tokenizer.")}
    train = words("train", source, "-o", run, "--recipe", "tiny", "--stage", "prior", "--resume")
    short = [*train, "--steps", "2", *options(prior)]
    assert main([*short, "--tokenizer.width", "8"]) == 2
    assert main([*short, "--size", "32"]) == 2
    assert "trained elsewhere" in capsys.readouterr().err
    assert main(short) == 0
    assert main(short) == 0  # the run is an ordinary one now
    assert load(run).sample(2).shape == (2, 3, 16, 16)
    assert (run / "tokenizer.safetensors").read_bytes() == before
    assert (run / "report.html").exists()
    assert main(words("import", checkpoint / "taming.ckpt", "--from", "taming", "-o", run)) == 2
    again = words("import", checkpoint / "llamagen.ckpt", "--from", "llamagen", "--size", 16, "-o", run)
    assert main([*again, "--overwrite"]) == 0
    assert load(run).prior is None


def test_latents_without_a_codebook_are_no_codes(tmp_path, capsys):
    w = published.Weights()
    shape = {"widths": (32, 32), "blocks": 1, "attended": (False, False)}
    published.encode(w, published.TAMING, torch.zeros(1, 3, 16, 16).double(), latents=(8, 8), **shape)
    published.decode(w, published.TAMING, torch.zeros(1, 4, 8, 8).double(), latents=(4, 4), **shape)
    torch.save(dict(w), tmp_path / "kl.ckpt")
    source, run = bars_and_stripes(tmp_path / "pictures", count=20), tmp_path / "run"
    given = words("import", tmp_path / "kl.ckpt", "--from", "taming", "--size", 16, "-o", run)
    assert main(given) == 0
    assert main(words("reconstruct", run, source, "-o", tmp_path / "pairs.png")) == 0
    assert main(words("evaluate", run, source)) == 0
    capsys.readouterr()
    assert main(words("encode", run, source, "-o", tmp_path / "codes.safetensors")) == 2
    assert "'gaussian'" in capsys.readouterr().err


# mistakes ---------------------------------------------------------------------------------------------------


class Code:
    """An object whose pickle runs code in a careless reader."""

    def __reduce__(self):
        return (os.system, ("touch ran",))


def fails(capsys, *given):
    assert main(words("import", *given)) == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert len(error) == 1 and error[0].startswith("caselli: ")
    return error[0]


def test_code_in_a_file_is_not_run(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": {"a": torch.zeros(1)}, "hyper": Code()}, tmp_path / "evil.ckpt")
    line = fails(capsys, "evil.ckpt", "--from", "taming", "-o", "run")
    assert "system" in line and "would run code" in line
    assert not (tmp_path / "ran").exists() and not (tmp_path / "run").exists()


def test_code_in_a_file_of_the_old_format_is_not_run(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"hyper": Code()}, tmp_path / "evil.pt", _use_new_zipfile_serialization=False)
    assert "no checkpoint" in fails(capsys, "evil.pt", "--from", "taming", "-o", "run")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("suffix", [".ckpt", ".safetensors", ".txt"])
def test_a_truncated_file(capsys, checkpoint, tmp_path, suffix):
    path = tmp_path / f"cut{suffix}"
    if suffix == ".safetensors":
        save_file({"a": torch.zeros(1000)}, path)
        path.write_bytes(path.read_bytes()[:500])
    else:
        path.write_bytes((checkpoint / "taming.ckpt").read_bytes()[:5000] if suffix == ".ckpt" else b"words")
    assert "cut short" in fails(capsys, path, "--from", "taming", "-o", tmp_path / "run")


def test_the_wrong_family_and_none(capsys, checkpoint, tmp_path):
    out = ("-o", tmp_path / "run")
    file = checkpoint / "llamagen.ckpt"
    assert "try --from llamagen" in fails(capsys, file, "--from", "taming", *out)
    assert "did you mean taming" in fails(capsys, file, "--from", "tamming", *out)
    assert "there is no file" in fails(capsys, tmp_path / "none.pt", "--from", "taming", *out)
    assert "is a folder" in fails(capsys, tmp_path, "--from", "diffusers", *out)
    assert "2 files" in fails(capsys, file, file, "--from", "llamagen", *out)
    assert "a size that 4 divides" in fails(capsys, file, "--from", "llamagen", "--size", 30, *out)
    assert "size -4" in fails(capsys, file, "--from", "llamagen", "--size", -4, *out)
    assert "groups 0" in fails(capsys, file, "--from", "llamagen", "--groups", 0, *out)
    torch.save({"epoch": 3}, tmp_path / "empty.ckpt")
    assert "holds no weights" in fails(capsys, tmp_path / "empty.ckpt", "--from", "taming", *out)
    assert not (tmp_path / "run").exists()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "letter.txt").write_text("mine")
    given = (file, "--from", "llamagen", "--size", 16, *out)
    assert "exists already" in fails(capsys, *given)
    assert "other files" in fails(capsys, *given, "--overwrite")


@pytest.mark.parametrize(
    "name",
    [
        "encoder.down.1.block.0.conv2.weight",
        "encoder.conv_in.weight",
        "decoder.conv_in.weight",
        "encoder.down.2.attn.0.k.weight",
        "quantize.embedding.weight",
    ],
)
def test_a_missing_weight(checkpoint, tmp_path, name):
    state = torch.load(checkpoint / "taming.ckpt")["state_dict"]
    del state[name]
    torch.save(state, tmp_path / "lacking.pt")
    with pytest.raises(UserError, match=r"missing|twice as many"):
        import_tokenizer([tmp_path / "lacking.pt"], "taming", size=16)


def test_an_unknown_and_a_misshapen_weight(checkpoint, tmp_path):
    state = torch.load(checkpoint / "taming.ckpt")["state_dict"]
    for change, word in (
        ({"encoder.surprise": torch.zeros(1)}, "unknown weights: encoder.surprise"),
        ({"encoder.mid.block_1.extra.weight": torch.zeros(1)}, "unknown weights"),
        ({"encoder.norm_out.weight": torch.zeros(7)}, "misshapen weights"),
    ):
        torch.save(state | change, tmp_path / "changed.pt")
        with pytest.raises(UserError, match=word):
            import_tokenizer([tmp_path / "changed.pt"], "taming", size=16)


def test_dalle_without_its_decoder(tmp_path):
    w, *_ = dalle()
    torch.save({n: v for n, v in w.items() if n.startswith("encoder.")}, tmp_path / "half.pt")
    with pytest.raises(UserError, match="missing"):
        import_tokenizer([tmp_path / "half.pt"], "dalle", size=16)
