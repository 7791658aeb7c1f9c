"""Probe of the machine's training stack: torch, ranks, Triton and attention, run inside the sandbox."""

import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from common.errors import CaddieError
from preflight.candidate.candidate import interpreter, raise_for_outcome
from preflight.candidate.launch import LaunchConfig
from preflight.sandbox.cleanup import remove_tree
from preflight.sandbox.job import Job, Limits
from preflight.sandbox.start import run

OLDEST, NEWEST = (2, 9), (2, 13)  # base/ is tested on both ends
LIMITS = Limits(wall_seconds=180, cpu_seconds=600)
PROBE = """
import importlib.util, json, os
import torch
import torch.distributed as dist

cuda = torch.cuda.is_available()
device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0))) if cuda else torch.device("cpu")
if cuda:
    torch.cuda.set_device(device)
if int(os.environ.get("WORLD_SIZE", 1)) > 1:
    dist.init_process_group("nccl" if cuda else "gloo")
total = torch.ones(1, device=device)
if dist.is_initialized():
    dist.all_reduce(total)

triton_says = "no GPU to compile for"
if cuda:
    import triton
    import triton.language as tl

    @triton.jit
    def add_one(x, BLOCK: tl.constexpr):
        at = tl.arange(0, BLOCK)
        tl.store(x + at, tl.load(x + at) + 1)

    x = torch.zeros(64, device=device)
    add_one[(1,)](x, BLOCK=64)
    triton_says = "compiled" if x.eq(1).all() else "compiled wrongly"

q = torch.randn(1, 2, 64, 32, device=device, dtype=torch.bfloat16 if cuda else torch.float32)
torch.nn.functional.scaled_dot_product_attention(q, q, q, is_causal=True)
backends = {"flash_attn_interface": "flash-attn 3", "flash_attn": "flash-attn 2"}
attention = next((name for module, name in backends.items() if importlib.util.find_spec(module)), "torch SDPA")
if dist.is_initialized():
    dist.destroy_process_group()
if int(os.environ.get("RANK", 0)) == 0:
    print(json.dumps({"ranks": int(total), "device": device.type, "triton": triton_says, "attention": attention}))
"""


@dataclass(frozen=True)
class Gpu:
    """A GPU as nvidia-smi reports it."""

    name: str
    driver: str


@dataclass(frozen=True)
class Facts:
    """The result of the probe; `problem` is empty if it succeeded."""

    ranks: int = 0
    device: str = ""
    triton: str = ""
    attention: str = ""
    problem: str = ""


def gpus() -> list[Gpu]:
    """Return the GPUs that the driver sees."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    query = [program, "--query-gpu=name,driver_version", "--format=csv,noheader"]
    done = subprocess.run(query, capture_output=True, text=True, encoding="utf-8", timeout=60)
    lines = done.stdout.splitlines() if done.returncode == 0 else []
    return [Gpu(*(part.strip() for part in line.rsplit(",", 1))) for line in lines if "," in line]


def torch_version() -> str:
    """Return the version of the installed PyTorch, without importing it; empty if there is none."""
    try:
        return importlib.metadata.version("torch") or ""  # a broken installation has a name and no version
    except importlib.metadata.PackageNotFoundError:
        return ""


def hardware() -> str:
    """Describe the GPUs, or the CPU if there are none."""
    if devices := gpus():
        return f"{len(devices)}x{devices[0].name} (driver {devices[0].driver})"
    with Path("/proc/cpuinfo").open(encoding="utf-8", errors="replace") as lines:
        names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{os.cpu_count()} cores of {names[0] if names else platform.machine()}"


def versions(modules: Iterable[str]) -> dict[str, str]:
    """Return the version of every installed distribution that provides one of the modules."""
    distributions = importlib.metadata.packages_distributions()
    names = {name for module in modules for name in distributions.get(module, ())}
    return {name: importlib.metadata.version(name) for name in sorted(names)}


def supported(version: str) -> bool:
    """Return True if base/ is known to run on this PyTorch."""
    numbers = version.split("+")[0].split(".")[:2]
    return len(numbers) == 2 and all(n.isdigit() for n in numbers) and OLDEST <= tuple(map(int, numbers)) <= NEWEST


def probe(folder: Path, target: LaunchConfig, level: str) -> Facts:
    """Run the probe with this target's ranks, limits and environment; `folder` is used and removed."""
    remove_tree(folder)
    folder.mkdir(parents=True)
    program = folder / "probe.py"
    program.write_text(PROBE, encoding="utf-8")
    job = Job(
        command=(*interpreter(target.ranks), "{in}/probe.py"),
        folder=folder / "job",
        limits=target.within(LIMITS),
        inputs={"probe.py": program},
        environment=target.environment,
        ranks=target.ranks,
        level=level,
    )
    try:
        raise_for_outcome(job, run(job), "probe")
        return Facts(**json.loads(job.log.read_text(encoding="utf-8").splitlines()[-1]))
    except (CaddieError, ValueError, TypeError, IndexError) as error:
        return Facts(problem=str(error))
    finally:
        remove_tree(folder)
