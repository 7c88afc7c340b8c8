"""The page on other packages does what it says, for each that is installed."""

import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch.distributions import HalfCauchy, Normal

from anila.density.log_density import from_jax, value_and_grad

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "bridges.md").read_text()
BLOCKS = {
    section.split("\n", 1)[0]: re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    for section in PAGE.split("\n## ")[1:]
}
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


def run(section: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the first block of a section leaves behind."""
    monkeypatch.chdir(folder)
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(BLOCKS[section][0], f"bridges.md, {section}", "exec"), names)
    return names


@pytest.mark.slow
def test_arviz_draws_what_a_trace_hands_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Sees a data tree that ArviZ's summary or plots do not take."""
    pytest.importorskip("xarray_einstats", reason="needs the extra arviz")
    names = run("ArviZ", tmp_path, monkeypatch)
    try:
        exec(BLOCKS["ArviZ"][1], names)
    except (ImportError, AttributeError) as error:
        pytest.skip(f"the plots need arviz-plots, and its 0.8 a matplotlib below 3.11: {error}")
    assert {path.name for path in tmp_path.iterdir()} == {"plot_rank.png", "plot_trace.png", "plot_ess.png"}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_model_of_pyro_is_its_log_joint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Sees a site that is lost or counted twice, a Jacobian that is missing, and calls that Pyro no longer has."""
    pytest.importorskip("pyro", reason="needs the extra pyro")
    found = run("Pyro", tmp_path, monkeypatch)
    likelihood = Normal(0.0, 1.0).log_prob(torch.tensor([1.0, 2.0, 4.0])).sum()
    prior = Normal(0.0, 5.0).log_prob(torch.tensor(0.0)) + HalfCauchy(5.0).log_prob(torch.tensor(1.0))
    assert torch.allclose(found["f"](torch.zeros(2, 2)), (likelihood + prior).expand(2))
    assert list(found["trace"].draws()) == ["mean", "sd"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_posterior_of_sbi_stays_inside_its_prior(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Sees draws outside the prior, and calls that sbi no longer has."""
    pytest.importorskip("sbi", reason="needs the extra sbi")
    draws = run("sbi", tmp_path, monkeypatch)["draws"]
    assert draws.shape == (10, 8, 2)
    assert bool((draws.abs() < 2).all())


class StanModel:
    """A stand-in with BridgeStan's method names and conventions, for a Stan program needs a C++ toolchain.

    y ~ N(0, σ), the only parameter a scale: log-density with the Jacobian of σ = exp(x).
    """

    made_with: ClassVar[list[Any]] = []

    def __init__(self, model_lib: str, data: str | None = None):
        self.made_with.append((model_lib, data))

    def param_unc_num(self) -> int:
        return 1

    def log_density_gradient(self, theta_unc: np.ndarray) -> tuple[float, np.ndarray]:
        assert theta_unc.shape == (1,)
        assert theta_unc.dtype == np.float64
        x = theta_unc[0]
        return -np.exp(2 * x) / 2 + x, np.array([-np.exp(2 * x) + 1])

    def param_constrain(self, theta_unc: np.ndarray) -> np.ndarray:
        return np.exp(theta_unc)


def test_stan_runs_on_a_stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Sees a recipe that mixes up rows, or calls BridgeStan as it can't be called."""
    module = ModuleType("bridgestan")
    module.__dict__["StanModel"] = StanModel
    monkeypatch.setitem(sys.modules, "bridgestan", module)
    found = run("Stan", tmp_path, monkeypatch)
    assert StanModel.made_with == [("model.stan", "data.json")]
    assert found["draws"].shape == (10, 8, 1)
    assert np.allclose(found["draws"], found["trace"]["x"].exp())
    value, grad = value_and_grad(found["f"], torch.tensor([[0.0], [1.0]]))
    assert torch.allclose(value, torch.tensor([-0.5, 1 - np.exp(2) / 2], dtype=torch.float32))
    assert torch.allclose(grad, torch.tensor([[0.0], [1 - np.exp(2)]], dtype=torch.float32))


@pytest.mark.slow
def test_jax_computes_where_the_points_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Sees a copy, a gradient of other rows, and float64 that JAX would round without a word."""
    jax = pytest.importorskip("jax", reason="needs the extra jax")
    assert run("JAX", tmp_path, monkeypatch)["trace"]["x"].shape == (10, 8, 2)

    def log_density(x: Any) -> Any:
        return -jax.numpy.sum(x**2) / 2 + x[0]

    f = from_jax(log_density)
    x = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert jax.dlpack.from_dlpack(x).unsafe_buffer_pointer() == x.data_ptr()
    value, grad = value_and_grad(f, x)
    assert value.tolist() == [-1.5, -9.5]
    assert grad.tolist() == [[0.0, -2.0], [-2.0, -4.0]]
    with pytest.raises(ValueError, match="JAX computes in float32: jax.config.update"):
        f(x.double())
