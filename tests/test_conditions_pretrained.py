"""A text encoder of the `transformers` library from a local folder."""

from __future__ import annotations

import copy

import pytest
import torch

from caselli.errors import UserError
from caselli.prior import Alphabet, Autoregressive, Conditions, Pretrained, PriorConfig, vocabulary_of
from caselli.prior.pretrained import weights_digest

transformers = pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """An untrained BERT of two layers and twelve words."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("encoder")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "red", "green", "heart", "cat", "dog", "##s"]
    (path / "vocab.txt").write_text("\n".join(words))
    transformers.BertTokenizer(str(path / "vocab.txt")).save_pretrained(path)
    config = transformers.BertConfig(
        vocab_size=len(words),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=32,
    )
    transformers.BertModel(config).save_pretrained(path, safe_serialization=True)
    return path


def prior(folder):
    torch.manual_seed(0)
    config = PriorConfig(width=32, depth=1, text="transformers", text_path=str(folder), text_width=32)
    vocabulary = vocabulary_of(config.text, 8, config.text_path, [])
    assert vocabulary == Pretrained(8, str(folder), weights_digest(str(folder)))
    return Autoregressive(config, Alphabet((4,), (0,) * 3, text=vocabulary))


def test_features_are_those_of_the_library(folder):
    model = prior(folder).eval()
    text = model.alphabet.text.encode(["a red heart", "cats", ""])
    assert text[0].tolist() == [3, 6, 7, 9, 4, 0, 0, 0] and (text[2] == 0).all()
    embedding = model.conditioner.text.embedding
    seen = []
    embedding.norm.register_forward_hook(lambda module, given, made: seen.append(given[0]))
    embedding(text)
    bert = transformers.BertModel.from_pretrained(folder).eval()
    with torch.no_grad():
        for row, tokens in enumerate(([2, 5, 6, 8, 3], [2, 9, 11, 3])):
            expected = bert(torch.tensor([tokens])).last_hidden_state[0]
            torch.testing.assert_close(seen[0][row, : len(tokens)], expected, atol=1e-5, rtol=1e-4)


def test_the_encoder_is_neither_trained_nor_saved_nor_copied(folder):
    model = prior(folder).train()
    names = {name for name, _ in model.named_parameters()}
    assert not any("encoder.model" in name for name in names | set(model.state_dict()))
    text = Conditions(text=model.alphabet.text.encode(["a red heart", ""]))
    model.log_prob(torch.zeros(2, 3, dtype=torch.int64), text).sum().backward()
    assert model.conditioner.text.embedding.project.weight.grad.abs().sum() > 0
    encoder = model.conditioner.text.embedding.encoder
    assert all(p.grad is None and not p.requires_grad for p in encoder.model.parameters())
    assert copy.deepcopy(model).conditioner.text.embedding.encoder is encoder


def test_captions_matter_and_padding_does_not(folder):
    model = prior(folder).eval().double()
    with torch.no_grad():
        model.conditioner.text.out.weight.mul_(50)
    codes = torch.zeros(3, 3, dtype=torch.int64)
    text = model.alphabet.text.encode(["a red heart", "a cat", ""])
    with torch.no_grad():
        nats = model.log_prob(codes, Conditions(text=text))
        alone = model.log_prob(codes[1:2], Conditions(text=text[1:2]))
        wide = model.log_prob(codes[1:2], Conditions(text=Pretrained(12, str(folder), "").encode(["a cat"])))
    assert (nats[0] - nats[1]).abs().max() > 1e-4
    torch.testing.assert_close(alone, nats[1:2], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(wide, alone, atol=1e-5, rtol=1e-5)


def test_other_folders_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"a local folder with config\.json"):
        vocabulary_of("transformers", 8, str(tmp_path), [])
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(UserError, match="that transformers can read"):
        Pretrained(8, str(tmp_path), "").encode(["a cat"])
    with pytest.raises(UserError, match="another text encoder than the prior was trained with"):
        Pretrained(8, str(tmp_path), "").embedding(8)
    with pytest.raises(UserError, match="that transformers can read"):
        vocabulary_of("transformers", 8, str(tmp_path), []).embedding(8)
