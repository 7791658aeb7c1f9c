"""The profile `tiny` of the torch-free base/, a small dataset variant, proposals and git, shared by all tests."""

import json
import subprocess
from pathlib import Path

from data.fineweb import VARIANTS, Variant
from experiments.judge.noise import Noise
from experiments.judge.rule import RULES
from experiments.tiers import PROFILES, Profile, Tier
from preflight.candidate.launch import LaunchConfig

VARIANTS["tinyweb"] = Variant("org/tiny", "fineweb10B_tiny", 1024, scored_tokens=20_480, train_shards=3)

ROOT = Path(__file__).resolve().parents[2]
TINY = Tier(
    name="full",
    target=LaunchConfig("tiny", cap_bytes=300_000, environment={"OMP_NUM_THREADS": "1", "BATCH_TOKENS": "4096"}),
    split="dev",
    rule=RULES["caddie"],
    expected_noise=Noise.expected(0.002),
    train_wall_seconds=20,
    score_wall_seconds=20,
    train_cpu_slack=float("inf"),
    score_cpu_slack=float("inf"),
    pack_cpu_seconds=float("inf"),
    largest_block=2048,
    audit_tokens=1 << 40,
    audit_positions=64,
    systematic_bound_bpb=0.001,
    expected_minutes=0.1,
)
MORE_TEXT = ("base/config.py", '"iterations": 4', '"iterations": 12')  # an improvement on every seed
PROFILES["tiny"] = Profile(TINY, "tiny", gpus=0, dollars_per_hour=0.0)


def git(root: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=person", "-c", "user.email=person@localhost"]
    command = ["git", *identity, *arguments]
    return subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout.strip()


def proposal(run, *edits, title="an idea", parent=None, **fields) -> str:
    """Return a proposal with the edits (path, search, replace); `fields` override its fields."""
    defaults = {
        "title": title,
        "hypothesis": "because",
        "class": "architecture",
        "parent": parent or run.workspace.best(),
        "expected_delta_bpb": -0.01,
        "edits": [dict(zip(("path", "search", "replace"), edit, strict=True)) for edit in edits],
    }
    return json.dumps(defaults | fields)
