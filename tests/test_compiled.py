"""Compiled steps: the numbers of single ones, whatever changes between calls, and a word where they cannot be."""

import ast
import os
import subprocess
import sys
from collections.abc import Callable
from copy import deepcopy
from itertools import count
from pathlib import Path
from threading import Event, Thread
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, fx, nn
from torch.distributions import Bernoulli, Exponential, Independent, Normal

import anila
from anila.density.log_density import from_numpy, gradient
from anila.density.networks import mlp, vanilla
from anila.density.precision import gradients_in
from anila.learning.learner import Learner
from anila.learning.starts import Persistent
from anila.rng import rng
from anila.samplers import (
    Sampler,
    anisotropic,
    anisotropic_ghmc,
    anisotropic_mala,
    barker,
    descent,
    ghmc,
    hmc,
    kernel_density,
    langevin,
    mala,
    mixture,
    replica_exchange,
    sample,
    with_global_moves,
)  # fmt: skip
from anila.samplers.adaptation import AdaptiveSampler
from anila.samplers.compiled import compiler, graphs, lanes, torch_internals, worth
from anila.samplers.compiled.graphs import GRAPHS, Graphs
from anila.samplers.compiled.variables import Unsupported
from anila.samplers.compiled.vocabulary import ARITHMETIC
from anila.samplers.kernel import Noise
from anila.samplers.replica import ladder
from anila.samplers.sample import blocks, transitions
from anila.samplers.trace import Trace
from anila.samplers.warm_up import tune
from compilers import compiling

pytestmark = compiling

Run = tuple[Tensor, Trace]
X0 = torch.randn(8, 2, generator=rng(0, "start"))


