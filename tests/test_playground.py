"""Laws of the playground's JavaScript, by node: its landscapes and kernels are those of Python, on the same noise."""

import json
import shutil
import subprocess
from typing import Any

import numpy as np
import pytest
import torch
from arviz_stats.base.array import array_stats
from torch import Tensor

from anila.density.kernel_energy import KernelEnergy
from anila.density.log_density import value_and_grad
from anila.reports.playground.page import bundle
from anila.reports.playground.plane import PLANE
from anila.reports.playground.subject import SAMPLERS as ON_THE_PAGE
from anila.reports.playground.subject import on_nodes
from anila.rng import rng
from anila.samplers import SAMPLERS
from anila.samplers.barker import BarkerNoise
from anila.samplers.hmc import HmcNoise
from anila.samplers.kernel import Noise

NODE = shutil.which("node")
pytestmark = pytest.mark.skipif(NODE is None, reason="node is not installed: apt-get install nodejs")

CHAINS, STEPS = 20, 10
SETTINGS: dict[str, dict[str, Any]] = {
    "langevin": {"step_size": 0.02, "temperature": 0.7},
    "anisotropic": {"step_size": 0.1, "threshold": 2.0, "temperature": 1.3},
    "mala": {"step_size": 0.02},
    "anisotropic_mala": {"step_size": 0.1, "threshold": 2.0},
    "barker": {"step_size": 0.05},
    "hmc": {"step_size": 0.01, "leapfrog_steps": 4},
}


def node(script: str, modules: str, given: Any = None) -> Any:
    """What a script prints as JSON, beside the page's modules; `given` is what Python hands it."""
    names = modules.split()
    code = bundle(*names) + f"const given = {json.dumps(given)};\n{script}"
    done = subprocess.run([NODE or "", "--input-type=module", "-"], input=code, text=True, capture_output=True)
    assert not done.returncode, done.stderr
    return json.loads(done.stdout)


def tensor(values: Any) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_the_table_has_the_same_names():
    """Sees a kernel or a law that one side has and the other has not."""
    tables = "[modules.samplers.SAMPLERS, modules.targets.TARGETS]"
    names = node(f"console.log(JSON.stringify({tables}.map(Object.keys)))", "samplers targets")
    assert names == [list(ON_THE_PAGE), list(PLANE)]
    assert set(ON_THE_PAGE) == set(SETTINGS)


def test_landscapes_are_those_of_torch():
    """Sees a wrong constant in f, and a wrong sign in ∇f."""
    x = 2 * torch.randn(200, 2, generator=rng(0, "x"), dtype=torch.float64)
    each = "Object.values(modules.targets.TARGETS).map(({ f }) => given.map(f))"
    for f, told in zip(
        PLANE.values(), node(f"console.log(JSON.stringify({each}))", "targets", x.tolist()), strict=True
    ):
        value, grad = value_and_grad(f, x)
        assert torch.allclose(tensor([p["value"] for p in told]), value, rtol=1e-9)
        assert torch.allclose(tensor([p["grad"] for p in told]), grad, rtol=1e-8, atol=1e-9)


CHAINS_OF = """
const { bind } = modules.samplers, { at } = modules.kernel;
console.log(JSON.stringify(given.map(told)));

function told(given) {
const settings = { temperature: 1, ...given.settings, refresh: given.settings.refresh === "iteration" ? Infinity : 1 };
const kernel = bind(given.sampler, modules.targets.TARGETS[given.target].f, settings);
let points = given.x.map((x) => at(kernel.f, x)), prob = [];
if (kernel.hold) points = points.map(kernel.hold);
for (const noises of given.noises) {
  const moves = points.map((z, k) => kernel.step(z, noises[k]));
  points = moves.map((move) => move.next);
  prob.push(moves.map((move) => move.prob));
}
return { x: points.map((z) => z.x), prob };
}
"""


HELD = {"refresh": "iteration"}


