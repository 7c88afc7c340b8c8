"""Microseconds of a Langevin step and milliseconds of a training iteration, against the bare gradient and the peers.

    python benchmarks/speed.py --out runs/speed                                (docs)
    python benchmarks/speed.py --out runs/bench --short                        (small nets, few rounds: minutes)

Everything runs in one process, on one core, on the same f, x and number of steps, in rounds in which every contender
has its turn; reported are the median and the quartiles over the rounds, and the median of the ratios to Anila's
`anisotropic` within a round. For all of them, what is freed stays with the process, as in `anila train`: activations
that go back to the system and come again made a step of images up to a sixth longer, in some runs and not in others.
Rows:

    its matrix products  those of ∇f alone, by the library that torch calls, into memory that is there (toy net)
    its arithmetic       as many multiplications and additions as ∇f has, in products of 1024 × 1024 matrices (images)
    bare gradient        ∇f and nothing else, the floor; as the peers hold images, and channels-last, as Anila does
    plain loop           the five lines of a tutorial
    TorchEBM, ebmkit     their Langevin samplers, as their documentation calls them
    JAX scan             the anisotropic update, jitted scan with its own random numbers (toy net)
    BlackJAX             its unadjusted Langevin (sgld kernel), jitted scan (toy net)
    Anila                `sample`, steps one by one; and compiled, with the two parts of that (toy net, anisotropic)

`rings` is a training iteration with the settings of the preset `rings-stanley` (100 chains of K = 100 steps, toy net),
`cifar10` one with those of `cifar10` at width 8 and 16 chains on noise of that shape; for TorchEBM with its persistent
contrastive divergence at the same K, chains, net and optimiser.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
if hasattr(os, "sched_setaffinity"):  # XLA has threads of its own all the same
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})

import ebm.samplers.langevin as ebmkit  # pyright: ignore[reportMissingImports]
import jax  # pyright: ignore[reportMissingImports]
import jax.numpy as jnp  # pyright: ignore[reportMissingImports]
import matplotlib.pyplot as plt
import torch
from blackjax import sgld  # pyright: ignore[reportMissingImports]
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from torchebm.losses import ContrastiveDivergence  # pyright: ignore[reportMissingImports]
from torchebm.samplers import LangevinDynamics  # pyright: ignore[reportMissingImports]

from anila.data import Rows
from anila.density.networks import WideResNet, toy, vanilla
from anila.rng import rng
from anila.runs.experiment import PRESETS, build, resolve
from anila.runs.training.machine import keep_freed_memory
from anila.samplers import anisotropic, anisotropic_mala, langevin, sample
from anila.samplers.compiled import graphs_of
from anila.samplers.kernel import draw_block
from peers import Energy

aten = torch.ops.aten
STEP, THRESHOLD = 0.01, 1.0
Action = Callable[[], Any]


def bare(f: nn.Module, x: Tensor, steps: int, bf16: bool = False) -> Action:
    def run() -> None:
        for _ in range(steps):
            y = x.detach().requires_grad_(True)
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                value = f(y)
            torch.autograd.grad(value.sum(), y)

    return run


def products(f: nn.Module, x: Tensor, steps: int) -> Action:
    """A gradient in x needs every weight twice, on the way up and back, but for the last one's way up."""
    weights = [m.weight.detach() for m in f.modules() if isinstance(m, nn.Linear)]
    n, todo = len(x), []
    for w in weights[:-1]:
        up, down = w.T.contiguous(), w.contiguous()
        todo.append((torch.zeros(n, len(up)), up, torch.zeros(n, up.shape[1])))
        todo.append((torch.zeros(n, len(down)), down, torch.zeros(n, down.shape[1])))

    def run() -> None:
        for _ in range(steps):
            for a, b, out in todo:
                torch.mm(a, b, out=out)

    return run


def arithmetic(f: nn.Module, x: Tensor, steps: int, dtype: torch.dtype) -> Action:
    with FlopCounterMode(display=False) as counter:
        f(x.clone().requires_grad_(True)).sum().backward()
    a = torch.randn(1024, 1024).to(dtype)
    times, out = round(steps * counter.get_total_flops() / 2 / 1024**3), torch.empty_like(a)

    def run() -> None:
        for _ in range(times):
            torch.mm(a, a, out=out)

    return run


