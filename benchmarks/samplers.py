"""Effective samples per gradient and per second on ten targets, compared with BlackJAX in the same run.

    python benchmarks/samplers.py --out runs/samplers              (docs/samplers.md; 5 seeds)
    python benchmarks/samplers.py --out runs/bench --short         (1 seed, fewer steps)
    python benchmarks/samplers.py --out runs/momentum --seeds 2 --uncompiled --samplers mala anisotropic_mala \
        "hmc, tuned" ghmc anisotropic_ghmc --only gaussian banana "eight schools" "eight schools, centred" \
        "wide regression" rotated                                  (docs/samplers.md, the second table)

Every exact sampler here, after `tune`, and BlackJAX's MALA, HMC and NUTS after their warm-ups (`beside_blackjax.py`
says which) run 32 chains in float64 from the same starts: 500 steps of warm-up, 1,000 that count. Both HMCs make 4
leapfrog steps, and "hmc, tuned" as many as `tune` chooses. "plain" is tuned without a preconditioner: plain mala is the
algorithm of BlackJAX's MALA, and so a check of both.

ESS is ArviZ's bulk ESS over all chains, the least over coordinates and their squares. A gradient evaluation is one ∇f
of one chain: one a step, one a leapfrog step for HMC and NUTS; warm-up apart. Seconds are those of the steps that
count, warm-up and compilation apart, for both. Without the extra `bench` BlackJAX's columns are left out.
"""

import argparse
import json
import math
import os
import platform
import statistics
import time
import warnings
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from anila import anisotropic_ghmc, anisotropic_mala, barker, ghmc, hmc, mala, rng, sample, tune
from anila.evaluation import pictures
from anila.evaluation.chains import ess, rhat
from anila.evaluation.pictures.style import DPI, FAINT, INK, STYLE, WIDTH
from targets import MORE, TARGETS, Target, verify

HAVE_BLACKJAX = bool(find_spec("blackjax") and find_spec("jax"))
LEAPFROG_STEPS = 4
REFERENCE = "BlackJAX mala"
OURS: dict[str, Callable[[Target], Callable[..., Any]]] = {
    "mala, plain": lambda f: lambda step_size: mala(f, step_size),
    "anisotropic_mala, plain": lambda f: lambda step_size, threshold: anisotropic_mala(f, threshold, step_size),
    "mala": lambda f: lambda **kw: mala(f, **kw),
    "anisotropic_mala": lambda f: lambda **kw: anisotropic_mala(f, **kw),
    "barker": lambda f: lambda **kw: barker(f, **kw),
    "hmc": lambda f: lambda **kw: hmc(f, leapfrog_steps=LEAPFROG_STEPS, **kw),
    "hmc, tuned": lambda f: lambda **kw: hmc(f, **kw),
    "ghmc": lambda f: lambda **kw: ghmc(f, **kw),
    "anisotropic_ghmc": lambda f: lambda **kw: anisotropic_ghmc(f, **kw),
}
"""Name -> what `tune` makes of a target."""
THEIRS = {REFERENCE: "mala", "BlackJAX hmc": "hmc", "BlackJAX nuts": "nuts"}
COLOURS = {
    "mala, plain": "#9aa5b1", "anisotropic_mala, plain": "#e8a87c", "mala": "#0072b2", "anisotropic_mala": "#d55e00",
    "barker": "#009e73", "hmc": "#b85c93", "hmc, tuned": "#8a2be2", "ghmc": "#56b4e9", "anisotropic_ghmc": "#cc0000",
    "BlackJAX hmc": "#b8860b", "BlackJAX nuts": "#1f2933",
}  # fmt: skip
FAR, BACK = 100.0, 3.0


class Budget(NamedTuple):
    """How long a run is."""

    seeds: int
    warmup: int
    steps: int
    chains: int = 32
    far_steps: int = 1000
    """Chains that start far out have so many steps to come back."""
    compiled: bool = True


def score(
    x: torch.Tensor, gradients: float, warmup_gradients: float, seconds: float, accept: float
) -> dict[str, float]:
    """One run in numbers; x is (steps, chains, d), gradients are those of one chain."""
    watched = torch.cat([x, x.square()], -1)
    effective = ess(watched).nan_to_num(0.0).min().item()
    return {
        "ess": effective,
        "per_gradient": effective / (gradients * x.shape[1]),
        "per_second": effective / seconds,
        "rhat": rhat(watched).nan_to_num(math.inf).max().item(),
        "accept_prob": accept,
        "gradients": gradients,
        "warmup_gradients": warmup_gradients,
    }


