"""The studio in a real browser: every page, by mouse and by keyboard, while jobs run and servers die."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from caselli.studio import jobs
from tests.studio_runs import folder  # noqa: F401  (a fixture)

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytest.importorskip("fastapi", reason="the studio extra is not installed")

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
AXE = Path(__file__).parent.parent / ".venv/axe/node_modules/axe-core/axe.min.js"
"""Script of axe-core, which judges how accessible a page is; `.ci/run` fetches it."""
SLOW = 60_000
"""Milliseconds that a page may take on a busy machine."""
PAGES = ("runs", "sample", "codes", "complete", "compare", "inspect")

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium")


class Server:
    """A studio as a process of its own."""

    def __init__(self, runs: Path) -> None:
        self.runs = runs
        self.begin()

    def begin(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        words = [
            sys.executable,
            "-m",
            "caselli",
            "studio",
            str(self.runs),
            "--no-browser",
            "--port",
            str(port),
        ]
        self.process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        self.address = re.search(r"http://\S+", self.process.stdout.readline())[0]
        for _ in range(300):
            try:
                urllib.request.urlopen(self.address).read()
                return
            except urllib.error.URLError:
                time.sleep(0.1)

    def end(self, number: int = signal.SIGTERM) -> None:
        self.process.send_signal(number)
        self.process.wait(30)


@pytest.fixture(scope="module")
def server(folder):  # noqa: F811
    server = Server(folder)
    yield server
    server.end()


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser):
    """A page that no request leaves and no error passes through."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    context.set_default_timeout(SLOW)
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
    page.on("request", lambda asked: wrong.append(asked.url) if foreign(asked.url) else None)
    yield page
    context.close()
    assert not wrong


def foreign(url: str) -> bool:
    return not url.startswith(("http://127.0.0.1:", "about:", "data:", "blob:http://127.0.0.1:"))


def until(page, expression: str, arg: object = None) -> None:
    """Waits until an expression is true; the page's policy forbids what Playwright would wait by."""
    for _ in range(SLOW // 50):
        if page.evaluate(expression, arg):
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"this did not come true: {expression}")


def opened(page, server, name, run="bars"):
    page.goto(f"{server.address}#{name}/{run}")
    page.wait_for_selector(f"main[data-ready={name}]")
    return page


def test_a_letter_is_changed_by_one_code(page, server):
    """By the keyboard alone: a code, its likeliest other, undo, redo."""
    opened(page, server, "codes")
    cells = page.locator(".cell")
    page.wait_for_selector(".cell[aria-label*=code]")
    before = page.locator(".frame > .whole").get_attribute("src")
    cells.first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    page.wait_for_selector(".choice")
    assert cells.nth(1).get_attribute("aria-pressed") == "true"
    assert page.locator(".choice span").first.text_content().endswith("%")
    other = page.locator(".choice[aria-pressed=false]").first
    wanted = other.locator("img").get_attribute("src")
    other.focus()
    page.keyboard.press("Enter")
    until(page, "src => document.querySelector('.frame > .whole').src === src", arg=wanted)
    assert wanted != before
    page.keyboard.press("Control+z")
    until(page, "src => document.querySelector('.frame > .whole').src === src", arg=before)
    page.get_by_role("button", name="Redo").click()
    until(page, "src => document.querySelector('.frame > .whole').src === src", arg=wanted)
    page.get_by_label("Surprise").check()
    assert "color-mix" in cells.first.get_attribute("style") or "rgb" in cells.first.get_attribute("style")
    page.wait_for_selector(".extent.reaches:not([hidden])")
    page.wait_for_selector(".about .thumb")
    page.reload()
    page.wait_for_selector(".cell[aria-label*=code]")
    assert page.locator(".frame > .whole").get_attribute("src") == wanted, "a reload keeps the picture"


def test_samples_are_drawn_chosen_and_led_into_one_another(page, server, folder):  # noqa: F811
    opened(page, server, "sample")
    page.get_by_label("Label", exact=True).select_option("lying")
    page.get_by_label("Pictures", exact=True).fill("4")
    page.get_by_role("button", name="Draw", exact=True).click()
    page.wait_for_selector(".tools button")
    shown = page.locator(".thumbs.large .thumb")
    assert shown.count() == 4 and "tokens per second" in page.locator(".rate").text_content()
    assert "--label lying" in page.locator(".command code").text_content()
    with page.expect_download() as file:
        page.get_by_role("button", name="Codes", exact=True).click()
    assert Path(file.value.path()).read_bytes()[8:9] == b"{"
    other = page.context.new_page()  # the first tab might as well be closed
    opened(other, server, "sample")
    other.wait_for_selector(".tools button")
    assert other.locator(".thumbs.large .thumb").count() == 4
    assert other.get_by_label("Label", exact=True).input_value() == "lying"
    other.close()
    shown.first.click()
    page.get_by_role("button", name="Keep").click()
    until(page, "document.getElementById('said').textContent.startsWith('Kept')")
    assert list((folder / "bars/kept").glob("*.png"))
    shown.nth(1).click()
    page.get_by_role("button", name="The way between").click()
    until(page, "document.querySelector('.tools .hint')?.textContent.startsWith('Choose')")
    shown.first.click()
    page.get_by_role("button", name="Change its codes").click()
    page.wait_for_selector("main[data-ready=codes]")


