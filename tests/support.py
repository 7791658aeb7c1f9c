"""What tests share and fixtures cannot carry: the profile of the torch-free base/, a small variant, proposals, git."""

import json
import subprocess
from pathlib import Path

from data.fineweb import VARIANTS, Variant
from experiments.judge import RULES, Noise
from experiments.tiers import PROFILES, Profile, Tier
from preflight.phases import Target

VARIANTS["tinyweb"] = Variant("org/tiny", "fineweb10B_tiny", 1024, scored_tokens=20_480, train_shards=3)

ROOT = Path(__file__).resolve().parent.parent
TINY = Tier(
    name="full",
    target=Target("tiny", cap_bytes=300_000, environment={"OMP_NUM_THREADS": "1", "BATCH_TOKENS": "4096"}),
    split="dev",
    rule=RULES["caddie"],
    expected_noise=Noise.expected(0.002),
    train_wall_seconds=20,
    score_wall_seconds=20,
    train_cpu_slack=float("inf"),
    score_cpu_slack=float("inf"),
    pack_cpu_seconds=float("inf"),
    largest_block=2048,
    proof_tokens=1 << 40,
    proof_places=64,
    smooth_bound_bpb=0.001,
    expected_minutes=0.1,
)
MORE_TEXT = ("base/config.py", '"iterations": 4', '"iterations": 12')  # a gain that any seed shows
PROFILES["tiny"] = Profile(TINY, "tiny", gpus=0, dollars_per_hour=0.0)


def git(root: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=person", "-c", "user.email=person@localhost"]
    done = subprocess.run(["git", *identity, *arguments], cwd=root, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def proposal(bench, *edits, title="an idea", parent=None, **fields) -> str:
    made = {
        "title": title,
        "hypothesis": "because",
        "class": "architecture",
        "parent": parent or bench.workspace.best(),
        "expected_delta_bpb": -0.01,
        "edits": [dict(zip(("path", "search", "replace"), edit, strict=True)) for edit in edits],
    }
    return json.dumps(made | fields)