def run_ours(name: str, target: Target, budget: Budget, seed: int) -> dict[str, float]:
    """One of our samplers: tune, compile, then the steps that count."""
    tuned = tune(OURS[name](target), target.start(budget.chains, seed), budget.warmup, rng(seed, name, "tune"))
    cost, how = tuned.sampler.gradients, {"keep_every": 1, "compile": budget.compiled}
    sample(tuned.sampler, tuned.x, 1, rng(seed), compile=budget.compiled)
    began = time.perf_counter()
    _, trace = sample(tuned.sampler, tuned.x, budget.steps, rng(seed, name, "chains"), **how)
    seconds = time.perf_counter() - began
    accept = trace["accept_prob"].mean().item()
    return score(trace["x"], float(cost * budget.steps), float(cost * budget.warmup), seconds, accept)


def our_path_back(name: str, target: Target, budget: Budget, seed: int) -> torch.Tensor:
    """Positions of chains from far out with the settings of a warm-up in the middle, (steps, chains, d)."""
    tuned = tune(OURS[name](target), target.start(budget.chains, seed), budget.warmup, rng(seed, name, "tune"))
    far = far_out(target, budget.chains, seed)
    return sample(tuned.sampler, far, budget.far_steps, rng(seed, name, "far"), keep_every=1)[1]["x"]


def far_out(target: Target, chains: int, seed: int) -> torch.Tensor:
    """Points with |x| = 100 in random directions."""
    x = target.start(chains, seed)
    return FAR * x / x.norm(dim=1, keepdim=True)


def steps_back(path: torch.Tensor) -> int | None:
    """The first step by which every chain has been within |x| < 3; None if some never is."""
    been = (path.norm(dim=-1) < BACK).cummax(0).values.all(1)
    return int(been.double().argmax()) + 1 if bool(been.any()) else None


def their_runner(sampler: str, target: Target, budget: Budget) -> Any:
    """One of BlackJAX's samplers on a target, by the name of its column."""
    from beside_blackjax import Runner

    return Runner(THEIRS[sampler], target, budget.warmup, LEAPFROG_STEPS)


def run_theirs(runner: Any, target: Target, budget: Budget, seed: int) -> dict[str, float]:
    """One of BlackJAX's samplers, from the same starts."""
    draws = runner(target.start(budget.chains, seed).numpy(), budget.steps, seed)
    x = torch.tensor(draws.x)
    return score(x, draws.gradients, draws.warmup_gradients, draws.seconds, draws.accept)


def run_sampler(sampler: str, name: str, budget: Budget) -> list[dict[str, float]]:
    """One sampler on one target: a list over seeds."""
    target, seeds = (TARGETS | MORE)[name], range(budget.seeds)
    if sampler in OURS:
        return [run_ours(sampler, target, budget, seed) for seed in seeds]
    runner = their_runner(sampler, target, budget)
    return [run_theirs(runner, target, budget, seed) for seed in seeds]


def come_back(sampler: str, budget: Budget) -> list[int | None]:
    """Steps until all chains of one sampler are back from |x| = 100 on light tails, a list over seeds."""
    target, seeds = TARGETS["light tails"], range(budget.seeds)
    if sampler in OURS:
        return [steps_back(our_path_back(sampler, target, budget, seed)) for seed in seeds]
    runner = their_runner(sampler, target, budget)
    starts = [(target.start(budget.chains, k).numpy(), far_out(target, budget.chains, k).numpy()) for k in seeds]
    paths = [runner.come_back(*start, budget.far_steps, k) for k, start in zip(seeds, starts, strict=True)]
    return [steps_back(torch.tensor(path)) for path in paths]


def mean_error(runs: list[dict[str, float]], key: str) -> tuple[float, float]:
    """Mean over seeds and its standard error."""
    values = torch.tensor([run[key] for run in runs], dtype=torch.float64)
    return values.mean().item(), (values.std() / math.sqrt(len(runs))).item() if len(runs) > 1 else 0.0


def relative(found: dict[str, list[dict[str, float]]], name: str, key: str) -> tuple[float, float]:
    """Mean relative to BlackJAX's MALA, and its standard error; relative to the first sampler where it is not there."""
    base, base_error = mean_error(found[reference(found)], key)
    value, error = mean_error(found[name], key)
    return value / base, value / base * math.hypot(error / value, base_error / base) if value else 0.0


