"""The page of a run: all there is to see is in it, nothing else is needed to see it, and it changes nothing."""

import hashlib
import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pytest
import torch
from pydantic import TypeAdapter

import tiny
from anila.evaluation.chains import Verdict
from anila.reports.page import page as module
from anila.reports.page import seen, walk
from anila.reports.page.chart import Chart, Line, Mark, number, safe_json, steps
from anila.reports.page.columns import oddest
from anila.reports.page.command import command_of
from anila.reports.page.record import Record
from anila.runs.experiment import PRESETS, Experiment, resolve
from anila.runs.experiment.choose import choose
from anila.runs.folder.run import Run
from anila.runs.model.trained import Trained
from tiny import anila

TINY = ["network.hidden=[8]", "network.fourier=4", "training.batch=20", "training.chains=10", "training.iterations=6",
        "training.checkpoint_every=3", "training.picture_every=3", "training.log_every=1",
        "sampler.steps=5"]  # fmt: skip
ALWAYS = {"verdict", "training", "energy", "mixing", "repeat"}
HOSTILE = "<script>alert(1)</script>"
VOID = {"meta", "img", "input", "br", "link", "hr"}


@pytest.fixture(scope="module", autouse=True)
def small() -> Iterator[None]:
    """Fewer chains, steps and points than a user gets."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(walk, "TRANSITIONS", 44)
        patch.setattr(walk, "OF_LEVELS", 4)
        patch.setattr(seen, "POINTS", 40)
        yield


class Page(HTMLParser):
    """A page taken to pieces, and proof that its tags are nested."""

    def __init__(self, path: Path):
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(self.source)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] not in ("script", "style"):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())

    @property
    def sections(self) -> set[str | None]:
        return {attrs.get("id") for tag, attrs in self.tags if tag == "section"}

    def of(self, name: str) -> list[dict[str, str | None]]:
        return [attrs for tag, attrs in self.tags if tag == name]


def report(*runs: Path, out: Path | None = None) -> Page:
    """The page of runs, by the command line."""
    assert anila("report", *runs, *(["--out", out] if out else [])) == 0
    return Page(out or runs[0] / "report.html")


@pytest.fixture(scope="module")
def plane_run(tmp_path_factory: pytest.TempPathFactory, undrawn: Callable[..., None]) -> Path:
    """A run with its pictures, and its scores."""
    path = tmp_path_factory.mktemp("report") / "rings"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("anila.runs.training.train.draw_pictures", undrawn)
        assert anila("train", "rings", *TINY, "--run", path) == 0
    assert anila("evaluate", path, "--count", "40") == 0
    return path


@pytest.fixture(scope="module")
def plane_page(plane_run: Path) -> Page:
    return report(plane_run)


@pytest.fixture
def copied(plane_run: Path, tmp_path: Path) -> Path:
    """A copy to be spoilt."""
    return Path(shutil.copytree(plane_run, tmp_path / "copy"))


class TestSections:
    """Sees what a kind of run should show and does not."""

    def test_of_the_plane(self, plane_page: Page):
        page = plane_page
        assert page.sections == ALWAYS | {"scores", "samples", "chains"}
        assert "KL(data ‖ model)" in page.text
        assert "complete All 6 iterations are done." in page.text
        assert page.text.count("plot_trace") == page.text.count("plot_rank") == 1
        assert len(page.of("circle")) == 64
        assert [attrs["alt"] for attrs in page.of("img")] == [
            "samples after 3 iterations",
            "samples after 6 iterations",
        ]

    def test_of_a_table(self, table_run: Path):
        page = report(table_run)
        assert page.sections == ALWAYS | {"table"}
        assert all(page.text.count(name) >= 3 for name in ("height", "mood", "luck"))
        assert "nats likelier given the rest" in page.text
        assert f"Not scored yet. Run anila evaluate {table_run}, then anila report {table_run}" in page.text

    def test_chains_of_a_table_are_told_by_its_columns(self, table_run: Path, monkeypatch: pytest.MonkeyPatch):
        """Sees a verdict on x1 where the table says mood."""
        monkeypatch.setattr(walk, "verdict", lambda _: Verdict(False, ("too few of x1",), {}))
        trained = Trained.load(Run(table_run))
        assert walk.said_of(trained, walk.walk(trained)) == ["too few of mood"]

    def test_of_images(self, image_run: Path, tmp_path: Path, undrawn: Callable[..., None]):
        run = Run(shutil.copytree(image_run, tmp_path / "run"))
        undrawn(run, Trained.load(run))
        page = report(run.path)
        assert page.sections == ALWAYS | {"chains", "samples"}
        strips = [attrs["alt"] for attrs in page.of("img") if "chains at" in (attrs["alt"] or "")]
        assert strips[0] == "6 chains at 0"

    def test_of_an_energy_with_levels(self, tmp_path: Path, own_cache: None):  # noqa: ARG002
        """Chains come down the levels, the noisiest first."""
        for i in range(8):
            tiny.write_noise(tmp_path / "photos" / f"{i}.png", i)
        words = ["data.size=8", "network.widths=[4,4]", "sampler.levels=4", "sampler.steps=2", "training.batch=4",
                 "start.size=8", "training.threads=1", "stages=none", "training.iterations=2"]  # fmt: skip
        assert anila("train", "flowers", f"data.name={tmp_path / 'photos'}", *words, "--run", tmp_path / "run") == 0
        page = report(tmp_path / "run")
        labels = [attrs["alt"] for attrs in page.of("img") if "chains at" in (attrs["alt"] or "")]
        levels = [float(label.rpartition(" ")[2]) for label in map(str, labels) if "s = " in label]
        assert levels == sorted(levels, reverse=True)
        assert len(levels) == 4


class TestWhole:
    """Sees a page that needs something else, is too large, or that not everybody can read."""

    def test_it_loads_nothing(self, plane_page: Page):
        page = plane_page
        links = [
            attrs[key] or "" for _, attrs in page.tags for key in ("src", "href", "poster", "action") if key in attrs
        ]
        assert links
        assert all(link.startswith(("data:image/png;base64,", "#")) for link in links)
        assert not re.search(r"url\(|@import|https?://(?!www\.w3\.org)", page.source)
        (policy,) = [
            attrs["content"] for attrs in page.of("meta") if "Content-Security" in (attrs.get("http-equiv") or "")
        ]
        assert "default-src 'none'" in str(policy)

    def test_it_can_be_read_without_eyes(self, plane_page: Page):
        page = plane_page
        assert page.of("html")[0]["lang"] == "en"
        levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h[1-6]", tag)]
        assert levels[0] == 1
        assert levels.count(1) == 1
        assert all(after <= before + 1 for before, after in pairwise(levels))
        assert all(attrs.get("alt") for attrs in page.of("img"))
        assert all(attrs.get("aria-label") for attrs in page.of("svg") if attrs.get("role") == "img")
        ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
        assert len(ids) == len(set(ids))
        assert {link["href"] for link in page.of("a")} <= {f"#{name}" for name in ids}

    def test_pictures_go_where_there_is_no_room(self, copied: Path, monkeypatch: pytest.MonkeyPatch):
        records, nothing = [Record.of(copied)], module.Seen()
        monkeypatch.setattr(module, "seen_of", lambda _: nothing)
        view = [module.View("copy", records[0], nothing)]
        assert module.page_of(records).count("<img") == 2
        monkeypatch.setattr(module, "LIMIT", len(module.rendered(view, 1).encode()))
        assert module.page_of(records).count("<img") == 1
        monkeypatch.setattr(module, "LIMIT", 1000)
        with pytest.raises(ValueError, match="report fewer"):
            module.page_of(records)

    def test_what_people_named_is_text(self, tmp_path: Path):
        """Sees a name of a column, a file or a folder that becomes a tag, in HTML or in the data of a chart."""
        folder = tmp_path / "<b>bold"
        folder.mkdir()
        x = torch.randn(60, 2, generator=torch.Generator().manual_seed(0)).double().numpy()
        pyarrow.csv.write_csv(
            pa.table({HOSTILE: x[:, 0], '"><img src=x onerror=alert(2)>': x[:, 1]}), folder / "a'&.csv"
        )
        run = folder / f"run {HOSTILE.replace('/', '')}"
        assert anila("train", folder / "a'&.csv", *tiny.TABLE, "--run", run) == 0
        page = report(run)
        assert page.text.count(HOSTILE) >= 3
        assert not [attrs for _, attrs in page.tags if "onerror" in attrs]
        assert not page.of("b")[1:]
        assert page.source.count("<script>") == 1
        assert all(attrs.get("type") in (None, "application/json") for attrs in page.of("script"))

    def test_it_changes_nothing(self, copied: Path):
        """Sees a report that writes into the run, or takes random numbers of whoever trains beside it."""
        before, state = digests(copied), torch.get_rng_state()
        first = report(copied).source
        assert digests(copied) == before
        assert torch.equal(torch.get_rng_state(), state)
        assert report(copied).source == first


def digests(folder: Path) -> dict[Path, str]:
    """Of all files but the report."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name not in ("report.html", ".lock")]
    return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


