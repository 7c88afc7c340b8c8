"""Laws of the applications on runs and on files: what people bring goes in, what they asked comes out, joined to it.

The law of a run's draws is tested on a run whose f is replaced by a Gaussian in the table's coordinates.
"""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from anila.applications import Posterior, purify
from anila.applications.files.inputs import rows_from
from anila.applications.files.tables import given
from anila.applications.on_runs.compose import combined, draw_combined
from anila.applications.on_runs.draws import cleaning, completion, drawn, filled
from anila.applications.on_runs.kernel import require_stable
from anila.applications.on_runs.observed import Observed, starts
from anila.applications.poisson_blend import blended
from anila.data import Images
from anila.density.log_density import LogDensity
from anila.learning.starts import Persistent
from anila.reports.scores import reference_images
from anila.rng import rng
from anila.runs.experiment import Experiment, resolve
from anila.runs.experiment.build import build_data
from anila.runs.experiment.presets import PRESETS
from anila.runs.experiment.settings import Data
from anila.runs.model.export import load
from anila.runs.model.trained import Trained
from tiny import ROOT, anila, class_run

GIVEN = ["--given", "height=200,mood=-3"]


class Gaussian(nn.Module):
    """N(0, C) in the table's coordinates."""

    def __init__(self, cov: Tensor):
        super().__init__()
        self.precision = nn.Parameter(torch.linalg.inv(cov))

    def forward(self, x: Tensor) -> Tensor:
        return -(x @ self.precision * x).sum(1) / 2


@pytest.fixture
def known(table_run: Path) -> Trained:
    """A run whose law is known: N(0, C) with C the correlation of the table."""
    config: Experiment = PRESETS["table"].experiment
    trained = Trained.untrained(
        replace(
            config,
            data=Data(name=str(table_run.parent / "people.csv")),
            training=replace(config.training, ema=0.0, device="cpu"),
        )
    )
    trained.learner.model = Gaussian(ROOT @ ROOT.T)
    return trained


def test_missing_cells_follow_their_conditional_law(known: Trained):
    """Sees draws left standardised, a wrong column, patterns mixed up, or a cell that was given and is changed."""
    given = np.array([[184.25, math.nan, math.nan], [171.5, -3.1, math.nan], [150.0, -4.0, 1.0]])
    hidden = torch.from_numpy(np.isnan(given))
    draws = filled(known, known.units.inward(given), hidden, count=800, steps=60)
    x, seen = np.where(np.isnan(given)[:, None], known.units.outward(draws.x), given[:, None]), ~np.isnan(given)
    assert np.array_equal(x[:, 0][seen], given[seen])
    assert (x == x[:, :1])[np.broadcast_to(seen[:, None], x.shape)].all()
    mean, scale, cov = known.data.mean.numpy(), known.data.scale.numpy(), (ROOT @ ROOT.T).numpy()  # pyright: ignore[reportAttributeAccessIssue]
    for row, free in ((0, [1, 2]), (1, [2])):
        kept = [i for i in range(3) if i not in free]
        slope = cov[np.ix_(free, kept)] @ np.linalg.inv(cov[np.ix_(kept, kept)])
        wanted = mean[free] + scale[free] * (slope @ ((given[row] - mean) / scale)[kept])
        variance = np.diag(cov[np.ix_(free, free)] - slope @ cov[np.ix_(kept, free)]) * scale[free] ** 2
        got = x[row][:, free]
        assert (np.abs(got.mean(0) - wanted) < 5 * np.sqrt(variance / 800)).all()
        assert (np.abs(got.var(0) / variance - 1) < 5 * math.sqrt(2 / 800)).all()
    z = torch.from_numpy((x - mean) / scale).float()
    torch.testing.assert_close(-draws.energy, known.f(z.flatten(0, 1)).view(3, -1), atol=1e-3, rtol=1e-3)


def test_cleaned_rows_follow_their_posterior(known: Trained):
    """Sees a noise in other units than the column's sd."""
    values = known.data.mean.numpy() + 2 * known.data.scale.numpy()  # pyright: ignore[reportAttributeAccessIssue]
    draws = drawn(known, Observed(known.units.inward(values[None]), sd=0.5), cleaning, count=800, steps=60)
    x = known.units.outward(draws.x)
    cov = torch.linalg.inv(torch.linalg.inv(ROOT @ ROOT.T) + torch.eye(3) / 0.25).numpy()
    mean = cov @ np.full(3, 2.0) / 0.25
    z = (x[0] - known.data.mean.numpy()) / known.data.scale.numpy()  # pyright: ignore[reportAttributeAccessIssue]
    assert (np.abs(z.mean(0) - mean) < 5 * np.sqrt(np.diag(cov) / 800)).all()
    assert (np.abs(z.var(0) / np.diag(cov) - 1) < 5 * math.sqrt(2 / 800)).all()


