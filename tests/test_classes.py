"""Laws of classes: the joint gradient, the posterior that is learned, and draws of one class."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from anila.cli import app
from anila.data import Rows
from anila.density.networks import Conditional, Confined, ResNet, is_normalised, mlp, spectral
from anila.density.networks.spectral import normalised
from anila.learning.learner import Learner
from anila.learning.objectives import Objective, classes, likelihood
from anila.learning.starts import FromData, Persistent
from anila.rng import rng
from anila.runs.experiment import Experiment, resolve
from anila.runs.experiment.choose import choose
from anila.runs.folder.run import Run
from anila.runs.model.trained import Trained
from anila.runs.training.preflight import preflight
from anila.runs.training.train import train
from anila.samplers import anisotropic_mala, descent, langevin, mala

WEIGHTS = torch.tensor([0.5, 0.3, 0.2])
CENTRES = torch.tensor([[-1.0, 0.0], [1.0, 0.0], [0.0, 1.5]])
SD = 0.7


def draw(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Points of three overlapping Gaussians, and which of them each is of."""
    y = torch.multinomial(WEIGHTS, n, replacement=True, generator=rng(seed, "labels"))
    return CENTRES[y] + SD * torch.randn(n, 2, generator=rng(seed, "points")), y


def log_joint(x: Tensor) -> Tensor:
    """log p(x, y) of the three, (n, 3)."""
    squares = torch.cdist(x, CENTRES).square() / (2 * SD**2)
    return WEIGHTS.log() - squares - math.log(2 * math.pi * SD**2)


def linear(classes: int = 3) -> Conditional:
    """f(x)[y] = θ_y · x − |x|²/2."""
    torch.manual_seed(0)
    return Conditional(Confined(nn.Linear(2, classes, bias=False), 1.0)).double()


@pytest.mark.parametrize("T", [1.0, 0.2])
@pytest.mark.parametrize("micro_batch", [None, 7])
def test_theta_moves_by_the_joint_gradient(micro_batch: int | None, T: float):
    """Sees a wrong sign or weight, a cross-entropy averaged over parts or over chains, labels shuffled, T left out:

    ∂/∂θ_k = mean_i p(k | xᵢ) xᵢ − mean_m p(k | z^m) z^m + w mean_i (1[yᵢ = k] − p_T(k | xᵢ)) xᵢ.
    """
    model, rate, weight = linear(), 0.1, 0.7
    theta = next(model.parameters()).detach().clone()
    (x, y), (bank, _) = draw(40, 0), draw(30, 1)
    x, bank = x.double(), bank.double()
    z = FromData(bank).draw(25, rng(0, "chains", 0))
    optimizer = torch.optim.SGD(model.parameters(), rate)
    learner = Learner(
        model, descent(model, 1e-14), FromData(bank), optimizer, 1, chains=25, objective=classes(weight, T),
        micro_batch=micro_batch,
    )  # fmt: skip
    metrics = learner.update(x, y)
    p_x, p_z, right = (x @ theta.T).softmax(1), (z @ theta.T).softmax(1), nn.functional.one_hot(y, 3)
    p_T = (x @ theta.T / T).softmax(1)
    expected = p_x.T @ x / 40 - p_z.T @ z / 25 + weight * (right - p_T).T @ x / 40
    torch.testing.assert_close(next(model.parameters()).detach(), theta + rate * expected)
    assert metrics["accuracy"] == pytest.approx((p_x.argmax(1) == y).double().mean().item())


def test_a_weight_of_zero_learns_the_density_alone():
    """Sees labels that leak into the density."""
    thetas = []
    for classify in (0.0, 1e-12):
        model = linear()
        learner = Learner(
            model, mala(model, 0.1), Persistent(draw(20, 1)[0].double()),
            torch.optim.SGD(model.parameters(), 0.1), 2,
            objective=classes(classify) if classify else None,
        )  # fmt: skip
        x, y = draw(20, 0)
        metrics = learner.update(x.double(), *([y] if classify else []))
        assert ("accuracy" in metrics) == bool(classify)
        thetas.append(next(model.parameters()).detach())
    torch.testing.assert_close(*thetas)


