"""The pictures of docs/playground.md: the playground's own page, in chromium without a window.

python scripts/playground_pictures.py        writes docs/pictures/playground_*.png
"""

import io
import math
import runpy
import tempfile
import time
from pathlib import Path
from typing import Any

from PIL import Image

from anila.reports.playground import page, subject_of

ROOT = Path(__file__).resolve().parents[1]
browser = runpy.run_path(str(ROOT / "tests/browser.py"))["browser"]
PICTURES = {
    "steep": (1280, 1130, "light", "", "playground.left.steps >= 30"),
    "bias": (1280, 1130, "dark", "2", "playground.left.steps >= 600"),
    "step": (1280, 880, "light", "", "playground.left.steps === 4 && playground.phase === 1"),
    "yours": (1280, 880, "light", "5", "playground.film.done"),
    "phone": (400, 1230, "dark", "3", "playground.left.steps >= 300"),
}
"""Name -> width, height, theme, the key of a story, and what must have come true."""
SETTLED = 2
"""Seconds in which numbers and curves catch up, and chains on a trained net spread."""


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, browser(Path(folder) / "profile") as tab:
        path = Path(folder) / "playground.html"
        path.write_text(page(subject_of(None)).text, "utf-8")
        for name, (width, height, theme, key, when) in PICTURES.items():
            tab.size(width, height)
            tab.prefer(theme)
            tab.open(path.as_uri())
            tab.until("document.querySelector('dd') !== null")
            if key:
                tab.press(key, key)
            PREPARED.get(name, lambda _: None)(tab)
            tab.until(when, seconds=200)
            tab.run("playground.playing = playground.film !== null")
            time.sleep(SETTLED)
            picture = Image.open(io.BytesIO(tab.picture())).convert("RGB")
            picture.save(ROOT / "docs/pictures" / f"playground_{name}.png", optimize=True)


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


PREPARED = {"step": one_step, "yours": own_points}


if __name__ == "__main__":
    main()
