"""Named targets: preset, byte cap and the environment that overrides the preset, per profile.

A thread count is part of a result: it fixes the order of floating-point sums. One thread is also the fastest way to
run the pocket model on a shared machine (dev/benchmarks/pocket.md), and counts the same CPU seconds every time.
"""

from preflight.limits import ARTIFACT_BYTES, TRAIN_SECONDS
from preflight.phases import Target

# Freed tensors stay with the process: giving them back and faulting them in again costs a fifth of a pocket step.
MALLOC = {"MALLOC_MMAP_THRESHOLD_": "33554432", "MALLOC_TRIM_THRESHOLD_": "1073741824", "MALLOC_TOP_PAD_": "67108864"}

POCKET = Target(
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
ONE_H100 = Target(
    preset="baseline",
    cap_bytes=ARTIFACT_BYTES,
    environment={"ITERATIONS": "1000", "BATCH_TOKENS": "524288", "MAX_WALLCLOCK_SECONDS": "0", "COMPILE": "1"},
    memory_bytes=48 << 30,
    temporary_bytes=8 << 30,
    processes=256,  # torch.compile forks its compilers
    threads=8_192,
)
EIGHT_H100 = Target(
    preset="challenge",
    cap_bytes=ARTIFACT_BYTES,
    ranks=8,
    environment={"MAX_WALLCLOCK_SECONDS": f"{TRAIN_SECONDS:g}", "COMPILE": "1"},
    memory_bytes=256 << 30,
    temporary_bytes=32 << 30,
    processes=1_024,
    threads=32_768,
)
TARGETS = {"pocket": POCKET, "h100": ONE_H100, "8xh100": EIGHT_H100}

assert all(target.cap_bytes <= ARTIFACT_BYTES for target in TARGETS.values())
