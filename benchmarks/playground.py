"""What a frame of the playground costs with 1,000 chains on each side, in headless chromium.

    python benchmarks/playground.py [--chains 1000] [--seconds 5]

For each law it prints the milliseconds of CPU time that a frame (a step of both sides and its drawing) takes in the
page's own thread, and the frames per second that one core can make. Time of other processes on the machine does not
count, and neither does what chromium's other processes do to bring the frame to a screen.
"""

import argparse
import runpy
import tempfile
import time
from pathlib import Path
from typing import Any

from anila.reports.playground import page, subject_of

ROOT = Path(__file__).resolve().parents[1]
browser = runpy.run_path(str(ROOT / "tests/browser.py"))["browser"]
LAWS = ("rings", "banana", "mixture")
STATE = "left=langevin&right=anisotropic_mala&step_size=0.01&threshold=3&speed=60"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chains", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=5)
    options = parser.parse_args()
    print("| law | steps a frame | ms a frame | frames a second |\n|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as folder, browser(Path(folder) / "profile") as tab:
        path = Path(folder) / "playground.html"
        path.write_text(page(subject_of(None)).text, "utf-8")
        tab.call("Performance.enable", timeDomain="threadTicks")
        tab.size(1280, 900)
        for law in LAWS:
            tab.open(f"{path.as_uri()}#target={law}&chains={options.chains}&{STATE}")
            tab.until("globalThis.playground?.left.steps > 10")
            steps, ms = cost(tab, options.seconds)
            print(f"| {law} | {steps:.1f} | {ms:.1f} | {1000 / ms:.0f} |", flush=True)


def cost(tab: Any, seconds: float) -> tuple[float, float]:
    """Steps a frame, and milliseconds of the page's thread."""
    tab.run("globalThis.frames = 0; (function count() { frames++; requestAnimationFrame(count); })()")
    before = look(tab)
    time.sleep(seconds)
    frames, steps, busy = (b - a for a, b in zip(before, look(tab), strict=True))
    return steps / frames, 1000 * busy / frames


def look(tab: Any) -> tuple[float, float, float]:
    """Frames, steps and processor seconds so far."""
    found = tab.call("Performance.getMetrics")["metrics"]
    busy = next(metric["value"] for metric in found if metric["name"] == "TaskDuration")
    return tab.run("frames"), tab.run("playground.left.steps"), busy


if __name__ == "__main__":
    main()
