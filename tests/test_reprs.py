"""Things print as what they are, not as an address in memory."""

import dataclasses
import inspect
import pkgutil
import re
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest
import torch
from torch.distributions.constraints import real

import anila
from anila import (
    FromData,
    FromNoise,
    Learner,
    Persistent,
    Replay,
    classes,
    denoising,
    hmc,
    kernel_density,
    langevin,
    likelihood,
    mala,
    mixture,
    recovery,
    replica_exchange,
    rng,
    sample,
    transform,
    transport,
    tune,
    with_global_moves,
)  # fmt: skip
from anila.applications import inpaint, outliers
from anila.data import Rows, Stream, Toy
from anila.density.networks import mlp
from anila.evaluation.likelihood import Base, find_path
from anila.evaluation.samples import Moments
from anila.learning.paired import Paired
from anila.learning.starts import FromModel
from anila.runs.experiment import PRESETS


def public_classes() -> Iterator[type]:
    """The classes that packages name in `__all__`."""
    packages = [anila, *(import_module(m.name) for m in pkgutil.walk_packages(anila.__path__, "anila.") if m.ispkg)]
    found = {getattr(package, name) for package in packages for name in getattr(package, "__all__", ())
             if inspect.isclass(getattr(package, name))}  # fmt: skip
    return (cls for cls in sorted(found, key=str) if cls.__module__.startswith("anila."))


def prints_an_address(cls: type) -> bool:
    """Whether its repr is object's, or lists fields of which one is a function."""
    if getattr(cls, "_is_protocol", False) or issubclass(cls, BaseException):
        return False
    if cls.__repr__ is object.__repr__:
        return True
    a_tuple = issubclass(cls, tuple) and not getattr(cls.__repr__, "__module__", "").startswith("anila.")
    listed = vars(cls)["__dataclass_params__"].repr if dataclasses.is_dataclass(cls) else a_tuple
    return listed and "Callable" in " ".join(map(str, getattr(cls, "__annotations__", {}).values()))


def test_every_public_class_says_what_it_is():
    """Sees a new class whose objects print as <… object at 0x…>, or list their functions so."""
    found = list(public_classes())
    assert len(found) > 40
    assert [cls.__qualname__ for cls in found if prints_an_address(cls)] == []


def things() -> Iterator[Any]:
    """Public objects, with functions inside where they may have some."""
    f, x = (lambda x: -x.square().sum(1) / 2), torch.zeros(8, 2)
    kernel, model = mala(f, 0.5), mlp(2, hidden=(4,))
    yield from (kernel, langevin(f, 0.1), hmc(f, 0.1), mixture([kernel], [1.0]))
    yield from (with_global_moves(kernel, kernel_density(x)), replica_exchange(lambda f: mala(f, 0.5), f, (1.0, 2.0)))
    yield from (kernel_density(x), transform(lambda m: -m.square(), m=real))
    tuned = tune(f, torch.randn(8, 2, generator=rng(0)), 60, rng(0))
    yield from (tuned, *sample(tuned.sampler, tuned.x, 8, rng(0), keep_every=2))
    yield from (FromNoise((2,)), FromNoise((2,), "normal"), FromData(x), FromData(lambda n, _: x[:n]))
    yield from (FromModel(lambda n, _: x[:n]), Persistent(x), Replay(8, FromNoise((2,))), Paired())
    yield from (likelihood(), denoising(0.3), recovery(), transport(), classes())
    yield Learner(model, optimizer=torch.optim.SGD(model.parameters(), 0.1), objective=denoising(0.3))
    yield from (Toy("moons"), Stream([x], "zeros"), Rows(x, "zeros"), Moments.of(x), model)
    yield from (outliers(f, torch.randn(40, 2, generator=rng(0))), inpaint(f, x, torch.tensor([True, False])))
    yield find_path(f, Base.around(torch.randn(40, 2, generator=rng(0))), rng(0), chains=20)
    yield from PRESETS.values()


@pytest.mark.filterwarnings("ignore")
def test_nothing_prints_an_address():
    for thing in things():
        assert not re.search(r"\bat 0x|0x[0-9a-f]{6}", repr(thing)), repr(thing)