def test_a_half_is_completed_and_the_rest_is_kept(page, server):
    opened(page, server, "complete")
    page.get_by_role("button", name="Lower half").click()
    page.get_by_label("Pictures", exact=True).fill("2")
    page.get_by_role("button", name="Propose").click()
    until(page, "document.querySelectorAll('.proposals .thumb').length === 2")
    rows = """async ([selector, from, to]) => {
        const image = document.querySelector(selector); await image.decode();
        const [width, height] = [image.naturalWidth, image.naturalHeight];
        const paper = new OffscreenCanvas(width, height).getContext('2d');
        paper.drawImage(image, 0, 0);
        return [...paper.getImageData(0, height * from, width, height * (to - from)).data].join()}"""
    upper = [page.evaluate(rows, [selector, 0, 0.5]) for selector in (".board img", ".proposals img")]
    assert upper[0] == upper[1], "what is kept comes back exactly"
    page.get_by_label("Right", exact=True).fill("16")
    page.get_by_label("Right", exact=True).press("Enter")
    page.get_by_role("button", name="Propose").click()
    page.wait_for_selector(".proposals img.free")
    assert page.evaluate("document.querySelector('.proposals img').naturalWidth") == 32
    page.reload()
    page.wait_for_selector(".proposals img.free")
    assert page.get_by_label("Right", exact=True).input_value() == "16"
    assert page.evaluate(PAINTED) == 16 * 8, "the painting is there again"
    page.get_by_label("Right", exact=True).fill("4")
    page.get_by_label("Right", exact=True).press("Enter")
    page.get_by_role("button", name="Undo").click()
    assert page.get_by_label("Right", exact=True).input_value() == "16"


def test_painting_by_mouse_and_by_keys(page, server):
    opened(page, server, "complete")
    page.wait_for_selector(".picker .thumb")
    page.get_by_role("button", name="Clear").click()
    assert page.evaluate(PAINTED) == 0
    box = page.locator(".board").bounding_box()
    page.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + 0.3 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.7 * box["width"], box["y"] + 0.3 * box["height"], steps=4)
    page.mouse.up()
    by_mouse = page.evaluate(PAINTED)
    assert by_mouse > 4
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Space")
    assert page.evaluate(PAINTED) > by_mouse
    page.keyboard.press("Control+z")
    assert page.evaluate(PAINTED) == by_mouse


def test_a_field_follows_a_click_and_the_arrow_keys(page, server):
    opened(page, server, "inspect")
    words = page.locator(".total")
    until(page, "document.querySelector('.total').textContent.includes('sees')")
    first = words.text_content()
    page.locator(".looked").click(position={"x": 3, "y": 3})
    until(page, "document.querySelector('.total').textContent.includes('row 1, column 1')")
    page.keyboard.press("ArrowRight")
    until(page, "document.querySelector('.total').textContent.includes('column 2')")
    assert words.text_content() != first and page.locator(".layers tbody tr").count() > 3
    page.get_by_label("Part", exact=True).select_option("decoder")
    until(page, "document.querySelector('.total').textContent.includes('latents')")


def test_before_and_after(page, server):
    opened(page, server, "compare")
    until(page, "document.querySelector('.sides').textContent.includes('bytes')")
    slide = page.get_by_label("Share that is shown")
    slide.focus()
    before = page.locator(".after").get_attribute("style")
    page.keyboard.press("ArrowRight")
    assert page.locator(".after").get_attribute("style") != before
    page.get_by_label("Page", exact=True).select_option(label="report of bars")
    frame = page.frame_locator("iframe")
    assert frame.locator("h1").first.text_content() == "bars"


def test_what_cannot_be_shown_leaves_no_empty_frame(page, server):
    parts = ({"work": {"id": "1", "asked": {"picture": ""}}}, {"error": "the codec needs an extra"})
    lines = "".join(json.dumps(part) + "\n" for part in parts)
    page.route("**/api/compare/slider", lambda route: route.fulfill(body=lines))
    page.route("**/last*", lambda route: route.fulfill(json={"work": None}))
    opened(page, server, "compare")
    until(page, "document.getElementById('said').textContent.includes('needs an extra')")
    assert not page.locator(".columns .frame").is_visible()