def net(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return mlp(2, hidden=(8, 8))


def both(kernel: Sampler, x0: Tensor = X0, steps: int = 2, **how: Any) -> tuple[Run, Run]:
    """Compiled, and not."""
    return sample(kernel, x0, steps, rng(0), compile=True, **how), sample(kernel, x0, steps, rng(0), **how)


def never(*_: object, **__: object) -> None:
    raise RuntimeError("no working C++ compiler found")


def unsupported(*_: object, **__: object) -> None:
    raise Unsupported("not small")


@pytest.fixture
def no_lanes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves TorchInductor's graphs only."""
    monkeypatch.setattr(graphs, "Lanes", unsupported)


def assert_same(a: Run, b: Run, atol: float = 1e-5) -> None:
    torch.testing.assert_close(a[0], b[0], rtol=0, atol=atol)
    assert a[1].keys() == b[1].keys()
    for name in a[1]:
        torch.testing.assert_close(a[1][name], b[1][name], rtol=1e-5, atol=atol, equal_nan=True)


def graphs_of(kernel: Sampler) -> Graphs:
    """Those of a kernel that ran compiled from one kind of start."""
    (found,) = GRAPHS[kernel.step].values()
    assert found
    return found


def test_a_compiled_kernel_makes_the_steps_of_the_plain_one():
    """Sees noise in another order, infos of other steps, or positions kept at other times."""
    kernel = anisotropic_mala(net(), 1.0, 0.1)
    assert_same(*both(kernel, steps=7, keep_every=3))
    assert graphs_of(kernel).lanes


@pytest.mark.usefixtures("no_lanes")
def test_so_it_does_in_graphs_of_several_steps():
    kernel = anisotropic_mala(net(), 1.0, 0.1)
    assert_same(*both(kernel, steps=3, keep_every=1))
    assert graphs_of(kernel).unrolled


def test_gradients_of_images_in_bf16_are_as_coarse_as_those_of_autocast():
    """Sees a graph that rounds nowhere, or coarser. Where it does, processors differ."""
    torch.manual_seed(0)
    x0 = torch.randn(4, 1, 8, 8, generator=rng(0, "images"))
    f = vanilla(1, 8, 4)
    kernel = descent(f, 2.0)  # x' = x + ∇f
    (compiled, _), (plain, _) = both(kernel, x0, steps=1, precision="bf16")
    exact = x0 + gradient(f, x0)
    coarse = (plain - exact).norm()
    assert (compiled - plain).norm() <= 2 * coarse
    assert coarse / 2 <= (compiled - exact).norm() <= 2 * coarse
    assert graphs_of(kernel).unrolled


@pytest.mark.usefixtures("no_lanes")
@pytest.mark.slow
@pytest.mark.parametrize("make", [
    lambda f: langevin(f, 0.1), lambda f: mala(f, 0.1), lambda f: barker(f, 0.5), lambda f: hmc(f, 0.2, 3),
    lambda f: ghmc(f, 0.1), lambda f: anisotropic_ghmc(f, 1.0, 0.1),
    lambda f: anisotropic(f, 1.0, 0.1, refresh="iteration"),
    lambda f: anisotropic_mala(f, 1.0, 0.1, refresh="iteration"),
    lambda f: mala(f, 0.1, preconditioner=torch.tensor([1.0, 2.0])),
])  # fmt: skip
def test_every_kernel_of_tensors_can_be_compiled(make: Callable[[nn.Module], Sampler]):
    kernel = make(net())
    assert_same(*both(kernel, steps=23, keep_every=4))
    assert graphs_of(kernel).unrolled


def test_a_graph_sees_parameters_change_and_is_made_once(monkeypatch: pytest.MonkeyPatch):
    """Sees θ burnt into the graph: training would sample the net it began with."""
    f = net()
    kernel = langevin(f, 0.1)
    sample(kernel, X0, 2, rng(0), compile=True)
    with torch.no_grad():
        for p in f.parameters():
            p.mul_(3.0)
    monkeypatch.setattr(graphs, "Graphs", None)
    assert_same(*both(kernel))


@pytest.mark.usefixtures("no_lanes")
def test_so_does_one_of_several_steps(monkeypatch: pytest.MonkeyPatch):
    test_a_graph_sees_parameters_change_and_is_made_once(monkeypatch)


def quadratic(x: Tensor) -> Tensor:
    return -x.square().sum(1)


class Counted(NamedTuple):
    x: Tensor
    steps: int


def counting() -> Sampler:
    """A kernel of one's own that counts in its step."""
    kernel = mala(quadratic, 0.1)

    def step(state: Counted, noise: Any) -> tuple[Counted, Any]:
        new, info = kernel.step(kernel.init(state.x), noise)
        return Counted(new.x, state.steps + 1), info

    return Sampler(lambda x: Counted(x, 0), step)


COUNTING: dict[str, Callable[[Any], Sampler]] = {
    "global moves": lambda f: with_global_moves(mala(f, 0.1), kernel_density(X0, 0.3), every=2),
    "global moves, preconditioned": lambda f: with_global_moves(
        barker(f, 0.1, preconditioner=torch.tensor([1.0, 0.5])), kernel_density(X0, 0.3), every=2
    ),
    "global moves, dense": lambda f: with_global_moves(
        mala(f, 0.1, preconditioner=torch.tensor([[1.0, 0.0], [0.3, 0.5]])), kernel_density(X0, 0.3), every=2
    ),
    "mixture": lambda f: mixture([mala(f, 0.1), barker(f, 0.5), anisotropic_mala(f, 1.0, 0.1)], [1.0, 1.0, 1.0]),
    "replicas": lambda f: replica_exchange(lambda f: mala(f, 0.1), f, (1.0, 2.0, 5.0), every=2),
    "replicas with momentum": lambda f: replica_exchange(lambda f: ghmc(f, 0.1), f, (1.0, 2.0)),
    "mixture with global moves": lambda f: mixture(
        [with_global_moves(mala(f, 0.1), kernel_density(X0, 0.3)), barker(f, 0.5)], [1.0, 1.0]
    ),
}


@pytest.mark.parametrize("kind", COUNTING)
def test_moves_of_kernels_that_count_are_compiled(kind: str):
    """Sees moves in another order or of another parity, and states that are passed on in another shape."""
    f = net()
    kernel = COUNTING[kind](f)
    compiled, plain = both(kernel, steps=13, keep_every=3)
    assert compiled[1].how == "in C++"
    assert_same(compiled, plain)
    with torch.no_grad():
        for p in f.parameters():
            p.mul_(3.0)
    assert_same(*both(kernel, steps=5))


def test_why_steps_are_not_cpp_is_said_of_all_chains():
    """Sees what a trace of one chain alone ran into, where a ladder's rows come in fours: "expected (1,), got (0,)"."""
    kernel = ladder(lambda f: mala(f, 0.1), net(), (1.0, 2.0, 4.0, 8.0))
    with gradients_in("bf16"):
        found = Graphs(kernel.step, kernel.init(X0), kernel.draw_noise(X0, rng(0)))
    assert isinstance(found.why_not, Unsupported)


@pytest.mark.parametrize("make", [
    lambda: langevin(from_numpy(lambda x: (-(x**2).sum(1) / 2, -x)), 0.1),
    lambda: langevin(lambda x: quadratic(x) * (2 if x.sum() > 0 else 1), 0.1),
    counting,
])  # fmt: skip
def test_what_cannot_be_traced_runs_as_it_is_and_says_so(make: Callable[[], Sampler]):
    """Sees an answer of the first call burnt into the graph in silence."""
    kernel = make()
    with pytest.warns(RuntimeWarning, match="compile: steps run uncompiled, because "):
        a, b = both(kernel)
    assert_same(a, b, atol=0)


def test_steps_in_cpp_are_all_that_is_compiled(tmp_path: Path):
    """Sees ten seconds of the first run on a machine, in which torch tries the compiler on vectors of its own."""
    code = (
        "import torch; from anila import rng, sample; from anila.samplers import langevin; "
        "sample(langevin(lambda x: -(x * x).sum(1), 0.1), torch.ones(8, 2), 20, rng(0), compile=True)"
    )
    environment = os.environ | {"TORCHINDUCTOR_CACHE_DIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
    assert len([*tmp_path.rglob("*.so")]) == 1


def test_without_a_compiler_steps_run_as_they_are(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(graphs, "graph_compiled", never)
    monkeypatch.setattr(lanes, "cpp_compiled", never)
    with pytest.warns(RuntimeWarning, match="uncompiled, because no working C\\+\\+ compiler found"):
        a, b = both(langevin(net(), 0.1))
    assert_same(a, b, atol=0)
    assert "no working C++ compiler found" in a[1].how


def as_traced(graph: fx.GraphModule, _: object) -> Callable[..., Any]:
    """In place of TorchInductor, which takes seconds."""
    return graph


def test_why_there_is_no_cpp_is_said_where_there_should_be_some(monkeypatch: pytest.MonkeyPatch):
    """Sees the failure of a compiler taken for a step that is not small."""
    monkeypatch.setattr(graphs, "graph_compiled", as_traced)
    monkeypatch.setattr(lanes, "cpp_compiled", never)
    kernel = langevin(net(), 0.1)
    with pytest.warns(RuntimeWarning, match="run in graphs, not in C\\+\\+, because no working") as said:
        both(kernel, steps=23)
    assert len(said) == 1, "once a kernel"


def test_cpp_that_computes_something_else_is_not_run(monkeypatch: pytest.MonkeyPatch):
    """Sees an operation of a later torch translated as it was."""
    monkeypatch.setattr(graphs, "graph_compiled", as_traced)
    monkeypatch.setitem(ARITHMETIC, torch.ops.aten.mul.Tensor, "{0} + {1}")
    with pytest.warns(
        RuntimeWarning, match=r"not in C\+\+, because state.x of chain 0 is .* compiled and .* uncompiled"
    ):
        a, b = both(langevin(net(), 0.1))
    assert_same(a, b)


@pytest.mark.usefixtures("no_lanes")
def test_graphs_that_compute_something_else_are_not_run(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(graphs, "graph_compiled", lambda graph, _: lambda *given: [x + 0.1 for x in graph(*given)])
    with pytest.warns(RuntimeWarning, match="uncompiled, because state.x of chain 0"):
        a, b = both(langevin(net(), 0.1), steps=3)
    assert_same(a, b, atol=0)
    state = torch.get_rng_state()
    with pytest.warns(RuntimeWarning, match="uncompiled"):
        sample(langevin(quadratic, 0.1), X0, 2, rng(0), compile=True)
    assert torch.equal(state, torch.get_rng_state()), "the comparison draws nothing"


def narrower(x: Tensor) -> Tensor:
    return x[..., :1].contiguous()


@pytest.mark.parametrize("change", [
    lambda state, noise: (state, noise._replace(normal=narrower(noise.normal))),
    lambda state, noise: (state, noise._replace(normal=noise.normal.double())),
    lambda state, noise: (state._replace(grad=narrower(state.grad)), noise),
    lambda state, noise: (state._replace(value=state.value[:1]), noise),
])  # fmt: skip
def test_tensors_of_another_kind_than_was_traced_take_the_steps_uncompiled(change: Callable[..., Any]):
    """Sees memory read beyond the end of a tensor, or as numbers of another size."""
    kernel = mala(quadratic, 0.1)
    sample(kernel, X0, 2, rng(0), compile=True)
    state, noise = change(kernel.init(X0), Noise(torch.ones(1, 8, 2), torch.zeros(1, 8)))
    with pytest.warns(RuntimeWarning, match="it was compiled for torch.float32 of shape"):
        last, info, _ = graphs_of(kernel)(state, noise)
    expected, told = kernel.step(state, Noise(noise.normal[0], noise.uniform[0]))
    assert torch.equal(last.x, expected.x)
    assert torch.equal(info.accept_prob[0], told.accept_prob)


def test_a_parameter_may_become_another_between_two_calls():
    w = nn.Parameter(torch.ones(2))
    kernel = langevin(lambda x: (w * quadratic(x)[:, None]).sum(1), 0.1)

    def grow(*_: object) -> None:
        w.data = torch.full((1,), 3.0)

    def run(compile: bool) -> Tensor:
        w.data = torch.ones(2)
        return sample(kernel, X0, 1002, rng(0), keep_every=1000, callback=grow, compile=compile)[0]

    with pytest.warns(RuntimeWarning, match="was replaced between two calls"):
        compiled = run(True)
    torch.testing.assert_close(compiled, run(False))


class Counts(nn.Module):
    """Changes a buffer at every evaluation."""

    def __init__(self):
        super().__init__()
        self.register_buffer("count", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.count += 1  # pyright: ignore[reportOperatorIssue]
        return quadratic(x) * (1 + 0.1 * self.count)  # pyright: ignore[reportOperatorIssue]


def test_an_f_that_changes_what_it_keeps_runs_as_it_is():
    """Sees it changed by the attempt to compile, or once instead of at every step."""
    f = Counts()
    with pytest.warns(RuntimeWarning, match="f changes a tensor that it keeps"):
        compiled, _ = transitions(langevin(f, 0.1), X0, 4, rng(0), compile=True)
    assert f.count == 4
    assert torch.equal(compiled, transitions(langevin(Counts(), 0.1), X0, 4, rng(0))[0])


def test_an_f_that_takes_numbers_out_of_tensors_runs_as_it_is():
    """Sees the number of the first call burnt in."""
    t = torch.tensor(2.0)
    kernel = langevin(lambda x: quadratic(x) * t.item(), 0.1)
    with pytest.warns(RuntimeWarning, match="takes a number out of a tensor"):
        sample(kernel, X0, 2, rng(0), compile=True)
    t.fill_(0.5)
    assert_same(*both(kernel), atol=0)


def test_what_f_computes_once_is_computed_of_real_numbers():
    """Sees a tensor without numbers left in a distribution that the user goes on with."""
    coin = Bernoulli(probs=torch.tensor([0.2, 0.3]))
    kernel = langevin(lambda x: (coin.logits * x - x**2).sum(1), 0.1)
    assert_same(*both(kernel))
    assert_same(*both(kernel, X0[:3]))


@pytest.mark.parametrize("lanes_first", [True, False])
def test_a_parameter_may_become_another(lanes_first: bool, monkeypatch: pytest.MonkeyPatch):
    """Sees memory read beyond its end, or numbers in the order of another layout."""
    if not lanes_first:
        monkeypatch.setattr(graphs, "Lanes", unsupported)
    w = nn.Parameter(torch.randn(2, 4, generator=rng(0)))
    kernel = langevin(lambda x: (x @ w).tanh().sum(1), 0.1)
    for now in (w.data, 2 * torch.ones(4, 2).T, torch.full((2, 1), 0.3)):
        w.data = now
        assert_same(*both(kernel))


def test_autocast_around_a_call_is_not_that_of_the_call_before():
    f = net()
    kernel = langevin(f, 0.1)
    with torch.autocast("cpu", torch.bfloat16):
        sample(kernel, X0, 2, rng(0), compile=True)
    assert_same(*both(kernel))


def test_threads_may_compile_at_once():
    """Sees graphs half made."""
    kernel, found = langevin(net(), 0.1), []

    def run() -> None:
        found.append(sample(kernel, X0, 2, rng(0), compile=True)[0])

    in_threads(run, run, run)
    assert all(torch.equal(x, found[0]) for x in found[1:])
    assert len(found) == 3
    assert graphs_of(kernel).lanes


def in_threads(*runs: Callable[[], None]) -> None:
    threads = [Thread(target=run) for run in runs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_while_one_thread_compiles_distributions_of_another_refuse_nan():
    """Sees the check of `torch.distributions` left off for the whole process."""
    target, said = Normal(torch.zeros(2), 1.0), []
    evaluations, tracing, asked = count(), Event(), Event()

    def f(x: Tensor) -> Tensor:
        if next(evaluations) == 1:  # the second: the first is of real numbers
            tracing.set()
            asked.wait(60)
        return target.log_prob(x).sum(1)

    def ask() -> None:
        tracing.wait(60)
        try:
            Normal(0.0, 1.0).log_prob(torch.tensor(torch.nan))
        except ValueError as error:
            said.append(str(error))
        asked.set()

    kernel = langevin(f, 0.1)
    in_threads(lambda: (sample(kernel, X0, 2, rng(0), compile=True), None)[1], ask)
    assert tracing.is_set()
    assert "support" in said[0]
    assert graphs_of(kernel).lanes


def test_nobody_waits_for_what_is_not_used():
    """Sees two seconds and 35 MiB of imports at every start: of the compiler, θ in pieces, and assignments."""
    heavy = {"sympy", "torch._inductor", "torch.fx.experimental.symbolic_shapes", torch_internals.__name__,
             "torch.distributed.fsdp", "torch.distributed.tensor", "scipy.optimize"}  # fmt: skip
    run = "anila.sample(anila.langevin(lambda x: -x.norm(dim=1), 0.1), torch.ones(2, 2), 2, anila.rng(0))"
    code = f"import sys, torch, anila, anila.runs.experiment.choose; {run}; print({heavy} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


SOURCE = Path(anila.__file__).parent
INTERNALS = ast.parse(Path(torch_internals.__file__).read_text())
PUBLIC = {"fx", "Tensor", "TorchFunctionMode"}
NAMES = sorted(
    (str(node.module), alias.name)
    for node in ast.walk(INTERNALS)
    if isinstance(node, ast.ImportFrom) and str(node.module).startswith("torch")
    for alias in node.names
    if alias.name not in PUBLIC
)
OPERATIONS = sorted(
    node.attr for node in ast.walk(INTERNALS)
    if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "aten" and node.attr.startswith("_")
)  # fmt: skip


def private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name not in {"_asdict", "_replace", "_fields"}


def of_torch(node: ast.AST) -> list[str]:
    """The names of torch in this node that may change without notice."""
    if isinstance(node, ast.ImportFrom | ast.Import):
        modules = [f"{getattr(node, 'module', '')}.{alias.name}".lstrip(".") for alias in node.names]
        return [
            m for m in modules if m.startswith("torch") and (any(map(private, m.split("."))) or "experimental" in m)
        ]
    if isinstance(node, ast.Attribute) and private(node.attr):
        owner = ast.unparse(node.value)
        return [] if owner in ("self", "cls", "os", "pool") else [f"{owner}.{node.attr}"]
    return [node.arg] if isinstance(node, ast.keyword) and node.arg and private(node.arg) else []


def test_one_file_alone_names_what_torch_keeps_to_itself():
    """Sees such a name anywhere else: without it the package could not be imported."""
    found = {
        str(path.relative_to(SOURCE)): names
        for path in SOURCE.rglob("*.py")
        if (names := [name for node in ast.walk(ast.parse(path.read_text())) for name in of_torch(node)])
    }
    known = {"samplers/compiled/torch_internals.py", "density/transform.py"}  # the latter: torch.overrides, documented
    assert {*found} == known, found


def assert_runs_uncompiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a process in which nothing was compiled yet."""
    package = "anila.samplers.compiled"
    for name in [name for name in sys.modules if name.startswith(f"{package}.")]:
        monkeypatch.delitem(sys.modules, name)
        monkeypatch.delattr(sys.modules[package], name.rpartition(".")[2])
    compiler.cache_clear()
    kernel = langevin(quadratic, 0.1)
    plain = sample(kernel, X0, 2, rng(0))
    assert torch_internals.__name__ not in sys.modules
    try:
        with pytest.warns(RuntimeWarning, match="compile: steps run uncompiled, because ") as said:
            found = [sample(kernel, X0, 2, rng(0), compile=True) for _ in range(2)]
        assert len(said) == 1
        for run in found:
            assert_same(run, plain, atol=0)
    finally:
        compiler.cache_clear()


@pytest.mark.parametrize(("module", "name"), NAMES)
def test_without_a_name_of_torch_steps_run_uncompiled(module: str, name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delattr(f"{module}.{name}")
    assert_runs_uncompiled(monkeypatch)


def gone(name: str) -> property:
    """An attribute that is not there."""
    return property(lambda _: getattr(object(), name))


@pytest.mark.parametrize("name", OPERATIONS)
def test_so_they_do_without_an_operation(name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(type(torch.ops.aten), name, gone(name), raising=False)
    assert_runs_uncompiled(monkeypatch)


def test_so_they_do_without_schemas_of_operations(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch._ops.OpOverload, "_schema", gone("_schema"), raising=False)
    assert_runs_uncompiled(monkeypatch)


def test_errors_of_f_are_those_of_f():
    """Sees them swallowed by the attempt to compile."""
    with pytest.warns(RuntimeWarning), pytest.raises(ValueError, match="one number per row"):
        transitions(langevin(lambda x: x, 0.1), X0, 2, rng(0), compile=True)


@pytest.mark.parametrize("keep_every", [0, 1, 3, 7, 10, 23])
@pytest.mark.parametrize("most", [1, 10])
def test_blocks_make_all_steps_and_end_where_positions_are_kept(keep_every: int, most: int):
    found = list(blocks(54, keep_every, most))
    assert sum(found) == 54
    assert max(found) <= most
    ends = set(torch.tensor(found).cumsum(0).tolist()) | {0}
    if keep_every > most:
        assert set(range(0, 54, keep_every)) <= ends
    elif keep_every:
        assert all(end % keep_every == 0 for end in ends - {54})


def learner(compile: bool) -> Learner:
    f = net()

    def kernel(step_size: float, threshold: float) -> Sampler:
        return anisotropic(f, threshold, step_size, temperature=0.5)

    adaptive = AdaptiveSampler(kernel, 0.1, None, threshold=0.02, clipped=0.1, rate=1.0)
    optimizer = torch.optim.Adam(f.parameters(), 0.01)
    return Learner(f, adaptive, Persistent(torch.randn(8, 2, generator=rng(0))), optimizer, 2, compile=compile)


def test_training_compiles_once_follows_its_settings_and_resumes_bit_for_bit(monkeypatch: pytest.MonkeyPatch):
    """Sees a compilation an iteration, or a threshold that a graph keeps from its first iteration."""
    made: list[Graphs] = []
    real = Graphs.__init__
    monkeypatch.setattr(Graphs, "__init__", lambda self, *a: (made.append(self), real(self, *a))[1])
    x_data = torch.ones(8, 2)
    plain, quick, back = learner(False), learner(True), learner(True)
    for i in range(6):
        if i == 3:
            back.load_state_dict(deepcopy(quick.state_dict()))
        a, b = plain.update(x_data), quick.update(x_data)
        assert a == pytest.approx(b, rel=1e-4, abs=1e-5)
        if i >= 3:
            assert back.update(x_data) == b
    assert len(made) == 2, "one a learner"
    assert all(torch.equal(p, q) for p, q in zip(back.model.parameters(), quick.model.parameters(), strict=True))


def short(x: Tensor) -> Tensor:
    return -x.square().sum(1)


def compile_in_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let compiling pay in a tenth of the steps."""
    monkeypatch.setattr(worth, "LOADED", 0.0)
    monkeypatch.setattr(worth, "COMPILED", worth.COMPILED / 10)


def test_steps_are_compiled_unasked_where_that_pays(monkeypatch: pytest.MonkeyPatch):
    """Sees a long run left to Python, a short one sent to the compiler, or chains that are watched no more."""

    def how(kernel: Any, steps: int, **more: Any) -> str:
        return sample(kernel, X0, steps, rng(0), **more)[1].how

    compile_in_no_time(monkeypatch)
    assert how(mala(short, 0.1), 200) == "uncompiled"
    assert how(mala(short, 0.1), 600) == "in C++"
    assert how(mala(short, 0.1), 600, compile=False) == "uncompiled"
    assert how(langevin(short, 0.1), 600) == "uncompiled"
    tuned = tune(short, X0, 100, rng(0), compile=True)
    assert how(tuned.sampler, 20) == "in C++"
    assert tune(short, X0, 600, rng(0)).sampler.step in GRAPHS


@pytest.mark.filterwarnings("error")
def test_what_cannot_be_compiled_is_no_trouble_to_who_did_not_ask(monkeypatch: pytest.MonkeyPatch):
    """Sees a warning of a compiler in a run that never wanted one, or none where it is wanted afterwards."""
    compile_in_no_time(monkeypatch)
    kernel = mala(from_numpy(lambda x: (-(x**2).sum(1), -2 * x)), 0.1)
    assert sample(kernel, X0, 500, rng(0))[1].how == "uncompiled"
    with pytest.warns(RuntimeWarning, match="uncompiled, because"):
        sample(kernel, X0, 2, rng(0), compile=True)


def test_a_call_sees_that_f_reads_another_number_than_before():
    """Sees a temperature that was changed between two calls, and chains that go on at the old one."""
    scale = {"of f": 1.0}
    kernel = mala(lambda x: -scale["of f"] * x.square().sum(1) / 2, 0.5)
    assert 0.8 < sample(kernel, torch.zeros(2000, 2), 50, rng(0), compile=True)[0].var().item() < 1.2
    scale["of f"] = 4.0
    x, trace = sample(kernel, torch.zeros(2000, 2), 50, rng(0), compile=True)
    assert 0.2 < x.var().item() < 0.3
    assert trace.how == "in C++"


def test_a_step_that_f_refuses_does_not_end_what_was_compiled():
    """Sees steps in C++ thrown away, with a warning, because a step made to look at f left its support."""
    kernel = mala(Independent(Exponential(torch.ones(2)), 1).log_prob, 1.0)
    sample(kernel, torch.full((20, 2), 50.0), 2, rng(0), compile=True)
    assert graphs_of(kernel).lanes
    with pytest.raises(ValueError, match="support"):
        sample(kernel, torch.full((20, 2), 0.01), 2, rng(0), compile=True)
    assert graphs_of(kernel).lanes