def plain(f: nn.Module, x: Tensor, steps: int) -> Action:
    def run() -> None:
        z = x
        for _ in range(steps):
            z = z.detach().requires_grad_(True)
            (g,) = torch.autograd.grad(f(z).sum(), z)
            z = z + STEP / 2 * g + STEP**0.5 * torch.randn_like(z)

    return run


def anila(kernel: Any, x: Tensor, steps: int, **how: Any) -> Action:
    return lambda: sample(kernel, x, steps, rng(0, "speed"), **how)


def torch_contenders(f: nn.Module, x: Tensor, steps: int, ours: nn.Module | None = None) -> dict[str, Action]:
    """The peers on f; Anila on `ours`, the same net with its weights channels-last, which the peers do not use."""
    energy = Energy(f)
    peer, other = LangevinDynamics(energy, step_size=STEP / 2), ebmkit.LangevinDynamics(step_size=STEP / 2)
    found = {
        "bare gradient": bare(f, x, steps),
        "plain loop": plain(f, x, steps),
        "TorchEBM": lambda: peer.sample(x=x, n_steps=steps),
        "ebmkit": lambda: other.sample(energy, x, steps=steps),
    }
    if ours:
        last = x.to(memory_format=torch.channels_last)
        found["its arithmetic"] = arithmetic(f, x, steps, torch.float32)
        found["its arithmetic, bf16"] = arithmetic(f, x, steps, torch.bfloat16)
        found["bare gradient, channels-last"] = bare(ours, last, steps)
        found["bare gradient, bf16"] = bare(ours, last, steps, bf16=True)
    kernels = {
        "langevin": langevin(ours or f, STEP),
        "anisotropic": anisotropic(ours or f, THRESHOLD, STEP),
        "anisotropic_mala": anisotropic_mala(ours or f, THRESHOLD, STEP),
    }
    for name, kernel in kernels.items():
        found[f"Anila {name}"] = anila(kernel, x, steps)
        found[f"Anila {name}, compiled"] = anila(kernel, x, steps, compile=True)
    if ours:
        found["Anila anisotropic, bf16"] = anila(kernels["anisotropic"], x, steps, precision="bf16")
        found["Anila anisotropic, bf16, compiled"] = anila(
            kernels["anisotropic"], x, steps, precision="bf16", compile=True
        )
    return found


def inside(kernel: Any, x: Tensor, steps: int) -> dict[str, Action]:
    """What a compiled step is made of: drawing noise, and the C++ function."""
    state, draw = kernel.init(x), lambda n: draw_block(kernel, x, n, rng(0, "speed"))
    graphs = graphs_of(kernel.step, state, lambda: kernel.draw_noise(x, rng(0)))
    assert graphs
    noise = draw(steps)
    return {"compiled: drawing noise": lambda: draw(steps), "compiled: the C++ function": lambda: graphs(state, noise)}


def images(make: Callable[[], nn.Module], chains: int, steps: int) -> dict[str, Action]:
    """Contenders on images of 3 × 32 × 32."""
    x = torch.rand(chains, 3, 32, 32, generator=rng(0, "x")) * 2 - 1
    f, ours = make().requires_grad_(False), make().requires_grad_(False)
    ours.load_state_dict(f.state_dict())
    return torch_contenders(f, x, steps, ours.to(memory_format=torch.channels_last))  # pyright: ignore[reportCallIssue]


def jax_contenders(f: nn.Module, x: Tensor, steps: int) -> dict[str, Action]:
    """The toy net in JAX with the weights of f."""
    layers = [m for m in f.modules() if isinstance(m, nn.Linear)]
    theta = [(jnp.array(m.weight.detach().numpy().T), jnp.array(m.bias.detach().numpy())) for m in layers]
    x0 = jnp.array(x.numpy())

    def value(theta: Any, x: Any) -> Any:
        for i, (w, b) in enumerate(theta):
            x = x @ w + b
            x = jnp.where(x > 0, x, 0.05 * x) if i < len(theta) - 1 else x
        return x.sum()

    gradient = jax.grad(value, argnums=1)

    def anisotropic_step(x: Any, key: Any, theta: Any) -> Any:
        g = gradient(theta, x)
        gamma = STEP * THRESHOLD / jnp.maximum(THRESHOLD, jnp.abs(g))
        return x + gamma / 2 * g + jnp.sqrt(gamma) * jax.random.normal(key, x.shape)

    kernel: Any = sgld(lambda x, theta: gradient(theta, x))

    def blackjax_step(x: Any, key: Any, theta: Any) -> Any:
        return kernel.step(key, x, theta, STEP / 2)

    def scanned(step: Any) -> Action:
        @jax.jit
        def run(theta: Any, x: Any, key: Any) -> Any:
            return jax.lax.scan(lambda x, k: (step(x, k, theta), None), x, jax.random.split(key, steps))[0]

        return lambda: run(theta, x0, jax.random.PRNGKey(0)).block_until_ready()

    return {"JAX scan": scanned(anisotropic_step), "BlackJAX": scanned(blackjax_step)}