@pytest.mark.parametrize(
    ("name", "more"), [*((name, {}) for name in SETTINGS), ("anisotropic", HELD), ("anisotropic_mala", HELD)]
)
def test_kernels_are_those_of_python(name: str, more: dict[str, Any]):
    """Sees a factor, a sign or a forgotten term in any formula of any kernel of the page, and a γ not held."""
    targets = ("rings", "banana", "double-well")
    given, ends, probs = zip(*(run_in_torch(name, target, SETTINGS[name] | more) for target in targets), strict=True)
    for told, x, prob in zip(node(CHAINS_OF, "samplers targets kernel", given), ends, probs, strict=True):
        assert torch.allclose(tensor(told["x"]), x, atol=1e-5)
        assert torch.allclose(tensor(told["prob"]), prob, atol=1e-5)


def run_in_torch(name: str, target: str, settings: dict[str, Any]) -> tuple[dict[str, Any], Tensor, Tensor]:
    """What the page is given to do the same, where chains ended, and the acceptance of every step."""
    sampler, generator = SAMPLERS[name](PLANE[target], **settings), rng(0, "chains")
    x = 0.7 * torch.randn(CHAINS, 2, generator=generator, dtype=torch.float64)
    state, noises, probs = sampler.init(x), [], []
    for _ in range(STEPS):
        noise = sampler.draw_noise(x, generator)
        state, info = sampler.step(state, noise)
        noises.append(as_rows(noise))
        probs.append(info.accept_prob)
    given = {"sampler": name, "target": target, "settings": settings, "x": x.tolist(), "noises": noises}
    return given, state.x, torch.stack(probs)


def as_rows(noise: Noise | BarkerNoise | HmcNoise) -> list[dict[str, Any]]:
    """The noise of each chain, as the page has it."""
    columns = {name: column.tolist() for name, column in noise._asdict().items()}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


LONG_RUN = """
const { App } = modules.app, { DEFAULTS } = modules.state;
const { drawer } = modules.laws, { drawNoise, uniforms } = modules.random;
console.log(JSON.stringify(given.map(({ steps, ...state }) => {
  const app = new App({}, { ...DEFAULTS, ...state, chains: 1 }), random = uniforms(7);
  const draw = drawer(app.place.frame, app.exact);
  app.left.restart(Array.from({ length: 800 }, () => draw(random)));
  for (let k = 0; k < steps; k++) app.left.step(Array.from({ length: 800 }, () => drawNoise(random)));
  return app.told("left");
})));
"""


def test_exact_kernels_keep_the_law():
    """Sees a wrong acceptance, and a temperature that the law or the kernel forgets: then KL is above 0.05."""
    kernels = {"mala": 0.5, "anisotropic_mala": 0.5, "barker": 1.0, "hmc": 0.5}
    common = {"target": "double-well", "step_size": 0.15, "threshold": 1.5, "leapfrog_steps": 3, "steps": 100}
    states = [common | {"left": name, "temperature": temperature} for name, temperature in kernels.items()]
    told = node(LONG_RUN, "app state laws random", states)
    assert max(of_one["kl"] for of_one in told) < 0.025


def test_a_step_that_is_held_costs_exactness():
    """Sees a γ that is refreshed at every step whatever is asked, or never: then KL is below 0.05."""
    state = {"target": "gaussian", "left": "anisotropic_mala", "step_size": 0.3, "threshold": 0.4, "steps": 150}
    every, fifth = node(LONG_RUN, "app state laws random", [state, state | {"refresh": 5}])
    assert every["kl"] < 0.025
    assert fifth["kl"] > 0.1
    assert fifth["own"] < fifth["kl"] / 2