def test_chains_start_where_what_is_seen_says(known: Trained):
    """Sees chains that start far from what is seen, or beside another observation's."""
    assert known.learner.chains
    known.learner.chains.start = Persistent(torch.tensor([[0.0, 0.0, 5.0], [1.0, 1.0, 6.0], [2.0, 2.0, 7.0]]))
    y, generator = torch.tensor([[0.9, math.nan, 0.0], [2.2, math.nan, 0.0]]), rng(0)
    hidden, x = torch.tensor([False, True, True]), torch.tensor([[1.0, 1.0, 6.0], [2.0, 2.0, 7.0]])
    assert torch.equal(starts(known, Observed(y, hidden), 2, generator)[::2], x)
    assert torch.equal(starts(known, Observed(y[:, :1], view=lambda x: x[:, :1]), 1, generator), x)
    assert torch.equal(starts(known, Observed(x), 2, generator), x[[0, 0, 1, 1]])


def test_the_product_of_two_runs(known: Trained):
    """Sees weights that are lost on the way: the product of a Gaussian with itself has half its covariance."""
    x = draw_combined([known, known], combined([known, known], [1.0, 1.0]), 1000, steps=60)
    torch.testing.assert_close(torch.cov(x.T), ROOT @ ROOT.T / 2, atol=0.09, rtol=0)


def test_a_table_is_completed_and_keeps_its_other_columns(table_run: Path, tmp_path: Path):
    """Sees rows out of order, words lost, a given number changed, or a file with missing columns refused."""
    table = pa.table({"name": ["Ann", "Bo"], "luck": [1, -1], "height": [180.5, None]})
    pyarrow.parquet.write_table(table, tmp_path / "new.parquet")
    out = tmp_path / "out.parquet"
    assert anila("inpaint", table_run, tmp_path / "new.parquet", "--count", "3", "--steps", "5", "--out", out) == 0
    got = pyarrow.parquet.read_table(out).to_pydict()
    assert got["name"] == ["Ann"] * 3 + ["Bo"] * 3
    assert got["luck"] == [1] * 3 + [-1] * 3
    assert got["height"][:3] == [180.5] * 3
    assert len(set(got["height"][3:])) == 3
    assert got["draw"] == [1, 2, 3] * 2
    assert all(map(math.isfinite, got["mood"] + got["energy"]))
    assert anila("inpaint", table_run, *GIVEN, "--count", "2", "--steps", "5", "--out", tmp_path / "g.csv") == 0
    assert pyarrow.csv.read_csv(tmp_path / "g.csv").column("height").to_pylist() == [200, 200]
    assert anila("denoise", table_run, tmp_path / "g.csv", "--sd", "0.1", "--out", tmp_path / "d.csv") == 0
    names = pyarrow.csv.read_csv(tmp_path / "d.csv").column_names
    assert names == ["height", "mood", "luck", "draw", "energy", "anila_draw", "anila_energy"]


def test_cells_that_are_typed_are_of_the_kind_that_a_file_would_give_them():
    """Sees a date that is text, which no column of dates takes."""
    assert given(f"far={10**30}")["far"].to_pylist() == [1e30]
    cells = given("n=3,x=1.5,day=2024-05-01,at=2024-05-01 10:30:00,sent=2024-05-01T10:30:00+02:00,paid=True,city=Oslo")
    kinds = [str(field.type) for field in cells.schema]
    assert kinds == ["int64", "double", "date32[day]", "timestamp[us]", "timestamp[us, tz=+02:00]", "bool", "string"]


