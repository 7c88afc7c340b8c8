"""Several processes with one f: who I am among them, which rows are mine, and the few numbers all must agree on.

Of anything that has n rows (data points, chains, slots of a bank) rank r of R owns rows ⌊n r / R⌋ … ⌊n (r + 1) / R⌋.
Every rank draws the noise of all rows from the same generator and keeps its own, so row i sees the same numbers however
many ranks there are, and chains never talk. What is summed over ranks, once an iteration, is the gradient

    g = Σ_r [ Σ_{i of r} ∇θ f(xᵢ) / n − Σ_{m of r} ∇θ f(z^m) / M ].

θ is whole on every rank (DDP), or in pieces together with its gradient and the optimiser's state (FSDP2); then it is
put together once an iteration, before the chains start, and taken apart before it moves. The processes are those that
`torchrun` started.
"""

import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeGuard

import torch
import torch.distributed as dist
from jaxtyping import Float64, Shaped
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from anila.messages import counted

if TYPE_CHECKING:  # to import them takes more than half as long as torch itself
    from torch.distributed.fsdp import FSDPModule
    from torch.distributed.tensor import DTensor

    class InPieces(FSDPModule, nn.Module):
        """A module of which FSDP took θ apart."""


FREED = 0.1
"""Seconds in which gloo's threads let go of the last tensors. Without them it is freed while Python waits for these
threads, and these wait for Python: in one run of twenty a process never ended.
"""


class RankLost(ConnectionError):
    """Another process ended or did not answer in time."""


@dataclass(frozen=True)
class Ranks:
    """This process among all that train one f."""

    rank: int = 0
    size: int = 1
    on_machine: int = 0
    """The rank among the processes of this machine."""
    machine_size: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the process that speaks and writes."""
        return self.rank == 0

    def share(self, n: int) -> slice:
        """The rows of n that are this rank's.

        Raises:
            ValueError: If there are fewer rows than ranks.

        >>> Ranks(rank=1, size=3).share(10)
        slice(3, 6, None)
        """
        if n < self.size:
            raise ValueError(
                f"{counted(n, 'chain')} or data points cannot be shared by {self.size} processes; start fewer"
            )
        return slice(n * self.rank // self.size, n * (self.rank + 1) // self.size)

    def gather(self, values: Sequence[float]) -> Float64[Tensor, "ranks values"]:
        """The numbers of every rank, a row each; each rank must call it, with as many numbers."""
        mine = torch.tensor(values, dtype=torch.float64, device="cpu")
        if self.size == 1:
            return mine[None]
        rows = mine.new_empty(self.size, len(mine))
        dist.all_gather(list(rows), mine)
        return rows

    def wait(self) -> None:
        """Until every rank is here."""
        if self.size > 1:
            dist.barrier()

    def join(self, x: Shaped[Tensor, "own *event"]) -> Shaped[Tensor, "all *event"]:
        """The rows of all ranks one after the other, on the CPU; each rank must call it."""
        if self.size == 1:
            return x
        counts = [int(n) for n in self.gather([float(len(x))])[:, 0]]
        pieces = [torch.empty(n, *x.shape[1:], dtype=x.dtype, device="cpu") for n in counts]
        pieces[self.rank].copy_(x)
        for rank, piece in enumerate(pieces):
            dist.broadcast(as_bytes(piece), rank)
        return torch.cat(pieces)

    def device(self, device: torch.device) -> torch.device:
        """The GPU of this rank where a GPU is meant but not which.

        Raises:
            ValueError: If the machine has fewer GPUs than processes.
        """
        if self.size == 1 or device.type != "cuda" or device.index is not None:
            return device
        if self.on_machine >= torch.cuda.device_count():
            raise ValueError(
                f"{self.machine_size} processes on a machine with {counted(torch.cuda.device_count(), 'GPU')}; start "
                "one a GPU, or set training.device=cpu"
            )
        torch.cuda.set_device(self.on_machine)
        return torch.device("cuda", self.on_machine)

    @contextmanager
    def machine_first(self) -> Iterator[None]:
        """The first rank of each machine goes before the others, e.g. to fill a cache on disk."""
        if self.on_machine > 0:
            self.wait()
        yield
        if self.on_machine == 0:
            self.wait()


ALONE = Ranks()


@contextmanager
def joined(timeout: float) -> Iterator[Ranks]:
    """This process among those that `torchrun` started together; `ALONE` if it was started by itself.

    Args:
        timeout: Seconds after which a rank that does not answer counts as lost.

    Raises:
        RankLost: If another process ended or did not answer in time.
        ValueError: If the port at which they meet is taken.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield ALONE
        return
    ranks = Ranks(int(os.environ["RANK"]), size, *(int(os.environ[n]) for n in ("LOCAL_RANK", "LOCAL_WORLD_SIZE")))
    try:
        began_here = not dist.is_initialized()
        if began_here:
            backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
            with port_explained():
                dist.init_process_group(backend, timeout=timedelta(seconds=timeout))
        yield ranks
        ranks.wait()
    except RuntimeError as error:
        if not is_about_peers(error):
            raise
        raise RankLost(
            f"process {ranks.rank} of {size} lost the others, and stops ({str(error).splitlines()[0]}); the process "
            "that ended first says why"
        ) from None
    if began_here:
        time.sleep(FREED)
        dist.destroy_process_group()


