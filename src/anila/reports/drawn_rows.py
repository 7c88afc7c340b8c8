"""How the rows that a run of a table draws compare with rows that it did not learn, and a verdict in plain words.

Rows that are drawn and rows that were kept out are compared in their own kinds: whole numbers and categories.
A fit in closed form that has learned all rows is fitted to four fifths of them again, and compared with the others.

    nearer = P(d(drawn row) < d(row kept out)),  d the distance from the nearest row of training; ½ where none is copied

References: Platzer & Reutterer 2021 (nearest rows as a hint of privacy); Smirnov 1939 (what few rows show).
"""

import copy
import math
import warnings
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from anila.data import Table
from anila.density.log_density import ClosedForm
from anila.density.networks import Kernel
from anila.evaluation.samples import Difference, Differences, nearest, two_samples
from anila.messages import are, counted
from anila.rng import rng
from anila.runs.model.trained import Trained

MOST, FEWEST = 1000, 20
"""Rows of either side."""
SIGNIFICANT, COPIED = 0.01, 0.75
"""p below which sets differ; `nearer` above which drawn rows lie at rows of training."""
COARSE = 0.25
"""Difference of a column that should be seen: where it may not be, this is said."""
TESTS = ("columns", "correlations", "told apart")
"""What the tests are called in a verdict."""
NAMES = {
    "marginals": "largest difference of a column",
    "correlations": "largest difference of a correlation",
    "told_apart": "share of rows told apart",
    "nearest_distance": "distance from the nearest row of training",
    "nearest_distance_data": "distance of rows kept out",
    "nearer": "nearer to training than rows kept out",
}


class Sides(NamedTuple):
    """What is compared, in the model's coordinates."""

    drawn: Float[Tensor, "n d"]
    kept_out: Float[Tensor, "n d"]
    learned: Float[Tensor, "m d"]
    source: str


def drawn_rows(
    trained: Trained, x_model: Float[Tensor, "rows d"], seed: int
) -> tuple[dict[str, float], dict[str, Any]]:
    """Scores of drawn rows beside rows that were not learned, and their protocol; none where there are too few.

    Args:
        trained: A run of a table.
        x_model: Its draws.
        seed: Seed of the divisions, and of new draws.

    Returns:
        marginals, correlations, told_apart: as of `two_samples`, each with its p, `_p`.
        nearest_distance: mean distance from the nearest row of training; nearest_distance_data that of rows kept out.
        nearer: probability that a drawn row is nearer to training than a row kept out.
    """
    sides = sides_of(trained, x_model, seed)
    if sides is None:
        return {}, {}
    found = two_samples(sides.drawn, sides.kept_out, rng(seed, "divisions"))
    ours, theirs = (nearest(x, sides.learned.split(1024))[1] for x in (sides.drawn, sides.kept_out))
    nearer = (ours[:, None] < theirs).double().mean() + (ours[:, None] == theirs).double().mean() / 2
    numbers = {name: d.value for name, d in found._asdict().items()}
    numbers |= {f"{name}_p": d.p for name, d in found._asdict().items()}
    numbers |= {"nearest_distance": ours.mean().item(), "nearest_distance_data": theirs.mean().item()}
    numbers["nearer"] = nearer.item()
    coordinates = trained.units.columns
    about = {"beside": sides.source, "rows": len(sides.drawn), "of_training": len(sides.learned)}
    return numbers, {
        "drawn_rows": about | {"verdict": verdict(found, numbers["nearer"], coordinates, sides)},
        "names": NAMES | {f"{name}_p": f"{NAMES[name]}, p" for name in found._fields},
    }


def sides_of(trained: Trained, x_model: Tensor, seed: int) -> Sides | None:
    """What is compared; None where too few rows were kept out."""
    data, f = trained.data, trained.f
    assert isinstance(data, Table)
    learned = data.rows(torch.randperm(len(data), generator=rng(seed, "learned")))
    if trained.apart:
        kept_out, source, unseen = trained.held_out(MOST)
    elif isinstance(f, ClosedForm):
        n, source, unseen = min(MOST, len(data) // 5), f"a fifth of {data.name}, the rest fitted again", True
        kept_out, learned = learned[:n], learned[n:]
        x_model = drawn_again(f, learned, seed)
    else:
        return None
    n = min(len(kept_out), len(x_model), MOST)
    if not unseen:
        return None
    if n < FEWEST:
        warnings.warn(
            f"drawn rows are not compared with {source}: {counted(n, 'row')} {are(n)} too few, {FEWEST} are needed",
            stacklevel=2,
        )
        return None
    drawn, kept_out, learned = (in_kinds(trained, x) for x in (x_model[:n], kept_out[:n], learned))
    return Sides(drawn, kept_out, learned, source)


def drawn_again(f: ClosedForm, learned: Float[Tensor, "m d"], seed: int) -> Float[Tensor, "n d"]:
    """Draws of the same fit to these rows only."""
    again = copy.deepcopy(f)
    assert isinstance(again, Kernel)
    again.see(learned[: again.sees])
    return again.draw(MOST, rng(seed, "drawn again"))


def in_kinds(trained: Trained, x: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    """Rows as they are written to a file: whole numbers whole, one category of each."""
    rows = trained.units.rows
    return torch.from_numpy(rows.encode(rows.decode(x)))


def verdict(found: Differences, nearer: float, columns: tuple[str, ...], sides: Sides) -> list[str]:
    """Each test in a sentence, and whether the rows pass."""
    d = len(columns)
    pair = f"{columns[found.correlations.where // d]} and {columns[found.correlations.where % d]}"
    failed = [name for name, test in zip(TESTS, found, strict=True) if test.p <= SIGNIFICANT]
    lines = [
        f"{counted(len(sides.drawn), 'drawn row')} compared with {sides.source}{said_of_few(len(sides.drawn), d)}",
        f"columns: {seen(found.marginals)}; largest in {columns[found.marginals.where]}, {found.marginals.value:.2f}",
        *([f"correlations: {seen(found.correlations)}; largest of {pair}, {found.correlations.value:.2f}"] * (d > 1)),
        f"nearest neighbours tell {found.told_apart.value:.0%} of rows apart, 50% by chance: {seen(found.told_apart)}",
        f"privacy: in {nearer:.0%} of cases a drawn row is nearer to a training row than a new row is, 50% by chance"
        + (": training rows can be recognised" if nearer > COPIED else ""),
    ]
    return [
        *lines,
        f"the rows do not pass: {', '.join(failed)}" if failed else "the rows pass: no test sees a difference",
    ]


def said_of_few(n: int, d: int) -> str:
    """From which difference on n rows of either side show it, where that is large.

    By Smirnov's law of two equal distributions, P(D > s) ≈ 2 exp(−n s²), for each of d columns.

    >>> said_of_few(40, 5), said_of_few(1000, 5)
    ('; with so few, a difference in a column shows only from about 0.42', '')
    """
    smallest = math.sqrt(math.log(2 * d / SIGNIFICANT) / n)
    return f"; with so few, a difference in a column shows only from about {smallest:.2f}" if smallest > COARSE else ""


def seen(test: Difference) -> str:
    return f"{'a' if test.p <= SIGNIFICANT else 'no'} difference is seen (p = {test.p:.3g})"
