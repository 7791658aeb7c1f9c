"""The machine as a run sees it: device, dtype, ranks, determinism, the log."""

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.distributed as dist

from base.model import flash


@dataclass(frozen=True)
class Runtime:
    """One process among `world` of them; `dtype` is what matrix products run in."""

    rank: int
    world: int
    device: torch.device
    dtype: torch.dtype

    def log(self, line: str) -> None:
        if self.rank == 0:
            print(line, flush=True)

    def barrier(self) -> None:
        if self.world > 1:
            dist.barrier()

    def sum_(self, tensor: torch.Tensor) -> torch.Tensor:
        """Sum over ranks, in place."""
        if self.world > 1:
            dist.all_reduce(tensor)
        return tensor

    def broadcast_(self, tensor: torch.Tensor) -> torch.Tensor:
        """Rank 0's values on every rank, in place."""
        if self.world > 1:
            dist.broadcast(tensor, src=0)
        return tensor

    def agreed(self, number: float) -> float:
        """Rank 0's number on every rank; from host to host, so that no rank waits for its device."""
        return float(self.broadcast_(torch.tensor([number], dtype=torch.float64)).numpy()[0])

    def reduce_scatter(self, tensor: torch.Tensor) -> Callable[[], torch.Tensor]:
        """Send tensor (B, ...); the call returned gives this rank's (B / world, ...) of the sum over ranks."""
        share = tensor.new_empty(tensor.size(0) // self.world, *tensor.shape[1:])
        return Arrival(dist.reduce_scatter_tensor(share, tensor, async_op=True), share, tensor)

    def all_gather(self, share: torch.Tensor) -> Callable[[], torch.Tensor]:
        """Send share (k, ...); the call returned gives (k * world, ...), the shares of all ranks in their order."""
        share = share.contiguous()
        whole = share.new_empty(share.size(0) * self.world, *share.shape[1:])
        return Arrival(dist.all_gather_into_tensor(whole, share, async_op=True), whole, share)


class Arrival(NamedTuple):
    """Waits for a message (on a GPU its stream does, not the host) and gives it; holds on to what was sent."""

    work: "dist.Work"
    received: torch.Tensor
    sent: torch.Tensor

    def __call__(self) -> torch.Tensor:
        self.work.wait()
        return self.received


def start() -> Runtime:
    """Join the ranks torchrun started (or be the only one) and make arithmetic repeatable."""
    # Denormals slow a CPU step up to 30-fold, and threads take this flag from whoever starts them: set it first.
    torch.set_flush_denormal(True)
    rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    cuda = torch.cuda.is_available()
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0))) if cuda else torch.device("cpu")
    if cuda:  # CPU kernels are repeatable at a fixed thread count; saying so there would import all of torch._dynamo
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
        torch.utils.deterministic.fill_uninitialized_memory = False
        torch.cuda.set_device(device)
        flash.find(device)
    if world > 1:
        dist.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo")
    return Runtime(rank, world, device, torch.bfloat16 if cuda else torch.float32)


def stop(runtime: Runtime) -> None:
    if runtime.world > 1:
        dist.destroy_process_group()


def generator(seed: int, name: str) -> torch.Generator:
    """A CPU generator for one named draw: adding or removing another name leaves this one's numbers alone."""
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)
