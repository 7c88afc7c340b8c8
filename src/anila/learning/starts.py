"""Where the chains of a training iteration start, and where they are kept afterwards.

Six ways: fresh noise (short run), data (contrastive divergence), draws of the model (`FromModel`), the chains of the
previous iteration (`Persistent`, Algorithm 1 of Karimi, Xie & Li 2023), a bank of them with some restarts (`Replay`,
Du & Mordatch 2019), or data with which each chain is compared until it restarts (`Paired`). Each has
`draw(n, generator)`, `store(x)` and `state_dict()` / `load_state_dict()`.

In a draw of n from a bank of S chains, place j comes from its own stratum, slots ⌊jS/n⌋ … ⌊(j+1)S/n⌋. So every slot is
drawn equally often, none twice at a time, and a process that runs places a … b only needs slots ⌊aS/n⌋ … ⌊bS/n⌋: each
process keeps its part of the bank, and chains are never exchanged.
"""

from collections.abc import Callable
from typing import Literal, Protocol, runtime_checkable

import torch
from torch import Tensor

from anila.density.rows import across
from anila.messages import counted

ALL = slice(None)
Storage = Literal["float32", "bf16", "uint8"]
PART = 20
"""Chains drawn at a time to fill a bank."""


@runtime_checkable
class Start(Protocol):
    """Gives n starting points, or only some rows of them, and takes back where the chains ended."""

    def draw(self, n: int, generator: torch.Generator, rows: slice = ALL) -> Tensor: ...

    def store(self, x: Tensor) -> None: ...

    def state_dict(self) -> dict[str, Tensor]: ...

    def load_state_dict(self, state: dict[str, Tensor]) -> None: ...