def test_outlier_scores_are_joined_to_the_table(table_run: Path, tmp_path: Path, capsys):
    """Sees scores in another order than the rows, or standardised by the new file's own mean."""
    people = table_run.parent / "people.csv"
    table = pyarrow.csv.read_csv(people).slice(0, 30)
    far = pa.table({"height": [9000.0], "mood": [400.0], "luck": [-900.0]})
    pyarrow.csv.write_csv(pa.concat_tables([far, table]), tmp_path / "new.csv")
    out = tmp_path / "scores.csv"
    assert anila("outliers", table_run, tmp_path / "new.csv", "--out", out, "--rate", "0.05", "--json") == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    assert json.loads(captured.out)["held_out"] == "rows of people.csv that were kept out of training"
    found = json.loads(captured.out)
    got = pyarrow.csv.read_csv(out)
    assert got.column_names == ["height", "mood", "luck", "score", "percentile", "outlier"]
    assert got.column("outlier").to_pylist()[0]
    assert found["top"][0]["name"].endswith("[0]")
    assert found["outliers"] == sum(got.column("outlier").to_pylist())
    pyarrow.csv.write_csv(table.slice(0, 1), tmp_path / "one.csv")
    np.save(tmp_path / "one.npy", np.stack([column.to_numpy() for column in table.slice(0, 1).columns], 1))
    for name in ("one.csv", "one.npy"):
        assert anila("outliers", table_run, tmp_path / name, "--rate", "0.05", "--json") == 0
        assert json.loads(capsys.readouterr().out)["top"][0]["score"] == pytest.approx(got.column("score")[1].as_py())
    assert anila("outliers", table_run, tmp_path / "new.csv", "--held-out", people, "--rate", "0.05", "--typical") == 0
    captured = capsys.readouterr()
    assert "trained on" not in captured.err
    assert "of ordinary rows lie above it, calibrated on 200 rows of " in captured.out


def test_images_are_completed(image_run: Path, tmp_path: Path, capsys):
    """Sees a box, a mask or a random mask that hides other pixels, an altered pixel, or energies that do not belong."""
    level = np.zeros((8, 8), np.uint8)
    level[2:4] = 255
    Image.fromarray(level).save(tmp_path / "mask.png")
    photo = image_run.parent / "photos/train/00.png"
    for words in (["--mask", tmp_path / "mask.png"], ["--box", "2,0,2,8"], ["--random", "0.25"]):
        assert anila("inpaint", image_run, photo, *words, "--count", "3", "--out", tmp_path / "x.npz") == 0
        got = np.load(tmp_path / "x.npz")
        assert got["x"].shape == (1, 3, 3, 8, 8)
        assert got["energy"].shape == (1, 3)
        truth = np.asarray(Image.open(photo)).transpose(2, 0, 1) / np.float32(127.5) - 1
        changed = (got["x"] != truth).any((0, 1, 2))
        assert np.array_equal(changed, level > 0) or (words[0] == "--random" and changed.sum() == 16)
    assert anila("inpaint", image_run, "--box", "0,0,4,8", "--images", "2", "--out", tmp_path / "x.png") == 0
    assert "2 images of photos, test" in capsys.readouterr().err
    with Image.open(tmp_path / "x.png") as picture:
        assert picture.height == 6 * (64 + 2 * 2)


@pytest.mark.parametrize(
    "words",
    [
        ["denoise", "--add", "0.3"],
        ["restore", "--blur", "0.8"],
        ["restore", "--downsample", "2"],
        ["purify", "--within", "0.2"],
        ["edit", "--sd", "0.3", "--frames", "2"],
    ],
)
def test_images_are_restored(words: list[str], image_run: Path, tmp_path: Path):
    out = tmp_path / "x.npz"
    assert anila(words[0], image_run, *words[1:], "--images", "3", "--steps", "4", "--out", out) == 0
    got = np.load(out)
    assert len(got["x"]) == len(got["names"]) == 3
    assert np.isfinite(got["energy"]).all()
    if words[0] == "purify":
        assert np.abs(got["x"][:, 0] - got["input"]).max() < 0.2
    if words[0] == "edit":
        assert got["path"].shape == (2, 3, 1, 3, 8, 8)
    assert anila(words[0], image_run, *words[1:], "--images", "3", "--steps", "4", "--out", tmp_path / "x.png") == 0


@pytest.mark.parametrize(("frames", "steps"), [(4, 7), (3, 2), (1, 5), (2, 2)])
def test_a_walk_shows_as_many_images_as_were_asked_for(frames: int, steps: int, image_run: Path, tmp_path: Path):
    """Sees seven images of seven steps where four were wanted."""
    words = ["--images", "1", "--sd", "0.3", "--frames", frames, "--steps", steps, "--out", tmp_path / "x.npz"]
    assert anila("edit", image_run, *words) == 0
    assert len(np.load(tmp_path / "x.npz")["path"]) == min(frames, steps)


