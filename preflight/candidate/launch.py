"""Launch configurations: preset, byte cap, resources, and the environment that overrides the preset, by profile."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from common.profiles import ProfileTable
from preflight.sandbox.job import Limits

GIB = 1 << 30
# Keep freed memory in the process: returning it and faulting it in again costs a fifth of a pocket step.
MALLOC = {"MALLOC_MMAP_THRESHOLD_": "33554432", "MALLOC_TRIM_THRESHOLD_": "1073741824", "MALLOC_TOP_PAD_": "67108864"}


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


def launch_config(table: ProfileTable) -> LaunchConfig:
    """Return the launch configuration of a profile.

    The number of CPU threads is part of a result, because it fixes the order of floating-point sums. One thread is also
    the fastest way to run the pocket model on a shared machine (dev/benchmarks/pocket.md), and the most repeatable.
    """
    knobs = {
        "VOCAB_SIZE": table.vocab_size,
        "ITERATIONS": table.steps,
        "BATCH_TOKENS": table.batch_tokens,
        "SEQUENCE_LENGTH": table.sequence_length,
        # Only a GPU's run ends by the clock: on a CPU, equal seeds must give equal results.
        "MAX_WALLCLOCK_SECONDS": f"{60 * table.minutes:g}" if table.gpus and table.minutes else "0",
    }
    machine = {"COMPILE": "1"} if table.gpus else {"OMP_NUM_THREADS": str(table.threads), **CPU}
    environment = {**machine, **{name: str(value) for name, value in knobs.items() if value is not None}}
    # GiB of memory and of temporary files, processes (torch.compile forks its compilers), threads
    memory_gib, temporary_gib, processes, threads = ROOM[min(table.gpus, 2)]
    return LaunchConfig(
        preset=table.preset,
        cap_bytes=table.artifact_bytes,
        ranks=max(table.gpus, 1),
        environment={**environment, **table.settings},
        memory_bytes=int((table.memory_gib or memory_gib) * GIB),
        temporary_bytes=int((table.temporary_gib or temporary_gib) * GIB),
        processes=processes,
        threads=threads,
    )


ROOM = ((8, 0.25, 64, 1_024), (48, 8, 256, 8_192), (256, 32, 1_024, 32_768))  # without a GPU, with one, with several
CPU = {"OMP_WAIT_POLICY": "PASSIVE", **MALLOC}