class Stateless:
    """A start that keeps nothing between iterations."""

    def store(self, x: Tensor) -> None:
        """Keep nothing."""

    def state_dict(self) -> dict[str, Tensor]:
        return {}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore nothing."""


class FromNoise(Stateless):
    """Every iteration starts from noise: uniform on [−scale, scale] or normal with sd scale.

    Args:
        shape: Event shape, e.g. (3, 32, 32).
        kind: "uniform" or "normal".
        scale: Half width or standard deviation, in the units of the data.

    Raises:
        ValueError: If kind is unknown.
    """

    def __init__(self, shape: tuple[int, ...], kind: Literal["uniform", "normal"] = "uniform", scale: float = 1.0):
        if kind not in ("uniform", "normal"):
            raise ValueError(f'kind must be "uniform" or "normal"; got {kind!r}')
        self.shape, self.kind, self.scale = tuple(shape), kind, scale

    def __repr__(self) -> str:
        law = f"normal of sd {self.scale:g}" if self.kind == "normal" else f"uniform on ±{self.scale:g}"
        return f"<FromNoise: {law}, points of shape {self.shape}>"

    def draw(self, n: int, generator: torch.Generator, rows: slice = ALL) -> Tensor:
        if self.kind == "normal":
            return self.scale * torch.randn(n, *self.shape, generator=generator, device=generator.device)[rows]
        return self.scale * (2 * torch.rand(n, *self.shape, generator=generator, device=generator.device)[rows] - 1)


class FromData(Stateless):
    """Every iteration starts from data points, as in contrastive divergence (Hinton 2002).

    Args:
        data: The points to choose from, (rows, *event), or a function (n, generator) -> (n, *event).
        noise: Standard deviation of the normal noise added to them.
    """

    def __init__(self, data: Tensor | Callable[[int, torch.Generator], Tensor], noise: float = 0.0):
        self.data, self.noise = data, noise

    def __repr__(self) -> str:
        drawn = told(self.data) if isinstance(self.data, Tensor) else "points that a function gives"
        return f"<FromData: {drawn}, with noise of sd {self.noise:g}>"

    def draw(self, n: int, generator: torch.Generator, rows: slice = ALL) -> Tensor:
        if isinstance(self.data, Tensor):
            chosen = torch.randint(len(self.data), (n,), generator=generator, device=generator.device)
            x = self.data[chosen.to(self.data.device)]
        else:
            x = self.data(n, generator)
        return (x + self.noise * torch.randn(x.shape, generator=generator, device=generator.device).to(x))[rows]


class FromModel(Stateless):
    """Every iteration starts from draws of the model itself.

    Args:
        sample: (n, generator) -> (n, *event), with the current f.
    """

    def __init__(self, sample: Callable[[int, torch.Generator], Tensor]):
        self.sample = sample

    def __repr__(self) -> str:
        return "<FromModel: draws of f>"

    def draw(self, n: int, generator: torch.Generator, rows: slice = ALL) -> Tensor:
        return self.sample(n, generator)[rows]


class Persistent:
    """Chains continue from where they stood: z_{t-1} of Algorithm 1.

    Args:
        x0: The bank of chains, (size, *event). `draw(n)` takes all of them in order if n is the size, else a random one
            from each of n strata; `store` puts them back in their places.
        storage: Format of the chains in the bank: "bf16" takes half the memory of float32; "uint8" takes a quarter,
            rounds to the 256 levels of an image in [−1, 1] and clamps chains that are outside. None keeps them as they
            are.
        fill: Makes the chains at the first draw, with the f of that moment; x0 gives their number and shape.

    Raises:
        ValueError: If x0 is not floating point, or `draw` is asked for more chains than there are.
    """

    def __init__(self, x0: Tensor, storage: Storage | None = None, fill: Callable[[], Tensor] | None = None):
        if not x0.is_floating_point():
            raise ValueError(f"a bank of chains must be floating point; got {x0.dtype}; convert with x0.float()")
        self.storage: Storage | None = storage
        self.fill = fill
        self.dtype, self.size = x0.dtype, len(x0)
        self.bank = packed(x0.detach().clone(), storage)
        self.slots = slice(0, self.size)
        self.places = every(self.size)

    def __repr__(self) -> str:
        return f"<Persistent: {told(self.bank)}>"

    def enlarge(self, size: int, draw: Callable[[int], Tensor]) -> None:
        """Fill the bank up to a size, a part at a time, so that chains never take more memory than in the bank."""
        bank = self.bank.new_empty(size, *self.bank.shape[1:])
        bank[: len(self.bank)] = self.bank
        for first in range(len(self.bank), size, PART):
            n = min(PART, size - first)
            bank[first : first + n] = packed(draw(n), self.storage)
        self.bank, self.size, self.slots, self.places = bank, size, slice(0, size), every(size)

    def keep(self, rows: slice, n: int) -> None:
        """Keep only the slots that these rows of a draw of n come from."""
        self.slots = slice(rows.start * self.size // n, rows.stop * self.size // n)
        self.bank = self.bank[self.slots].clone()

    @property
    def x(self) -> Tensor:
        """The chains kept here, (slots, *event)."""
        return self.chains(every(len(self.bank)))

    def chains(self, places: Tensor, device: torch.device | None = None) -> Tensor:
        """The chains in these places of the bank kept here."""
        x = self.bank[places.to(self.bank.device)]
        if device is not None and device.type == "cuda" and not x.is_cuda:
            x = x.pin_memory().to(device, non_blocking=True)
        return unpacked(x, self.dtype)

    def draw(self, n: int, generator: torch.Generator, rows: slice = ALL) -> Tensor:
        if n > self.size:
            raise ValueError(f"a bank of {self.size} cannot give {counted(n, 'chain')}; make it at least as large")
        if self.fill:
            self.bank, self.fill = packed(self.fill(), self.storage)[self.slots].to(self.bank), None
        self.places = strata(n, self.size, generator)[rows] - self.slots.start
        return self.chains(self.places, generator.device)

    def store(self, x: Tensor) -> None:
        self.bank[self.places.to(self.bank.device)] = packed(x.detach(), self.storage).to(self.bank)

    def state_dict(self) -> dict[str, Tensor]:
        return {} if self.fill else {"x": self.bank}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take this process's slots of a whole bank; a bank that is still to be filled may stay so."""
        if self.fill and not state:
            return
        expected = (self.size, *self.bank.shape[1:])
        if state["x"].shape != expected:
            raise ValueError(f"expected a bank of shape {expected}, got {tuple(state['x'].shape)}")
        self.bank, self.fill = state["x"][self.slots].clone(), None


def told(x: Tensor) -> str:
    """How many points these are, and of what shape."""
    return f"{counted(len(x), 'point')} of shape {tuple(x.shape[1:])}"


def strata(n: int, size: int, generator: torch.Generator) -> Tensor:
    """For each of n places a random slot from ⌊j size/n⌋ … ⌊(j+1) size/n⌋, (n,), on the CPU."""
    edges = every(n + 1) * size // n
    if n == size:
        return edges[:-1]
    u = torch.rand(n, generator=generator, device=generator.device).cpu()
    width = edges.diff()
    return edges[:-1] + (u * width).long().minimum(width - 1)