def test_effective_draws_are_those_of_arviz():
    """Sees a lag counted twice, chains that are not split, and chains apart that are not told from one.

    ArviZ adds half a pair at the end of its sum.
    """
    noise = torch.randn(3, 5, 101, generator=rng(0, "noise"), dtype=torch.float64)
    slow = noise.clone()
    for t in range(1, 101):
        slow[1:, :, t] = 0.8 * slow[1:, :, t - 1] + noise[1:, :, t]
    slow[2] += torch.arange(5.0, dtype=torch.float64)[:, None]
    told = node("console.log(JSON.stringify(given.map(modules.ess.ess)))", "ess", slow.tolist())
    expected = [np.asarray(array_stats.ess(x, method="mean")).item() for x in slow.numpy()]
    assert told == pytest.approx(expected, rel=0.04)


def test_temperature_changes_the_test_and_not_the_proposal():
    """Sees a step or a threshold that the temperature forgets: then the two sides propose different points."""
    told = node(PROPOSED, "samplers targets kernel")
    assert torch.allclose(tensor(told[0]), tensor(told[1]), rtol=1e-12)
    assert torch.allclose(tensor(told[2]), tensor(told[3]), rtol=1e-12)


PROPOSED = """
const settings = { step_size: 0.1, threshold: 2, temperature: 0.6 };
const noise = { normal: [0.3, -1.2], uniform: 0.5 };
console.log(JSON.stringify(["langevin", "mala", "anisotropic", "anisotropic_mala"].map((name) => {
  const kernel = modules.samplers.bind(name, modules.targets.TARGETS.rings.f, settings);
  return kernel.step(modules.kernel.at(kernel.f, [1.3, -0.4]), noise).proposed.x;
})));
"""


def test_the_unadjusted_chain_follows_its_own_law():
    """Sees a wrong law of the bias: small steps on the gaussian, which is separable, lead there and not to exp f."""
    state = {"target": "gaussian", "left": "anisotropic", "step_size": 0.3, "threshold": 0.5, "steps": 400}
    (told,) = node(LONG_RUN, "app state laws random", [state])
    assert told["own"] < 0.03
    assert told["kl"] > 0.2


def test_a_grid_is_the_surface_through_it():
    """Sees an axis turned, a basis function in the wrong place, and a gradient that is not the surface's own."""
    f = PLANE["sine"]
    x = torch.rand(300, 2, generator=rng(0, "x"), dtype=torch.float64) * 2 - 1
    draws = torch.tensor([[-2.0, -2.0], [2.0, 2.0]], dtype=torch.float64)
    grid = on_nodes(f, draws)
    told = node(FROM_GRID, "grid sources", {"grid": grid, "x": x.tolist()})
    value, grad = value_and_grad(f, x)
    values = tensor([p["value"] for p in told["at"]])
    assert torch.allclose(values - values[0], value - value[0], atol=2e-3)
    assert torch.allclose(tensor([p["grad"] for p in told["at"]]), grad, atol=0.05)
    assert told["slope"] < 1e-4


FROM_GRID = """
const place = modules.sources.source({ target: "own" }, { grid: given.grid });
const eps = 1e-5;
const slope = given.x.map(([x, y]) => {
  const a = place.f([x + eps, y]).value - place.f([x - eps, y]).value;
  const b = place.f([x, y + eps]).value - place.f([x, y - eps]).value;
  const { grad } = place.f([x, y]);
  return Math.hypot(a / (2 * eps) - grad[0], b / (2 * eps) - grad[1]) / (1 + Math.hypot(...grad));
});
console.log(JSON.stringify({ at: given.x.map(place.f), slope: Math.max(...slope) }));
"""


def test_bumps_are_the_kernel_energy():
    """Sees a bandwidth squared or not, and a wrong mean."""
    points, x = (torch.randn(40, 2, generator=rng(0, name), dtype=torch.float64) for name in ("points", "x"))
    told = node(
        "console.log(JSON.stringify(given.x.map(modules.points.bumps(given.points, 0.4))))",
        "points",
        {"points": points.tolist(), "x": x.tolist()},
    )
    value, grad = value_and_grad(KernelEnergy(points, 0.4), x)
    assert torch.allclose(tensor([p["value"] for p in told]), value)
    assert torch.allclose(tensor([p["grad"] for p in told]), grad)


