"""Several processes with one f: the rank of each, the rows it owns, and the few numbers on which all must agree.

Of anything that has n rows (data points, chains, slots of a bank) rank r of R owns rows ⌊n r / R⌋ … ⌊n (r + 1) / R⌋.
Every rank draws the noise of all rows from the same generator and keeps that of its own, so row i sees the same numbers
for any number of ranks, and chains need no communication. Once per iteration, the gradient is summed over ranks:

    g = Σ_r [ Σ_{i of r} ∇θ f(xᵢ) / n − Σ_{m of r} ∇θ f(z^m) / M ].

θ is either replicated on every rank (DDP), or sharded together with its gradient and the optimiser's state (FSDP2).
Sharded parameters are gathered once per iteration, before the chains start, and sharded again before θ moves.
`torchrun` starts the processes.
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

if TYPE_CHECKING:  # importing them takes more than half as long as torch itself
    from torch.distributed.fsdp import FSDPModule
    from torch.distributed.tensor import DTensor

    class InPieces(FSDPModule, nn.Module):
        """A module whose θ FSDP has sharded."""


FREED = 0.1
"""Seconds for gloo's threads to release the last tensors. Without this wait, gloo is freed while Python waits for its
threads and they wait for Python: in one run of twenty a process never ended.
"""


class RankLost(ConnectionError):
    """Another process ended or did not answer in time."""


@dataclass(frozen=True)
class Ranks:
    """This process among all processes that train one f."""

    rank: int = 0
    size: int = 1
    on_machine: int = 0
    """The rank of this process on its machine."""
    machine_size: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the process that prints and writes files."""
        return self.rank == 0

    def share(self, n: int) -> slice:
        """The rows, of n, that this rank owns.

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
        """The numbers of all ranks, one row each. Every rank must call it, with equally many numbers."""
        mine = torch.tensor(values, dtype=torch.float64, device="cpu")
        if self.size == 1:
            return mine[None]
        rows = mine.new_empty(self.size, len(mine))
        dist.all_gather(list(rows), mine)
        return rows

    def wait(self) -> None:
        """Wait until every rank is here."""
        if self.size > 1:
            dist.barrier()

    def join(self, x: Shaped[Tensor, "own *event"]) -> Shaped[Tensor, "all *event"]:
        """The rows of all ranks in order, on the CPU. Every rank must call it."""
        if self.size == 1:
            return x
        counts = [int(n) for n in self.gather([float(len(x))])[:, 0]]
        pieces = [torch.empty(n, *x.shape[1:], dtype=x.dtype, device="cpu") for n in counts]
        pieces[self.rank].copy_(x)
        for rank, piece in enumerate(pieces):
            dist.broadcast(as_bytes(piece), rank)
        return torch.cat(pieces)

    def device(self, device: torch.device) -> torch.device:
        """The GPU of this rank, if the device is a GPU without an index.

        Raises:
            ValueError: If the machine has fewer GPUs than processes.
        """
        if self.size == 1 or device.type != "cuda" or device.index is not None:
            return device
        if self.on_machine >= torch.cuda.device_count():
            raise ValueError(
                f"{self.machine_size} processes on a machine with {counted(torch.cuda.device_count(), 'GPU')}; start "
                "one per GPU, or set training.device=cpu"
            )
        torch.cuda.set_device(self.on_machine)
        return torch.device("cuda", self.on_machine)

    @contextmanager
    def machine_first(self) -> Iterator[None]:
        """Let the first rank of each machine go before the others, e.g. to fill a cache on disk."""
        if self.on_machine > 0:
            self.wait()
        yield
        if self.on_machine == 0:
            self.wait()


ALONE = Ranks()


@contextmanager
def joined(timeout: float) -> Iterator[Ranks]:
    """This process among those that `torchrun` started; `ALONE` if it was started by itself.

    Args:
        timeout: Seconds after which a rank that does not answer counts as lost.

    Raises:
        RankLost: If another process ended or did not answer in time.
        ValueError: If the port on which they meet is taken.
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
            f"process {ranks.rank} of {size} lost contact with the others, and stops ({str(error).splitlines()[0]}); "
            "the process that ended first says why"
        ) from None
    if began_here:
        time.sleep(FREED)
        dist.destroy_process_group()