def test_the_posterior_is_learned():
    """Sees a classifier without its prior, classes mixed up, and a density that classes spoil.

    The learned p(y | x), p(x) and p(x, y) are compared with those of the mixture where its points are.
    """
    torch.manual_seed(0)
    model = Conditional(Confined(mlp(2, (48,), out=3), 2.0))
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda t: 1 - t / 150)
    start = Persistent(torch.randn(200, 2, generator=rng(0, "start")))
    sampler = anisotropic_mala(model, threshold=2.0, step_size=0.8)
    learner = Learner(model, sampler, start, optimizer, 3, schedule=schedule, ema=0.98, objective=classes())
    rows = Rows(draw(4000, 0)[0], labels=draw(4000, 0)[1])
    accuracy = [learner.update(rows.batch(200, 0, t), rows.batch_labels(200, 0, t))["accuracy"] for t in range(150)]
    f: Any = learner.best_model
    x, y = draw(4000, 1)
    with torch.no_grad():
        learned, truth = f.logits(x), log_joint(x)
    distance = (learned.softmax(1) - truth.softmax(1)).abs().sum(1) / 2
    assert distance.mean() < 0.03
    best = (truth.argmax(1) == y).double().mean().item()
    assert abs(sum(accuracy[-50:]) / 50 - best) < 0.03
    error = learned.logsumexp(1) - truth.logsumexp(1)
    assert (error - error.mean()).abs().mean() < 0.2


def test_labels_are_given_exactly_where_they_are_learned():
    model = linear()

    def learner(objective: Objective) -> Learner:
        start, optimizer = FromData(torch.zeros(4, 2)), torch.optim.SGD(model.parameters(), 0.1)
        return Learner(model, langevin(model, 0.1), start, optimizer, 1, objective=objective)

    with pytest.raises(ValueError, match="this objective needs classes y_data; got none"):
        learner(classes()).update(torch.zeros(4, 2))
    with pytest.raises(ValueError, match="takes no classes y_data; got some"):
        learner(likelihood()).update(torch.zeros(4, 2), torch.zeros(4, dtype=torch.int64))
    f, x = mlp(2, (4,)), torch.zeros(4, 2)
    with pytest.raises(ValueError, match="expected a Conditional model .* got a Sequential"):
        Learner(f, langevin(f, 0.1), FromData(x), torch.optim.SGD(f.parameters(), 0.1), 1, objective=classes())


def spectral_learner() -> Learner:
    torch.manual_seed(0)
    model = Conditional(spectral(ResNet(1, 8, width=4, out=2)))
    start = Persistent(torch.rand(6, 1, 8, 8, generator=rng(0, "start")))
    optimizer = torch.optim.Adam(model.parameters(), 1e-4)
    return Learner(model, langevin(model, 0.01), start, optimizer, 2, ema=0.5, objective=classes())


def test_spectral_norms_follow_learning_and_resume():
    """Sees u and v that are not moved by learning or not in the state, and an average of them that is no direction."""
    pixels = torch.rand(6, 1, 8, 8, generator=rng(0, "pixels"))
    y = torch.tensor([0, 1] * 3)
    whole, first, second = spectral_learner(), spectral_learner(), spectral_learner()
    assert is_normalised(whole.model)
    for _ in range(6):
        whole.update(pixels, y)
    for _ in range(3):
        first.update(pixels, y)
    second.load_state_dict(first.state_dict())
    for _ in range(3):
        second.update(pixels, y)
    for net, again in ((whole.model, second.model), (whole.best_model, second.best_model)):
        for (norm, weight), (other, _) in zip(normalised(net), normalised(again), strict=True):
            assert torch.equal(norm.u, other.u)
            assert torch.equal(norm.v, other.v)
            assert norm.u.norm().item() == pytest.approx(1, abs=1e-5)
            assert 0.999 < torch.linalg.matrix_norm(norm(weight).flatten(1), 2).item() < 1.15
    before = [v.clone() for norm, _ in normalised(whole.model) for v in norm.buffers()]
    whole.update(pixels, y)
    after = [v for norm, _ in normalised(whole.model) for v in norm.buffers()]
    assert not all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