def reference(found: dict[str, Any]) -> str:
    return REFERENCE if REFERENCE in found else next(iter(found))


def table(results: dict[str, dict[str, list[dict[str, float]]]], key: str) -> str:
    """A markdown table: the reference in its unit, the others as multiples of it; * marks R̂ above 1.05."""
    names = columns(results)
    base = reference(dict.fromkeys(names))
    others = [n for n in names if n != base]
    lines = [f"| target | {base} | " + " | ".join(others) + " |", "|---" * (len(names) + 1) + "|"]
    for target, found in results.items():
        value, error = mean_error(found[base], key)
        cells = [f"{value:.2g} ± {error:.1g}{mixed(found[base])}"]
        for n in others:
            if n not in found:
                cells.append("–")
                continue
            ratio, error = relative(found, n, key)
            cells.append(f"{ratio:.2f} ± {error:.2f}{mixed(found[n])}")
        lines.append(f"| {target} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def step_table(results: dict[str, dict[str, list[dict[str, float]]]], steps: int) -> str:
    """A markdown table: microseconds a step of all chains, median over seeds."""
    names = columns(results)
    lines = ["| target | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for target, found in results.items():
        times = [statistics.median(r["ess"] / r["per_second"] for r in found[n]) if n in found else None for n in names]
        lines.append(
            f"| {target} | " + " | ".join("–" if t is None else f"{t / steps * 1e6:.1f}" for t in times) + " |"
        )
    return "\n".join(lines)


def columns(results: dict[str, dict[str, Any]]) -> list[str]:
    """Every sampler that ran on some target."""
    return [s for s in [*OURS, *THEIRS] if any(s in found for found in results.values())]


def mixed(runs: list[dict[str, float]]) -> str:
    """A star where the chains of some seed have not mixed, so that their ESS is a guess."""
    return "*" if max(run["rhat"] for run in runs) > 1.05 else ""


def return_table(found: dict[str, list[int | None]], limit: int) -> str:
    """A markdown table of steps to come back, lowest to highest over seeds."""
    lines = ["| sampler | steps until all chains are back |", "|---|---|"]
    for name, steps in found.items():
        back = [s for s in steps if s is not None]
        if not steps:
            continue
        text = f"{min(back)}-{max(back)}" if back else f"never in {limit}"
        lines.append(f"| {name} | {text}{'' if len(back) in (0, len(steps)) else f', {len(back)} of {len(steps)}'} |")
    return "\n".join(lines)


@STYLE
def draw(results: dict[str, dict[str, list[dict[str, float]]]]) -> Figure:
    """Effective samples per gradient relative to the reference: a row a target, a mark a sampler."""
    names = columns(results)
    base = reference(dict.fromkeys(names))
    shown = [n for n in names if n in COLOURS and n != base]
    figure = Figure(figsize=(WIDTH, 0.9 + 0.52 * len(results)), dpi=DPI)
    ax = figure.add_subplot()
    for k, name in enumerate(shown):
        offset = (k - (len(shown) - 1) / 2) * 0.11
        draw_marks(ax, results, name, offset)
    ax.axvline(1, color=INK, linewidth=1.0, zorder=1)
    ax.set_xscale("log")
    ax.xaxis.set_major_formatter("{x:g}")
    ax.set_yticks(range(len(results)), [f"{t}\n" + (TARGETS | MORE)[t].about for t in results])
    ax.set_ylim(len(results) - 0.45, -0.55)
    ax.set_xlabel(f"effective samples per gradient, relative to {base} (mean ± standard error over seeds)")
    ax.legend(ncols=4, loc="lower center", bbox_to_anchor=(0.45, 1.0), columnspacing=1.4, handletextpad=0.2)
    tidy(ax, len(results))
    return figure


def draw_marks(ax: Axes, results: dict[str, dict[str, list[dict[str, float]]]], name: str, offset: float) -> None:
    """One sampler's marks on all rows: round for ours, square for BlackJAX's, open where chains have not mixed."""
    marker = "s" if name in THEIRS else "o"
    for row, found in enumerate(results.values()):
        if name not in found:
            continue
        ratio, error = relative(found, name, "per_gradient")
        face = "white" if mixed(found[name]) else COLOURS[name]
        ax.errorbar(
            ratio, row + offset, xerr=min(error, 0.9 * ratio), fmt=marker, color=COLOURS[name], markersize=5,
            markerfacecolor=face, elinewidth=1.1,
        )  # fmt: skip
    ax.plot([], [], marker, color=COLOURS[name], markersize=5, label=name)


def tidy(ax: Axes, rows: int) -> None:
    """A rule between rows, and no more lines than needed."""
    for row in range(rows - 1):
        ax.axhline(row + 0.5, color="#e9edf1", linewidth=0.7, zorder=0)
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.tick_params(axis="y", length=0, labelcolor=INK)
    ax.grid(True, axis="x", color="#e9edf1")
    ax.xaxis.label.set_color(FAINT)


def once(folder: Path, name: str, budget: Budget, work: Callable[[], Any] | None) -> Any:
    """What `work` gives, kept in a file of the folder: the same command again goes on where it stopped.

    Without `work`, what was kept, or None.
    """
    path = folder / "parts" / f"{name.replace(' ', '_').replace(',', '')}.json"
    path.parent.mkdir(exist_ok=True)
    key = {k: v for k, v in protocol(budget).items() if k != "date"}
    if path.exists() and (kept := json.loads(path.read_text()))["protocol"] == key:
        return kept["result"]
    if work is None:
        return None
    result = work()
    path.write_text(json.dumps({"protocol": key, "result": result}))
    print(f"{name}: done, {time.process_time():.0f} s of processor so far", flush=True)
    return result


def protocol(budget: Budget) -> dict[str, Any]:
    """What a reader needs to repeat the run."""
    packages = ["torch", "numpy", "arviz-stats", *(["blackjax", "jax"] if HAVE_BLACKJAX else [])]
    return {
        **budget._asdict(),
        "leapfrog_steps": LEAPFROG_STEPS,
        "dtype": "float64",
        "versions": {p: version(p) for p in packages} | {"python": platform.python_version()},
        "machine": f"{platform.machine()}, {os.cpu_count()} threads, one used by each library",
        "date": datetime.now(UTC).date().isoformat(),
    }


def check_targets(names: list[str]) -> None:
    """Both libraries must see the same functions; without BlackJAX, say that its columns are missing."""
    if not HAVE_BLACKJAX:
        print(
            "BlackJAX and JAX are not installed: their columns are left out (pip install -c constraints.txt .[bench])"
        )
        return
    from beside_blackjax import value_and_grad

    for name in names:
        verify(name, value_and_grad)
    print("values and gradients agree between torch and jax on all targets")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for the numbers and the figure")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--short", action="store_true", help="1 seed, 160 steps of warm-up, 300 that count")
    parser.add_argument("--only", nargs="+", choices=TARGETS | MORE, default=list(TARGETS), help="these targets alone")
    parser.add_argument("--samplers", nargs="+", choices=[*OURS, *THEIRS], default=[*OURS, *THEIRS])
    parser.add_argument("--uncompiled", action="store_true", help="as they are: seconds then say nothing")
    parser.add_argument("--kept", action="store_true", help="run nothing: report what earlier runs left in the folder")
    arguments = parser.parse_args()
    shown = [s for s in arguments.samplers if s in OURS or HAVE_BLACKJAX]
    budget = Budget(1, 160, 300) if arguments.short else Budget(arguments.seeds, 500, 1000)
    budget = budget._replace(compiled=not arguments.uncompiled)
    arguments.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # dropped preconditioners and stuck chains: the tables show both
    check_targets([] if arguments.kept else arguments.only)
    results, back = {}, {}
    for name in arguments.only:
        works = {s: None if arguments.kept else partial(run_sampler, s, name, budget) for s in shown}
        found = {s: once(arguments.out, f"{name} - {s}", budget, work) for s, work in works.items()}
        results[name] = {s: runs for s, runs in found.items() if runs}
    results = {name: found for name, found in results.items() if reference(dict.fromkeys(shown)) in found}
    for s in shown:
        work = None if arguments.kept else partial(come_back, s, budget)
        back[s] = once(arguments.out, f"back - {s}", budget, work) or []
    numbers = {"protocol": protocol(budget), "runs": results, "steps_back_from_100": back}
    (arguments.out / "samplers.json").write_text(json.dumps(numbers, indent=1))
    print("\nEffective samples per gradient:\n\n" + table(results, "per_gradient"))
    print("\nEffective samples per second:\n\n" + table(results, "per_second"))
    print("\nMicroseconds a step:\n\n" + step_table(results, budget.steps))
    print("\nBack from |x| = 100 on light tails:\n\n" + return_table(back, budget.far_steps))
    pictures.save(draw(results), arguments.out / "samplers.png")
    print(f"\nwritten to {arguments.out}")


if __name__ == "__main__":
    main()