def test_the_net_differentiates_itself():
    """Sees a slip in the backward pass, in x and in θ: both are differences of f."""
    told = node(NET, "net random")
    assert np.allclose(told["x"][0], told["x"][1], atol=1e-6)
    assert np.allclose(told["theta"][0], told["theta"][1], atol=1e-6)


NET = """
const { net, energyOf, addSlope, zeros } = modules.net, { uniforms } = modules.random;
const model = net(uniforms(1), [0.3, -0.2], [1.5, 0.7]), f = energyOf(model), x = [0.4, 0.9], eps = 1e-5;
const between = (a, b) => f([x[0] + a, x[1] + b]).value - f([x[0] - a, x[1] - b]).value;
const differences = [between(eps, 0), between(0, eps)];
const sum = zeros();
addSlope(model, x, 1, sum);
const theta = Object.entries(model.theta).map(([name, values]) => {
  const k = Math.floor(values.length / 3), kept = values[k];
  const at = (v) => { values[k] = v; return f(x).value; };
  const slope = (at(kept + eps) - at(kept - eps)) / (2 * eps);
  values[k] = kept;
  return [sum[name][k], slope];
});
console.log(JSON.stringify({
  x: [f(x).grad, differences.map((d) => d / (2 * eps))],
  theta: [theta.map((t) => t[0]), theta.map((t) => t[1])],
}));
"""


@pytest.mark.parametrize("objective", ["denoising", "likelihood", "recovery"])
def test_training_learns(objective: str):
    """Sees an objective that goes the wrong way, or nowhere."""
    told = node(TRAIN, "app state", {"objective": objective})
    assert told[-1] < told[0] / 2


TRAIN = """
const { App } = modules.app, { DEFAULTS } = modules.state;
const app = new App({}, { ...DEFAULTS, target: "banana", objective: given.objective });
app.train();
while (app.film.iteration < 40) app.film.advance(performance.now() + 1);
console.log(JSON.stringify(app.film.frames.map((frame) => frame.kl)));
"""


def test_a_link_opens_in_place():
    """Sees a setting that the URL forgets, one that it takes though it is out of range, and points that move."""
    told = node(LINK, "state points sources")
    assert told["same"]
    assert told["refused"] == {"chains": 5}
    assert told["moved"] < 0.002


LINK = """
const { DEFAULTS, formatState, parseState } = modules.state;
const { spell, unspell } = modules.points, { SHEET } = modules.sources;
const state = { ...DEFAULTS, target: "sine", step_size: 0.37, chains: 123, seed: 4, points: "AbC9-_xy" };
const choices = { target: ["sine", "rings"] };
const points = [[-3.99, 0.123], [1.5, 3.2], [0, 0]], again = unspell(spell(points, SHEET), SHEET);
console.log(JSON.stringify({
  same: JSON.stringify(parseState(formatState(state), choices)) === JSON.stringify(state),
  refused: parseState("#chains=5&step_size=-1&target=moon&seed=x&nothing=1", choices),
  moved: Math.max(...points.flatMap((p, k) => [Math.abs(p[0] - again[k][0]), Math.abs(p[1] - again[k][1])])),
}));
"""


def test_pasted_text_becomes_points():
    """Sees a separator that is not one, a decimal comma that is taken for one, and a heading taken for a point."""
    text = "x,y\n1, 2\n3;4\n5\t6\n\n7 eight\n-1e-2 .5\n1,5;-2,25\n3,5\t4\n1, 2, 3"
    told = node("console.log(JSON.stringify(modules.points.parsePoints(given)))", "points", text)
    assert told == [[1, 2], [3, 4], [5, 6], [-0.01, 0.5], [1.5, -2.25], [3.5, 4], [1, 2]]
