"""What sampling costs on a GPU compared with the bare gradient and with matrix products. Part of scripts/gpu_images.sh.

    python benchmarks/gpu_speed.py --out OUT

It prints milliseconds per step of all chains, by `sample` step by step and compiled (CUDA graphs on a GPU), exact and
rounded; of ∇f alone; and of products of 4096 × 4096 matrices (512 × 512 with --toy) with as many operations as ∇f has.
f is the U-Net of the preset cifar10 on a GPU. Without a GPU everything runs on the CPU; --toy makes nets and all else
small.
"""

import argparse
import json
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from anila.density.log_density import gradient
from anila.density.networks import BlurredGaussian, NoiseConditional
from anila.density.precision import gradients_in
from anila.rng import rng
from anila.samplers import langevin, sample
from image_sets import protocol
from image_unets import channels_last, unet

EVENT, LOWEST, STEP = (3, 32, 32), 0.1, 0.003


class Plan(NamedTuple):
    """How large."""

    widths: tuple[int, ...] = (96, 192, 256)
    chains: int = 512
    steps: int = 50
    matrix: int = 4096


TOY = Plan((8, 16, 16), 16, 3, 512)


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def on_device(x: Tensor) -> Tensor:
    return x.to(device()).contiguous(memory_format=torch.channels_last)


def milliseconds(action: Callable[[], object], times: int) -> float:
    """Of one call, the best of three rounds; the first call, which compiles, is not counted."""

    def wait() -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()

    action()
    found = []
    for _ in range(3):
        wait()
        begun = time.perf_counter()
        action()
        wait()
        found.append(time.perf_counter() - begun)
    return 1000 * min(found) / times


def speed(plan: Plan, so_far: Path) -> dict[str, Any]:
    """Milliseconds of a transition of all chains, of ∇f, and of its arithmetic; what is measured is kept on the way."""
    net = NoiseConditional(unet(EVENT, plan.widths, 0), BlurredGaussian(EVENT), LOWEST)
    f = channels_last(net.to(device())).eval().requires_grad_(False)
    x = on_device(torch.randn(plan.chains, *EVENT, generator=rng(0, "speed")))
    with FlopCounterMode(display=False) as counter:
        f(x[:1].clone().requires_grad_(True)).sum().backward()
    flops, rows = counter.get_total_flops() * len(x), {}
    for precision in (None, "bf16", "tf32") if x.is_cuda else (None, "bf16"):
        word, dtype = precision or "float32", torch.bfloat16 if precision == "bf16" else torch.float32
        a = torch.randn(plan.matrix, plan.matrix, device=x.device).to(dtype)
        with gradients_in(precision):
            torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
            one = milliseconds(lambda a=a: a @ a, 1)
            torch.backends.cuda.matmul.allow_tf32 = False
            rows[f"{word}: its arithmetic"] = one * flops / (2 * plan.matrix**3)
            rows[f"{word}: bare gradient"] = milliseconds(
                lambda: [gradient(f, x) for _ in range(plan.steps)], plan.steps
            )
        for compile in (False, True):
            how = {"precision": precision, "compile": compile}
            kernel, generator = langevin(f, STEP), rng(0, "speed", device=x.device)
            run = milliseconds(
                lambda kernel=kernel, generator=generator, how=how: sample(kernel, x, plan.steps, generator, **how),
                plan.steps,
            )
            rows[f"{word}: sample{', compiled' if compile else ''}"] = run
            print(f"{list(rows)[-1]}: {run:.3f} ms a step", flush=True)
            so_far.write_text(json.dumps(rows, indent=1) + "\n")
    return {"milliseconds": rows, "flops_of_a_step": flops, "chains": len(x), "widths": plan.widths}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/gpu"), help="folder for the figures")
    parser.add_argument("--toy", action="store_true")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    arguments.out.mkdir(parents=True, exist_ok=True)
    if (path := arguments.out / "gpu_speed.json").exists():
        print(f"{path} is there: not made again")
        return
    found = speed(TOY if arguments.toy else Plan(), arguments.out / "gpu_speed_so_far.json")
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU: the processor"
    path.write_text(json.dumps({**found, "protocol": {"gpu": name, **protocol()}}, indent=1) + "\n")
    print(path.read_text())


if __name__ == "__main__":
    main()
