"""Where the chains of a training iteration start, and where they are kept afterwards.

Four ways: fresh noise (short run), data (contrastive divergence), the chains of the previous iteration
(`Persistent`, Algorithm 1 of Karimi, Xie & Li 2023), or a bank of them with some restarts (`Replay`,
Du & Mordatch 2019). Each has `draw(n, generator)`, `store(x)` and `state_dict()` / `load_state_dict()`.
"""

from collections.abc import Callable
from typing import Literal, Protocol, runtime_checkable

import torch
from torch import Tensor


@runtime_checkable
class Start(Protocol):
    """Gives n starting points and takes back where the chains ended."""

    def draw(self, n: int, generator: torch.Generator) -> Tensor: ...

    def store(self, x: Tensor) -> None: ...

    def state_dict(self) -> dict[str, Tensor]: ...

    def load_state_dict(self, state: dict[str, Tensor]) -> None: ...


class Stateless:
    """A start that keeps nothing between iterations."""

    def store(self, x: Tensor) -> None:
        """Nothing is kept."""

    def state_dict(self) -> dict[str, Tensor]:
        return {}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Nothing to restore."""


class FromNoise(Stateless):
    """Every iteration starts from noise: uniform on [−scale, scale] or normal with sd scale.

    Args:
        shape: Event shape, e.g. (3, 32, 32).
        kind: "uniform" or "normal".
        scale: Half width or standard deviation, in the units of the data.

    Raises:
        ValueError: If kind is another word.
    """

    def __init__(self, shape: tuple[int, ...], kind: Literal["uniform", "normal"] = "uniform", scale: float = 1.0):
        if kind not in ("uniform", "normal"):
            raise ValueError(f'kind must be "uniform" or "normal"; got {kind!r}')
        self.shape, self.kind, self.scale = tuple(shape), kind, scale

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        if self.kind == "normal":
            return self.scale * torch.randn(n, *self.shape, generator=generator, device=generator.device)
        return self.scale * (2 * torch.rand(n, *self.shape, generator=generator, device=generator.device) - 1)


class FromData(Stateless):
    """Every iteration starts from data points, as in contrastive divergence (Hinton 2002).

    Args:
        data: The points to choose from, (rows, *event), or a function (n, generator) -> (n, *event).
        noise: Standard deviation of the normal noise added to them.
    """

    def __init__(self, data: Tensor | Callable[[int, torch.Generator], Tensor], noise: float = 0.0):
        self.data, self.noise = data, noise

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        if isinstance(self.data, Tensor):
            rows = torch.randint(len(self.data), (n,), generator=generator, device=generator.device)
            x = self.data[rows.to(self.data.device)]
        else:
            x = self.data(n, generator)
        return x + self.noise * torch.randn(x.shape, generator=generator, device=generator.device).to(x)


class Persistent:
    """Chains go on from where they stood: z_{t-1} of Algorithm 1.

    Args:
        x0: The bank of chains, (size, *event). `draw(n)` takes all of them in order when n is the size, else n
            different ones at random; `store` puts them back in their places.

    Raises:
        ValueError: If x0 is not floating point, or more chains are asked of `draw` than there are.
    """

    def __init__(self, x0: Tensor):
        if not x0.is_floating_point():
            raise ValueError(f"a bank of chains must be floating point; got {x0.dtype}; convert with x0.float()")
        self.x = x0.detach().clone()
        self.places = torch.arange(len(x0))

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        size = len(self.x)
        if n > size:
            raise ValueError(f"{n} chains asked of a bank of {size}; make the bank at least as large")
        if n < size:
            self.places = torch.randperm(size, generator=generator, device=generator.device)[:n].cpu()
        else:
            self.places = torch.arange(size)
        return self.x[self.places.to(self.x.device)]

    def store(self, x: Tensor) -> None:
        self.x[self.places.to(self.x.device)] = x.detach().to(self.x)

    def state_dict(self) -> dict[str, Tensor]:
        return {"x": self.x}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        if state["x"].shape != self.x.shape:
            raise ValueError(f"expected a bank of shape {tuple(self.x.shape)}, got {tuple(state['x'].shape)}")
        self.x = state["x"].clone()


class Replay(Persistent):
    """A bank of chains of which a fraction restarts afresh each time it is drawn (Du & Mordatch 2019).

    Args:
        size: Chains in the bank.
        start: Where restarted chains, and all of them at first, come from.
        fresh: Probability that a drawn chain restarts.
        generator: Fills the bank; the default is a fixed seed.
    """

    def __init__(self, size: int, start: Start, fresh: float = 0.05, generator: torch.Generator | None = None):
        if not 0 <= fresh <= 1:
            raise ValueError(f"fresh must be in [0, 1]; got {fresh}")
        super().__init__(start.draw(size, generator or torch.Generator().manual_seed(0)))
        self.start, self.fresh = start, fresh

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        x = super().draw(n, generator)
        restart = torch.rand(n, generator=generator, device=generator.device).to(x.device) < self.fresh
        return torch.where(restart.view(-1, *[1] * (x.ndim - 1)), self.start.draw(n, generator).to(x), x)
