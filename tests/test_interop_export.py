"""Exported programs do what the tokenizer does, for any batch; mistakes are one line."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from jaxtyping import config
from PIL import Image

from caselli.cli import main
from caselli.errors import MissingExtra, UserError
from caselli.interop import TARGETS, Exportable
from caselli.interop.export import Encoding, Programs, _compare
from caselli.mixer import MIXERS
from caselli.mixer.parts import RecurrentMixer
from caselli.model import build_prior, load, save_prior, save_tokenizer
from caselli.prior import Conditions, PriorConfig, vocabulary_of
from caselli.sampling import Sampling, sample
from caselli.slim import quantise
from caselli.tokenizer import Tokenizer, TokenizerConfig
from caselli.weights import UNCOMPRESSED
from tests.conformance.cases_tokenizer import LEARNED, OPTIONS, SMALL


@pytest.fixture(autouse=True)
def _without_checks_of_annotations():
    """While a graph is traced a batch is a symbol, which the checker of annotations takes for no int."""
    config.update("jaxtyping_disable", True)
    yield
    config.update("jaxtyping_disable", False)


def built(name, **changes):
    torch.manual_seed(0)
    given = {**SMALL, "architecture_options": OPTIONS.get(name, {}), **changes}
    return Tokenizer(TokenizerConfig(architecture=name, **given)).eval()


def needs(form):
    for library in TARGETS[form].libraries:
        pytest.importorskip(library)


@pytest.mark.parametrize(
    "name", ["vit", *(pytest.param(n, marks=pytest.mark.slow) for n in LEARNED if n != "vit")]
)
def test_torch_program_of_every_architecture(name, tmp_path):
    tokenizer = built(name)
    found = TARGETS["torch"]().tokenizer(tokenizer, 16, tmp_path)
    assert found.differing == 0 and found.largest_difference < 1e-5
    program = torch.export.load(found.encoder).module()
    pictures = torch.rand(5, 3, 16, 16) * 2 - 1
    assert torch.equal(program(pictures), tokenizer.encode(pictures))


CASES = [
    pytest.param("convolutional", {}, marks=pytest.mark.slow),
    pytest.param("vit", {}, marks=pytest.mark.slow),
    pytest.param("vqgan", {}, marks=pytest.mark.slow),
    pytest.param("dvae", {"quantizer": "gumbel"}, marks=pytest.mark.slow),
    *(
        pytest.param(
            "convolutional", {"quantizer": quantizer, "quantizer_options": given}, marks=pytest.mark.slow
        )
        for quantizer, given in (
            ("fsq", {}),
            ("lfq", {}),
            ("bsq", {}),
            ("ibq", {}),
            ("simvq", {}),
            ("residual", {}),
            ("grouped", {}),
            ("multi_head", {}),
            ("multi_scale", {}),
            ("gaussian", {}),
            ("identity", {}),
        )
    ),
]


@pytest.mark.parametrize(("name", "changes"), CASES)
def test_onnx_program(name, changes, tmp_path):
    needs("onnx")
    from onnxruntime import InferenceSession

    tokenizer = built(name, **changes)
    found = TARGETS["onnx"]().tokenizer(tokenizer, 16, tmp_path)
    assert found.differing <= 1 and found.largest_difference < 1e-5
    pictures = torch.rand(5, 3, 16, 16) * 2 - 1
    encoder, decoder = (InferenceSession(str(path)) for path in (found.encoder, found.decoder))
    (codes,) = encoder.run(None, {"pictures": pictures.numpy()})
    (output,) = decoder.run(None, {"codes": codes})
    assert (torch.from_numpy(output) - tokenizer.decode(torch.from_numpy(codes))).abs().max() < 1e-5
    described = json.loads((tmp_path / "programs.json").read_text())
    assert described["codes"]["shape"][1:] == list(codes.shape[1:])
    assert described["codes"]["type"] == str(codes.dtype)
    assert described["fingerprint"] == tokenizer.fingerprint()


def test_the_command(tmp_path, capsys):
    run, out = tmp_path / "run", tmp_path / "programs"
    save_tokenizer(built("convolutional"), run, 16)
    given = ["export", str(run), "--to", "torch", "-o", str(out)]
    assert main(given) == 0
    assert "0 of 64 codes differ" in capsys.readouterr().out
    assert sorted(path.name for path in out.iterdir()) == ["decoder.pt2", "encoder.pt2", "programs.json"]
    assert main(given) == 2
    assert "exists already" in capsys.readouterr().err
    assert main(["export", str(run), "--to", "onx", "-o", str(tmp_path / "x")]) == 2
    assert "did you mean onnx" in capsys.readouterr().err


# the prior's step ------------------------------------------------------------------------------------------

RECURRENT = [name for name, kind in MIXERS.items() if issubclass(kind, RecurrentMixer)]


def run_with_prior(folder, mixer="attention", text=None, **changes):
    """A run with labels, and captions by a vocabulary if given, its prior as sure as a trained one."""
    tokenizer = built("convolutional")
    save_tokenizer(tokenizer, folder, 16)
    torch.manual_seed(1)
    config = PriorConfig(mixer=mixer, width=16, depth=changes.pop("depth", 1), **changes)
    prior, _ = build_prior(config, tokenizer, 16, 3, text)
    torch.nn.init.normal_(prior.head.weight)
    made = quantise(prior, "int8") if changes.get("expansion") == 16 else UNCOMPRESSED
    save_prior(prior.eval(), folder, tokenizer.fingerprint(), "abc", made)
    return folder


def drawn_elsewhere(folder, words=""):
    """Codes that the shipped script draws, in a process without torch."""
    code = (
        f"import sys; sys.path.insert(0, {str(folder)!r}); import numpy, sample; "
        f"numpy.save({str(folder / 'codes.npy')!r}, sample.sample([0, 2, 1, -1], 7{words})); "
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    return torch.from_numpy(np.load(folder / "codes.npy"))


@pytest.mark.parametrize(
    "mixer", ["attention", *(pytest.param(n, marks=pytest.mark.slow) for n in ["local", *RECURRENT])]
)
def test_the_step_in_onnx_draws_the_same_codes(mixer, tmp_path, capsys):
    needs("onnx")
    run, out = run_with_prior(tmp_path / "run", mixer, depth=2, expansion=16), tmp_path / "out"
    assert main(["export", str(run), "-o", str(out)]) == 0
    assert "logits differ by up to" in (said := capsys.readouterr().out)
    assert "less by weights in int8" in said
    model, labels = load(run), torch.tensor([0, 2, 1, -1])
    for words, options in (("", {}), (", 0.7, 5, 2.0", {"temperature": 0.7, "top_k": 5, "guidance": 2.0})):
        own = sample(model.prior, labels, [7, 8, 9, 10], Sampling(**options))
        assert torch.equal(drawn_elsewhere(out, words), model.order.restore(own, model.grid))
    words = [sys.executable, str(out / "sample.py"), "-n", "3", "--label", "b", "-o", str(out / "new.png")]
    subprocess.run(words, check=True)
    assert Image.open(out / "new.png").size == (8 * 16, 16)
    assert len((out / "sample.py").read_text().splitlines()) <= 110


def test_a_prior_without_a_step_is_left_out(tmp_path, monkeypatch):
    run = run_with_prior(tmp_path / "run", kind="masked")
    monkeypatch.setattr(Programs, "write", lambda self, run, folder: "both halves")
    given = Exportable(run, {})
    assert "kind masked does not go code by code" in TARGETS["onnx"]().write(given, tmp_path / "out")
    run = run_with_prior(tmp_path / "other", "forgetting")
    assert "ForgettingAttention has no fixed size" in TARGETS["onnx"]().write(Exportable(run, {}), tmp_path)


# diffusers --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes", [{}, {"attention": (2,), "quantizer_options": {"code_width": 4}}], ids=str
)
def test_diffusers_opens_the_folder(changes, tmp_path, capsys):
    library = pytest.importorskip("diffusers")
    options = {"codebook_size": 16, **changes.pop("quantizer_options", {})}
    changes |= {"width": 32, "architecture_options": {"groups": 8}, "quantizer_options": options}
    tokenizer, run, out = built("vqgan", **changes), tmp_path / "run", tmp_path / "out"
    save_tokenizer(tokenizer, run, 16)
    assert main(["export", str(run), "--to", "diffusers", "-o", str(out)]) == 0
    assert "pictures differ from the run's by up to" in capsys.readouterr().out
    model, x = library.VQModel.from_pretrained(out), torch.rand(2, 3, 16, 16) * 2 - 1
    with torch.no_grad():
        assert (model(x).sample.clamp(-1, 1) - tokenizer.decode(tokenizer.encode(x))).abs().max() < 1e-5


def test_what_diffusers_has_not_is_one_line(tmp_path, capsys):
    for name, changes in (("convolutional", {}), ("vqgan", {"quantizer_options": {"distance": "cosine"}})):
        run = tmp_path / name
        save_tokenizer(built(name, **changes), run, 16)
        assert main(["export", str(run), "--to", "diffusers", "-o", str(tmp_path / "out")]) == 2
        assert "try --to onnx" in capsys.readouterr().err
        assert not (tmp_path / "out").exists()


def test_without_the_libraries(monkeypatch, tmp_path):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"onnx, which is not installed; pip install 'caselli\[export\]'"):
        TARGETS["onnx"]().tokenizer(built("convolutional"), 16, tmp_path)


def test_a_program_that_differs_is_removed(monkeypatch, tmp_path):
    tokenizer = built("convolutional")
    forward = Encoding.forward
    monkeypatch.setattr(Encoding, "forward", lambda self, pictures: 15 - forward(self, pictures))
    with pytest.raises(UserError, match="differ from the tokenizer in"):
        TARGETS["torch"]().tokenizer(tokenizer, 16, tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_comparison_counts():
    tokenizer = built("convolutional")

    def one_wrong(pictures):
        codes = tokenizer.encode(pictures)
        codes[0, 0, 0] = 15 - codes[0, 0, 0]
        return codes

    assert _compare(tokenizer, 16, one_wrong, tokenizer.decode) == (64, 2, 0.0)
    assert _compare(tokenizer, 16, tokenizer.encode, lambda c: tokenizer.decode(c) + 1)[2] == pytest.approx(1)


def test_what_cannot_be_traced_is_one_line(tmp_path):
    tokenizer = built("convolutional")
    tokenizer.encoder.forward = lambda pictures: pictures if pictures.sum() > 0 else -pictures
    tokenizer.encode = lambda pictures: torch.zeros(2, 4, 4, dtype=torch.int64)
    with pytest.raises(UserError, match="cannot be made a program"):
        TARGETS["torch"]().tokenizer(tokenizer, 16, tmp_path)


@pytest.mark.parametrize("name", ["bytes", "words", "pieces"])
def test_a_prior_with_captions_is_a_program(name, tmp_path, capsys):
    """Its own check compares the logits of captions, and of none; the script draws the same codes."""
    needs("onnx")
    text = vocabulary_of(name, 12, "", ["a red heart", "red and blue"])
    run, out = tmp_path / "run", tmp_path / "programs"
    run_with_prior(run, text=text, text_width=16, text_depth=1)
    assert main(["export", str(run), "--to", "onnx", "-o", str(out)]) == 0
    assert "logits differ by up to" in capsys.readouterr().out
    model, caption = load(run), "A reddish heart, blue"
    told = Conditions(torch.tensor([0, 2, 1, -1]), text.encode([caption] * 4))
    own = sample(model.prior, told, [7, 8, 9, 10], Sampling(guidance=2.0))
    words = f", 1.0, 0, 2.0, {caption!r}"
    assert torch.equal(drawn_elsewhere(out, words), model.order.restore(own, model.grid))
