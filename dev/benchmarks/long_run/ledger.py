"""A made-up ledger of a long run with its loss curves, for measuring commands and the report."""

import json
import random
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import brotli

from common.state import State
from experiments.ledger.measurement import Measurement
from experiments.ledger.store import Ledger
from experiments.run.layout import measurement_folder
from experiments.tiers import PROFILES
from preflight.candidate.weights_file import ARTIFACT_MAGIC, LENGTH, PREFIX, WEIGHTS_MAGIC
from preflight.scoring.honesty import Honesty

ENDS = (State.DISCARDED,) * 12 + (State.REVERTED, State.CRASH, State.STATIC, State.DUPLICATE, State.TIMEOUT_TRAIN)
REASONS = {
    State.CRASH: ("train: RuntimeError: shape mismatch, got 128 and 256", "score: KeyError: 'blocks.3.attn'"),
    State.STATIC: ("base/model.py: forbidden call exec at line 41",),
    State.DUPLICATE: ("same as trial 0007 but for comments",),
}
KINDS = ("architecture", "optimizer", "schedule", "quantization", "evaluation")
PROPOSERS = ("claude-opus", "search", "mix: merge")
STEPS, KEEP_EVERY = 300, 20
STREAMS = ("attention.q", "attention.k", "attention.v", "attention.out", "mlp.up", "mlp.down", "norm", "scale", "gate")


def write_ledger(path: Path, trials: int, commits: Sequence[str] = (), curves: bool = False) -> None:
    """Write the ledger of a run: one keep in twenty, every trial measured on one to three seeds.

    Args:
        path: The ledger, trials/RUN/ledger.sqlite.
        trials: How many, the baseline aside.
        commits: The trials' commits, as from `write_history`; without them there are no diffs.
        curves: Also write the first seed's loss curve of every trial.
    """
    rng, tier = random.Random(7), PROFILES["pocket"].tier
    path.parent.mkdir(parents=True, exist_ok=True)
    ledger = Ledger(path)
    ledger.connection.execute("PRAGMA synchronous = OFF")
    ledger.set_fact("profile", "pocket")
    parent, level = commits[0] if commits else f"{0:040x}", 1.96
    for number in range(trials + 1):
        state = State.BASELINE if number == 0 else State.KEPT if number % KEEP_EVERY == 0 else rng.choice(ENDS)
        gain = -abs(rng.gauss(0.004, 0.002)) if state is State.KEPT else rng.gauss(0.004, 0.006)
        by = rng.choice(PROPOSERS)
        proposal = {
            "title": f"idea {number}",
            "hypothesis": "because " * 20,
            "edits": [{"path": "base/a.py"}],
            "by": by,
        }
        text = json.dumps(proposal)
        identity: dict[str, str] = {
            "title": f"idea {number}",
            "kind": "baseline" if number == 0 else rng.choice(KINDS),
            "hypothesis": "because " * 20,
            "proposal": text,
        }
        identity |= {"profile": "pocket", "tier": tier.name, "sandbox_level": "namespace", "parent": parent}
        expected = None if by == "search" else gain / 3 + rng.gauss(-0.004, 0.002)
        ledger.begin(at_least=0, trials_can_read_text=True, expected_delta_bpb=expected, **identity)
        measured = state.judged or state in (State.BASELINE, State.TIMEOUT_TRAIN)
        for seed in range(rng.randint(1, 3) if measured else 0):
            ledger.add_measurement(number, tier.name, tier.split, measurement(seed, level + gain + rng.gauss(0, 0.002)))
        if curves and measured:
            _write_curve(path.parent, ledger, number, rng)
        commit = commits[number] if commits else f"{number + 1:040x}"
        for stage, seconds in (("preflight", 3.0), ("measure", rng.uniform(35, 50)), ("settle", 1.0)):
            ledger.add_stage(number, stage, seconds)
        ledger.update(number, knobs=json.dumps(_knobs(rng)), spent=json.dumps(_spent(rng)))
        valued = state.judged or state is State.BASELINE
        detail = rng.choice(REASONS.get(state, ("p 0.4",)))
        ledger.settle(
            number, state, detail=detail, commit_id=commit,
            **({"val_bpb": level + gain, "artifact_bytes": rng.randint(180_000, 230_000)} if valued else {}),
            **({"train_seconds": rng.uniform(28, 36), "score_seconds": rng.uniform(8, 14)} if valued else {}),
            **({"delta_bpb": gain} if valued and number else {}),
        )  # fmt: skip
        if state in (State.KEPT, State.BASELINE):
            parent, level = commit, level + (gain if number else 0.0)
    started = datetime.now(UTC) - timedelta(minutes=trials + 1)
    for number in range(trials + 1):
        began = started + timedelta(minutes=number)
        times = (began.isoformat(), (began + timedelta(seconds=55)).isoformat(), number)
        ledger.connection.execute("UPDATE trials SET started_at = ?, settled_at = ? WHERE number = ?", times)
    ledger.close()