def training(preset: str, overrides: list[str], data: Rows, compiled: bool) -> Action:
    config = resolve(PRESETS[preset].experiment, [*overrides, f"training.compile={str(compiled).lower()}"])
    learner = build.build_learner(config, data)
    return lambda: learner.update(data.batch(config.training.batch, 0, learner.iteration))


def torchebm_training(preset: str, overrides: list[str], data: Rows) -> Action:
    config = resolve(PRESETS[preset].experiment, overrides)
    t, s = config.training, config.sampler
    f = build.build_network(config.network, data.event_shape, 0)
    sampler = LangevinDynamics(Energy(f), step_size=s.step_size / 2, noise_scale=s.temperature**0.5)
    chains = t.chains or t.batch
    loss_of = ContrastiveDivergence(
        Energy(f), sampler, k_steps=s.steps, persistent=True, buffer_size=chains, init_steps=0
    )
    loss_of.initialize_buffer(data.event_shape)
    optimizer, _ = build.build_optimizer(config, f)

    def run() -> None:
        loss, _ = loss_of(data.batch(t.batch, 0, 0))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return run


def layers(f: nn.Module, x: Tensor, n: int) -> dict[str, tuple[float, float]]:
    """Of every convolution of f in bfloat16, forward and gradient in its input: the rate of arithmetic, in that of a
    product of 1024 × 1024 matrices."""
    a = torch.randn(1024, 1024).bfloat16()

    def rate(count: int, action: Action) -> float:
        return count / statistics.median(rounds({"": action}, 1, n)[""])

    best = rate(2 * 1024**3, lambda: a @ a)
    found, x = {}, x.bfloat16().contiguous(memory_format=torch.channels_last)
    for m in (m for m in f.modules() if isinstance(m, nn.Conv2d)):
        w = m.weight.detach().bfloat16().contiguous(memory_format=torch.channels_last)
        how: Any = (m.stride, m.padding, m.dilation)
        y = torch.conv2d(x, w, None, *how)
        back = partial(aten.convolution_backward, y, x, w, None, *how, False, [0, 0], 1, [True, False, False])
        count = 2 * y.numel() * w[0].numel()
        forward = rate(count, partial(torch.conv2d, x, w, None, *how))
        found[f"{tuple(w.shape)}, stride {m.stride[0]}"] = forward / best, rate(count, back) / best
        x = y
    return found


def rounds(contenders: dict[str, Action], units: int, n: int) -> dict[str, list[float]]:
    """Microseconds a unit of each contender in each round, after one unmeasured."""
    found: dict[str, list[float]] = {name: [] for name in contenders}
    for k in range(n + 1):
        for name, action in contenders.items():
            began = time.perf_counter()
            action()
            if k:
                found[name].append((time.perf_counter() - began) / units * 1e6)
    return found


def table(title: str, found: dict[str, list[float]], unit: str = "µs a step") -> str:
    """Median, quartiles and the ratio to Anila's anisotropic sampler, or to Anila, within rounds."""
    ours = next(name for name in ("Anila anisotropic", "Anila") if name in found)
    lines = [f"| {title} | {unit} | quartiles | ÷ {ours} |", "|---|---|---|---|"]
    for name, times in found.items():
        low, middle, high = statistics.quantiles(times, n=4)
        ratio = statistics.median(a / b for a, b in zip(times, found[ours], strict=True))
        lines.append(f"| {name} | {middle:,.1f} | {low:,.1f} to {high:,.1f} | {ratio:.2f} |")
    return "\n".join(lines)


def fresh(code: str, **environment: str) -> list[str]:
    """The words that a fresh process prints which runs this on one thread."""
    script = f"import torch\ntorch.set_num_threads(1)\n{code}"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env=os.environ | environment
    )
    return done.stdout.split()


