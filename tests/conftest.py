"""Shapes are checked while tests run: every jaxtyping annotation of anila is enforced by beartype."""

import inspect
import os
from collections.abc import Callable, Iterator
from functools import cache, partial, wraps
from pathlib import Path
from typing import Any

import jaxtyping
import pytest
from beartype import BeartypeConf, beartype

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

jaxtyped = jaxtyping.jaxtyped
typed = beartype(conf=BeartypeConf(violation_type=jaxtyping.TypeCheckError))


def checked(fn: Any = None, **how: Any) -> Any:
    """`jaxtyped` without the second look at the arguments that words its messages, which costs more than most tests."""
    if fn is None:
        return partial(checked, **how)
    if inspect.isfunction(fn) and made_at_every_call(fn):
        return fn
    if not inspect.isfunction(fn) or any(isinstance(hint, str) for hint in fn.__annotations__.values()):
        return jaxtyped(fn, **how)
    once = cache(lambda: typed(fn))

    @wraps(fn)
    def call(*args: Any, **kwargs: Any) -> Any:
        if jaxtyping.config.jaxtyping_disable:
            return fn(*args, **kwargs)
        with jaxtyped("context"):
            return once()(*args, **kwargs)

    return call if fn.__annotations__ else fn


def made_at_every_call(fn: Callable[..., Any]) -> bool:
    """Whether it is a function within another that says no shapes: to compile its checks takes longer than it does."""
    hints = fn.__annotations__.values()
    shaped = any(inspect.isclass(hint) and issubclass(hint, jaxtyping.AbstractArray) for hint in hints)
    return "<locals>" in fn.__qualname__ and not shaped


jaxtyping.jaxtyped = checked  # what the hook decorates with
hook = jaxtyping.install_import_hook("anila", "beartype.beartype")

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real image files beside the checkout; a test that needs them skips without."""
    if not SHARED.is_dir():
        pytest.skip(f"no data files at {SHARED}")
    return SHARED


@pytest.fixture(scope="session")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Images decoded by tests are cached where tests write."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANILA_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session", autouse=True)
def unrendered() -> Iterator[Callable[..., None]]:
    """Figures are made but written as one pixel: to render them takes most of the time of a short run."""
    from PIL import Image

    from anila.evaluation import pictures

    save = pictures.save

    def save_pixel(picture: Any, path: Path) -> None:
        save(picture if isinstance(picture, Image.Image) else Image.new("L", (1, 1)), path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pictures, "save", save_pixel)
        yield save


@pytest.fixture
def rendered(unrendered: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Where figures are looked at, they are rendered."""
    from anila.evaluation import pictures

    monkeypatch.setattr(pictures, "save", unrendered)


@pytest.fixture(scope="session", autouse=True)
def undrawn() -> Iterator[Callable[..., None]]:
    """Training draws no pictures: they take most of the time of so short a run."""
    from anila.runs.training import train

    draw_pictures = train.draw_pictures
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "draw_pictures", lambda *_: None)
        yield draw_pictures


@pytest.fixture
def drawn(undrawn: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the pictures of a run are looked at, training draws them."""
    monkeypatch.setattr("anila.runs.training.train.draw_pictures", undrawn)


@pytest.fixture(scope="session", autouse=True)
def unreported() -> Iterator[Callable[[Path], Path]]:
    """Training from the command line writes no report: it takes longer than so short a run."""
    from anila.cli import app

    written = app.written
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(app, "written", lambda path: path / "report.html")
        yield written


@pytest.fixture(scope="session", autouse=True)
def coarse() -> Iterator[int]:
    """Runs in the plane are measured on a 16th of the cells, which is exact to 1e-6 for rings."""
    from anila.evaluation.likelihood import grid

    side = grid.SIDE
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grid, "SIDE", 100)
        yield side


@pytest.fixture
def fine(coarse: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where other processes measure too, runs in the plane are measured on the cells that these take."""
    monkeypatch.setattr("anila.evaluation.likelihood.grid.SIDE", coarse)


@pytest.fixture
def reported(unreported: Callable[[Path], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Training from the command line writes its report."""
    monkeypatch.setattr("anila.cli.app.written", unreported)


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A browser for all pages."""
    from browser import browser

    with browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture
def tab(chromium: Any) -> Iterator[Any]:
    """Its tab, in which no page goes on after a test."""
    yield chromium
    chromium.call("Page.navigate", url="about:blank")


@pytest.fixture(scope="session")
def table_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on a table of three related columns, people.csv beside it."""
    import tiny

    return tiny.table_run(tmp_path_factory.mktemp("table"))


@pytest.fixture(scope="session")
def image_run(own_cache: None, tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: ARG001
    """A run on sixteen 8 × 8 colour images, photos/ beside it."""
    import tiny

    return tiny.image_run(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="session")
def class_run(own_cache: None, tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: ARG001
    """A run on eight images of cats and dogs, pets/ beside it."""
    import tiny

    return tiny.class_run(tmp_path_factory.mktemp("classes"))


@pytest.fixture
def unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Training without the exact KL, which takes a second."""
    monkeypatch.setattr("anila.runs.training.train.exact_kl", lambda *_: 1.0)
