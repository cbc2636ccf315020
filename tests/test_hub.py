"""Runs as folders for a hub of models: sent to a server on this machine, fetched from it, loaded again."""

from __future__ import annotations

import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch
import yaml

import caselli
from caselli.cli import main
from caselli.errors import UserError
from caselli.model import build_prior, load, save_prior, save_tokenizer
from caselli.prior import PriorConfig
from caselli.run import RunFolder, TwoStageConfig
from caselli.slim import quantise
from caselli.tokenizer import Tokenizer, TokenizerConfig

COMMIT = "0" * 40


class Hub(BaseHTTPRequestHandler):
    """The few answers of a hub that a push and a fetch need."""

    protocol_version = "HTTP/1.1"
    files: dict[str, bytes] = {}
    refuses = False

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        home = f"http://{self.headers['Host']}/me/model"
        assert self.headers["Authorization"] == "Bearer a-token"
        if self.refuses:
            self.answer(403, {"error": "not yours"})
        elif self.path.endswith("/preupload/main"):
            files = [{"path": f["path"], "uploadMode": "regular"} for f in json.loads(body)["files"]]
            self.answer(200, {"files": [each | {"shouldIgnore": False} for each in files]})
        elif self.path.endswith("/commit/main"):
            for line in body.splitlines():
                if (part := json.loads(line))["key"] == "file":
                    self.files[part["value"]["path"]] = base64.b64decode(part["value"]["content"])
            told = {"commitUrl": f"{home}/commit/{COMMIT}", "commitOid": COMMIT, "pullRequestUrl": None}
            self.answer(200, {"success": True, **told})
        else:  # a repository made, a card's head found valid
            self.answer(200, {"url": home, "errors": [], "warnings": []})

    def do_GET(self):
        name = self.path.partition("/resolve/")[2].partition("/")[2]
        if name in self.files:
            self.answer(200, self.files[name], {"ETag": f'"{name}"', "X-Repo-Commit": COMMIT})
        elif "/tree/" in self.path:
            sizes = {name: len(content) for name, content in self.files.items()}
            self.answer(200, [{"type": "file", "path": n, "size": s, "oid": n} for n, s in sizes.items()])
        elif "/api/models/me/model" in self.path:
            siblings = [{"rfilename": name} for name in self.files]
            self.answer(200, {"id": "me/model", "sha": COMMIT, "siblings": siblings})
        else:
            self.answer(404, {"error": "not found"}, {"X-Error-Code": "EntryNotFound"})

    do_HEAD = do_GET

    def answer(self, code, content, headers=None):
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(code)
        for name, value in {"Content-Length": len(body), **(headers or {})}.items():
            self.send_header(name, str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *words):
        pass


@pytest.fixture
def hub(monkeypatch):
    """The address of a hub."""
    pytest.importorskip("huggingface_hub")
    monkeypatch.setenv("HF_TOKEN", "a-token")
    monkeypatch.setattr(Hub, "files", {})
    monkeypatch.setattr(Hub, "refuses", False)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address)
    template = address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
    yield address
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run folder with weights, figures and a picture."""
    folder = tmp_path_factory.mktemp("made") / "run"
    torch.manual_seed(0)
    config = TokenizerConfig(
        size=8, factor=4, width=8, latent_width=8, quantizer_options={"codebook_size": 8}
    )
    tokenizer = Tokenizer(config).eval()
    save_tokenizer(tokenizer, folder, 8)
    prior, _ = build_prior(PriorConfig(width=16, depth=1), tokenizer, 8, 2)
    save_prior(prior, folder, tokenizer.fingerprint(), ["cat", "dog"], quantise(prior.eval(), "int8"))
    described = {"kind": "two_stage", "data_fingerprint": "f00d", "machine": {"device": "cpu"}}
    config = caselli.plain.to_plain(
        caselli.plain.override(TwoStageConfig(), {"data.source": "/home/me/pets"})
    )
    (folder / "run.yaml").write_text(yaml.safe_dump(described | {"config": config}))
    data = {
        "name": "pets",
        "count": 90,
        "held_out": 10,
        "size": 8,
        "channels": 3,
        "class_names": ["cat", "dog"],
    }
    RunFolder(folder).add_results(data=data, evaluation={"psnr": 21.5, "prior_bits_per_picture": 9.0})
    (folder / "pictures").mkdir()
    (folder / "pictures" / "samples.png").write_bytes(b"a picture")
    (folder / "log.jsonl").write_text("{}")
    return folder


def test_a_run_goes_to_the_hub_and_comes_back(run, hub, capsys, tmp_path):
    words = ["--licence", "cc0-1.0", "--pictures", "my own"]
    assert main(["push", str(run), "me/model", *words]) == 0
    assert capsys.readouterr().out.strip() == f"{hub}/me/model/commit/{COMMIT}"
    sent = {"README.md", "run.yaml", "samples.png"}
    assert set(Hub.files) == sent | {
        f"{s}.{e}" for s in ("tokenizer", "prior") for e in ("json", "safetensors")
    }
    card = Hub.files["README.md"].decode()
    assert yaml.safe_load(card.split("---")[1])["license"] == "cc0-1.0"
    for part in ("# me/model", "my own", "90 colour", "PSNR | 21.50 dB", "hf download me/model", "f00d"):
        assert part in card
    assert "/home/me" not in Hub.files["run.yaml"].decode()
    model = caselli.from_pretrained("me/model", endpoint=hub, cache_dir=tmp_path, token=False)
    assert torch.equal(model.sample(2, label="dog"), load(run).sample(2, label="dog"))


def test_a_hub_that_refuses_is_one_line(run, hub, monkeypatch, capsys):
    monkeypatch.setattr(Hub, "refuses", True)
    assert main(["push", str(run), "me/model"]) == 2
    assert "me/model cannot be sent" in capsys.readouterr().err
    assert main(["push", str(run), "no good name"]) == 2
    with pytest.raises(UserError, match="cannot be fetched"):
        caselli.from_pretrained("me/nothing", endpoint=hub, token=False)


def test_the_folder_alone_is_a_run(run, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["export", str(run), "--to", "hub", "-o", str(out)]) == 0
    assert "their source was not said" in (out / "README.md").read_text()
    assert main(["sample", str(out), "-n", "2", "-o", str(tmp_path / "new.png")]) == 0
    assert main(["export", str(tmp_path), "--to", "hub", "-o", str(tmp_path / "x")]) == 2


def test_a_saved_model_is_as_small_as_it_was(run, tmp_path):
    model = load(run)
    model.save_pretrained(tmp_path / "saved")
    again = caselli.from_pretrained(tmp_path / "saved")
    assert again.compressions["prior"] == model.compressions["prior"]
    assert torch.equal(again.sample(2), model.sample(2))
    sizes = [(folder / "prior.safetensors").stat().st_size for folder in (run, tmp_path / "saved")]
    assert sizes[0] == sizes[1]