@contextmanager
def port_explained() -> Iterator[None]:
    """A port that another program has is the user's to choose anew, and no fault of another process."""
    try:
        yield
    except dist.DistNetworkError as error:
        if "EADDRINUSE" not in str(error):
            raise
        raise ValueError(
            f"port {os.environ.get('MASTER_PORT')} of this machine is in use, and the processes are to meet there; "
            "give them another one: MASTER_PORT, or torchrun --master-port"
        ) from None


def is_about_peers(error: RuntimeError) -> bool:
    """Whether the error is one of talking to other processes; gloo has no type of its own for it."""
    return isinstance(error, dist.DistError) or "gloo" in str(error)


def as_bytes(x: Tensor) -> Tensor:
    """The memory of a contiguous tensor: bytes travel whatever the type."""
    return x.view(-1).view(torch.uint8)


def replicate(model: nn.Module, ranks: Ranks) -> nn.Module:
    """f whose backward sums (averages) the gradient over ranks: a wrapper around the model, or the model itself."""
    if ranks.size == 1 or in_pieces(model):
        return model
    return DistributedDataParallel(model)


def in_pieces(model: nn.Module) -> "TypeGuard[InPieces]":
    """Whether θ was taken apart, which imports FSDP."""
    fsdp = sys.modules.get("torch.distributed.fsdp")
    return fsdp is not None and isinstance(model, fsdp.FSDPModule)


def is_piece(value: object) -> "TypeGuard[DTensor]":
    """Whether it is this rank's piece of a tensor."""
    tensor = sys.modules.get("torch.distributed.tensor")
    return tensor is not None and isinstance(value, tensor.DTensor)


def shard(model: nn.Module, ranks: Ranks, optimizer: torch.optim.Optimizer | None = None) -> None:
    """Take θ apart, in place: each rank keeps its piece of every parameter, and an optimiser that has not yet moved
    keeps the state of that piece (Rajbhandari et al. 2020, ZeRO stage 2).
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import FSDPModule, fully_shard

    names = {p: name for name, p in model.named_parameters()}
    mesh = init_device_mesh(next(model.parameters()).device.type, (ranks.size,))
    model.to(memory_format=torch.contiguous_format)  # pyright: ignore[reportCallIssue]
    model.register_forward_hook(lambda _module, _args, f: f.clone())  # FSDP warns of views
    fully_shard(model, mesh=mesh, reshard_after_forward=False)
    assert isinstance(model, FSDPModule)
    model.set_reshard_after_backward(False)
    theta = dict(model.named_parameters())
    for group in optimizer.param_groups if optimizer else []:
        group["params"] = [theta[names[p]] for p in group["params"]]


def piece(tensor: Tensor) -> Tensor:
    """What this rank holds of a tensor, sharing its memory."""
    return tensor.to_local() if is_piece(tensor) else tensor


@contextmanager
def whole(model: nn.Module) -> Iterator[None]:
    """All of θ on every rank, so that f is evaluated without talking; each rank must enter."""
    if not in_pieces(model):
        yield
        return
    model.unshard()
    try:
        yield
    finally:
        model.reshard()


@contextmanager
def talking(replica: nn.Module, now: bool) -> Iterator[None]:
    """Backward passes within add to the gradient, and sum it over ranks if it is time."""
    if in_pieces(replica):
        replica.set_requires_gradient_sync(now)
    if isinstance(replica, DistributedDataParallel) and not now:
        with replica.no_sync():
            yield
    else:
        yield


def assembled(state: Any) -> Any:
    """A state dict with every tensor whole, so that it does not depend on the ranks; each rank must call it."""
    if is_piece(state):
        return state.full_tensor().cpu()
    if isinstance(state, dict):
        return {name: assembled(value) for name, value in state.items()}
    return [assembled(value) for value in state] if isinstance(state, list) else state


def cut_like(value: Any, like: Any) -> Any:
    """The inverse for one tensor: this rank's piece of it where `like`, of the same shape, is in pieces."""
    if not is_piece(like) or value.shape != like.shape:
        return value
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(value.to(like.device), like.device_mesh, like.placements, src_data_rank=None)