def write_history(root: Path, trials: int) -> list[str]:
    """Make a repository with one commit a trial, each against the last kept one; return their ids in order."""
    subprocess.run(["git", "init", "-q", "-b", "main", str(root)], check=True)
    lines, stream = [f"value_{i} = {i}" for i in range(200)], ""
    for number in range(trials + 1):
        changed = [*lines[: number % 190], f"value = {number}", f"# trial {number}", *lines[number % 190 + 2 :]]
        text, parent = "\n".join(changed) + "\n", max((number - 1) // KEEP_EVERY * KEEP_EVERY, 0) + 1
        stream += f"commit refs/heads/trials\nmark :{number + 1}\n"
        stream += "committer caddie <caddie@localhost> 0 +0000\ndata 4\nidea\n"
        stream += (f"from :{parent}\n" if number else "") + f"M 100644 inline base/a.py\ndata {len(text)}\n{text}\n"
    marks = root / ".git" / "marks"
    command = ["git", "-C", str(root), "fast-import", "--quiet", "--force", f"--export-marks={marks}"]
    subprocess.run(command, input=stream.encode(), check=True)
    ids = dict(line.split() for line in marks.read_text().splitlines())
    return [ids[f":{number + 1}"] for number in range(trials + 1)]


def _knobs(rng: random.Random) -> dict[str, float | int | str]:
    return {
        "matrix_lr": 10 ** rng.uniform(-2.2, -0.8), "momentum": rng.uniform(0.85, 0.98), "layers": rng.randint(3, 7),
        "warmdown_share": rng.uniform(0.2, 0.7), "ema_decay": rng.uniform(0.8, 0.99), "bits": rng.choice((5, 6, 8)),
        "activation": rng.choice(("relu2", "swiglu")), "head_dim": 64,
    }  # fmt: skip


def _spent(rng: random.Random) -> dict[str, tuple[float, float]]:
    return {
        "train_cpu_seconds": (rng.uniform(28, 36), 38.0), "score_cpu_seconds": (rng.uniform(8, 14), 19.2),
        "artifact_bytes": (rng.randint(180_000, 230_000), 240_000.0),
    }  # fmt: skip


def _write_curve(folder: Path, ledger: Ledger, number: int, rng: random.Random) -> None:
    stored = measurement_folder(folder, number, ledger.measurement_rows(number)[0])
    stored.mkdir(parents=True, exist_ok=True)
    losses = [3.2 + 3.0 * 0.985**step + rng.gauss(0, 0.03) for step in range(0, STEPS, 2)]
    lines = [json.dumps({"step": 2 * i, "loss": loss}) for i, loss in enumerate(losses)]
    (stored / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    log = [
        f"step {10 * i}/{STEPS} loss {losses[5 * i]:.4f} tokens/s 61,440 lr 0.0200 elapsed {i}.2 s" for i in range(30)
    ]
    (stored / "train.log").write_text("\n".join(log) + "\n")
    arrays = {f"blocks.{layer}.{name}": bytes(64) for name in STREAMS for layer in range(3)}
    header = {"meta": {}, "arrays": [[name, "int8", [8, 8]] for name in arrays]}
    listing = json.dumps(header).encode()
    container = WEIGHTS_MAGIC + LENGTH.pack(len(listing)) + listing + b"".join(arrays.values())
    (stored / "weights.bin").write_bytes(container)
    streams = [["all", list(range(len(arrays))), "mix", "plain", 0, 1000]]
    text = json.dumps({**header, "streams": streams}).encode()
    packed = brotli.compress(text)
    artifact = ARTIFACT_MAGIC + PREFIX.pack(len(packed), len(text), 0) + packed + bytes(1000)
    (stored / "artifact.bin").write_bytes(artifact)


def measurement(seed: int, val_bpb: float) -> Measurement:
    """Return a measurement with a value and plausible bytes."""
    honesty = Honesty(512, 100_000, 0.0, 1e-6, 1e-4, 0.01, 0.1)
    return Measurement(seed, val_bpb, val_bpb, 30_000, 190_000, "0" * 64, *[1.0] * 12, honesty, 0.002, 0.05)  # type: ignore[arg-type, call-arg]