def test_noise_is_finite(image_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Sees images of NaN said to have no noise."""
    assert anila("denoise", image_run, "--add", "inf", "--out", tmp_path / "x.png") == 2
    assert "--add inf: expected a finite sd" in capsys.readouterr().err


def test_a_product_runs_no_more_chains_together_than_a_draw(image_run: Path, monkeypatch: pytest.MonkeyPatch):
    """Sees the memory of ten thousand chains taken at once."""
    monkeypatch.setattr("anila.runs.model.model.BATCH", 3)
    model = load(image_run)
    posterior, together = combined([model, model], None), set[int]()

    def g(u: torch.Tensor) -> torch.Tensor:
        together.add(len(u))
        return posterior.g(u)

    assert len(draw_combined([model, model], replace(posterior, g=g), 7, steps=1)) == 7
    assert max(together) <= 3


@pytest.mark.parametrize("law", ["inpaint", "purify"])
def test_no_more_chains_run_together_for_a_larger_count(image_run: Path, monkeypatch: pytest.MonkeyPatch, law: str):
    """Sees the memory of all chains of an image taken at once, a second portion that repeats the first, and draws that
    change when more are asked for.
    """
    monkeypatch.setattr("anila.runs.model.model.BATCH", 3)
    monkeypatch.setattr("anila.applications.on_runs.draws.BATCH", 3)
    model, together = load(image_run), set[int]()
    hidden = torch.zeros(3, 8, 8, dtype=torch.bool)
    hidden[:, :4] = True
    observed = Observed(torch.stack([torch.zeros(3, 8, 8), torch.full((3, 8, 8), 0.5)]), hidden)
    if law == "purify":
        observed = observed._replace(hidden=None)

    def counted(f: LogDensity, observed: Observed, T: float) -> Posterior:
        found = completion(f, observed, T) if law == "inpaint" else purify(f, observed.y, 0.1, T)

        def g(u: Tensor) -> Tensor:
            together.add(len(u))
            return found.g(u)

        return replace(found, g=g)

    many = drawn(model, observed, counted, 7, steps=2, frames=2)
    assert max(together) <= 3
    assert many.x.shape == (2, 7, 3, 8, 8)
    assert many.path.shape == (2, 2, 7, 3, 8, 8)
    assert len(many.x.flatten(0, 1).unique(dim=0)) == 14
    assert torch.equal(many.x[:, :3], drawn(model, observed, counted, 3, steps=2).x)
    assert torch.equal(many.path[-1], many.x)
    torch.testing.assert_close(many.energy.flatten(), -model.f(many.x.flatten(0, 1)).detach())


def test_a_later_portion_starts_from_other_chains(known: Trained):
    """Sees all portions of a large count start from the same few kept chains."""
    assert known.learner.chains
    known.learner.chains.start = Persistent(torch.randn(6, 3, generator=rng(0, "bank")))
    observed, generator = Observed(torch.zeros(2, 3), torch.tensor([False, True, True])), rng(0)
    whole = starts(known, observed, 8, generator).unflatten(0, (2, 8))
    for first in (0, 4):
        part = starts(known, observed, 4, generator, first).unflatten(0, (2, 4))
        assert torch.equal(part, whole[:, first : first + 4])


def test_a_chain_is_blended_into_what_is_seen():
    """Sees a shift that misses a neighbour or an edge: what a plane is off by is made good exactly, what is seen stays,
    and a chain that meets what is seen already is not touched.
    """
    plane = 0.3 * torch.arange(7.0)[:, None] - 0.2 * torch.arange(9.0) + 1
    y = torch.stack([plane, -plane])[None].repeat(2, 1, 1, 1)
    mask = torch.zeros(2, 7, 9, dtype=torch.bool)
    mask[0, 2:5, 3:8] = True
    mask[1, 1, 1] = True
    x = torch.rand(2, 2, 7, 9, generator=torch.Generator().manual_seed(0))
    bump = torch.zeros(7, 9)
    bump[3, 5] = 1
    torch.testing.assert_close(blended(torch.zeros_like(y) + bump, y, mask)[:, 0], y[:, 0] + bump)
    got = blended(x, y, mask)
    assert torch.equal(got[:, ~mask], y[:, ~mask])
    same = torch.where(mask, x, y)
    torch.testing.assert_close(blended(same, same, mask), same)
    mask[0, :, :5] = True
    assert blended(x, y, mask).abs().max() < 4


def test_odd_images_are_found(image_run: Path, tmp_path: Path, capsys):
    """Sees names beside the wrong scores, or training images taken for held-out ones where there are test images."""
    folder = image_run.parent / "photos"
    words = ["outliers", image_run, folder, folder / "train/00.png", "--rate", "0.2", "--out", tmp_path / "s.csv"]
    assert anila(*words, "--picture", tmp_path / "top.png") == 0
    captured = capsys.readouterr()
    assert "photos, test" in captured.out
    assert "warning" not in captured.err
    got = pyarrow.csv.read_csv(tmp_path / "s.csv")
    names = got.column("file").to_pylist()
    assert len(names) == 17
    score = dict(zip(names, got.column("score").to_pylist(), strict=True))
    assert score["train/00.png"] == pytest.approx(score[str(folder / "train/00.png")], rel=1e-5)
    assert (tmp_path / "top.png").exists()


def test_runs_are_composed(table_run: Path, image_run: Path, tmp_path: Path):
    words = ["compose", table_run, table_run, "--count", "5", "--steps", "3"]
    assert anila(*words, "--weights", "1,-0.2", "--out", tmp_path / "x.csv") == 0
    assert pyarrow.csv.read_csv(tmp_path / "x.csv").column_names == ["height", "mood", "luck"]
    assert anila("compose", image_run, image_run, "--rule", "mixture", "--count", "4", "--out", tmp_path / "x.png") == 0


def test_held_out_rows_of_a_toy_are_fresh_and_of_a_set_are_its_test_images(image_run: Path, known: Trained):
    assert not known.held_out(50).unseen
    toy = Trained.untrained(PRESETS["rings"].experiment)
    assert toy.held_out(50).unseen
    from anila.runs.folder.run import Run

    trained = Trained.load(Run.existing(image_run))
    kept = trained.held_out(50)
    assert kept.unseen
    assert len(kept.x) == 8
    truth = rows_from([str(image_run.parent / "photos/test")], trained).x
    assert sorted(kept.x.flatten(1).sum(1).tolist()) == sorted(truth.flatten(1).sum(1).tolist())


@pytest.mark.usefixtures("own_cache")
def test_images_that_are_kept_out_are_not_learned(tmp_path: Path):
    """Sees a setting that does nothing, an image in both parts, others' labels, or scores beside training's."""
    folder = class_run(tmp_path).parent / "pets"
    words = [f"data.name={folder}", "data.flip=false", "network.classes=auto", "data.held_out=0.25"]
    config = resolve(PRESETS["flowers-chains"].experiment, words)
    trained = Trained.untrained(config)
    part, apart, whole = trained.data, trained.apart, build_data(config.data)
    assert isinstance(part, Images)
    assert isinstance(apart, Images)
    assert isinstance(whole, Images)
    assert (len(part), len(apart), part.fingerprint) == (6, 2, whole.fingerprint)
    label = {whole.rows([i]).sum().item(): int(whole.labels[i]) for i in range(8)}
    seen, labels = part.batch(6, 0, 0), part.batch_labels(6, 0, 0)
    assert [label[x.sum().item()] for x in seen] == labels.tolist()
    kept = trained.held_out(50)
    assert kept.unseen
    assert {x.sum().item() for x in seen} | {x.sum().item() for x in kept.x} == set(label)
    reference = reference_images(trained, 50)
    assert reference.about["source"] == "images kept out of training"
    torch.testing.assert_close(reference.x.sum((1, 2, 3)).sort()[0], kept.x.sum((1, 2, 3)).sort()[0])


def test_an_observation_too_exact_for_the_step_is_refused():
    cold = replace(PRESETS["mnist-chains"].experiment.sampler, step_size=16.0, temperature=1e-5)
    require_stable(cold, 0.009, "")
    with pytest.raises(ValueError, match="give at least 0.009"):
        require_stable(cold, 0.008, "")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["inpaint", "IMAGES", "--out", "x.png"], "give one of --mask, --box or --random"),
        (["inpaint", "IMAGES", "--box", "1,2", "--out", "x.png"], "expected four whole numbers"),
        (["inpaint", "IMAGES", "--box", "7,0,4,4", "--out", "x.png"], "does not lie in an image of 8 × 8"),
        (["inpaint", "IMAGES", "--mask", "none.png", "--out", "x.png"], "no mask"),
        (["inpaint", "IMAGES", "--random", "2", "--out", "x.png"], "between 0 and 1"),
        (["inpaint", "IMAGES", "--box", "0,0,2,2", "--out", "x.csv"], "expected .png for a picture or .npz"),
        (["inpaint", "IMAGES", "--box", "0,0,2,2", "--sd", "1e-6", "--out", "x.png"], "give at least"),
        (["inpaint", "IMAGES", "no.png", "--box", "0,0,2,2", "--out", "x.png"], "no file or folder"),
        (["inpaint", "IMAGES", "broken.png", "--box", "0,0,2,2", "--out", "x.png"], "cannot be decoded: broken.png"),
        (["inpaint", "IMAGES", "wide.npy", "--box", "0,0,2,2", "--out", "x.png"], "expected images of shape (3, 8, 8)"),
        (["inpaint", "IMAGES", "--given", "a=1", "--out", "x.png"], "--given is for tables, and this run is on images"),
        (["denoise", "IMAGES", "--out", "x.png"], "held-out images have no noise"),
        (["denoise", "IMAGES", "plain.npy", "--out", "x.png"], "no noise found in plain.npy"),
        (["restore", "IMAGES", "--out", "x.png"], "give one of --blur, --downsample"),
        (["restore", "IMAGES", "--downsample", "3", "--out", "x.png"], "must divide both sides"),
        (["purify", "TABLE", "--within", "0.1", "--out", "x.png"], "for runs on images"),
        (["inpaint", "TABLE", "--box", "0,0,1,1", "--out", "x.csv"], "--box is for images"),
        (["inpaint", "TABLE", "--out", "x.csv"], "give one table"),
        (["inpaint", "TABLE", "--given", "hight=1", "--out", "x.csv"],
         "none of the model's columns, which are height, mood, luck; the table's are hight; did you mean 'height'?"),
        (["inpaint", "TABLE", "whole.csv", "--given", "mood=1", "--out", "x.csv"], "and not both"),
        (["inpaint", "TABLE", "--given", "height=", "--out", "x.csv"], "expected COLUMN=VALUE"),
        (["inpaint", "TABLE", "--given", "height=1e999", "--out", "x.csv"], "a number is too large"),
        (["inpaint", "TABLE", "--given", "height=1,mood=2,luck=3", "--out", "x.csv"], "no cell is missing"),
        (["inpaint", "TABLE", "words.csv", "--out", "x.csv"], "column 'mood': expected numbers as in training"),
        (["inpaint", "TABLE", "empty.csv", "--out", "x.csv"], "row 1 has none of the model's columns"),
        (["inpaint", "TABLE", "--given", "mood=1", "--out", "x.png"], "expected one of .csv, .tsv, .parquet"),
        (["denoise", "TABLE", "words.csv", "--out", "x.csv"], "give --sd"),
        (["outliers", "TABLE", "few.csv"], "the table has no column 'height', 'luck'"),
        (["outliers", "TABLE", "whole.csv", "--picture", "x.png"], "on tables with network=kernel"),
        (["outliers", "TABLE", "whole.csv", "--rate", "2"], "between 0 and 1"),
        (["outliers", "TABLE", "whole.csv", "few.csv"], "give one table"),
        (["outliers", "TABLE", "notes.txt"], "expected one of .npy"),
        (["outliers", "TABLE", "none.csv"], "no file"),
        (["compose", "TABLE", "IMAGES", "--count", "1", "--out", "y.npz"], "must have the same points"),
        (["compose", "TABLE", "TABLE", "--weights", "1", "--count", "1", "--out", "y.npz"], "got 1 weight "),
        (["compose", "TABLE", "TABLE", "--weights", "a", "--count", "1", "--out", "y.npz"], "expected a number for"),
    ],
)  # fmt: skip
def test_mistakes_are_one_message_and_status_2(
    words: list[str], message: str, table_run: Path, image_run: Path, tmp_path: Path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    files = {
        "words.csv": "height,mood\n1,good\n",
        "empty.csv": "height,mood\n1,\n,\n",
        "few.csv": "mood\n1\n",
        "whole.csv": "height,mood,luck\n1,2,3\n",
        "notes.txt": "none",
        "broken.png": "none",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    np.save(tmp_path / "wide.npy", np.zeros((1, 3, 9, 9), np.uint8))
    np.save(tmp_path / "plain.npy", np.zeros((1, 3, 8, 8), np.uint8))
    before = set(tmp_path.iterdir())
    runs = {"TABLE": str(table_run), "IMAGES": str(image_run)}
    assert anila(*(runs.get(word, word) for word in words)) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert "Traceback" not in captured.err
    assert set(tmp_path.iterdir()) == before
