"""Launch configurations by profile: preset, byte cap, resources, and the environment that overrides the preset.

The thread count is part of a result, because it fixes the order of floating-point sums. One thread is also the fastest
way to run the pocket model on a shared machine (dev/benchmarks/pocket.md), and the most repeatable in CPU seconds.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from common.limits import ARTIFACT_BYTES, TRAIN_SECONDS
from preflight.sandbox.job import Limits


@dataclass(frozen=True)
class LaunchConfig:
    """The settings a candidate is run with; no edit of base/ can change them."""

    preset: str
    cap_bytes: int  # code and compressed model together
    ranks: int = 1
    environment: Mapping[str, str] = field(default_factory=dict)  # overrides the preset
    memory_bytes: int = 8 << 30
    temporary_bytes: int = 256 << 20  # of /tmp and /dev/shm each: compiler caches, messages between ranks
    processes: int = 64
    threads: int = 1_024

    @property
    def defaults(self) -> dict[str, str]:
        """The environment that makes a bundle run as this target wherever nothing else is set."""
        return {"PRESET": self.preset, **self.environment}

    def within(self, limits: Limits) -> Limits:
        """Return time limits combined with this target's limits of memory, disk, processes and threads."""
        names = ("memory_bytes", "temporary_bytes", "processes", "threads")
        return replace(limits, **{name: getattr(self, name) for name in names})


# Keep freed memory in the process: returning it and faulting it in again costs a fifth of a pocket step.
MALLOC = {"MALLOC_MMAP_THRESHOLD_": "33554432", "MALLOC_TRIM_THRESHOLD_": "1073741824", "MALLOC_TOP_PAD_": "67108864"}

POCKET = LaunchConfig(
    preset="pocket",
    cap_bytes=256_000,  # the baseline needs about 190,000: room for ideas, none for a model twice as wide
    environment={
        "OMP_NUM_THREADS": "1",
        "OMP_WAIT_POLICY": "PASSIVE",
        **MALLOC,
        "ITERATIONS": "300",
        "BATCH_TOKENS": "2048",
        "SEQUENCE_LENGTH": "128",
        "MAX_WALLCLOCK_SECONDS": "0",
    },
)
ONE_H100 = LaunchConfig(
    preset="baseline",
    cap_bytes=ARTIFACT_BYTES,
    environment={"ITERATIONS": "1000", "BATCH_TOKENS": "524288", "MAX_WALLCLOCK_SECONDS": "0", "COMPILE": "1"},
    memory_bytes=48 << 30,
    temporary_bytes=8 << 30,
    processes=256,  # torch.compile forks its compilers
    threads=8_192,
)
EIGHT_H100 = LaunchConfig(
    preset="challenge",
    cap_bytes=ARTIFACT_BYTES,
    ranks=8,
    environment={"MAX_WALLCLOCK_SECONDS": f"{TRAIN_SECONDS:g}", "COMPILE": "1"},
    memory_bytes=256 << 30,
    temporary_bytes=32 << 30,
    processes=1_024,
    threads=32_768,
)
LAUNCH_CONFIGS = {"pocket": POCKET, "h100": ONE_H100, "8xh100": EIGHT_H100}

assert all(target.cap_bytes <= ARTIFACT_BYTES for target in LAUNCH_CONFIGS.values())
