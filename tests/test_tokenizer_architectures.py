"""Every architecture under the tokenizer's laws; codes on one axis as far as the samples."""

from __future__ import annotations

import json
import math

import pytest
import torch

from caselli.cli import main
from caselli.data import Batch, to_bytes, to_float
from caselli.errors import UserError
from caselli.model import Model, grid_of, load, load_tokenizer, save_tokenizer
from caselli.model.files import save_model
from caselli.order import ORDERS, Grid
from caselli.tokenizer import Tokenizer, TokenizerConfig, TokenizerTask
from caselli.tokenizer.build import build
from tests.conformance.cases_tokenizer import LEARNED, OPTIONS, SMALL
from tests.pictures import TINY, bars_and_stripes, options

every = pytest.mark.parametrize("name", LEARNED)


def tokenizer(name, **changes):
    torch.manual_seed(0)
    given = {**SMALL, "architecture_options": OPTIONS.get(name, {}), **changes}
    return Tokenizer(TokenizerConfig(architecture=name, **given))


@every
@pytest.mark.parametrize("factor", [1, 2, 8])
@pytest.mark.parametrize("channels", [1, 3])
def test_sizes(name, factor, channels):
    model = tokenizer(name, factor=factor, patch=1, channels=channels).eval()
    pictures = torch.rand(2, channels, 16, 16) * 2 - 1
    codes = model.encode(pictures)
    assert codes.dtype == torch.int64 and codes.shape[1:] == model.code_shape((16, 16))
    assert model.decode(codes).shape == pictures.shape
    assert model.decode(codes).abs().max() <= 1
    assert model.report((16, 16)).codes == codes[0].numel()


@every
def test_encode_decode_is_the_evaluation_output(name):
    model = tokenizer(name).eval()
    pictures = torch.rand(2, 3, 16, 16) * 2 - 1
    with torch.no_grad():
        output, quantized = model(pictures)
    assert torch.equal(model.encode(pictures), quantized.codes)
    assert torch.allclose(model.decode(quantized.codes), output.clamp(-1, 1), atol=1e-6)


@every
@pytest.mark.parametrize("quantizer", ["vq", "residual", "gumbel"])
def test_every_parameter_gets_a_gradient(name, quantizer):
    task = TokenizerTask(tokenizer(name, quantizer=quantizer, quantizer_options={}, width=16, attention=(4,)))
    batch = Batch(torch.rand(4, 3, 16, 16) * 2 - 1, None, None, torch.arange(4))
    for _ in range(2):  # the second step: a zero-initialised layer has passed on its first gradient
        task(batch, 0).total.backward()
        with torch.no_grad():
            for parameter in task.parameters():
                parameter.add_(torch.randn_like(parameter), alpha=1e-3)
    missing = [n for n, p in task.named_parameters() if p.grad is None or not p.grad.any()]
    assert not missing


@every
def test_learns(name):
    """A few steps on one batch: the pictures come nearer."""
    model = tokenizer(name, width=16)
    pictures = torch.nn.functional.interpolate(torch.rand(8, 3, 4, 4) * 2 - 1, 16)
    optimiser = torch.optim.Adam(model.parameters(), 3e-3)
    errors = []
    for _ in range(40):
        output, quantized = model(pictures)
        error = (output - pictures).square().mean()
        optimiser.zero_grad()
        (error + quantized.loss).backward()
        optimiser.step()
        errors.append(error.item())
    assert errors[-1] < 0.7 * errors[0]


@every
def test_saved_and_loaded(name, tmp_path):
    model = tokenizer(name)
    save_tokenizer(model, tmp_path, 16)
    again, size = load_tokenizer(tmp_path)
    assert size == 16 and again.config == model.config and again.fingerprint() == model.fingerprint()


