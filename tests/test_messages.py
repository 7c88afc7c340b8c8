"""Laws of what is said to people: one of a thing is said as one."""

import re
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pytest

from anila.messages import are, counted
from tiny import IMAGES, TABLE, anila, chains_on, write_noise

THINGS = ["image", "row", "chain", "iteration", "step", "transition", "minute", "sample", "point", "number", "value",
          "class", "level", "run", "draw", "file", "process", "parameter", "pair", "proposal", "column", "cell", "time",
          "outlier", "word", "picture"]  # fmt: skip
ONE_OF_MANY = re.compile(
    rf"(?<![\d.,=/×-])1 (?:{'|'.join(t + 'es' * t.endswith('ss') + 's' * (not t.endswith('ss')) for t in THINGS)})\b"
)
ONE = ["training.iterations=1", "training.chains=1", "sampler.steps=1"]


def test_the_verb_follows_the_number():
    assert [f"{counted(n, 'row')} {are(n)} odd" for n in (0, 1, 2)] == [
        "0 rows are odd",
        "1 row is odd",
        "2 rows are odd",
    ]


def test_one_of_many_is_seen():
    """The pattern that the other tests look for."""
    assert ONE_OF_MANY.search("done: 1 iterations")
    assert not ONE_OF_MANY.search("1,001 iterations, 0.1 steps, 11 rows, K = 1 transition")


@pytest.mark.usefixtures("own_cache")
def test_one_of_a_thing_is_said_as_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Sees "1 images", "1 rows" and "1 iterations" in what a run of one of each says and writes."""
    write_noise(tmp_path / "photos" / "train" / "0.png", 0)
    pyarrow.csv.write_csv(pa.table({"a": [0.5], "b": [1.5]}), tmp_path / "one.csv")
    x = [i / 7 for i in range(30)]
    pyarrow.csv.write_csv(pa.table({"a": x, "b": [v * v for v in x]}), tmp_path / "all.csv")
    images, rows, out = tmp_path / "images", tmp_path / "rows", tmp_path / "drawn"
    out.mkdir()
    said = [
        ["train", *chains_on(tmp_path / "photos"), *IMAGES, *ONE, "training.batch=1", "--run", images],
        ["train", tmp_path / "all.csv", *TABLE, *ONE, "--run", rows],
        ["train", *chains_on(tmp_path / "photos"), *IMAGES, *ONE, "training.batch=1", "--run", images, "--dry-run"],
        ["sample", images, "--count", "1", "--out", out / "image.png"],
        ["sample", rows, "--count", "1", "--out", out / "row.csv"],
        ["inpaint", images, "--images", "1", "--count", "1", "--box", "0,0,4,8", "--out", out / "filled.png"],
        ["outliers", rows, tmp_path / "one.csv"],
        ["report", images],
        ["report", rows],
        ["export", images, "--out", out / "model"],
    ]
    for words in said:
        status = anila(*words)
        heard = capsys.readouterr()
        assert status in (0, 1), heard.err
        assert not (found := ONE_OF_MANY.findall(heard.out + heard.err)), (words, found)
    for path in (images / "report.html", rows / "report.html", *out.glob("model/*.md"), images / "log.txt"):
        assert not (found := ONE_OF_MANY.findall(path.read_text(encoding="utf-8"))), (path, found)
