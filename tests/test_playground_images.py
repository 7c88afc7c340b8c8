"""Laws of the playground's pages of images: the net in the page is that of torch, and its chains walk as in Python."""

import base64
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import anila
import tiny
from anila.density.log_density import value_and_grad
from anila.density.networks import UNet, unet
from anila.density.networks.noise_conditional import NoiseConditional
from anila.reports.playground import page, subject_of
from anila.reports.playground.films import CHAINS
from anila.reports.playground.net import fits, net_of
from anila.rng import rng
from anila.samplers import anisotropic, langevin
from anila.samplers.annealed import towards
from anila.samplers.kernel import Noise
from anila.samplers.precondition import stretched
from browser import CHROMIUM
from test_playground import NODE, node, tensor

in_node = pytest.mark.skipif(NODE is None, reason="node is not installed: apt-get install nodejs")
in_a_browser = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed: apt-get install chromium")

HERE = "const f = modules.noisy.noisy({ ...given.net, tensors: modules.halves.opened(given.net.tensors) });"


def as_pixels(x: Tensor) -> list[Any]:
    """Images as the page has them: channel by channel within a pixel."""
    return x.permute(0, 2, 3, 1).flatten(1).tolist()


def as_images(rows: Any, like: Tensor) -> Tensor:
    return tensor(rows).view(-1, *like.shape[2:], like.shape[1]).permute(0, 3, 1, 2)


def small(channels: int = 3, classes: int = 3, adapter: tuple[int, ...] | None = None) -> NoiseConditional:
    """A U-Net of a few numbers, each of them one of 16 bits, and a Gaussian that has seen points."""
    torch.manual_seed(0)
    f = unet(channels, 16, widths=(4, 8), finest=0.05, adapter=adapter, classes=classes).double()
    f.base.see(torch.rand(40, channels, 16, 16, dtype=torch.float64) * 2 - 1)
    with torch.no_grad():
        for name, p in [*f.named_parameters(), *f.named_buffers()]:
            p.copy_((p if name.startswith("base") else p + 0.1 * torch.randn_like(p)).half())
    return f


ENERGIES = f"""
{HERE}
const told = (x) => given.levels.map(([s, y, w]) => f.at(s, y, w)(Float64Array.from(x)));
const plain = ({{ value, grad, chances }}) => ({{ value, grad: [...grad], chances }});
console.log(JSON.stringify(given.x.map(told).flat().map(plain)));
"""


@in_node
@pytest.mark.parametrize(("classes", "adapter"), [(0, None), (3, None), (0, (4, 4)), (3, (4, 4))])
def test_the_net_is_that_of_torch(classes: int, adapter: tuple[int, ...] | None):
    """Sees a weight out of its place, a branch that the way back forgets, a class taken for another, and an adapter
    at more levels than its own.
    """
    f = small(classes=classes, adapter=adapter)
    x = 1.5 * torch.randn(2, 3, 16, 16, generator=rng(0, "x"), dtype=torch.float64)
    levels = ((0.1, None, 0.0), (1.3, None, 0.0), (0.4, 2, 1.5), (6 * f.data_sd, 2, 1.5))
    agree(f, x, levels if classes else levels[:2], 1e-8)


@in_node
def test_the_digits_are_those_of_torch():
    """Sees numbers lost on the way into the page: f and ∇f of the pretrained net agree to 1e-4, and by far."""
    model = anila.load("pretrained:mnist")
    agree(model.f.double(), model.starts(1, rng(0, "x")).double(), [(0.1, None, 0.0), (0.5, 7, 2.0)], 1e-4)


def agree(f: Any, x: Tensor, levels: Any, tolerance: float) -> None:
    """The page's f, ∇f and p(y | x) are torch's, for each point, level s, class or None for all, and guidance."""
    told = iter(node(ENERGIES, "noisy halves", {"net": net_of(f), "x": as_pixels(x), "levels": levels}))
    for point in x.split(1):
        for s, y, w in levels:
            at = f if y is None else f.given(y, w)
            value, grad = value_and_grad(at.at(s), point)
            there = next(told)
            assert there["value"] == pytest.approx(value.item(), rel=tolerance, abs=tolerance)
            assert torch.allclose(as_images(there["grad"], x), grad, rtol=tolerance, atol=tolerance)
            if there["chances"]:
                logits = f(point, torch.tensor([s], dtype=x.dtype), by_class=True)
                assert torch.allclose(tensor(there["chances"]), logits.softmax(1), atol=1e-6)


@in_node
def test_steps_are_those_of_python():
    """Sees a level whose units are forgotten, a threshold on the wrong gradient, and a wrong step to the next level."""
    f, s, lower = small(), 0.7, 0.3
    x, xi = (torch.randn(2, 3, 16, 16, generator=rng(0, name), dtype=torch.float64) for name in ("x", "xi"))
    options = {"langevin": {"step_size": 0.01, "temperature": 0.5},
               "anisotropic": {"step_size": 0.2, "threshold": 3.0, "temperature": 1.3}}  # fmt: skip
    noise = Noise(xi, torch.zeros(2, dtype=torch.float64))
    kernels = [
        stretched(f.at(s), lambda u: s / f.lowest * u, lambda g, make=make, name=name: make(g, **options[name]))
        for name, make in {"langevin": langevin, "anisotropic": anisotropic}.items()
    ]
    ends = [kernel.step(kernel.init(x), noise)[0].x for kernel in [*kernels, towards(f.widened(s), s, lower)]]
    given = {"net": net_of(f), "x": as_pixels(x), "xi": as_pixels(xi), "s": s, "lower": lower,
             "options": [{"sampler": name, **option} for name, option in options.items()]}  # fmt: skip
    for told, end in zip(node(STEPS, "noisy halves descent", given), ends, strict=True):
        assert torch.allclose(as_images(told, x), end, atol=1e-8)


