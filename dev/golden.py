"""Golden losses of this checkout: 20 training steps of every preset at pocket width, to tell a refactor from a change.

make golden            this tree against its parent commit, bit for bit, on this machine
make golden-write      renew tests/base/golden after a change that is meant
"""

import argparse
import io
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from experiments.golden import FOLDER, SMALL, prepared, text
from preflight.sandbox.isolation import available_levels
from preflight.tree import Tree, read_folder

ROOT = Path(__file__).parent.parent
GOLDEN = ROOT / FOLDER
PRESET = SMALL[0]  # what every tree has


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="renew the golden files")
    parser.add_argument("--parent", help="commit to compare with; default: HEAD under changes, else the one before it")
    options = parser.parse_args()
    if options.write:
        with prepared(read_folder(ROOT), available_levels()[0]) as golden:
            for preset in golden.presets(PRESET):
                (GOLDEN / f"{preset}.txt").write_text(text(golden.losses(preset)))
        return 0
    return compare(options.parent or default_parent())


def losses(tree: Path, preset: str) -> list[float]:
    """Training losses of the base/ in a folder."""
    with prepared(read_folder(tree), available_levels()[0]) as golden:
        return golden.losses(preset)


def read(preset: str) -> list[float]:
    return [float(line.split()[1]) for line in (GOLDEN / f"{preset}.txt").read_text().splitlines()]


def compare(parent: str) -> int:
    """Print one line a preset; 1 if a loss that the parent has differs in any bit."""
    changed, level = False, available_levels()[0]
    with prepared(committed(parent), level) as theirs, prepared(read_folder(ROOT), level) as ours:
        known = theirs.presets(PRESET)
        for preset in ours.presets(PRESET):
            if preset not in known:
                print(f"{preset:20} new")
                continue
            before, after = theirs.losses(preset), ours.losses(preset)
            step = next((i for i, pair in enumerate(zip(before, after, strict=True)) if pair[0] != pair[1]), None)
            changed |= step is not None
            verdict = "the same" if step is None else f"step {step + 1}: {before[step]!r} became {after[step]!r}"
            print(f"{preset:20} {verdict}", flush=True)
    return int(changed)


def committed(commit: str) -> Tree:
    """base/ as it is in a commit."""
    archive = subprocess.run(["git", "archive", commit, "base"], cwd=ROOT, check=True, capture_output=True).stdout
    with tempfile.TemporaryDirectory() as scratch:
        tarfile.open(fileobj=io.BytesIO(archive)).extractall(scratch, filter="data")
        return read_folder(Path(scratch))


def default_parent() -> str:
    status = ["git", "status", "--porcelain", "base"]
    dirty = subprocess.run(status, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return "HEAD" if dirty else "HEAD~1"


if __name__ == "__main__":
    sys.exit(main())
