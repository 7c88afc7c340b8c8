"""Laws of the playground's page: what it is made for, how it is served, and what it does in a real browser."""

import json
import re
import shutil
import threading
from http.client import HTTPConnection
from pathlib import Path

import pytest
import torch

from anila.reports.playground import page, subject_of
from anila.reports.playground.serve import server
from browser import CHROMIUM, Browser
from tiny import anila, image_run

in_a_browser = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed: apt-get install chromium")

QUIET = "#speed=0.5&chains=50"


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("page") / "a page – ünïcode.html"
    assert anila("playground", "--out", path) == 0
    return path.as_uri()


def test_a_density_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Sees a grid beside the mass, and one of another f."""
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(
        "import torch\nnormal = torch.distributions.MultivariateNormal(torch.tensor([5.0, -3.0]), torch.eye(2))\n"
    )
    made = subject_of("mine.py:normal")
    assert made["title"] == "normal"
    middle = [(a + b) / 2 for a, b in zip(made["grid"]["low"], made["grid"]["high"], strict=True)]
    assert torch.allclose(torch.tensor(middle), torch.tensor([5.0, -3.0]), atol=0.3)


def test_points_of_a_file(tmp_path: Path):
    """Sees points in their units, where steps are in standard deviations."""
    path = tmp_path / "points.csv"
    path.write_text("height,weight\n" + "".join(f"{170 + k},{60 + k % 3}\n" for k in range(10)))
    points = torch.tensor(subject_of(str(path))["points"])
    assert points.shape == (10, 2)
    assert torch.allclose(points.std(0, correction=0), torch.ones(2), atol=1e-3)


def test_a_run_in_the_plane():
    """Sees a run's f left out, and its sampler forgotten."""
    made = subject_of("pretrained:rings")
    assert made["state"] == {"target": "own", "right": "anisotropic_mala"}
    assert made["grid"]["low"][0] < -3.5
    assert made["grid"]["high"][1] > 3.5


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        ("ringz", "did you mean 'rings'?"),
        ("pretrained:iris", "expected points of 2 numbers"),
        ("no.csv", "no file"),
    ],
)
def test_what_is_not_in_the_plane_is_refused(what: str, expected: str, capsys: pytest.CaptureFixture[str]):
    """Sees a traceback, a page of nothing, and a message that names no remedy."""
    assert anila("playground", what) == 2
    assert expected in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "expected"),
    [("", "Empty CSV file"), ("a,b\n1,2\n", "expected at least 2 rows"), ("a,b\n1,2\n1,2\n", "no column varies")],
)
def test_points_that_are_none_are_refused(text: str, expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Sees a page of an empty file, or of points without a density."""
    (tmp_path / "points.csv").write_text(text)
    assert anila("playground", tmp_path / "points.csv", "--out", tmp_path / "page.html") == 2
    assert expected in capsys.readouterr().err
    assert not (tmp_path / "page.html").exists()


def test_runs_that_are_none_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Sees a page of a folder that is no run, and of a run that never came to a checkpoint."""
    assert anila("playground", tmp_path) == 2
    assert "is not a run: it has no config.json" in capsys.readouterr().err
    run = image_run(tmp_path)
    shutil.rmtree(run / "checkpoints")
    assert anila("playground", run) == 2
    assert "has no sound checkpoint" in capsys.readouterr().err


def test_the_page_is_for_its_subject_only():
    """Sees a title that is read as HTML, and a script that a file's name brought in."""
    text = page({"title": "</script><script>alert(1)</script>", "points": [[0, 0], [1, 1]]}).text
    assert "<script>alert" not in text
    assert text.count("<script") == 2


def test_it_is_served_to_this_machine_only():
    """Sees another host's name answered, another path, and a policy that lets something in."""
    made = page({})
    with server(made.text, made.policy) as served:
        threading.Thread(target=served.serve_forever, daemon=True).start()
        try:
            assert served.server_address[0] == "127.0.0.1"
            assert answer(served.server_port, "/")[0] == 200
            assert answer(served.server_port, "/etc/passwd")[0] == 404
            assert answer(served.server_port, "/", host="evil.example")[0] == 404
            policy = answer(served.server_port, "/")[1]
        finally:
            served.shutdown()
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy


def answer(port: int, path: str, host: str = "127.0.0.1") -> tuple[int, str]:
    connection = HTTPConnection("127.0.0.1", port)
    connection.request("GET", path, headers={"Host": host})
    response = connection.getresponse()
    return response.status, response.headers.get("Content-Security-Policy", "")


def opened(tab: Browser, url: str) -> None:
    tab.problems.clear()
    tab.requests.clear()
    tab.open(url)
    tab.until("globalThis.playground?.left.steps >= 0 && document.querySelector('dd') !== null")


@in_a_browser
def test_every_control_acts(tab: Browser, file: str):
    """Sees a control that is not wired, or wired to another setting, and anything the console complains of."""
    tab.size(1280, 900)
    opened(tab, file + QUIET)
    for slider in tab.run("[...document.querySelectorAll('[data-setting]')].map((s) => s.dataset.setting)"):
        assert tab.run(f"""(() => {{
            playground.change({{ right: "{"hmc" if slider == "leapfrog_steps" else "anisotropic"}" }});
            const slider = document.querySelector('[data-setting="{slider}"]'), before = playground.state.{slider};
            slider.disabled = false;
            slider.value = Number(slider.min) + 0.3 * (slider.max - slider.min);
            slider.dispatchEvent(new Event("input"));
            const now = playground.state.{slider};
            return before !== now && location.hash.includes("{slider}=" + now);
        }})()"""), slider  # fmt: skip
    for choice, value in {"left": "barker", "right": "hmc", "show": "visited", "objective": "likelihood"}.items():
        tab.run(f"""(() => {{ const pick = document.querySelector('[data-choice="{choice}"]');
            pick.value = "{value}"; pick.dispatchEvent(new Event("change")); }})()""")
        assert tab.run(f"playground.state.{choice}") == value
    for key in ("target", "story"):
        for name in tab.run(f"[...document.querySelectorAll('[data-{key}]')].map((b) => b.dataset.{key})"):
            tab.run(f"document.querySelector('[data-{key}=\"{name}\"]').click()")
            assert tab.run(f"playground.state.{key}") == name
            assert tab.run(f"document.querySelector('[data-{key}=\"{name}\"]').ariaPressed") == "true"
    click(tab, "play")
    assert tab.run("playground.playing") is False
    before = tab.run("playground.left.steps")
    click(tab, "step")
    assert tab.run("playground.left.steps") == before + 1
    tab.run("""(() => { const past = document.querySelector("#past");
        past.value = 0; past.dispatchEvent(new Event("input")); })()""")
    assert tab.run("playground.past") == 0
    assert tab.run("document.querySelector('#past-at').textContent") == f"{before + 1} steps ago"
    click(tab, "step")
    assert tab.run("playground.past === null && playground.left.path.length === playground.left.steps + 1")
    seed = tab.run("playground.state.seed")
    click(tab, "restart")
    assert tab.run("[playground.left.steps, playground.state.seed]") == [0, seed + 1]
    theme = tab.run("document.documentElement.dataset.theme")
    click(tab, "theme")
    assert tab.run("document.documentElement.dataset.theme") != theme
    assert quiet(tab, file)


def click(tab: Browser, button: str) -> None:
    tab.run(f"document.querySelector('#{button}').click()")


def quiet(tab: Browser, file: str) -> bool:
    """Whether the console is empty and nothing but the page was asked for."""
    assert tab.problems == []
    asked = [url for url in tab.requests if not url.startswith((file, "about:"))]
    assert asked == []
    return True


@in_a_browser
def test_mouse_and_keys(tab: Browser, file: str):
    """Sees chains dropped elsewhere than where the mouse was, a stroke that is lost, and keys that do nothing."""
    tab.size(1280, 900)
    opened(tab, file + QUIET + "&target=gaussian")
    x, y, width = tab.run(
        "(({ left, top, width }) => [left, top, width])(document.querySelector('.chains').getBoundingClientRect())"
    )
    tab.drag((x + 0.75 * width, y + 0.25 * width))
    where = tab.run("playground.right.points.map(({ x }) => x)")
    assert torch.allclose(torch.tensor(where).mean(0), torch.tensor([2.0, 2.0]), atol=0.2)
    for held in (".chains", "[data-story=yours]"):
        tab.run(f"document.querySelector('{held}').focus()")
        tab.press("2", "2")
        assert tab.run("playground.state.story") == "bias"
        tab.press("1", "1")
        assert tab.run("playground.state.story") == "steep"
    tab.run("document.activeElement.blur()")
    tab.press(" ", " ")
    assert tab.run("playground.playing") is False
    tab.press("5", "5")
    assert tab.run("playground.state.story") == "yours"
    tab.drag(*((x + width * (0.3 + 0.01 * k), y + 0.5 * width) for k in range(30)))
    assert tab.run("playground.place.data.length") > 30
    assert len(tab.run("playground.state.points")) > 120
    tab.run("document.querySelector('.chains').focus()")
    tab.press("ArrowRight")
    tab.press("Enter")
    assert tab.run("playground.dropped[0]") == pytest.approx(0.32)
    assert quiet(tab, file)


@in_a_browser
def test_a_finger_scrolls_drops_and_draws(tab: Browser, file: str):
    """Sees a phone on which the pictures catch every swipe, a swipe that drops chains, and a stroke that scrolls."""
    tab.size(400, 900)
    tab.call("Emulation.setTouchEmulationEnabled", enabled=True)
    opened(tab, file + QUIET + "&target=gaussian")
    picture = (
        "(({ left, top, width }) => [left, top, width])(document.querySelector('.chains').getBoundingClientRect())"
    )
    x, y, width = tab.run(picture)
    upwards = [(x + 0.5 * width, y + width * (0.9 - 0.02 * k)) for k in range(40)]
    tab.swipe(*upwards)
    tab.until("scrollY > 50")
    assert tab.run("playground.dropped") is None
    tab.run("scrollTo(0, 0)")
    tab.swipe((x + 0.75 * width, y + 0.25 * width))
    tab.until("playground.dropped")
    assert tab.run("playground.dropped") == pytest.approx([2.0, 2.0], abs=0.2)
    tab.run("document.querySelector('[data-target=yours]').click(); document.querySelector('#clear').click()")
    tab.run("scrollTo(0, 0)")
    x, y, width = tab.run(picture)
    tab.swipe(*((x + 0.5 * width, y + width * (0.9 - 0.02 * k)) for k in range(40)))
    tab.until("playground.state.points.length > 120")
    assert tab.run("scrollY") == 0
    tab.call("Emulation.setTouchEmulationEnabled", enabled=False)
    assert quiet(tab, file)


@in_a_browser
def test_it_learns_from_pasted_points(tab: Browser, file: str):
    """Sees a paste not taken, lines left out without a word, training that does not begin, and no way back."""
    opened(tab, file + QUIET)
    lines = json.dumps("x, y\n" + "".join(f"{k % 7}, {k % 5 * 0.3}\n" for k in range(40)))
    tab.run(f"document.querySelector('#paste').value = {lines}")
    click(tab, "use")
    assert tab.run("[playground.state.target, playground.place.data.length]") == ["yours", 40]
    assert tab.run("document.querySelector('#pasted').textContent").startswith("40 points of 41 lines,")
    tab.size(1280, 700)
    tab.run("document.querySelector('#train').scrollIntoView()")
    click(tab, "train")
    seen = "((box) => 0 <= box.top && box.bottom <= innerHeight)(document.querySelector('{}').getBoundingClientRect())"
    tab.until(seen.format(".plane"))
    tab.until("playground.film.frames.length > 2")
    tab.run("document.querySelector('#film').value = 1")
    tab.run("document.querySelector('#film').dispatchEvent(new Event('input'))")
    assert tab.run("playground.shown >= 1")
    click(tab, "leave")
    assert tab.run("playground.film === null && playground.f === playground.truth")
    click(tab, "train")
    tab.run("playground.change({ objective: 'likelihood' })")
    assert tab.run("playground.film === null && playground.f === playground.truth")
    assert quiet(tab, file)


@in_a_browser
def test_nothing_moves_for_whom_motion_is_too_much(tab: Browser, file: str):
    """Sees chains that move by themselves though the reader's system asks for less motion."""
    tab.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-reduced-motion", "value": "reduce"}])
    opened(tab, file)
    tab.call("Emulation.setEmulatedMedia", features=[])
    assert tab.run("[playground.playing, document.querySelector('#play').textContent]") == [False, "Play"]
    click(tab, "play")
    assert tab.run("playground.playing") is True


@in_a_browser
def test_words_are_of_what_is_seen(tab: Browser, file: str, tmp_path: Path):
    """Sees words of a curve that is not drawn, a number without its meaning, and two laws of one name."""
    opened(tab, file + QUIET)
    dashes = "[...document.querySelectorAll('.dashes')].every((words) => words.hidden === {})"
    for name, hidden in (("anisotropic", "false"), ("mala", "true")):
        tab.run(f"playground.change({{ left: '{name}', right: '{name}' }})")
        tab.until(dashes.format(hidden))
    meanings = tab.run("document.querySelector('#meanings').textContent")
    assert all(word in meanings for word in tab.run("[...document.querySelectorAll('dt')].map((t) => t.textContent)"))
    assert tab.run("[...document.querySelectorAll('dt')].every(({ title }) => title.length > 20)")
    assert anila("playground", "pretrained:rings", "--out", tmp_path / "rings.html") == 0
    opened(tab, (tmp_path / "rings.html").as_uri())
    names = tab.run("[...document.querySelectorAll('[data-target]')].map((button) => button.textContent)")
    assert len(set(names)) == len(names)
    assert "what the run has learned" in tab.run("document.querySelector('#story').textContent")
    assert quiet(tab, (tmp_path / "rings.html").as_uri())


@in_a_browser
@pytest.mark.parametrize(("width", "theme"), [(1280, "light"), (400, "dark")])
def test_it_fits_and_shows_what_it_knows(tab: Browser, file: str, width: int, theme: str):
    """Sees a page wider than the window, a number that is not the chains', and a theme that is not the reader's."""
    tab.size(width, 800)
    tab.prefer(theme)
    opened(tab, file + "#target=rings&left=langevin&step_size=0.4&speed=500&chains=50")
    assert tab.run("document.documentElement.scrollWidth") <= width
    assert tab.run("document.documentElement.dataset.theme") == theme
    tab.until("playground.left.steps > 20 && playground.told('left').gone > 5")
    tab.run("playground.playing = false")
    gone = "document.querySelector('[data-side=left] dl').lastChild.lastChild.textContent"
    tab.until(f"Number({gone}) === playground.told('left').gone")
    assert re.search(r"chains flew off", tab.run("document.querySelector('[data-side=left] figcaption').textContent"))
    assert tab.run("playground.told('right').gone") == 0
    assert (tab.run("playground.told('left').ess"), tab.run("playground.told('right').ess > 0")) == (None, True)
    assert quiet(tab, file)
