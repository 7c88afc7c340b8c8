"""What a warm-up costs compared with the sampling that it prepares, compiled and not: ten public posteriors.

    python benchmarks/compiled_warm_ups.py --out runs/compiled-warm-ups             (docs/speed.md; 1 seed)

The protocol is that of `posteriors.py`: 32 chains in float64 from N(0, 10²), `tune` with `anisotropic_mala` for 1,000
steps, then 2,000 steps. Seconds are CPU seconds, including those of the C++ compiler. Tracing and compiling are counted
separately, because warm-up and sampling share them.
"""

import argparse
import json
import platform
import warnings
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from anila import anisotropic_mala, rng, sample, tune
from anila.samplers.compiled.graphs import GRAPHS, Graphs
from posteriors import CHAINS, FOLDER, KEEP, MODELS, START_SD, STEPS, WARM_UP, read, seconds

MADE, make = [0.0], Graphs.__init__
"""Seconds spent to trace and compile."""


def timed(self: Graphs, step: Any, state: Any, noise: Any) -> None:
    began = seconds()
    try:
        make(self, step, state, noise)
    finally:
        MADE[0] += seconds() - began


def run(name: str, seed: int, folder: Path) -> dict[str, Any]:
    """One posterior: seconds of warm-up and sampling, compiled and not, and whether it became C++."""
    model, _ = read(name, folder)
    x0 = START_SD * torch.randn(CHAINS, model.dim, generator=rng(seed, "start"), dtype=torch.float64)
    found: dict[str, Any] = {}
    for compile in (True, False):
        compiling, began = MADE[0], seconds()
        tuned = tune(lambda **kw: anisotropic_mala(model.f, **kw), x0, WARM_UP, rng(seed, "tune"), compile=compile)
        warmed = seconds()
        compiling = MADE[0] - compiling
        sample(tuned.sampler, tuned.x, STEPS, rng(seed, "chains"), keep_every=KEEP, compile=compile)
        kind = "compiled" if compile else "uncompiled"
        found[kind] = {"warm_up": warmed - began - compiling, "steps": seconds() - warmed, "compiling": compiling}
        if compile:
            (graphs,) = GRAPHS[tuned.sampler.step].values()
            found["c++"] = bool(graphs and graphs.lanes)
    return found


HEAD = "| posterior | compiling | warm-up | steps | warm-up uncompiled | steps | both ÷ steps | with compiling |"


def row(name: str, found: dict[str, Any]) -> str:
    a, b = found["compiled"], found["uncompiled"]
    ratio, whole = (1 + a["warm_up"] / (a["steps"] + more) for more in (0, a["compiling"]))
    numbers = (a["compiling"], a["warm_up"], a["steps"], b["warm_up"], b["steps"])
    return f"| {name} | {' | '.join(f'{x:.2f} s' for x in numbers)} | {ratio:.1f} | {whole:.1f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for the numbers")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the posteriors lie")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", choices=MODELS, default=list(MODELS))
    arguments = parser.parse_args()
    if not arguments.folder.exists():
        raise SystemExit(f"no posteriors in {arguments.folder}: give their folder by --folder")
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    Graphs.__init__ = timed
    print(HEAD, "|---" * 8 + "|", sep="\n")
    found = {}
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name in arguments.only:
        found[name] = run(name, arguments.seed, arguments.folder)
        print(row(name, found[name]), flush=True)
    date = datetime.now(UTC).date().isoformat()
    protocol = {"date": date, "machine": platform.machine(), "torch": torch.__version__}
    (arguments.out / "compiled_warm_ups.json").write_text(json.dumps({"protocol": protocol, "runs": found}, indent=1))


if __name__ == "__main__":
    main()
