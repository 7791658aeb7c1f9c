"""The execution environment of a run: device, dtype, ranks, determinism, the log."""

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.distributed as dist

from base.model.attention import flash


@dataclass(frozen=True)
class Runtime:
    """One process of `world`; matrix products run in `dtype`."""

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

    def all_reduce_(self, tensor: torch.Tensor) -> torch.Tensor:
        """Sum over ranks, in place."""
        if self.world > 1:
            dist.all_reduce(tensor)
        return tensor

    def broadcast_(self, tensor: torch.Tensor) -> torch.Tensor:
        """Rank 0's values on every rank, in place."""
        if self.world > 1:
            dist.broadcast(tensor, src=0)
        return tensor

    def broadcast_scalar(self, value: float) -> float:
        """Rank 0's value on every rank; from host to host, so that no rank waits for its device."""
        return float(self.broadcast_(torch.tensor([value], dtype=torch.float64)).numpy()[0])

    def reduce_scatter(self, tensor: torch.Tensor) -> Callable[[], torch.Tensor]:
        """Send tensor (B, ...); the call returned gives this rank's (B / world, ...) of the sum over ranks."""
        shard = tensor.new_empty(tensor.size(0) // self.world, *tensor.shape[1:])
        return PendingCollective(dist.reduce_scatter_tensor(shard, tensor, async_op=True), shard, tensor)

    def all_gather(self, shard: torch.Tensor) -> Callable[[], torch.Tensor]:
        """Send shard (k, ...); the call returned gives (k * world, ...), the shards of all ranks in order of rank."""
        shard = shard.contiguous()
        output = shard.new_empty(shard.size(0) * self.world, *shard.shape[1:])
        return PendingCollective(dist.all_gather_into_tensor(output, shard, async_op=True), output, shard)


class PendingCollective(NamedTuple):
    """A collective under way: a call waits for it (on a GPU the stream waits, not the host) and returns its output.

    It keeps the input alive until then.
    """

    work: "dist.Work"
    output: torch.Tensor
    input: torch.Tensor

    def __call__(self) -> torch.Tensor:
        self.work.wait()
        return self.output


def start() -> Runtime:
    """Join the ranks that torchrun started (or be the only one) and make arithmetic repeatable."""
    # Denormals slow a CPU step up to 30-fold, and threads inherit this flag from their creator: set it first.
    torch.set_flush_denormal(True)
    rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    cuda = torch.cuda.is_available()
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0))) if cuda else torch.device("cpu")
    if (
        cuda
    ):  # CPU kernels are repeatable at a fixed thread count anyway; on a CPU this would import all of torch._dynamo
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
        torch.utils.deterministic.fill_uninitialized_memory = False
        torch.cuda.set_device(device)
        flash.load_kernels(device)
    if world > 1:
        dist.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo")
    return Runtime(rank, world, device, torch.bfloat16 if cuda else torch.float32)


def stop(runtime: Runtime) -> None:
    if runtime.world > 1:
        dist.destroy_process_group()


def generator(seed: int, name: str) -> torch.Generator:
    """Return a CPU generator for one named draw: adding or removing another name leaves its numbers unchanged."""
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)
