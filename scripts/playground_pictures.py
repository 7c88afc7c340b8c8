"""The pictures of docs/playground.md: the plain playground and that of the digits, in headless chromium.

python scripts/playground_pictures.py [NAME]...        writes docs/pictures/playground_NAME.png, or all of them
"""

import io
import math
import runpy
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from PIL import Image

from anila.reports.playground import page, subject_of

ROOT = Path(__file__).resolve().parents[1]
browser = runpy.run_path(str(ROOT / "tests/browser.py"))["browser"]
PICTURES = {
    "steep": (1280, ".charts", "light", "", "playground.left.steps >= 30"),
    "bias": (1280, ".charts", "dark", "2", "playground.left.steps >= 600"),
    "step": (1280, "main", "light", "", "playground.left.steps === 4 && playground.phase === 1"),
    "yours": (1280, ".charts", "light", "5", "playground.film.done"),
    "phone": (400, "[data-setting=temperature]", "dark", "3", "playground.left.steps >= 300"),
}
"""Name -> width, the element below which it ends, theme, the key of a story, and what must have come true."""
IMAGES = {
    "digits": (1280, "main", "light", "playground.done"),
    "filled": (800, ".transport", "dark", "playground.filling && playground.done"),
}
"""The same of the digits' page."""
MARGIN = 8
"""Pixels below that element."""
SETTLED = 2
"""Seconds in which numbers and curves catch up, and chains on a trained net spread."""


def main(names: list[str]) -> None:
    wanted = names or [*PICTURES, *IMAGES]
    with tempfile.TemporaryDirectory() as folder, browser(Path(folder) / "profile") as tab:
        for name, (width, end, theme, key, when) in chosen(PICTURES, wanted):
            opened(tab, written(Path(folder), None), width, theme)
            tab.until("document.querySelector('dd') !== null")
            if key:
                tab.press(key, key)
            PREPARED.get(name, lambda _: None)(tab)
            tab.until(when, seconds=200)
            tab.run("playground.playing = playground.film !== null")
            shot(tab, name, width, end)
        for name, (width, end, theme, when) in chosen(IMAGES, wanted):
            opened(tab, written(Path(folder), "pretrained:mnist") + "#level_steps=2&seed=4", width, theme)
            tab.until("globalThis.playground?.done", seconds=600)
            PREPARED.get(name, lambda _: None)(tab)
            tab.until(when, seconds=600)
            shot(tab, name, width, end)


def chosen(pictures: dict[str, Any], names: list[str]) -> list[tuple[str, Any]]:
    """The pictures of these names."""
    return [(name, how) for name, how in pictures.items() if name in names]


def written(folder: Path, what: str | None) -> str:
    """The address of a page."""
    path = folder / f"{what}.html".replace(":", "-")
    path.write_text(page(subject_of(what)).text, "utf-8")
    return path.as_uri()


def opened(tab: Any, url: str, width: int, theme: str) -> None:
    tab.size(width, 900)
    tab.prefer(theme)
    tab.open(url)


def shot(tab: Any, name: str, width: int, end: str) -> None:
    """Take a picture of the page down to the end of an element."""
    bottom = tab.run(f"scrollY + document.querySelector('{end}').getBoundingClientRect().bottom")
    tab.size(width, math.ceil(bottom) + MARGIN)
    time.sleep(SETTLED)
    picture = Image.open(io.BytesIO(tab.picture())).convert("RGB")
    picture.save(ROOT / "docs/pictures" / f"playground_{name}.png", optimize=True)


def hide_and_fill(tab: Any) -> None:
    """The lower part of the fourth chain's digit, drawn anew."""
    tab.run("document.querySelector('[data-chain=\"3\"]').click()")
    tab.run("for (let k = 0; k < 13; k++) playground.paint(0.2 + 0.05 * k, 0.66)")
    tab.run("for (let k = 0; k < 13; k++) playground.paint(0.2 + 0.05 * k, 0.82)")
    tab.run("playground.fill()")


def one_step(tab: Any) -> None:
    """A few chains on the banana, in the middle of telling a step."""
    tab.run("playground.change({ target: 'banana', left: 'mala', step_size: 0.3, threshold: 2, chains: 24 })")
    tab.run("playground.playing = false")
    for _ in range(3):
        tab.run("playground.step()")
    tab.run("document.querySelector('#step').click()")


def own_points(tab: Any) -> None:
    """A spiral drawn by hand, and a net trained on it."""
    tab.run("globalThis.box = document.querySelector('.chains').getBoundingClientRect()")
    x, y, width = tab.run("[box.left, box.top, box.width]")
    turns = [(0.36 * math.exp(-t / 90), t / 9) for t in range(90)]
    tab.drag(*((x + width * (0.5 + r * math.cos(a)), y + width * (0.5 + r * math.sin(a))) for r, a in turns))
    tab.run("document.querySelector('#train').click()")
    tab.run("while (playground.film.iteration < 790) playground.learn(performance.now() + 1)")


PREPARED = {"step": one_step, "yours": own_points, "filled": hide_and_fill}


if __name__ == "__main__":
    main(sys.argv[1:])
