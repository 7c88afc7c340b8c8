"""Laws of every page: its script is clean, it fits and is readable for everybody, and images come alive in it."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

import tiny
from browser import CHROMIUM, Browser
from tiny import anila

WEB = Path(__file__).with_name("web")
ROOT = WEB.parents[1]
SCRIPTS = ("src/anila/reports/playground/web", "src/anila/reports/page/templates/page.js")
in_a_browser = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed: apt-get install chromium")
NOT_HERE = "is not installed: npm ci --prefix tests/web"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on images, with a very long name."""
    folder = tmp_path_factory.mktemp("run")
    return tiny.image_run(folder).rename(folder / ("a-very-long-name-" * 8))


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A page in which a net runs, of one chain."""
    return made(tmp_path_factory.mktemp("live"), "playground", "pretrained:mnist") + "#chains=1"


@pytest.fixture(scope="module")
def films(run: Path) -> str:
    return made(run.parent, "playground", run)


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> str:
    return made(tmp_path_factory.mktemp("plane"), "playground")


@pytest.fixture(scope="module")
def report(run: Path) -> str:
    return made(run.parent, "report", run)


def made(folder: Path, *words: str | Path) -> str:
    """The address of the page that a command makes."""
    assert anila(*words, "--out", folder / f"{words[0]}.html") == 0
    return (folder / f"{words[0]}.html").as_uri()


@pytest.mark.slow
def test_scripts_are_clean():
    """Sees a name that is not used or not known, a variable hidden by another, and a line out of the picture."""
    if shutil.which("node") is None:
        pytest.skip("node is not installed: apt-get install nodejs npm")
    linter = WEB / "node_modules/eslint/bin/eslint.js"
    if not linter.exists():
        pytest.skip(f"eslint {NOT_HERE}")
    words = ["node", linter, "--no-config-lookup", "--config", WEB / "eslint.config.mjs", *SCRIPTS]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@in_a_browser
@pytest.mark.parametrize(("width", "theme"), [(1280, "light"), (400, "dark")])
@pytest.mark.parametrize("name", ["plane", "live", "films", "report"])
def test_everybody_can_read_it(tab: Browser, request: pytest.FixtureRequest, name: str, width: int, theme: str):
    """Sees a control without a name, text too faint for its ground, a page wider than the window, and complaints."""
    tab.size(width, 900)
    tab.prefer(theme)
    tab.problems.clear()
    tab.requests.clear()
    tab.open(request.getfixturevalue(name))
    tab.until("!globalThis.playground || document.querySelector('dd, [data-chain]') !== null")
    assert tab.run("document.documentElement.scrollWidth") <= width
    assert tab.problems == []
    assert all(url.startswith(("file:", "about:", "data:", "blob:")) for url in tab.requests)
    axe = WEB / "node_modules/axe-core/axe.min.js"
    if not axe.exists():
        pytest.skip(f"axe-core {NOT_HERE}")
    tab.run("if (globalThis.playground) playground.playing = false")
    tab.run(axe.read_text("utf-8"))
    assert json.loads(tab.run(VIOLATIONS)) == []


@in_a_browser
def test_a_printed_report_keeps_its_colours(tab: Browser, report: str):
    """Sees a legend on paper that names lines without saying which they are: browsers print no backgrounds."""
    tab.open(report)
    tab.call("Emulation.setEmulatedMedia", media="print")
    look = "getComputedStyle(document.querySelector('.swatch')).printColorAdjust"
    assert tab.run(look) == "exact"
    tab.call("Emulation.setEmulatedMedia", media="")


VIOLATIONS = """axe.run().then(({ violations }) => JSON.stringify(violations.map(({ id, nodes }) =>
    [id, nodes.slice(0, 3).map(({ html, failureSummary }) => html.slice(0, 150) + failureSummary)])))"""


def opened(tab: Browser, url: str) -> None:
    tab.size(1280, 900)
    tab.problems.clear()
    tab.open(url)
    tab.until("globalThis.playground?.frames.length > 0 && document.querySelector('[data-chain]') !== null")


@in_a_browser
def test_images_come_down_from_noise_and_are_filled_in(tab: Browser, live: str):
    """Sees chains that stand still, a brush that hides nothing, what is seen changed, and no way back in time."""
    opened(tab, live + "&levels=4&level_steps=0&steps=0&fill_steps=0")
    tab.until("playground.done && document.querySelector('#play').textContent === 'Again'")
    assert tab.run("playground.frames.at(-1)[0].s") == pytest.approx(0.04)
    assert tab.run("playground.frames.length === playground.length")
    assert "mean f = −" in tab.run("document.querySelector('#numbers').textContent")
    tab.run("globalThis.path = document.querySelector('#path'); path.value = 0")
    tab.run("path.dispatchEvent(new Event('input'))")
    assert tab.run("playground.shown") == 0
    tab.run("playground.shown = playground.frames.length - 1; document.querySelector('[data-chain]').click()")
    box = "(({ left, top, width }) => [left, top, width])(document.querySelector('#picture').getBoundingClientRect())"
    x, y, width = tab.run(box)
    tab.drag(*((x + width * (0.4 + 0.1 * k), y + 0.5 * width) for k in range(3)))
    tab.run("document.querySelector('#picture').focus()")
    tab.press("ArrowUp")
    tab.press("Enter")
    assert 0 < tab.run("playground.hidden.filter(Boolean).length") < 300
    tab.run("globalThis.before = playground.picture.slice(); document.querySelector('#fill').click()")
    tab.until("playground.filling && playground.done")
    assert tab.run("playground.frames.length === playground.length")
    assert tab.run("before.every((v, k) => playground.hidden[k] || v === playground.picture[k])")
    tab.run("globalThis.after = playground.frames.at(-1)[0].mean")
    seen = "playground.hidden[k] || Math.abs(v - 127.5 * (before[k] + 1)) <= 1"
    assert tab.run(f"after.every((v, k) => {seen})")
    assert tab.problems == []


@in_a_browser
def test_threads_share_chains(tab: Browser, live: str):
    """Sees a chain that walks otherwise, or not at all, where the machine has more cores."""
    ends = []
    for cores in (1, 3):
        tab.call("Emulation.setHardwareConcurrencyOverride", hardwareConcurrency=cores)
        opened(tab, live.replace("chains=1", "chains=4&levels=2&level_steps=0&steps=0&guidance=0"))
        assert tab.run("playground.workers.length") == cores
        tab.until("playground.done")
        ends.append(tab.run("playground.frames.at(-1).map(({ value }) => value)"))
    assert len(set(ends[0])) == 4
    assert ends[0] == ends[1]


@in_a_browser
def test_a_page_of_images_is_whole_before_its_first_image(tab: Browser, live: str):
    """Sees settings that stand elsewhere than they are until the net has answered, and a page that says nothing."""
    tab.open("about:blank")
    never = "Worker = class { addEventListener() {} postMessage() {} }"
    held = tab.call("Page.addScriptToEvaluateOnNewDocument", source=never)["identifier"]
    try:
        tab.open(live + "&chains=5")
        told = "document.querySelector('[data-setting=chains]').previousElementSibling.textContent"
        assert tab.run(f"[{told}, document.querySelectorAll('[data-chain]').length]") == ["5", 5]
        assert tab.run("document.querySelector('#numbers').textContent")
    finally:
        tab.call("Page.removeScriptToEvaluateOnNewDocument", identifier=held)


@in_a_browser
def test_every_control_of_images_acts(tab: Browser, live: str):
    """Sees a control that is not wired, or that the URL forgets."""
    opened(tab, live)
    tab.run("playground.playing = false")
    for slider in tab.run("[...document.querySelectorAll('[data-setting]')].map((s) => s.dataset.setting)"):
        assert tab.run(f"""(() => {{
            const slider = document.querySelector('[data-setting="{slider}"]'), before = playground.state.{slider};
            slider.disabled = false;
            slider.value = Number(slider.min) + 0.7 * (slider.max - slider.min);
            slider.dispatchEvent(new Event("input"));
            playground.playing = false;
            return playground.state.{slider} !== before;
        }})()"""), slider  # fmt: skip
    tab.until("location.hash.includes('levels=') && location.hash.includes('guidance=')")
    tab.run("document.querySelector('[data-label=\"7\"]').click()")
    assert tab.run("playground.state.label") == "7"
    seed = tab.run("playground.state.seed")
    tab.run("document.querySelector('#restart').click()")
    assert tab.run("playground.state.seed") == seed + 1
    assert tab.problems == []


@in_a_browser
def test_films_play(tab: Browser, films: str):
    """Sees a film that does not run, ends before its end, or cannot be chosen."""
    opened(tab, films + "#speed=40")
    tab.until("playground.done && playground.frames.length >= 10")
    tab.run("globalThis.pick = document.querySelector('[data-choice=film]'); pick.value = '2'")
    tab.run("pick.dispatchEvent(new Event('change'))")
    assert tab.run("playground.shown") < tab.run("playground.frames.length - 1")
    tab.run("playground.playing = false")
    at = tab.run("playground.shown")
    tab.run("document.querySelector('#step').click()")
    assert tab.run("playground.shown") == at + 1
    assert tab.problems == []