def test_a_description_from_before_there_were_architectures(tmp_path):
    model = tokenizer("convolutional")
    save_tokenizer(model, tmp_path, 16)
    described = json.loads((tmp_path / "tokenizer.json").read_text())
    for field in ("architecture", "architecture_options", "size"):
        del described["config"][field]
    (tmp_path / "tokenizer.json").write_text(json.dumps(described))
    assert load_tokenizer(tmp_path)[0].fingerprint() == model.fingerprint()


def test_mistakes_are_named():
    with pytest.raises(UserError, match="did you mean vit"):
        tokenizer("vitt")
    with pytest.raises(UserError, match=r"option tokns .* tokens, model_width"):
        tokenizer("vit", architecture_options={"tokns": 3})
    with pytest.raises(UserError, match="it has no options"):
        tokenizer("convolutional", architecture_options={"groups": 3})
    with pytest.raises(UserError, match="size 0 was given to the vit"):
        tokenizer("vit", size=0)
    with pytest.raises(UserError, match="16×16 was expected"):
        tokenizer("vit").encode(torch.zeros(1, 3, 32, 32))
    with pytest.raises(UserError, match="heads 3"):
        tokenizer("vit", architecture_options={"heads": 3, "model_width": 16})
    with pytest.raises(UserError, match="at least 1 of each"):
        tokenizer("vit", architecture_options={"tokens": 0})
    with pytest.raises(UserError, match="8 channels and 32 groups"):
        tokenizer("vqgan", architecture_options={})
    for name in ("vqgan", "dvae"):
        with pytest.raises(UserError, match="blocks 0"):
            tokenizer(name, blocks=0)


def test_the_published_vqgan_has_as_many_weights():
    """f16: 71.9 million numbers in 342 tensors, three for each attention's queries, keys and values."""
    config = TokenizerConfig(
        architecture="vqgan", factor=16, width=128, multipliers=(1, 1, 2, 2, 4), patch=1, blocks=2,
        attention=(16,), latent_width=256,
    )  # fmt: skip
    with torch.device("meta"):
        parts = [build(config).encoder(config), build(config).decoder(config)]
    parameters = [(n, p) for part in parts for n, p in part.named_parameters()]
    fused = sum("query_key_value" in name for name, _ in parameters)
    assert len(parameters) + 2 * fused == 342  # without the codebook
    assert round(sum(p.numel() for _, p in parameters) / 1e6, 1) == 71.9


def test_the_far_edge_alone_is_padded():
    """A published VQGAN's output at the far corner sees zeros; at the near one it does not."""
    model = tokenizer("vqgan").eval()
    convolution = model.encoder.levels[0].resample
    x = torch.ones(1, 8, 4, 4)
    with torch.no_grad():
        convolution.convolution.weight.fill_(1.0)
        convolution.convolution.bias.zero_()
    assert convolution(x)[0, 0].tolist() == [[72.0, 48.0], [48.0, 32.0]]


# codes on one axis ------------------------------------------------------------------------------------------


def test_flat_grids():
    flat = Grid(1, 6, flat=True)
    codes = torch.arange(12).view(2, 6)
    for order in ORDERS.values():
        assert torch.equal(order().restore(order().flatten(codes, flat), flat), codes)
    assert Grid(1, 6, 2, flat=True).shape == (2, 6)
    with pytest.raises(UserError, match="height 1"):
        Grid(2, 3, flat=True)


@pytest.mark.parametrize(
    ("quantizer", "given", "shape"),
    [
        ("vq", {"codebook_size": 16}, (4, 4)),
        ("residual", {"stages": 2, "options": {"codebook_size": 16}}, (2, 4, 4)),
        ("multi_scale", {"options": {"codebook_size": 16}}, (30,)),
        ("multi_scale", {"quantizer": "residual", "options": {"stages": 2}}, (2, 30)),
        ("multi_head", {"quantizer": "multi_scale"}, (2, 30)),
        ("grouped", {"quantizer": "multi_scale"}, (2, 30)),
    ],
)
def test_the_grid_is_that_of_the_codes(quantizer, given, shape):
    model = tokenizer("convolutional", quantizer=quantizer, quantizer_options=given).eval()
    grid = grid_of(model, 16)
    assert grid.shape == shape == model.encode(torch.rand(1, 3, 16, 16)).shape[1:]
    assert model.report((16, 16)).codes == grid.length == math.prod(shape)