COMPILED = """
import time
from anila.density.networks import toy, vanilla
from anila.rng import rng
from anila.samplers import anisotropic, sample
for f, x in ((toy(2), torch.zeros(100, 2)), (vanilla(3, 32, 8), torch.zeros(16, 3, 32, 32))):
    kernel = anisotropic(f.requires_grad_(False), 1.0, 0.01)
    sample(kernel, x, 10, rng(0))
    began = time.perf_counter()
    sample(kernel, x, 10, rng(0), compile=True)
    print(time.perf_counter() - began)
"""


def compilation() -> dict[str, float]:
    """Seconds that the first compiled call takes, with nothing kept from earlier processes, and with it."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for when in ("first process", "later process"):
            times = fresh(COMPILED, TORCHINDUCTOR_CACHE_DIR=folder)
            found |= {f"{net}, {when}": float(t) for net, t in zip(("toy net", "vanilla conv"), times, strict=True)}
    return found


def peak_mib(code: str) -> float:
    """Peak memory of a fresh process that runs this."""
    high = "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))"
    return float(fresh(f"{code}\n{high}")[-1]) / 1024


SAMPLED = """
from anila.density.networks import vanilla
from anila.rng import rng
from anila.samplers import anisotropic, sample
f = vanilla(3, 32, 8).requires_grad_(False)
x = sample(anisotropic(f, 1.0, 0.01), torch.zeros(16, 3, 32, 32), {steps}, rng(0))
"""
PLANE = """
from anila.density.networks import toy
from anila.rng import rng
from anila.samplers import anisotropic, sample
sample(anisotropic(toy(2).requires_grad_(False), 1.0, 0.01), torch.zeros({chains}, 2), 10, rng(0))
"""
BANKED = """
from anila.learning.starts import FromNoise, Replay
bank = Replay({chains}, FromNoise((3, 32, 32)), storage="uint8")
z = bank.draw(10, torch.Generator())
bank.store(z)
"""


def memory(steps: int, chains: int) -> dict[str, float]:
    """Peaks of whole processes, MiB."""
    return {
        "sample, 10 steps": peak_mib(SAMPLED.format(steps=10)),
        f"sample, {steps:,} steps": peak_mib(SAMPLED.format(steps=steps)),
        "bank of 10 chains": peak_mib(BANKED.format(chains=10)),
        f"bank of {chains:,} chains": peak_mib(BANKED.format(chains=chains)),
    }


def scaling(n: int, most: int) -> dict[str, dict[str, float]]:
    """Microseconds a step of `anisotropic` against chains, dimension and width; of K steps against K; up to a most."""

    def one(chains: int = 100, dim: int = 2, width: int = 64, steps: int = 20, compiled: bool = False) -> float:
        f = nn.Sequential(
            nn.Linear(dim, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 1), nn.Flatten(0)
        )
        action = anila(
            anisotropic(f.requires_grad_(False), THRESHOLD, STEP), torch.zeros(chains, dim), steps, compile=compiled
        )
        return statistics.median(rounds({"": action}, 1, n)[""])

    def upto(*sizes: int) -> list[int]:
        return [size for size in sizes if size <= most]

    return {
        "chains": {str(c): one(chains=c, steps=5) / 5 for c in upto(1, 10, 100, 1000, 10_000, 100_000)},
        "chains, compiled": {
            str(c): one(chains=c, steps=50 if c < 1000 else 5, compiled=True) / (50 if c < 1000 else 5)
            for c in upto(2, 10, 100, 1000, 10_000, 100_000)
        },
        "dimension": {str(d): one(dim=d) / 20 for d in upto(2, 10, 100, 1000, 10_000)},
        "width": {str(w): one(width=w) / 20 for w in upto(16, 64, 256, 1024)},
        "K": {str(k): one(steps=k) for k in upto(1, 10, 100, 1000)},
        "chains: memory": {
            str(c): peak_mib(PLANE.format(chains=c)) for c in upto(100, 1000, 10_000, 100_000, 1_000_000)
        },
    }


def draw(found: dict[str, dict[str, float]], path: Path) -> None:
    panels = [name for name in found if not name.endswith(", compiled")]
    figure, axes = plt.subplots(1, len(panels), figsize=(3.2 * len(panels), 2.6))
    for axis, name in zip(axes, panels, strict=True):
        for line, times in found.items():
            if line.removesuffix(", compiled") == name:
                axis.loglog(
                    [int(k) for k in times], list(times.values()), "o-", label=line.partition(", ")[2] or "uncompiled"
                )
        axis.set_xlabel(name.partition(":")[0])
        axis.set_ylabel({"K": "µs", "chains: memory": "peak MiB of a process"}.get(name, "µs a step"))
        if f"{name}, compiled" in found:
            axis.legend(frameon=False)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for the numbers and the figure")
    parser.add_argument("--short", action="store_true", help="small nets, 2 to 4 rounds")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    keep_freed_memory()
    warnings.simplefilter("ignore")
    n, few, width, chains, many = (4, 2, 8, 8, 200) if arguments.short else (20, 5, 32, 64, 10_000)
    results: dict[str, Any] = {}

    def report(title: str, found: dict[str, list[float]], unit: str = "µs a step") -> None:
        results[title] = found
        print(table(title, found, unit) + "\n", flush=True)

    f = toy(2).requires_grad_(False)
    for points, steps in ((100, 200), (10_000, 10)):
        x = torch.randn(points, 2, generator=rng(0, "x"))
        found = {"its matrix products": products(f, x, steps)}
        found |= torch_contenders(f, x, steps) | jax_contenders(f, x, steps)
        found |= inside(anisotropic(f, THRESHOLD, STEP), x, steps)
        report(f"toy net, {points:,} chains", rounds(found, steps, n))
    rows = Rows(torch.randn(2000, 2, generator=rng(0, "data")), "points")
    contenders = {
        "TorchEBM": torchebm_training("rings-stanley", [], rows),
        "Anila": training("rings-stanley", [], rows, False),
        "Anila, compiled": training("rings-stanley", [], rows, True),
    }
    report("training iteration, rings-stanley", rounds(contenders, 1, n), "µs")
    vanilla_conv = images(lambda: vanilla(3, 32, width), chains, 20)
    report(f"vanilla conv, {chains} chains of 3 × 32 × 32", rounds(vanilla_conv, 20, few))
    results["layers"] = layers(vanilla(3, 32, width), torch.rand(chains, 3, 32, 32), 2 * few - 1)
    print("| convolution, bf16 | forward | gradient |\n|---|---|---|")
    print("\n".join(f"| {name} | {a:.2f} | {b:.2f} |" for name, (a, b) in results["layers"].items()) + "\n")
    chains, width = chains // 4, width // 4
    if not arguments.short:  # minutes of compiling
        wide = images(lambda: WideResNet(3, 32, depth=10, widen=1), chains, 10)
        report(f"wide residual net 10-1, {chains} chains of 3 × 32 × 32", rounds(wide, 10, few))
    noise = Rows(torch.rand(200, 3, 32, 32, generator=rng(0, "images")) * 2 - 1, "images")
    small = [f"network.width={width}", f"training.batch={chains}"]
    contenders = {
        "TorchEBM": torchebm_training("cifar10-chains", small, noise),
        "Anila": training("cifar10-chains", small, noise, False),
        "Anila, compiled": training("cifar10-chains", small, noise, True),
        "Anila, bf16": training("cifar10-chains", [*small, "training.precision=bf16"], noise, False),
        "Anila, bf16, compiled": training("cifar10-chains", [*small, "training.precision=bf16"], noise, True),
    }
    report(f"training iteration, cifar10 at width {width}, {chains} chains", rounds(contenders, 1, 2 * few - 2), "µs")
    results["memory, MiB"] = memory(many // 10, many)
    print("| peak memory of a process | MiB |\n|---|---|")
    print("\n".join(f"| {name} | {value:,.0f} |" for name, value in results["memory, MiB"].items()), flush=True)
    results["first compiled call, s"] = compilation()
    print("\n| first compiled call | s |\n|---|---|")
    print("\n".join(f"| {name} | {value:.1f} |" for name, value in results["first compiled call, s"].items()))
    results["scaling"] = scaling(3, 100 * many)
    draw(results["scaling"], arguments.out / "scaling.png")
    print(json.dumps(results["scaling"], indent=1))
    protocol = {"machine": platform.machine(), "cores": 1, "torch": torch.__version__, "jax": jax.__version__}
    protocol |= {"date": datetime.now(UTC).date().isoformat()}
    (arguments.out / "speed.json").write_text(json.dumps({"protocol": protocol, **results}, indent=1))


if __name__ == "__main__":
    main()
