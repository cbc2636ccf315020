"""The studio's requests: what they answer, and everything that they must refuse."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib

import pytest
import torch
from PIL import Image

pytest.importorskip("fastapi", reason="the studio extra is not installed")
pytest.importorskip("httpx", reason="httpx is not installed")

from pydantic import BaseModel
from starlette.testclient import TestClient

from caselli.data import CodeStore
from caselli.errors import UserError
from caselli.model import alternatives, load, surprise, unfinished
from caselli.studio import Jail, create_app, jobs
from caselli.studio.context import Once
from caselli.studio.guard import MOST_BYTES
from caselli.studio.works import KEPT, MOST, Works
from tests.studio_runs import PORT, TOKEN, folder  # noqa: F401  (a fixture)

HERE = f"http://127.0.0.1:{PORT}"


class Known(BaseModel):
    """Fields that a request for a drawing needs."""

    run: str
    page: str


@pytest.fixture(scope="module")
def studio(folder):  # noqa: F811
    app = create_app(folder, TOKEN, "127.0.0.1", PORT)
    return TestClient(app, base_url=HERE, headers={"x-token": TOKEN}, raise_server_exceptions=False)


def posted(studio, path, expected=200, **body):
    answer = studio.post(f"/api/{path}", json={"run": "bars", **body})
    assert answer.status_code == expected, answer.text
    return answer.json()


def parts_of(studio, path, **body):
    answer = studio.post(f"/api/{path}", json={"run": "bars", **body})
    assert answer.status_code == 200, answer.text
    first, *parts = [json.loads(line) for line in answer.text.splitlines()]
    assert first["work"]["run"] == "bars"
    return parts


def image_of(address):
    return Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2])))


def address_of(image):
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


@pytest.fixture(scope="module")
def sample(studio):
    return parts_of(studio, "sample/draw", count=2, seed=3, label="lying")[-1]


# what the pages show ----------------------------------------------------------------------------------------


def test_samples_are_those_of_the_command(studio, folder, sample):  # noqa: F811
    model = load(folder / "bars")
    wanted = model.sample(2, label="lying", seed=3)
    assert torch.equal(model.decode(torch.tensor(sample["codes"]).view(2, *model.grid.shape)), wanted)
    words = posted(studio, "sample/words", count=2, seed=3, label="lying", temperature=0.5)["command"]
    assert words.endswith("bars -n 2 --seed 3 -o samples.png --label lying --temperature 0.5")


def test_pictures_appear_while_their_codes_are_drawn(folder):  # noqa: F811
    model = load(folder / "bars")
    codes = model.encode(model.sample(1))
    half = codes.flatten(1).index_fill(1, torch.tensor([0]), -1).view(codes.shape)
    shown, cell = unfinished(model, half), model.size // model.grid.height
    assert (shown[..., :cell, :cell] == 0).all()
    assert torch.equal(shown[..., cell:, :], model.decode(half.clamp_min(0))[..., cell:, :])


def test_an_alternative_changes_the_picture(studio, folder, sample):  # noqa: F811
    codes, model = sample["codes"][0], load(folder / "bars")
    found = posted(studio, "codes/alternatives", codes=codes, place=1, label="lying", count=4)
    assert len(found["alternatives"]) == 4
    probabilities = [each["probability"] for each in found["alternatives"]]
    assert probabilities == sorted(probabilities, reverse=True) and 0 < sum(probabilities) <= 1
    given = torch.tensor([codes]).view(1, *model.grid.shape)
    wanted = alternatives(model, given, 1, 4, model.conditions(1, "lying"))
    assert wanted.codes.tolist() == [each["code"] for each in found["alternatives"]]
    other = next(each for each in found["alternatives"] if each["code"] != codes[1])
    changed = [*codes[:1], other["code"], *codes[2:]]
    looked = posted(studio, "codes/look", codes=changed, label="lying")
    assert looked["picture"] == other["picture"]
    bits = surprise(model, torch.tensor([changed]).view(given.shape), model.conditions(1, "lying"))
    assert looked["bits"] == pytest.approx(bits.flatten().tolist(), abs=1e-3)
    assert posted(studio, "codes/alternatives", 400, codes=codes, place=999)["error"].startswith("place 999")


def test_a_code_says_where_it_occurs_and_what_it_sees(studio, folder):  # noqa: F811
    store = CodeStore.load(folder / "bars/codes/train.safetensors", None)
    code = int(store.codes.flatten().mode().values)
    found = posted(studio, "codes/occurrences", code=code, count=5)
    assert found["times"] == int((store.codes == code).sum()) and len(found["places"]) == 5
    assert found["places"][0]["name"] in store.names
    field = studio.get("/api/codes/fields", params={"run": "bars", "row": 0, "column": 1}).json()
    assert field["sees"]["top"] == 0 and field["reaches"]["right"] >= field["reaches"]["left"]


def test_an_uploaded_picture_is_read_as_a_training_picture_is(studio, folder):  # noqa: F811
    image = Image.new("RGBA", (40, 20), (0, 0, 0, 0))  # transparent is white
    data = base64.b64decode(address_of(image).partition(",")[2])
    answer = studio.post("/api/codes/encode", params={"run": "bars"}, content=data).json()
    assert image_of(answer["original"]).getextrema() == (255, 255)
    model = load(folder / "bars")
    white = model.encode(torch.ones(1, 1, 16, 16)).flatten().tolist()
    assert answer["codes"] == white


def test_what_is_kept_lies_in_the_run(studio, folder, sample):  # noqa: F811
    kept = posted(studio, "gallery/keep", codes=sample["codes"][:1], about={"seed": "3"})["kept"]
    assert kept == ["kept/00001.png"]
    assert Image.open(folder / "bars" / kept[0]).text["seed"] == "3"
    answer = studio.get("/api/runs/picture", params={"run": "bars", "name": kept[0]})
    assert answer.content == (folder / "bars" / kept[0]).read_bytes()


def test_variations_and_the_way_between(studio, sample):
    first, last = sample["codes"]
    varied = parts_of(studio, "sample/variations", codes=first, count=3, strength=0)[-1]
    assert varied["codes"] == [first] * 3
    way = parts_of(studio, "sample/between", first=first, last=last, count=4)[-1]
    assert len(way["codes"]) == 4


def test_a_completion_keeps_what_was_not_painted_over(studio, sample):
    painted = Image.new("L", (16, 16))
    painted.paste(255, (0, 8, 16, 16))
    given = {"picture": sample["pictures"][0], "painted": address_of(painted), "count": 2}
    first, second = parts_of(studio, "complete/draw", **given)
    kept = image_of(given["picture"]).crop((0, 0, 16, 8)).tobytes()
    for part in (first, second):
        assert image_of(part["pictures"][0]).crop((0, 0, 16, 8)).tobytes() == kept
    larger = {"picture": given["picture"], "width": 32, "height": 24, "left": 4, "top": 2, "count": 1}
    (part,) = parts_of(studio, "complete/draw", **larger)
    found = image_of(part["pictures"][0])
    whole = image_of(given["picture"]).tobytes()
    assert found.size == (32, 24) and found.crop((4, 2, 20, 18)).tobytes() == whole
    (part,) = parts_of(studio, "complete/draw", picture=given["picture"])
    assert part["error"].startswith("nothing was painted over")


def test_before_and_after_the_codec_and_between_runs(studio, sample):
    picture = sample["pictures"][0]
    (found,) = parts_of(studio, "compare/slider", kind="codec", picture=picture)
    assert image_of(found["before"]).tobytes() == image_of(picture).tobytes() and "bytes" in found["words"][1]
    (same,) = parts_of(studio, "compare/slider", kind="slim", other="bars", picture=picture)
    assert same["before"] == same["after"] and same["psnr"] is None
    (refused,) = parts_of(studio, "compare/slider", kind="upscaling", picture=picture)
    assert "was expected" in refused["error"]
    assert "upscaling" in posted(studio, "compare/slider", 400, kind="other", picture=picture)["error"]


def test_without_the_codec_its_slider_says_what_to_install(studio, sample, monkeypatch):
    monkeypatch.setitem(sys.modules, "constriction", None)
    (refused,) = parts_of(studio, "compare/slider", kind="codec", picture=sample["pictures"][0])
    assert "pip install 'caselli[codec]'" in refused["error"]


def test_fields_and_costs_of_layers(studio, sample):
    layers = studio.get("/api/inspect/layers", params={"run": "bars", "part": "encoder"}).json()["layers"]
    asked = {"part": "encoder", "layer": layers[0]["path"], "position": [0, 0]}
    found = posted(studio, "inspect/field", **asked, picture=sample["pictures"][0])
    size = found["axes"][0]["last"] - found["axes"][0]["first"] + 1
    assert [size] == layers[0]["field"][:1] and image_of(found["effective"]).mode == "RGBA"
    latents = posted(studio, "inspect/field", part="decoder", position=[3, 3], picture=sample["pictures"][0])
    assert latents["axes"][0]["picture"] < 16 and latents["effective"]


def test_runs_are_listed_with_their_curves_and_pictures(studio):
    listed = studio.get("/api/runs/all").json()
    bars = next(run for run in listed["runs"] if run["name"] == "bars")
    assert bars["state"] == "trained" and bars["figures"] and not bars["running"]
    one = studio.get("/api/runs/one", params={"run": "bars"}).json()
    assert {(each["stage"], each["split"]) for each in one["curves"]} >= {("prior", "train")}
    progress = [each["name"] for each in one["pictures"] if each["name"].startswith("progress/tokenizer-")]
    answer = studio.get("/api/runs/picture", params={"run": "bars", "name": progress[0]})
    assert Image.open(io.BytesIO(answer.content)).height == 32, "originals, and reconstructions below them"
    asked = {"source": "my pictures", "name": "new", "recipe": "tiny", "minutes": 2}
    words = studio.post("/api/runs/words", json=asked).json()["command"]
    assert words.startswith("caselli train 'my pictures' -o ") and words.endswith(
        " --recipe tiny --minutes 2"
    )
    assert studio.post("/api/runs/words", json=asked | {"recipe": "--out"}).status_code == 400


# security ---------------------------------------------------------------------------------------------------


def test_nothing_is_answered_without_the_token(studio):
    bare = TestClient(studio.app, base_url=HERE)
    for path in ("/", "/api/runs/all", "/docs", "/openapi.json"):
        assert bare.get(path).status_code == 403
        assert bare.get(path, params={"token": TOKEN + "x"}).status_code == 403
    assert bare.get("/", params={"token": TOKEN}).status_code == 200
    assert bare.post("/api/sample/draw", json={"run": "bars"}).status_code == 403


@pytest.mark.parametrize(
    "host", ["evil.example", f"evil.example:{PORT}", "127.0.0.1:80", f"10.0.0.7:{PORT}", ""]
)
def test_a_name_that_others_may_point_here_is_not_answered(studio, host):
    assert studio.get("/api/runs/all", headers={"host": host}).status_code == 421


@pytest.mark.parametrize(
    ("listening", "port", "host"),
    [
        ("127.0.0.1", 80, "127.0.0.1"),
        ("127.0.0.1", 80, "localhost:80"),
        ("::1", PORT, f"[::1]:{PORT}"),
        ("0.0.0.0", PORT, f"{socket.gethostname()}:{PORT}"),
        ("MyBox", PORT, f"mybox:{PORT}"),
    ],
)
def test_the_address_that_is_printed_is_answered(folder, listening, port, host):  # noqa: F811
    """As a browser sends it: small letters, without the usual port."""
    client = TestClient(create_app(folder, TOKEN, listening, port))
    headers = {"host": host, "x-token": TOKEN}
    assert client.get("/api/runs/all", headers=headers).status_code == 200
    assert client.get("/api/runs/all", headers=headers | {"host": "evil.example"}).status_code == 421


def test_pages_of_other_sites_get_nothing(studio):
    for headers in (
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:8000"},
        {"sec-fetch-site": "cross-site"},
    ):
        assert studio.get("/api/runs/all", headers=headers).status_code == 403
        assert studio.get("/static/main.js", headers=headers).status_code == 403
    assert studio.get("/api/runs/all", headers={"origin": HERE}).status_code == 200


def test_every_answer_forbids_foreign_scripts_and_frames(studio):
    for path in ("/", "/static/main.js", "/api/runs/all", "/nothing"):
        headers = studio.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy and "script-src 'self';" in policy
        assert "unsafe" not in policy and "http" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert "access-control-allow-origin" not in headers


@pytest.mark.parametrize(
    "name",
    [
        "../pictures",
        "/etc",
        "..",
        "bars/../../pictures",
        "link",
        "bars\0",
        "",
        "bars\\..",
        "a" * 5000,
        "loop",
    ],
)
def test_no_name_leads_out_of_the_folder(studio, folder, name):  # noqa: F811
    for link, target in (("link", folder.parent / "pictures"), ("loop", folder / "loop")):
        if not (folder / link).is_symlink():
            (folder / link).symlink_to(target)
    for path in ("runs/one", "sample/model", "codes/held_out", "inspect/parts", "compare/report"):
        parameter = "name" if path == "compare/report" else "run"
        answer = studio.get(f"/api/{path}", params={parameter: name})
        assert answer.status_code in (400, 422), (path, name)
    assert posted(studio, "sample/words", 400, run=name)["error"]
    with pytest.raises(UserError):
        Jail(folder).path(name)


def test_a_run_with_a_link_that_leads_out_is_refused(studio, folder):  # noqa: F811
    secret = folder.parent / "secret.png"
    Image.new("L", (4, 4)).save(secret)
    shutil.copytree(folder / "bars", folder / "stranger", ignore=shutil.ignore_patterns("checkpoints"))
    try:
        (folder / "stranger/pictures/secret.png").symlink_to(secret)
        for name in ("pictures/secret.png", "pictures/samples.png"):
            answer = studio.get("/api/runs/picture", params={"run": "stranger", "name": name})
            assert answer.status_code == 400 and "leads out" in answer.json()["error"]
        listed = studio.get("/api/runs/all").json()["runs"]
        assert next(run for run in listed if run["name"] == "stranger")["state"] == "broken"
    finally:
        shutil.rmtree(folder / "stranger")


@pytest.mark.parametrize(
    "name", ["run.yaml", "../run.yaml", "pictures/../run.yaml", "checkpoints/prior/last.pt"]
)
def test_only_pictures_of_a_run_are_shown(studio, name):
    assert studio.get("/api/runs/picture", params={"run": "bars", "name": name}).status_code == 400


def test_uploads_are_bounded_in_bytes(studio):
    too_much = b"\0" * (MOST_BYTES + 1)
    answer = studio.post("/api/codes/encode", params={"run": "bars"}, content=too_much)
    assert answer.status_code == 413
    pieces = (too_much[: 1 << 20] for _ in range(1 + (MOST_BYTES >> 20)))  # of no stated length
    answer = studio.post("/api/codes/encode", params={"run": "bars"}, content=pieces)
    assert answer.status_code in (400, 413)


def test_uploads_are_bounded_in_pixels_and_must_be_pictures(studio):
    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 0, 0, 0, 0)
    bomb = (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0"))
        + chunk(b"IEND", b"")
    )
    for data, word in ((bomb, "pixels"), (b"<svg onload='alert(1)'/>", "picture"), (b"", "picture")):
        answer = studio.post("/api/codes/encode", params={"run": "bars"}, content=data)
        assert answer.status_code == 400 and word in answer.json()["error"]


def test_a_request_cannot_ask_for_more_than_a_page_shows(studio):
    for path, body in (
        ("sample/draw", {"count": 100000}),
        ("codes/look", {"codes": [0] * 100000}),
        ("codes/look", {"codes": [0, 1]}),
        ("codes/look", {"codes": [10**6] * 16}),
        ("complete/draw", {"picture": "x", "width": 10**6, "height": 8}),
    ):
        assert studio.post(f"/api/{path}", json={"run": "bars", **body}).status_code in (400, 422)


@pytest.mark.parametrize("name", ["../out", "/tmp/out", "a/b", ".hidden", "-o", "", "bars", "a\nb"])
def test_a_new_run_lies_in_the_folder(studio, folder, name):  # noqa: F811
    before = sorted(path.name for path in folder.parent.iterdir())
    answer = studio.post("/api/runs/train", json={"source": "digits", "name": name})
    assert answer.status_code in (400, 422)
    assert sorted(path.name for path in folder.parent.iterdir()) == before
    assert studio.post("/api/runs/train", json={"source": "--out=x", "name": "new"}).status_code == 400


def test_the_words_of_a_comparison_are_no_scripts_here(studio, folder):  # noqa: F811
    made = folder / "comparison"
    made.mkdir()
    (made / "comparison.json").write_text("{}")
    (made / "index.html").write_text("<script>alert(1)</script>")
    answer = studio.get("/api/compare/page", params={"name": "comparison"})
    assert answer.status_code == 200 and answer.headers["content-security-policy"].startswith("sandbox;")
    assert "script-src" not in answer.headers["content-security-policy"]


def test_it_listens_on_this_machine_alone_unless_asked(monkeypatch, folder):  # noqa: F811
    import uvicorn

    from caselli.studio import serve

    heard = []
    monkeypatch.setattr(
        uvicorn.Server, "run", lambda self, sockets: heard.append(sockets[0].getsockname()[0])
    )
    serve(folder, "127.0.0.1", None, show=False)
    assert heard == ["127.0.0.1"]
    from caselli.cli.command import options_of
    from caselli.cli.studio import command

    assert {option.name: option.default for option in options_of(command)}["host"] == "127.0.0.1"


def test_the_pages_make_no_html_from_text_and_ask_no_other_host():
    from caselli.studio.app import STATIC

    for path in STATIC.iterdir():
        text = path.read_text()
        for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
            assert word not in text, (path.name, word)
        assert "https://" not in text and "http://" not in text.replace("http://www.w3.org/2000/svg", "")


# long work --------------------------------------------------------------------------------------------------


def test_a_drawing_goes_on_when_nobody_looks_and_is_found_again():
    """It is followed from its first part by whoever comes, at any time, and ends only when it is stopped."""
    works, go, seen = Works(), threading.Event(), []

    def draw(work):
        work.tell({"number": 0})
        go.wait(30)
        work.tell_now_and_then(lambda: {"drawn": 3})
        while True:
            work.check()
            time.sleep(0.001)

    async def follow(work, parts, leave):
        async for line in work.followed().body_iterator:
            seen.append(json.loads(line))
            if len(seen) >= parts and leave:
                return

    asked = Known(run="bars", page="sample")
    works.begin(asked, draw)  # nobody reads the answer
    work = works.last("bars", "sample")
    assert works.last("bars", "complete") is None and works.one(work.id) is work
    asyncio.run(follow(work, 2, leave=True))
    assert seen == [{"work": work.plain() | {"asked": asked.model_dump()}}, {"number": 0}]
    go.set()
    asyncio.run(follow(work, 5, leave=True))
    assert seen[3:] == [{"number": 0}, {"drawn": 3}] and work.running
    work.stop()
    asyncio.run(follow(work, 99, leave=False))
    assert not work.running
    with pytest.raises(UserError, match="not remembered"):
        works.one("other")


def test_drawings_are_bounded_and_each_says_why_it_failed():
    works, go = Works(), threading.Event()
    asked = Known(run="bars", page="sample")
    for _ in range(MOST):
        works.begin(asked, lambda work: go.wait(30))
    with pytest.raises(UserError, match="under way"):
        works.begin(asked, lambda work: None)
    go.set()
    for work in works.all():
        while work.running:
            time.sleep(0.001)
    for error, words in ((UserError("no"), "no"), (RuntimeError("x"), "failed"), (MemoryError(), "memory")):

        def fail(work, error=error):
            raise error

        works.begin(asked, fail)
        work = works.all()[-1]
        while work.running:
            time.sleep(0.001)
        assert words in work._told[-1]["error"]
    assert len(works.all()) <= KEPT


def test_a_run_that_is_loaded_holds_up_no_other():
    once, begun, go = Once(), threading.Event(), threading.Event()

    def slow():
        begun.set()
        return go.wait(30)

    waiting = threading.Thread(target=once, args=("slow", slow))
    waiting.start()
    begun.wait(30)
    assert once("fast", lambda: 1) == 1 == once("fast", lambda: 2)
    go.set()
    waiting.join()
    assert once("slow", lambda: None) is True


def test_a_job_outlives_the_server_and_can_be_stopped(folder):  # noqa: F811
    run = folder / "job"
    source = str(folder.parent / "pictures")
    words = ["train", source, "-o", str(run), "--recipe", "tiny", "--minutes", "30", "--data.workers", "0"]
    started = jobs.start(run, words)
    try:
        assert started.running
        output = run / jobs.FOLDER / jobs.OUTPUT
        for _ in range(600):
            if output.stat().st_size:
                break
            time.sleep(0.1)
        with pytest.raises(UserError, match="at work"):
            jobs.start(run, words)
        assert output.stat().st_size, "what it said is kept"
        jobs._PROCESSES.pop(started.pid)  # a server that was started anew knows only the folder
        assert jobs.found(run).running
        jobs.stop(run)
        for _ in range(600):
            if not jobs.found(run).running:
                break
            time.sleep(0.1)
        assert not jobs.found(run).running
        with pytest.raises(UserError, match="nothing is under way"):
            jobs.stop(run)
    finally:
        with open(os.devnull, "w") as quiet:
            subprocess.run(["kill", "-9", str(started.pid)], stderr=quiet)
        shutil.rmtree(run, ignore_errors=True)