def every(n: int) -> Tensor:
    """Places 0 … n − 1, on the CPU."""
    return torch.arange(n, device="cpu")


def packed(x: Tensor, storage: Storage | None) -> Tensor:
    """x in its stored format; as uint8, −1 … 1 becomes 0 … 255."""
    if storage == "uint8":
        return (x + 1).mul_(127.5).round_().clamp_(0, 255).to(torch.uint8)
    return x.bfloat16() if storage == "bf16" else x


def unpacked(x: Tensor, dtype: torch.dtype) -> Tensor:
    """The inverse, up to rounding."""
    return x.to(dtype) / 127.5 - 1 if x.dtype == torch.uint8 else x.to(dtype)


class Replay(Persistent):
    """A bank of chains, a fraction of which restarts each time they are drawn (Du & Mordatch 2019).

    Args:
        size: Chains in the bank.
        start: Source of restarted chains, and of all chains at first. If it is `Persistent` it serves as a pool:
            nothing is put back into it.
        fresh: Probability that a drawn chain restarts.
        generator: Fills the bank; the default is a fixed seed.
        storage: As in `Persistent`.
        shift: Most pixels by which images of the bank are shifted at random, wrapping around, before they continue.
        mirror: Whether half of the shifted ones are mirrored (augmentation of the bank, Du et al. 2021, section 3.2).
        fill: As in `Persistent`, if start is a pool: makes all chains at first.

    Raises:
        ValueError: If fresh is not a fraction, or shift is given for points that are not images.
    """

    def __init__(
        self,
        size: int,
        start: Start,
        fresh: float = 0.05,
        generator: torch.Generator | None = None,
        storage: Storage | None = None,
        shift: int = 0,
        mirror: bool = False,
        fill: Callable[[], Tensor] | None = None,
    ):
        if not 0 <= fresh <= 1:
            raise ValueError(f"fresh must be in [0, 1]; got {fresh}")
        if fill and isinstance(start, Persistent):
            super().__init__(start.bank.new_zeros(size, *start.bank.shape[1:]), storage, fill)
        else:
            generator = generator or torch.Generator().manual_seed(0)
            super().__init__(start.draw(min(size, PART), generator), storage)
            self.enlarge(size, lambda n: start.draw(n, generator))
        if shift and self.bank.ndim != 4:
            raise ValueError(
                f"shift is for images (channels, height, width); got chains of {tuple(self.bank.shape[1:])}"
            )
        self.start, self.fresh, self.shift, self.mirror = start, fresh, shift, mirror

    def __repr__(self) -> str:
        return f"<Replay: {told(self.bank)}, of which {self.fresh:.3g} restart from {self.start!r}>"

    def keep(self, rows: slice, n: int) -> None:
        super().keep(rows, n)
        if isinstance(self.start, Persistent):
            self.start.keep(rows, n)

    def state_dict(self) -> dict[str, Tensor]:
        pool = self.start
        return super().state_dict() | ({"pool": pool.bank} if isinstance(pool, Persistent) and not pool.fill else {})

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        super().load_state_dict(state)
        if "pool" in state:
            self.start.load_state_dict({"x": state["pool"]})

    def draw(self, n: int, generator: torch.Generator, rows: slice = ALL) -> Tensor:
        x = self.moved(super().draw(n, generator, rows), n, generator, rows)
        restart = torch.rand(n, generator=generator, device=generator.device)[rows].to(x.device) < self.fresh
        fresh = self.start.draw(n, generator, rows).to(x)
        return torch.where(across(restart, x), fresh, x)

    def moved(self, x: Tensor, n: int, generator: torch.Generator, rows: slice) -> Tensor:
        """Images of the bank, each shifted and perhaps mirrored."""
        if not self.shift:
            return x
        u = torch.rand(n, 3, generator=generator, device=generator.device)[rows].cpu()
        by = ((2 * self.shift + 1) * u[:, :2]).long() - self.shift
        images = [one.roll(pair, (1, 2)) for one, pair in zip(x, by.tolist(), strict=True)]
        mirrored = self.mirror & (u[:, 2] < 0.5)
        return torch.stack([one.flip(2) if m else one for one, m in zip(images, mirrored.tolist(), strict=True)])
