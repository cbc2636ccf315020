"""Checkpoints that are wrapped, damaged or of a variant that computes otherwise."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import save_file

from caselli.errors import UserError
from caselli.interop import Hints, import_tokenizer
from caselli.weights import read_foreign

WEIGHTS = {"encoder.a": torch.ones(2), "decoder.b": torch.zeros(3)}


def named(prefix):
    return {prefix + name: value for name, value in WEIGHTS.items()}


WRAPPED = {
    "compiled": named("_orig_mod."),
    "compiled on several devices": named("module._orig_mod."),
    "several devices, compiled": named("_orig_mod.module."),
    "within a larger model": named("first_stage_model.") | {"model.diffusion.c": torch.ones(1)},
    "averaged": {"params": {"encoder.a": torch.zeros(2)}, "params_ema": WEIGHTS},
    "parameters": {"params": WEIGHTS},
    "of a tutorial": {"epoch": 3, "model_state_dict": named("module.")},
    "twice": {"model": {"state_dict": named("_orig_mod.")}},
}


@pytest.mark.parametrize("kind", WRAPPED)
def test_wrapped_weights_are_unwrapped(tmp_path, kind, capsys):
    torch.save(WRAPPED[kind], tmp_path / "a.pt")
    found = read_foreign(tmp_path / "a.pt")
    assert found.keys() == WEIGHTS.keys() and all(torch.equal(found[name], WEIGHTS[name]) for name in found)
    said = capsys.readouterr().err
    assert kind == "parameters" or "is taken off" in said or "the weights are taken from" in said
    if kind == "averaged":
        assert "taken from 'params_ema', and 'params' beside them are left out" in said


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_weights_that_are_no_numbers_are_refused(tmp_path, value, dtype):
    save_file(
        {"fine": torch.ones(2), "bad": torch.tensor([1.0, value], dtype=dtype)}, tmp_path / "a.safetensors"
    )
    with pytest.raises(UserError, match="no numbers: bad"):
        read_foreign(tmp_path / "a.safetensors")


@pytest.mark.parametrize(
    ("family", "name", "value"),
    [("diffusers", "act_fn", "relu"), ("diffusers", "act_fn", "gelu"), ("diffusers", "act_fn", "mish"),
     ("diffusers", "norm_type", "spatial"), ("diffusers", "lookup_from_codebook", True),
     ("diffusers", "_class_name", "AsymmetricAutoencoderKL"),
     ("titok", "use_l2_norm", False), ("titok", "quantize_mode", "vae"),
     ("mamba2", "time_step_limit", [0.001, 0.1]), ("mamba2", "hidden_act", "gelu"),
     ("gpt2", "model_type", "imagegpt"), ("mamba", "model_type", "falcon_mamba"),
     ("gpt2", "activation_function", "gelu"), ("gpt2", "scale_attn_by_inverse_layer_idx", True)],
)  # fmt: skip
@pytest.mark.parametrize("within", [False, True])
def test_a_setting_that_changes_the_arithmetic_is_refused(tmp_path, family, name, value, within):
    save_file(WEIGHTS, tmp_path / "diffusion_pytorch_model.safetensors")
    settings = {"model": {"inner": {name: value}}} if within else {name: value}
    (tmp_path / "config.json").write_text(json.dumps(settings))
    with pytest.raises(UserError, match=f"config.json has {name}"):
        import_tokenizer([tmp_path], family)


def test_a_number_that_is_none_is_refused_not_replaced():
    inner = Hints(settings={"model": {"norm_num_groups": 8}})
    assert inner.number("norm_num_groups") == 8 and inner.number("n_head") is None
    for value in ("16", 16.0, 0, -8, True, [16]):
        with pytest.raises(UserError, match="has norm_num_groups"):
            Hints(settings={"norm_num_groups": value}).number("norm_num_groups")
    assert Hints().beta() == 0.25 and Hints(settings={"model": {"beta": 1}}).beta() == 1.0
    for value in ("0.25", -0.5, True, [0.25], float("nan")):
        with pytest.raises(UserError, match="have beta"):
            Hints(settings={"beta": value}).beta()
