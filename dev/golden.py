"""Golden losses: 20 training steps of every preset at pocket width, to verify that a refactoring changes no numbers.

make golden            compare this tree with its parent commit, bit for bit, on this machine
make golden-write      update tests/base/golden after an intended change
"""

import argparse
import io
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from experiments.promotion.golden import FOLDER, SMALL, bundled, format_losses
from preflight.sandbox.isolation.levels import available_levels
from preflight.source.tree import Tree, read_folder

ROOT = Path(__file__).parent.parent
GOLDEN = ROOT / FOLDER
PRESET = SMALL[0]  # every tree has it


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="update the golden files")
    parser.add_argument("--parent", help="commit to compare with; default: HEAD if base/ has changes, else HEAD~1")
    options = parser.parse_args()
    if options.write:
        with bundled(read_folder(ROOT), available_levels()[0]) as golden:
            for preset in golden.presets(PRESET):
                (GOLDEN / f"{preset}.txt").write_text(format_losses(golden.losses(preset)))
        return 0
    return compare(options.parent or default_parent())


def losses(tree: Path, preset: str) -> list[float]:
    """Return the training losses of the base/ in a folder."""
    with bundled(read_folder(tree), available_levels()[0]) as golden:
        return golden.losses(preset)


def read(preset: str) -> list[float]:
    """Read the golden losses of a preset."""
    return [float(line.split()[1]) for line in (GOLDEN / f"{preset}.txt").read_text().splitlines()]


def compare(parent: str) -> int:
    """Print one line per preset; return 1 if a loss differs in any bit from the parent's."""
    changed, level = False, available_levels()[0]
    with bundled(committed(parent), level) as parent_golden, bundled(read_folder(ROOT), level) as golden:
        parent_presets = parent_golden.presets(PRESET)
        for preset in golden.presets(PRESET):
            if preset not in parent_presets:
                print(f"{preset:20} new")
                continue
            before, after = parent_golden.losses(preset), golden.losses(preset)
            step = next((i for i, pair in enumerate(zip(before, after, strict=True)) if pair[0] != pair[1]), None)
            changed |= step is not None
            verdict = "the same" if step is None else f"step {step + 1}: {before[step]!r} became {after[step]!r}"
            print(f"{preset:20} {verdict}", flush=True)
    return int(changed)


def committed(commit: str) -> Tree:
    """Read base/ as it is in a commit."""
    archive = subprocess.run(["git", "archive", commit, "base"], cwd=ROOT, check=True, capture_output=True).stdout
    with tempfile.TemporaryDirectory() as scratch:
        tarfile.open(fileobj=io.BytesIO(archive)).extractall(scratch, filter="data")
        return read_folder(Path(scratch))


def default_parent() -> str:
    """Return HEAD if base/ has uncommitted changes, else HEAD~1."""
    status = ["git", "status", "--porcelain", "base"]
    dirty = subprocess.run(status, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return "HEAD" if dirty else "HEAD~1"


if __name__ == "__main__":
    sys.exit(main())