@contextmanager
def port_explained() -> Iterator[None]:
    """Report a port that is in use as an error of the user, who can choose another, not as a lost process."""
    try:
        yield
    except dist.DistNetworkError as error:
        if "EADDRINUSE" not in str(error):
            raise
        raise ValueError(
            f"port {os.environ.get('MASTER_PORT')} of this machine is in use, and the processes need it to meet; "
            "give them another one: MASTER_PORT, or torchrun --master-port"
        ) from None


def is_about_peers(error: RuntimeError) -> bool:
    """Whether an error comes from communication with other processes, for which gloo has no type of its own."""
    return isinstance(error, dist.DistError) or "gloo" in str(error)


def as_bytes(x: Tensor) -> Tensor:
    """The memory of a contiguous tensor as bytes, which can be sent whatever the dtype."""
    return x.view(-1).view(torch.uint8)


def replicate(model: nn.Module, ranks: Ranks) -> nn.Module:
    """f whose backward sums (averages) the gradient over ranks: a wrapper around the model, or the model itself."""
    if ranks.size == 1 or in_pieces(model):
        return model
    return DistributedDataParallel(model)


def in_pieces(model: nn.Module) -> "TypeGuard[InPieces]":
    """Whether θ is sharded; this imports FSDP."""
    fsdp = sys.modules.get("torch.distributed.fsdp")
    return fsdp is not None and isinstance(model, fsdp.FSDPModule)


def is_piece(value: object) -> "TypeGuard[DTensor]":
    """Whether the value is this rank's shard of a tensor."""
    tensor = sys.modules.get("torch.distributed.tensor")
    return tensor is not None and isinstance(value, tensor.DTensor)


def shard(model: nn.Module, ranks: Ranks, optimizer: torch.optim.Optimizer | None = None) -> None:
    """Shard θ in place: each rank keeps its piece of every parameter, and an optimiser that has not stepped yet keeps
    the state of that piece (Rajbhandari et al. 2020, ZeRO stage 2).
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import FSDPModule, fully_shard

    names = {p: name for name, p in model.named_parameters()}
    mesh = init_device_mesh(next(model.parameters()).device.type, (ranks.size,))
    model.to(memory_format=torch.contiguous_format)  # pyright: ignore[reportCallIssue]
    model.register_forward_hook(lambda _module, _args, f: f.clone())  # FSDP warns if f returns a view
    fully_shard(model, mesh=mesh, reshard_after_forward=False)
    assert isinstance(model, FSDPModule)
    model.set_reshard_after_backward(False)
    theta = dict(model.named_parameters())
    for group in optimizer.param_groups if optimizer else []:
        group["params"] = [theta[names[p]] for p in group["params"]]


def piece(tensor: Tensor) -> Tensor:
    """This rank's piece of a tensor, sharing its memory."""
    return tensor.to_local() if is_piece(tensor) else tensor


@contextmanager
def whole(model: nn.Module) -> Iterator[None]:
    """Gather all of θ on every rank, so that f needs no communication. Every rank must enter."""
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
    """Backward passes inside accumulate the gradient, and sum it over ranks if `now`."""
    if in_pieces(replica):
        replica.set_requires_gradient_sync(now)
    if isinstance(replica, DistributedDataParallel) and not now:
        with replica.no_sync():
            yield
    else:
        yield


def assembled(state: Any) -> Any:
    """A state dict with whole tensors, so that it does not depend on the ranks. Every rank must call it."""
    if is_piece(state):
        return state.full_tensor().cpu()
    if isinstance(state, dict):
        return {name: assembled(value) for name, value in state.items()}
    return [assembled(value) for value in state] if isinstance(state, list) else state


def cut_like(value: Any, like: Any) -> Any:
    """The inverse for one tensor: this rank's piece of it if `like`, of the same shape, is sharded."""
    if not is_piece(like) or value.shape != like.shape:
        return value
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(value.to(like.device), like.device_mesh, like.placements, src_data_rank=None)
