"""The pictures of docs/report.md: pages of two runs, in headless chromium.

anila train rings --run runs/rings && anila evaluate runs/rings
anila train mnist --run runs/mnist
python scripts/report_pictures.py        writes docs/pictures/report*.png
"""

import io
import math
import runpy
import sys
import tempfile
from pathlib import Path

from PIL import Image

from anila.reports.page import write_page

ROOT = Path(__file__).resolve().parents[1]
browser = runpy.run_path(str(ROOT / "tests/browser.py"))["browser"]
PICTURES = {
    "report": ("rings", 1280, "light", "header", "#chains"),
    "report_phone": ("rings", 400, "light", "header", "#scores"),
    "report_phone_dark": ("mnist", 400, "dark", "#samples", "#energy"),
}
"""Name -> run, width, theme, and the elements with which the picture begins and ends."""


def main(names: list[str]) -> None:
    wanted = {name: how for name, how in PICTURES.items() if name in (names or PICTURES)}
    with tempfile.TemporaryDirectory() as folder, browser(Path(folder) / "profile") as tab:
        pages = {run: Path(folder) / f"{run}.html" for run, *_ in wanted.values()}
        for run, page in pages.items():
            write_page([Path("runs", run)], page)
        for name, (run, width, theme, begin, end) in wanted.items():
            tab.size(width, 900)
            tab.prefer(theme)
            tab.open(pages[run].as_uri())
            box = "document.querySelector('{}').getBoundingClientRect().{}".format
            tab.size(width, math.ceil(tab.run(f"{box(end, 'bottom')} - {box(begin, 'top')}")))
            tab.run(f"document.querySelector('{begin}').scrollIntoView({{ behavior: 'instant' }})")
            picture = Image.open(io.BytesIO(tab.picture())).convert("RGB")
            picture.quantize(256, dither=Image.Dither.NONE).save(ROOT / f"docs/pictures/{name}.png", optimize=True)


if __name__ == "__main__":
    main(sys.argv[1:])
