"""Golden losses: 20 training steps of every preset at pocket width, as text, to tell a refactor from a change.

make golden            this tree against its parent commit, bit for bit, on this machine
make golden-write      renew tests/base/golden after a change that is meant
"""

import argparse
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import numpy as np

from data.shards import write_shard

ROOT = Path(__file__).parent.parent
GOLDEN = ROOT / "tests" / "base" / "golden"
STEPS = 20
SETTINGS = {"iterations": STEPS, "log_every": 1, "batch_tokens": 512, "warmdown_iterations": 10, "seed": 1}
SMALL = ("pocket", "_pocket")  # how the names of presets at pocket width end


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="renew the golden files")
    parser.add_argument("--parent", help="commit to compare with; default: HEAD under changes, else the one before it")
    options = parser.parse_args()
    if options.write:
        for preset in presets(ROOT):
            (GOLDEN / f"{preset}.txt").write_text(text(losses(ROOT, preset)))
        return 0
    return compare(options.parent or default_parent())


def presets(tree: Path) -> list[str]:
    """The presets of a tree that are at pocket width, by its own account."""
    return [name for name in json.loads(base(tree, "describe", "--knobs"))["presets"] if name.endswith(SMALL)]


def losses(tree: Path, preset: str) -> list[float]:
    """Training losses of STEPS steps on a made-up stream, one thread, from a process of `tree`."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "train").mkdir()
        write_shard(folder / "train" / "fineweb_train_000000.bin", stream())
        settings = [part for name, value in SETTINGS.items() for part in ("--set", f"{name}={value}")]
        base(tree, "train", "--preset", preset, *settings, "--data", scratch, "--out", scratch)
        return [json.loads(line)["loss"] for line in (folder / "metrics.jsonl").read_text().splitlines()]


def stream() -> np.ndarray:
    """A text-like stream: frequent tokens, repeats that can be learned, documents that open with BOS = 1."""
    draw = np.random.default_rng(0)
    words = np.minimum(draw.zipf(1.3, size=STEPS * 512 * 2), 1000) + 4
    words[1::2] = (7 * words[::2] + 11) % 1000 + 4  # every second token follows from the one before it
    words[:: 97 * 2] = 1
    return words.astype(np.uint16)


def base(tree: Path, *arguments: str) -> str:
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "base", *arguments]
    done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(arguments)} in {tree}: {done.stderr.strip()[-500:]}")
    return done.stdout


def text(values: list[float]) -> str:
    return "".join(f"{step} {value!r}\n" for step, value in enumerate(values, start=1))


def read(preset: str) -> list[float]:
    return [float(line.split()[1]) for line in (GOLDEN / f"{preset}.txt").read_text().splitlines()]


def compare(parent: str) -> int:
    """Print one line a preset; 1 if a loss that the parent has differs in any bit."""
    changed = False
    with tempfile.TemporaryDirectory() as scratch:
        archive = subprocess.run(["git", "archive", parent, "base"], cwd=ROOT, check=True, capture_output=True).stdout
        tarfile.open(fileobj=io.BytesIO(archive)).extractall(scratch, filter="data")
        known = presets(Path(scratch))
        for preset in presets(ROOT):
            if preset not in known:
                print(f"{preset:20} new")
                continue
            before, after = losses(Path(scratch), preset), losses(ROOT, preset)
            step = next((i for i, pair in enumerate(zip(before, after, strict=True)) if pair[0] != pair[1]), None)
            changed |= step is not None
            verdict = "the same" if step is None else f"step {step + 1}: {before[step]!r} became {after[step]!r}"
            print(f"{preset:20} {verdict}", flush=True)
    return int(changed)


def default_parent() -> str:
    status = ["git", "status", "--porcelain", "base"]
    dirty = subprocess.run(status, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return "HEAD" if dirty else "HEAD~1"


if __name__ == "__main__":
    sys.exit(main())