def test_vit_with_several_codebooks():
    model = tokenizer("vit", quantizer="residual", quantizer_options={"stages": 3}).eval()
    assert grid_of(model, 16) == Grid(1, 6, 3, flat=True)
    assert Model(model, None, ORDERS["raster"](), 16).encode(torch.rand(2, 3, 16, 16)).shape == (2, 3, 6)


def test_scales_that_do_not_end_in_the_latents_size_are_found_before_training(tmp_path, capsys):
    source = bars_and_stripes(tmp_path / "pictures")
    given = ["train", str(source), "-o", str(tmp_path / "run"), "--recipe", "tiny"]
    assert main([*given, "--tokenizer.quantizer", "multi_scale", "--tokenizer.factor", "8"]) == 2
    assert "the last scale" in capsys.readouterr().err


FLAT = {
    "vit": {"tokenizer.architecture": "vit"}
    | {f"tokenizer.architecture_options.{name}": value for name, value in OPTIONS["vit"].items()},
    "multi_scale": {"tokenizer.quantizer": "multi_scale", "tokenizer.factor": 4},
}


@pytest.mark.parametrize("name", FLAT)
def test_a_whole_run_with_codes_on_one_axis(name, tmp_path):
    source, run = bars_and_stripes(tmp_path / "pictures"), tmp_path / "run"
    rest = {n: v for n, v in TINY.items() if name == "vit" or not n.startswith("tokenizer.quantizer_options")}
    given = ["train", str(source), "-o", str(run), "--recipe", "tiny", "--steps", "3"]
    assert main([*given, *options(rest | FLAT[name])]) == 0
    model = load(run)
    assert model.grid.flat and model.sample(2).shape == (2, 1, 16, 16)
    pictures = torch.rand(2, 1, 16, 16) * 2 - 1
    assert torch.isfinite(model.score(pictures).prior_bits).all()
    codes = tmp_path / "codes.safetensors"
    assert main(["encode", str(run), str(source), "-o", str(codes)]) == 0
    assert main(["decode", str(run), str(codes), "-o", str(tmp_path / "decoded")]) == 0
    assert main(["evaluate", str(run), str(source)]) == 0


@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_are_their_own_codes(channels):
    config = TokenizerConfig(
        architecture="pixels",
        factor=1,
        patch=1,
        channels=channels,
        latent_width=channels,
        quantizer="uniform",
    )
    model, pictures = Tokenizer(config).eval(), torch.randint(0, 256, (2, channels, 8, 6), dtype=torch.uint8)
    codes = model.encode(to_float(pictures))
    assert torch.equal(codes, pictures.long() if channels > 1 else pictures[:, 0].long())
    assert torch.equal(to_bytes(model.decode(codes)), pictures)
    assert model.report((8, 6)).compression == 1
    with pytest.raises(UserError, match="factor 2 was given to the architecture pixels; 1 was expected"):
        Tokenizer(TokenizerConfig(architecture="pixels", factor=2))


@pytest.mark.parametrize("width", [56, 104, 112])
def test_attention_has_heads_that_divide_any_width(width):
    tokenizer = Tokenizer(TokenizerConfig(width=width, multipliers=(1, 2, 4), attention=(8,)))
    assert tokenizer.encode(torch.zeros(1, 3, 16, 16)).shape == (1, 2, 2)


def test_teachers_of_a_refined_decoder_stay_with_it(tmp_path):
    """Also where it is saved as the tokenizer's own: they may not judge what came of it."""
    model = Model(Tokenizer(TokenizerConfig(width=16)), None, ORDERS["raster"](), 16)
    model.decoder_teachers = ("efficientnet-lite0",)
    save_model(model, tmp_path)
    assert load(tmp_path).teachers() == ("efficientnet-lite0",)