class TestEndings:
    """Sees a run that did not end well and has no page, or one that does not say so."""

    def test_stopped(self, copied: Path):
        config = json.loads((copied / "config.json").read_text())
        config["experiment"]["training"]["iterations"] = 60
        (copied / "config.json").write_text(json.dumps(config))
        page = report(copied)
        assert "stopped Stopped at iteration 6 of 60. Run the same command to continue." in page.text
        assert page.sections > ALWAYS

    def test_failed(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
        """The command that failed names the page; it says why, marks where, and shows what there is."""
        words = [*TINY, "sampler=langevin", "sampler.step_size=1e30", "training.iterations=60"]
        assert anila("train", "rings", *words, "training.rollbacks=1", "--run", tmp_path / "run") == 1
        capsys.readouterr()
        page = report(tmp_path / "run")
        assert "failed Training ran away at iteration" in page.text
        assert "The divergence guard went back: from" in page.text
        assert "From the divergence guard" in page.text
        assert {"verdict", "repeat"} <= page.sections

    @pytest.mark.parametrize("lost", ["checkpoints", "scores.json", "series.csv", "stats.jsonl", "samples"])
    def test_with_something_lost(self, lost: str, copied: Path):
        path = copied / lost
        shutil.rmtree(path) if path.is_dir() else path.write_bytes(b"\xff{")
        page = report(copied)
        assert {"verdict", "repeat"} <= page.sections
        assert ("The model cannot be shown" in page.text) == (lost == "checkpoints")

    def test_not_begun(self, copied: Path):
        for name in ("checkpoints", "samples"):
            shutil.rmtree(copied / name)
        for name in ("stats.jsonl", "series.csv", "scores.json"):
            (copied / name).unlink()
        page = report(copied)
        assert "not begun" in page.text
        assert "training" not in page.sections

    def test_a_failure_is_forgotten_when_training_goes_on(self, copied: Path):
        run = Run(copied)
        run.append_stats({"iteration": 6, "event": "failure", "why": "f(data) = nan"})
        assert (run.failure() or {})["why"] == "f(data) = nan"
        run.forget_after(6)
        assert run.failure() is None
        assert len(run.stats()) == 6


def test_runs_go_side_by_side(plane_run: Path, table_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Sees a run that is left out, a curve that is not shared, or settings that are said to be equal."""
    page = report(plane_run, table_run, out=tmp_path / "both.html")
    assert page.sections == ALWAYS | {"scores", "samples", "chains", "table"}
    assert page.text.count("rings") > 3
    assert "Settings that differ" in page.text
    assert "sampler.step_size" in page.text
    gap = next(
        json.loads(text) for text in re.findall(r'application/json">(.*?)</script>', page.source) if "run" in text
    )
    assert [line["name"] for line in gap["lines"]] == ["rings", "run"]
    capsys.readouterr()
    assert anila("report", plane_run, table_run) == 2
    assert "--out" in capsys.readouterr().err


@pytest.mark.parametrize("what", [["rings", *TINY], ["numbers.csv"]])
@pytest.mark.usefixtures("reported")
def test_training_names_its_page(
    what: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """Sees a run whose end leaves no page, or does not name it."""
    monkeypatch.chdir(tmp_path)
    Path("numbers.csv").write_text("a,b\n" + "".join(f"{i % 7},{i % 5}\n" for i in range(60)))
    assert anila("train", *what, "--run", "run") == 0
    assert f"open {Path('run', 'report.html')}" in capsys.readouterr().out
    assert Page(Path("run", "report.html")).sections > {"verdict", "repeat"}


def test_only_what_can_change_is_drawn(tmp_path: Path):
    """Sees an acceptance of a kernel that takes every step, and a share clipped where nothing clips."""
    drawn = {}
    for name in ("langevin", "mala", "anisotropic", "anisotropic_mala"):
        config = choose("rings", [f"sampler={name}", "sampler.global_every=0", "sampler.accept=none"])[1]
        drawn[name] = {m.name for m in Record(Run(tmp_path), {}, config).metrics} & {"clipped", "accept_prob"}
    both = {"clipped", "accept_prob"}
    assert list(drawn.values()) == [set(), {"accept_prob"}, {"clipped"}, both]


def test_only_presets_are_called_so(tmp_path: Path):
    """Sees the name of a table called a preset."""
    config = choose("rings", [])[1]
    found = {name: Record(Run(tmp_path), {"preset": name}, config).preset for name in ("rings", "wine")}
    assert found == {"rings": "rings", "wine": None}


def test_a_page_says_nothing_of_the_data_that_training_said(
    tmp_path: Path, reported: None, capsys: pytest.CaptureFixture[str]  # noqa: ARG001
):  # fmt: skip
    """Sees a warning that comes again when the page reads the table again, or when the command is looked for."""
    lines = [f"person {i},{(37 * i) % 11}.5" for i in range(30)]
    (tmp_path / "people.csv").write_text("\n".join(["name,height", *lines]) + "\n")
    assert anila("train", tmp_path / "people.csv", "--run", tmp_path / "run") == 0
    assert capsys.readouterr().err.count("warning: people.csv: left out name") == 1
    assert anila("report", tmp_path / "run") == 0
    assert "left out" not in capsys.readouterr().err


def test_a_table_that_is_gone(tmp_path: Path):
    """Sees a fit in closed form whose page needs its rows."""
    file = tmp_path / "people.csv"
    file.write_text("a,b\n" + "".join(f"{i % 7},{i % 5}\n" for i in range(60)))
    assert anila("train", file, "--run", tmp_path / "run") == 0
    assert "The oddest rows cannot be shown" not in report(tmp_path / "run").text
    file.unlink()
    page = report(tmp_path / "run")
    assert "The oddest rows cannot be shown: the data cannot be read" in page.text
    assert "table" in page.sections


@pytest.mark.parametrize(
    "scores",
    [
        '{"kl": NaN, "w2": Infinity, "protocol": {}}',
        '{"kl": null, "energy_gap": 1.5}',
        '{"kl": 1, "protocol": null}',
        '{"kl": 1, "protocol": {"names": 3, "sampling": {"transitions": "x"}}}',
    ],
)
def test_scores_that_are_no_numbers_are_shown_as_they_are(copied: Path, scores: str):
    """Sees a page refused where f was lost, or somebody edited the file."""
    (copied / "scores.json").write_text(scores)
    assert anila("report", copied) == 0
    assert anila("export", copied, "--out", copied.parent / f"export of {len(scores)}") == 0


@pytest.mark.parametrize("line", [
    '{"iteration": 3, "event": "failure"}',
    '{"iteration": 1, "event": "rollback", "from": "a", "why": 1, "change": null}',
    '{"iteration": 1, "kl": 1e999}',
])  # fmt: skip
def test_a_damaged_line_of_metrics_is_left_out(copied: Path, line: str):
    """Sees a traceback of what is no line of ours."""
    with (copied / "stats.jsonl").open("a") as file:
        file.write(line + "\n")
    assert anila("report", copied) == 0


def test_what_is_not_finite_is_null_in_a_file(tmp_path: Path):
    """Sees NaN, which is no JSON, in scores of an f that is lost."""
    Run(tmp_path).write_scores({"kl": float("nan"), "mode_mass": [1.0, float("inf")]})
    assert json.loads((tmp_path / "scores.json").read_text()) == {"kl": None, "mode_mass": [1.0, None]}


def test_a_diagnosis_becomes_the_verdict(copied: Path):
    """Sees the verdict of long chains passed over."""
    lines = ["short-run (non-convergent), because", "  f falls", "do this: train on", "<i>seen</i>"]
    found = {"iteration": 6, "transitions": 200, "ok": False, "lines": lines, "chains": {"lines": ["they have mixed"]}}
    Run(copied).write_diagnosis(found)
    text = report(copied).text
    assert "Short-run (non-convergent) f falls. What to do Train on What else was seen <i>seen</i>" in text
    assert "They have mixed" in text
    assert "200 transitions at iteration 6" in text


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("words", [[], ["training.seed=3", "optimizer.learning_rate=0.002"]])
def test_the_command_makes_the_same_settings(preset: str, words: list[str]):
    """Sees a setting that is not repeated, or is spelled as the command line does not take it."""
    base = PRESETS[preset].experiment
    config = resolve(base, [w for w in words if not base.stages or w.startswith("training.seed")])
    command = command_of(config, preset, Path("a run"))
    assert command is not None
    anila_, train, what, *rest = shlex.split(command)
    assert (anila_, train, rest[-2:]) == ("anila", "train", ["--run", "a run"])
    assert choose(what, rest[:-2])[1] == config.changed(training={"minutes": None})


def test_the_command_of_other_choices():
    """Sees names that come after their settings, and stages that are forgotten."""
    config = resolve(PRESETS["rings"].experiment, ["sampler=langevin", "objective=denoising", "objective.sd=0.2"])
    command = command_of(config, "rings", Path("run"))
    assert command is not None
    assert choose("rings", shlex.split(command)[3:-2])[1] == config
    staged = replace(PRESETS["mnist"].experiment, stages=PRESETS["mnist"].experiment.stages[:1])
    assert command_of(staged, "mnist", Path("run"))


def test_the_command_of_a_run_that_was_written_down():
    """Sees lists of config.json that are taken for changes of the tuples of a preset."""
    config = TypeAdapter(Experiment).validate_python(json.loads(json.dumps(asdict(PRESETS["cifar10"].experiment))))
    assert command_of(config, "cifar10", Path("run")) == "anila train cifar10 training.minutes=none --run run"


class TestChart:
    """Sees curves that are drawn where they are not."""

    def test_a_line_is_where_its_values_are(self):
        chart = Chart("a", [Line("a", [0, 1, 2], [0.0, 5.0, 10.0])], "x")
        (path,) = [d for _, d in chart.paths]
        (low, high), heights = chart.y_range, [float(y) for y in re.findall(r" ([\d.]+)", path)]
        assert heights == pytest.approx([1 - (y - low) / (high - low) for y in (0, 5, 10)], abs=1e-4)

    def test_a_single_value_is_seen(self):
        """Sees a run that logged one value beside runs that logged many, and is not drawn."""
        chart = Chart("a", [Line("a", [3], [5.0])], "x")
        assert [d for _, d in chart.paths] == ["M3 0.5000h0"]

    def test_what_happened_is_within(self):
        """Sees a failure after the last logged value, or a return before the first, that no curve shows."""
        happened = [Mark(9, "went back", "return"), Mark(11, "given up", "failure")]
        assert Chart("a", [Line("a", [10], [5.0])], "iteration", marks=happened).x_range == (9, 11)

    @pytest.mark.parametrize("x", [[200], [3, 4], [0, 10_000]])
    def test_what_is_counted_has_whole_ticks(self, x: list[int]):
        """Sees an iteration 199.5."""
        places = Chart("a", [Line("a", x, [0.045] * len(x))], "iteration").x_places()
        assert set(x) <= set(places)
        assert all(place == round(place) for place in places)

    def test_a_single_value_says_its_size(self):
        """Sees a KL of 0.045 on an axis from −0.25 to 0.5, and a gradient of 166 on one of fractions."""
        for value in (0.045, 166.0, -3.0):
            low, high = Chart("a", [Line("a", [1], [value])], "x").y_range
            assert low < value < high
            assert high - low == pytest.approx(abs(value))

    @pytest.mark.parametrize("scale", ["linear", "log", "signed", "fraction"])
    def test_ticks_are_within(self, scale):
        for y in ([0.01, 0.5, 700.0], [100.0, 180.0, 256.0]):
            chart = Chart("a", [Line("a", [1, 2, 3], y)], "x", scale)
            assert len(chart.y_ticks) >= 2 or scale == "fraction"
            assert all(0 <= place <= 200 for place, _ in chart.y_ticks)

    def test_what_is_no_number_is_left_out(self):
        nan, inf = float("nan"), float("inf")
        chart = Chart("a", [Line("a", [1, 2, 3, 4], [nan, 1.0, inf, 2.0]), Line("b", [1], [nan])], "x")
        assert [(line.name, x.tolist()) for line, x, _ in chart.shown] == [("a", [2, 4])]
        assert "nan" not in str(chart.data).lower()
        assert not Chart("a", [], "x").shown

    def test_json_ends_no_script(self):
        assert json.loads(safe_json("</script><!--&")) == "</script><!--&"
        assert "<" not in safe_json("</script><!--")

    def test_steps_are_round(self):
        assert steps(0, 0, 4) == [0]
        assert steps(-0.003, 0.0101, 4) == [0, 0.005, 0.01]
        assert number(1e-9) == "1e−9"


DRIVE = """<script>
const say = {};
const chart = document.querySelector('.chart[data-link="training"]');
const key = (name) => chart.dispatchEvent(new KeyboardEvent("keydown", {key: name}));
key("ArrowRight"); say.first = chart.querySelector(".readout").textContent;
key("ArrowRight"); say.second = chart.querySelector(".readout").textContent;
const frame = chart.querySelector(".frame"), box = frame.getBoundingClientRect();
frame.setPointerCapture = () => {};
const at = (name, part) => frame.dispatchEvent(new PointerEvent(name, {button: 0, pointerType: "mouse", pointerId: 1,
  clientX: box.left + part * box.width, clientY: box.top + 20}));
const plots = [...document.querySelectorAll('.chart[data-link="training"] .plot')];
const views = () => plots.map((plot) => plot.getAttribute("viewBox").split(" ").map(Number));
say.before = views(); at("pointerdown", 0.3); at("pointermove", 0.6); at("pointerup", 0.6); say.zoomed = views();
key("Escape"); say.after = views();
const range = document.querySelector("[data-album] input");
range.value = 0; range.dispatchEvent(new Event("input"));
say.shown = [...document.querySelectorAll(".pages figure")].map((f) => f.classList.contains("shown"));
const film = document.querySelector("[data-film]"), moment = film.querySelector("input");
moment.value = 0; moment.dispatchEvent(new Event("input")); say.moment = film.querySelector("output").textContent;
say.wide = document.documentElement.scrollWidth <= window.innerWidth;
document.title = JSON.stringify(say);
</script>"""


def test_the_controls_act_in_a_browser(plane_page: Page, tmp_path: Path):
    """Sees an error on the console, a control that does nothing, and a page wider than a phone."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no chromium to open the page with; on Debian: apt-get install chromium")
    page = tmp_path / "page.html"
    page.write_text(plane_page.source.replace("</body>", DRIVE + "</body>"))
    words = ["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--window-size=400,800",
             f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", page.as_uri()]  # fmt: skip
    done = subprocess.run([browser, *words], capture_output=True, text=True, timeout=600, check=True)
    assert "CONSOLE" not in done.stderr
    title = re.search(r"<title>(.*?)</title>", done.stdout)
    assert title is not None
    said = json.loads(title[1])
    assert said["first"].startswith("iteration 1: ")
    assert said["second"].startswith("iteration 2: ")
    assert len(said["before"]) > 2
    assert all(a != b for a, b in zip(said["before"], said["zoomed"], strict=True))
    assert said["after"] == said["before"]
    assert said["shown"] == [True, False]
    assert said["moment"] == "0"
    assert said["wide"]


def test_the_script_is_sound():
    """Sees a slip of the pen where there is no browser."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("no node to read the script with")
    script = Path(module.__file__).with_name("templates") / "page.js"
    subprocess.run([node, "--check", script], check=True)


@pytest.mark.parametrize("words", [(), ("network=mlp", "network.hidden=[8]", "training.iterations=20")])
def test_the_oddest_rows_are_shown_as_they_are(words: tuple[str, ...], tmp_path: Path):
    """Sees a cell that was drawn, for want of one, shown and blamed as if the table had it."""
    lines = [f"{('Oslo', 'Rome')[i % 2]},{i % 7}.5,{i % 5}" for i in range(60)]
    (tmp_path / "towns.csv").write_text("\n".join(["town,price,rooms", *lines, ",90.5,"]) + "\n")
    assert anila("train", tmp_path / "towns.csv", *words, "data.held_out=0", "--run", tmp_path / "run") == 0
    odd = oddest(Trained.load(Run(tmp_path / "run")))[0]
    assert (odd.row, odd.values) == (60, ["–", "90.5", "–"])
    assert "town" not in odd.reason
    assert "rooms" not in odd.reason


def test_a_fit_in_closed_form_has_no_chains_and_speaks_in_cells(tmp_path: Path):
    """Sees categories shown as coordinates, a verdict on a course of one iteration, chains of exact draws, and a page
    that cannot be made of columns without coordinates: constant ones, and copies."""
    path = tmp_path / "towns.csv"
    lines = [f"{('Oslo', 'Rome')[i % 2]},2025-01-{1 + i % 28:02},{i % 7}.5,{i % 7}.5,1" for i in range(60)]
    path.write_text("\n".join(["town,day,price,paid,count", *lines, "Oslo,2025-01-03,900.5,900.5,1"]) + "\n")
    assert anila("train", path, "--run", tmp_path / "run") == 0
    assert anila("report", tmp_path / "run", "--out", tmp_path / "page.html") == 0
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "The density has a closed form" in text
    assert re.search(r"likely price [\d.]+, not 900.5", text)
    assert "2025-01-" in text
    assert "town=" not in text
    assert "Do the chains mix?" not in text