SMALL = ["network=mlp", "network.hidden=[32]", "network.classes=auto", "network.confine=2", "data.label=kind",
         "training.iterations=80", "training.batch=100", "sampler.steps=5", "sampler.threshold=2",
         "optimizer.learning_rate=0.02", "start.size=400", "training.checkpoint_every=80",
         "training.picture_every=1000"]  # fmt: skip


def settings(path: Path, *more: str) -> Experiment:
    return resolve(Experiment(), [f"data.name={path}", *SMALL, *more])


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on a table of three kinds, small (at −1), tall (at +1 in y) and wide (at +1 in x)."""
    folder = tmp_path_factory.mktemp("classes")
    x, y = draw(1000, 0)
    lines = [f"{a},{b},{('small', 'wide', 'tall')[k]}" for (a, b), k in zip(x.tolist(), y.tolist(), strict=True)]
    (folder / "kinds.csv").write_text("\n".join(["width,height,kind", *lines]))
    train(settings(folder / "kinds.csv"), folder / "run", lambda _: None)
    return folder / "run"


def test_draws_of_a_class_are_of_that_class(run: Path):
    """Sees a label that is ignored, or the wrong class; E(x | y) of each kind is its centre."""
    trained = Trained.load(Run.existing(run))
    assert trained.classes == ("small", "tall", "wide")
    data: Any = trained.data
    for name, centre in zip(("small", "wide", "tall"), CENTRES, strict=True):
        x = trained.draw(600, label=name)
        torch.testing.assert_close(data.inverse(x).mean(0).float(), centre, atol=0.3, rtol=0)
        assert torch.equal(x, trained.draw(600, label=trained.classes.index(name)))
    assert not torch.equal(trained.draw(600, label="wide"), trained.draw(600))


def test_a_number_is_an_index_and_text_a_name_first(run: Path):
    """Sees the class called 1 drawn where the second class is meant."""
    trained = Trained.load(Run.existing(run))
    trained.data.classes = ("0", "2", "1")  # pyright: ignore[reportAttributeAccessIssue]
    x = trained.starts(8, rng(0, "x"))
    values = [trained.given(label)(x) for label in (1, "2", "1", 2)]
    assert torch.equal(values[0], values[1])
    assert torch.equal(values[2], values[3])
    assert not torch.equal(values[1], values[2])


def test_kept_chains_are_picked_by_their_posterior(run: Path):
    """Sees starts that ignore the class: without a transition, chains picked by p(y | x) already follow p(x | y)."""
    trained = Trained.load(Run.existing(run))
    start: Any = trained.start
    log_p = trained.f.logits(start.x).log_softmax(1).detach()  # pyright: ignore[reportCallIssue]
    x = trained.starts_of(trained.given("wide"), 20_000, rng(0, "starts"))
    expected = (log_p[:, 2].softmax(0)[:, None] * start.x).sum(0)
    torch.testing.assert_close(x.mean(0), expected, atol=0.05, rtol=0)


def test_at_a_low_temperature_all_chains_of_a_class_are_starts(run: Path, monkeypatch: pytest.MonkeyPatch):
    """Sees one chain picked again and again: at T = 1e-5, p(y | x) is 1 for every chain that f rates highest in y."""
    trained = Trained.load(Run.existing(run))
    monkeypatch.setattr(type(trained.sampler), "target_temperature", 1e-5)
    start: Any = trained.start
    of_class = trained.f.logits(start.x).argmax(1) == 2  # pyright: ignore[reportCallIssue]
    x = trained.starts_of(trained.given("wide"), 20_000, rng(0, "starts"))
    assert {tuple(row) for row in x.tolist()} == {tuple(row) for row in start.x[of_class].tolist()}


def test_the_command_line_draws_a_class(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any):
    def anila(*words: str) -> int:
        monkeypatch.setattr("sys.argv", ["anila", *words])
        with pytest.raises(SystemExit) as stopped:
            app.main()
        return int(stopped.value.code or 0)

    out = tmp_path / "x.npz"
    assert anila("sample", str(run), "--count", "200", "--label", "wide", "--out", str(out)) == 0
    assert np.load(out)["x"][:, 0].mean() > 0.5
    assert anila("sample", str(run), "--count", "2", "--label", "wild", "--out", str(out)) == 2
    assert "no class 'wild'; did you mean 'wide'?; the classes are small, tall, wide" in capsys.readouterr().err
    assert anila("evaluate", str(run), "--count", "100") == 0


@pytest.mark.parametrize("objective", ["denoising", "transport"])
def test_an_objective_without_chains_learns_classes_too(run: Path, objective: str):
    """Sees labels or the weight of the classifier lost on the way from the settings."""
    table = run.parent / "kinds.csv"
    found = []
    for classify in (0.0, 1.0, 100.0):
        trained = Trained.untrained(settings(table, f"objective={objective}", f"training.classify={classify}"))
        metrics = trained.learner.update(*trained.batch())
        assert ("accuracy" in metrics) == bool(classify)
        found.append(metrics["theta_grad_norm"])
    assert len({*found}) == 3
    assert preflight(Trained.untrained(settings(table, f"objective={objective}"))).seconds_per_iteration > 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("data.name=rings data.label=none", "needs data of two classes or more; rings has 0"),
        ("data.label=sort", "no column 'sort'"),
        ("network.classes=4", "network.classes=4, but kinds.csv has 3 classes; use auto"),
        ("data.label=width", r"label 'width': expected text or whole numbers, got .* in row 0"),
    ],
)
def test_classes_that_cannot_be_are_refused(run: Path, change: str, message: str):
    with pytest.raises(ValueError, match=message):
        Trained.untrained(settings(run.parent / "kinds.csv", *change.split()))


def test_labels_do_not_matter_where_no_classes_are_asked_for(run: Path):
    """Sees labels forced on people: the same table is a density without them, and then has no classes to draw."""
    trained = Trained.untrained(settings(run.parent / "kinds.csv", "network.classes=none"))
    assert len(trained.batch()) == 1
    assert "accuracy" not in trained.learner.update(*trained.batch())
    with pytest.raises(ValueError, match="the run has no classes; train one with network.classes=auto"):
        trained.draw(2, label="wide")
    pixels = Rows(torch.zeros(4, 1, 2, 2), labels=[0, 1, -1, 1])
    assert pixels.classes == ("0", "1")


@pytest.mark.parametrize(
    ("words", "rows", "learns"),
    [
        ("network=kernel", "80 rows", "network=mlp network.classes=auto learns it"),
        ("network=mlp", "64 rows, and 16 held out", "network.classes=auto learns it"),
        ("network=mlp network.classes=auto", "64 rows, and 16 held out", ""),
    ],
)  # fmt: skip
def test_a_run_says_what_becomes_of_a_label_and_of_rows_held_out(tmp_path: Path, words: str, rows: str, learns: str):
    """Sees a label left out without a word, and rows that are read and not learned."""
    x, y = draw(80, 0)
    lines = [f"{a},{b},{'pqr'[int(k)]}\n" for (a, b), k in zip(x.tolist(), y, strict=True)]
    (tmp_path / "kinds.csv").write_text("".join(["a,b,kind\n", *lines]))
    said = preflight(Trained.untrained(choose(str(tmp_path / "kinds.csv"), ["data.label=kind", *words.split()])[1]))
    assert said.description[0] == f"data      kinds.csv: points of shape (2,), {rows}"
    label = f"label     kind, 3 classes{learns and f': not a column of the rows, and not learned; {learns}'}"
    assert said.description[2] == label