STEPS = f"""
{HERE}
const {{ moved, lowered }} = modules.descent;
const each = (step) => given.x.map((x, k) => {{
  const z = Float64Array.from(x);
  return [...step(z, f.at(given.s)(z).grad, Float64Array.from(given.xi[k]))];
}});
console.log(JSON.stringify([
  ...given.options.map((settings) => each((x, grad, xi) => moved(x, grad, given.s, f.lowest, settings, xi))),
  each((x, grad, xi) => lowered(x, f.widened(x, grad, given.s), given.s, given.lower, xi)),
]));
"""


@in_node
def test_chains_come_down_to_the_data():
    """Sees a draw of the wrong Gaussian, levels out of order, noise that stays, and what is seen changed by filling in.

    With U = 0 and classes alike, f is the Gaussian of the data, and draws have its mean and spread.
    """
    f = small(channels=1, classes=0)
    torch.nn.init.zeros_(f.net.head.weight)  # pyright: ignore[reportAttributeAccessIssue, reportArgumentType]
    torch.nn.init.zeros_(f.net.head.bias)  # pyright: ignore[reportAttributeAccessIssue, reportArgumentType]
    f.base.see(0.3 + 0.05 * torch.randn(4000, 1, 16, 16, dtype=torch.float64))
    told = node(DRAWS, "noisy halves descent random", {"net": net_of(f)})
    assert torch.tensor(told["means"]).mean() == pytest.approx(0.3, abs=0.02)
    assert torch.tensor(told["means"]).std() < 0.06
    assert told["seen"] == 0
    assert told["hidden"] == pytest.approx(0.3, abs=0.03)


DRAWS = f"""
{HERE}
const {{ sampled, filled }} = modules.descent, {{ uniforms }} = modules.random;
const kernel = {{ sampler: "langevin", step_size: 0.003, temperature: 1 }};
const settings = {{ ...kernel, levels: 12, level_steps: 1, steps: 2, fill_steps: 4 }};
const last = (walk) => [...walk].pop();
const means = Array.from({{ length: 4 }}, (_, k) => [...last(sampled(f, settings, null, uniforms(k))).mean]);
const picture = new Float64Array(256).fill(0.3), hidden = Uint8Array.from({{ length: 256 }}, (_, k) => k >= 128);
const end = last(filled(f, settings, null, picture, hidden, uniforms(1))).mean;
console.log(JSON.stringify({{
  means,
  seen: Math.max(...end.subarray(0, 128).map((v) => Math.abs(v - 0.3))),
  hidden: end.subarray(128).reduce((a, b) => a + b) / 128,
}}));
"""


def test_a_net_walks_in_a_thread_of_its_own():
    """Sees a page that stands still while a net is asked, and a thread that the page's policy forbids."""
    made = page({"side": 16, "channels": 3, "classes": [], "net": net_of(small())})
    thread, script = made.text.split('<script type="module">')
    assert "modules.noisy" in thread
    assert "modules.noisy" not in script
    assert "worker-src blob:" in made.policy


def test_what_the_page_can_run():
    """Sees a net taken that the page has no layers for, or that makes a page of more than 8 MB."""
    assert fits(small())
    assert not fits(torch.nn.Linear(2, 2))
    assert not fits(unet(3, 16, widths=(6, 8)))
    assert not fits(unet(3, 4, widths=(4, 4)))
    assert not fits(unet(3, 64))
    assert isinstance(small().net, UNet)


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of images whose net the page cannot run, with a long name."""
    run = tiny.image_run(tmp_path_factory.mktemp("images"))
    return run.rename(run.parent / ("a-very-long-name-" * 8))


def test_other_nets_come_as_films(films: Path):
    """Sees a film without its beginning, or one that does not move, and images out of their bytes."""
    made = subject_of(str(films))
    assert [film["title"] for film in made["films"]] == [
        "chains from noise",
        "chains continued",
        "the lower half, filled in",
    ]
    for film in made["films"]:
        frames = torch.frombuffer(bytearray(base64.b64decode(film["data"])), dtype=torch.uint8).view(
            -1, CHAINS, 8, 8, 3
        )
        assert len(frames) >= 10
        assert frames[0].ne(frames[-1]).any()
    assert frames[:, :, :4].float().std(0).max() == 0  # pyright: ignore[reportPossiblyUnboundVariable]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mnist", "cifar10", "flowers"])
def test_a_page_stays_small(name: str):
    """Sees a page above 8 MB."""
    assert len(page(subject_of(f"pretrained:{name}")).text) < 8_000_000
