"""What a notebook shows is small, escaped and whole."""

from html.parser import HTMLParser
from typing import Any

import pytest
import torch

import anila
from anila import anisotropic_mala, notebook, rng, sample, tune
from anila.cli.console import note
from anila.cli.progress import progress_of
from anila.evaluation.chains import Verdict
from anila.runs.experiment import Experiment


class Tags(HTMLParser):
    """The tags that are open, and those that were closed out of turn."""

    def __init__(self, html: str):
        super().__init__()
        self.open: list[str] = []
        self.wrong: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002
        if tag != "img":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)


def f(x: torch.Tensor) -> torch.Tensor:
    return -x.square().sum(-1) / 2


def funnel(x: torch.Tensor) -> torch.Tensor:
    """Neal's: in its neck chains stand still."""
    v, y = x[:, 0], x[:, 1]
    return -v.square() / 18 - y.square() * (-v).exp() / 2 - v / 2


def test_what_is_shown_is_whole_and_small():
    """Sees a thing that a notebook shows as nothing, as half a page, or as megabytes."""
    tuned = tune(
        lambda **kw: anisotropic_mala(f, **kw), torch.randn(16, 2, generator=rng(0, "start")), 80, rng(0, "tune")
    )
    _, trace = sample(tuned.sampler, tuned.x, 400, rng(0, "chains"), keep_every=1)
    _, nothing_kept = sample(tuned.sampler, tuned.x, 5, rng(0, "chains"))
    rings = anila.load("pretrained:rings")
    verdicts = Verdict(True, ("mixed",), {}), Verdict(False, ("not mixed, because", "  R̂ is high"), {})
    for thing in (tuned, trace, nothing_kept, rings, *verdicts):
        html = thing._repr_html_()
        tags = Tags(html)
        assert not tags.open
        assert not tags.wrong
        assert 30 < len(html) < 40_000
    assert "step_size" in tuned._repr_html_()
    assert "<svg" in trace._repr_html_()
    assert "<svg" not in nothing_kept._repr_html_()
    assert "<svg" in rings._repr_html_()


def test_nothing_shown_is_run():
    """Sees text that comes into the page as tags: names of files and columns are other people's."""
    evil = "<script>alert(1)</script>"
    shown = [
        notebook.table({evil: evil}), notebook.lines(evil), notebook.verdict(False, (evil, evil)),
        notebook.curves([[0.0, 1.0]], f'"{evil}'), notebook.bar(evil, 1, 2), notebook.image(b"", f'"{evil}'),
    ]  # fmt: skip
    for html in shown:
        assert "<script" not in html
        assert "&lt;script" in html
        assert '""&lt;' not in html


def test_curves_and_points_stay_in_their_frame():
    """Sees a curve that leaves its picture, and one of equal numbers that divides by zero."""
    for html in (notebook.curves([[0.0, 5.0, -1e9]], "x"), notebook.curves([[2.0, 2.0]], "x")):
        path = html.split('d="M')[1].split('"')[0]
        places = [tuple(map(float, pair.split(","))) for pair in path.split()]
        assert all(0 <= a <= notebook.WIDTH and 0 <= b <= notebook.HEIGHT for a, b in places)
    assert "nan" not in notebook.points([[1.0, 1.0]], "x")


@pytest.fixture
def bars(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What a notebook is shown of bars."""
    functions = pytest.importorskip("IPython.core.display_functions")
    shown: list[str] = []

    class Handle:
        def display(self, html: Any) -> None:
            shown.append(html.data)

        update = display

    monkeypatch.setattr(notebook, "runs_here", lambda: True)
    monkeypatch.setattr(functions, "DisplayHandle", Handle)
    return shown


def test_a_bar_goes_to_its_end(bars: list[str]):
    """Sees chains that run in a notebook without a bar, one that stops short, and one told of every step."""
    sample(anisotropic_mala(f, threshold=1.0), torch.zeros(2, 2), 250, rng(0, "chains"), progress=True)
    assert "0 of 250" in bars[0]
    assert "250 of 250" in bars[-1]
    assert len(bars) <= 101


@pytest.mark.parametrize("log_density", [f, funnel])
def test_a_warm_up_shows_its_phases(bars: list[str], log_density: Any):
    """Sees a warm-up without a bar, phases without names, and a bar that stops short of, or passes, its end."""
    start = torch.randn(64, 2, generator=rng(0, "start"))
    tuned = tune(log_density, start, 240, rng(0, "tune"), progress=True)
    titles = list(dict.fromkeys(html.partition("tuning: ")[2].partition(":")[0] for html in bars))
    careful = ["careful"] * ("careful" in tuned.report)
    assert bool(careful) == (log_density is funnel)
    assert titles == ["starts", "plain", "preconditioned", "preconditioned again", *careful, "lengths", "last"]
    whole = 300 if careful else 240
    assert f"{whole} of {whole}" in bars[-1]
    assert len(bars) <= 110


def test_a_warm_up_is_silent_unasked(bars: list[str], capfd: pytest.CaptureFixture[str]):
    """Sees a bar nobody asked for, and one that changes what is found."""
    start = torch.randn(16, 2, generator=rng(0, "start"))
    silent = tune(f, start, 80, rng(0, "tune"))
    assert not bars
    assert capfd.readouterr() == ("", "")
    assert torch.equal(silent.x, tune(f, start, 80, rng(0, "tune"), progress=True).x)


def test_a_command_in_a_notebook_says_lines(monkeypatch: pytest.MonkeyPatch):
    """Sees a bar drawn a hundred times below itself, where `!` passes for a terminal."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    for started_by_a_kernel in (False, True):
        if started_by_a_kernel:
            monkeypatch.setenv("JPY_PARENT_PID", "1")
        with progress_of(Experiment()) as (say, _):
            assert (say is note) == started_by_a_kernel
