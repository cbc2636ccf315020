"""Codes made by all ranks piece by piece: those of one process, and an encoding that goes on after a kill."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from caselli.data import Augment, CodeStore, Pictures
from caselli.engine import CPU
from caselli.model import encode
from caselli.run import coding
from caselli.run.folder import RunFolder
from caselli.run.two_stage_config import TwoStageConfig
from caselli.tokenizer import Tokenizer, TokenizerConfig
from tests.forked_ranks import run_on

VIEWS = 2


def tokenizer():
    torch.manual_seed(0)
    config = TokenizerConfig(channels=1, width=16, latent_width=8, quantizer_options={"codebook_size": 16})
    return Tokenizer(config).eval()


def pictures():
    random = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (600, 1, 16, 16), dtype=torch.uint8, generator=random)
    return Pictures.of("noise", pixels, classes=("a", "b"), labels=torch.arange(600) % 2)


def run_in(folder):
    """As much of a run as its codes need."""
    config = TwoStageConfig()
    config = SimpleNamespace(data=SimpleNamespace(views=VIEWS), prior=config.prior, seed=3)
    return SimpleNamespace(
        folder=RunFolder(folder),
        config=config,
        data=SimpleNamespace(train=pictures(), held_out=pictures()),
        machine=CPU,
        augment=lambda: Augment(shift=1),
    )


def made(folder):
    coding.PIECE = 2
    coding.stored_codes(run_in(folder), tokenizer(), "train")


@pytest.fixture(scope="module")
def expected():
    return encode(tokenizer(), pictures(), VIEWS, Augment(shift=1), 3)


def test_two_ranks_make_the_codes_of_one(tmp_path, expected):
    run_on(2, made, tmp_path)
    store = CodeStore.load(tmp_path / "codes" / "train.safetensors", tokenizer().fingerprint())
    assert torch.equal(store.codes, expected.codes) and torch.equal(store.labels, expected.labels)
    assert [path.name for path in (tmp_path / "codes").iterdir()] == ["train.safetensors"]


def test_a_killed_encoding_goes_on(tmp_path, expected, monkeypatch):
    monkeypatch.setattr(coding, "PIECE", 2)
    written, original = [], coding.write_shard

    def write(folder, number, store):
        if number == 1 and len(written) == 1:
            raise KeyboardInterrupt
        written.append(number)
        original(folder, number, store)

    monkeypatch.setattr(coding, "write_shard", write)
    with pytest.raises(KeyboardInterrupt):
        coding.stored_codes(run_in(tmp_path), tokenizer(), "train")
    written.append(None)
    store = coding.stored_codes(run_in(tmp_path), tokenizer(), "train")
    assert written == [0, None, 1, 2] and torch.equal(store.codes, expected.codes)
