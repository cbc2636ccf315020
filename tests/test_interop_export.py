"""Exported programs do what the tokenizer does, for any batch; mistakes are one line."""

from __future__ import annotations

import importlib.util
import json

import pytest
import torch
from jaxtyping import config

from caselli.cli import main
from caselli.errors import MissingExtra, UserError
from caselli.interop import EXPORTERS, export_tokenizer
from caselli.interop.export import Encoding, _compare
from caselli.model import save_tokenizer
from caselli.tokenizer import Tokenizer, TokenizerConfig
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
    for library in EXPORTERS[form].libraries:
        pytest.importorskip(library)


@pytest.mark.parametrize(
    "name", ["vit", *(pytest.param(n, marks=pytest.mark.slow) for n in LEARNED if n != "vit")]
)
def test_torch_program_of_every_architecture(name, tmp_path):
    tokenizer = built(name)
    found = export_tokenizer(tokenizer, 16, tmp_path, "torch")
    assert found.differing == 0 and found.largest_difference < 1e-5
    program = torch.export.load(found.encoder).module()
    pictures = torch.rand(5, 3, 16, 16) * 2 - 1
    assert torch.equal(program(pictures), tokenizer.encode(pictures))


CASES = [
    ("convolutional", {}),
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
    found = export_tokenizer(tokenizer, 16, tmp_path, "onnx")
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


def test_without_the_libraries(monkeypatch, tmp_path):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"onnx, which is not installed; pip install 'caselli\[export\]'"):
        export_tokenizer(built("convolutional"), 16, tmp_path, "onnx")


def test_a_program_that_differs_is_removed(monkeypatch, tmp_path):
    tokenizer = built("convolutional")
    forward = Encoding.forward
    monkeypatch.setattr(Encoding, "forward", lambda self, pictures: 15 - forward(self, pictures))
    with pytest.raises(UserError, match="differ from the tokenizer in"):
        export_tokenizer(tokenizer, 16, tmp_path, "torch")
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
        export_tokenizer(tokenizer, 16, tmp_path, "torch")