def test_an_answer_that_comes_late_is_not_shown(page, server):
    """Answers may overtake one another; what stands there answers the newest question."""
    held = []
    opened(page, server, "runs")
    page.get_by_text("Train a new run").click()
    page.route("**/api/runs/words", lambda route: held.append(route))
    for number, name in enumerate(("first", "second"), 1):
        page.get_by_label("Name of the run").fill(name)
        for _ in range(SLOW // 50):
            if len(held) >= number:
                break
            page.wait_for_timeout(50)
    for route in reversed(held):
        with page.expect_response("**/api/runs/words"):
            route.fulfill(json={"command": f"train {route.request.post_data_json['name']}"})
    page.wait_for_timeout(50)  # for the page to take what came last
    assert page.locator(".command code").text_content() == "train second"


def test_a_training_survives_reloads_tabs_and_the_server(page, server, folder):  # noqa: F811
    run = folder / "trained-here"
    try:
        opened(page, server, "runs")
        page.get_by_text("Train a new run").click()
        page.get_by_label("Pictures", exact=True).fill(str(folder.parent / "pictures"))
        page.get_by_label("Name of the run").fill("trained-here")
        page.get_by_label("Minutes", exact=True).fill("30")
        until(page, "document.querySelector('.command code').textContent.includes('trained-here')")
        page.get_by_role("button", name="Train", exact=True).click()
        page.wait_for_selector(".run-detail .state.running")
        page.reload()
        page.wait_for_selector(".run-detail .state.running")
        other = page.context.new_page()  # a second tab is no hindrance, and sees the same
        opened(other, server, "runs", "trained-here")
        other.wait_for_selector(".run-detail .state.running")
        other.wait_for_selector(".run-detail .figures, .run-detail pre")
        opened(other, server, "codes")
        other.wait_for_selector(".cell[aria-label*=code]")
        other.close()
        page.goto("about:blank")
        server.end(signal.SIGKILL)
        server.begin()
        opened(page, server, "runs", "trained-here")
        page.wait_for_selector(".run-detail .state.running")
        page.get_by_role("button", name="Stop").click()
        page.wait_for_selector(".run-detail .state:not(.running)")
        assert (run / "run.yaml").exists() or "interrupted" in (run / ".studio/output.txt").read_text()
    finally:
        job = jobs.found(run)
        if job is not None and job.running:
            os.kill(job.pid, signal.SIGKILL)
        shutil.rmtree(run, ignore_errors=True)


def test_names_are_text(page, server, folder):  # noqa: F811
    name = "<img src=x onerror=alert(1)>"
    shutil.copytree(folder / "bars", folder / name, ignore=shutil.ignore_patterns("checkpoints"))
    try:
        opened(page, server, "runs", name.replace(" ", "%20"))
        page.wait_for_selector("#run option", state="attached")
        assert name in page.locator("#run").text_content()
        assert page.locator("img[src=x]").count() == 0
    finally:
        shutil.rmtree(folder / name)


@pytest.mark.parametrize("name", PAGES)
def test_pages_fit_every_width_and_every_control_has_a_name(page, server, name):
    opened(page, server, name)
    page.wait_for_load_state("networkidle")
    for width in (390, 1280, 2560):
        page.set_viewport_size({"width": width, "height": 900})
        wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert page.evaluate(wide) <= 0, f"something is cut off at {width}"
        assert page.evaluate(OVERLAPS) == [], width
    assert page.evaluate(NAMELESS) == []
    if AXE.exists():
        page.evaluate(AXE.read_text())
        for scheme, rules in (("light", "{}"), ("dark", "{runOnly: ['color-contrast']}")):
            page.emulate_media(color_scheme=scheme)
            found = page.evaluate(f"axe.run({rules}).then((found) => found.violations)")
            assert not found, [(each["id"], each["nodes"][0]["html"]) for each in found]


PAINTED = """() => { const c = document.querySelector('.board canvas');
    return c.getContext('2d').getImageData(0, 0, c.width, c.height).data.filter((_, i) => i % 4 === 3)
        .reduce((a, b) => a + (b > 0), 0)}"""
"""Pixels that are painted over."""
NAMELESS = """() => [...document.querySelectorAll('button, input, select, a[href], [role=application]')]
    .filter((each) => each.checkVisibility())
    .filter((each) => !(each.ariaLabel || each.textContent.trim() || each.labels?.length))
    .map((each) => each.outerHTML)"""
"""Controls without a name."""
OVERLAPS = """() => {
    const things = 'main :is(button, input, select, h1, h2, table, .frame, .stage)';
    const boxes = [...document.querySelectorAll(things)]
        .filter((each) => each.checkVisibility() && !each.closest('.frame *, .stage *'));
    const over = (a, b) => {
        const [p, q] = [a.getBoundingClientRect(), b.getBoundingClientRect()];
        return Math.min(p.right, q.right) - Math.max(p.left, q.left) > 2
            && Math.min(p.bottom, q.bottom) - Math.max(p.top, q.top) > 2;
    };
    const apart = (a, b) => a.contains(b) || b.contains(a) || !over(a, b);
    return boxes.flatMap((a, i) => boxes.slice(i + 1).filter((b) => !apart(a, b))
        .map((b) => `${a.outerHTML.slice(0, 60)} over ${b.outerHTML.slice(0, 60)}`)); }"""
"""Pairs of things that lie over each other."""
