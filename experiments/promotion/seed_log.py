"""The log of one seed in a record folder."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from common.text import one_line
from experiments.ledger.measurement import Measurement
from experiments.promotion.promotion import Promotion
from experiments.run.run import Run
from experiments.runner.curves import read_curve
from preflight.candidate import probe
from preflight.records import logs

MAX_LOG_BYTES = 1 << 20  # of a program's own output
MAX_STEPS = 10**7  # the program counts them itself


def seed_log(
    run: Run, promotion: Promotion, measurement: Measurement, program: bytes, versions: Mapping[str, str]
) -> str:
    """Return a seed's log: the environment, the program's output, then the harness's own measurements."""
    rows = reversed(run.ledger.measurement_rows(promotion.row.number))
    folder = run.measurement_folder(promotion.row.number, next(row for row in rows if row.measured == measurement))
    manifest, split, audit = run.corpus.manifest, promotion.tier.split, measurement.honesty
    milliseconds = 1000 * measurement.train_wall_seconds
    curve = read_curve(folder / "metrics.jsonl")
    lines = [
        f"train_gpt.py sha256:{hashlib.sha256(program).hexdigest()}",
        f"versions {json.dumps(versions)}",
        f"hardware {probe.hardware()}",
        f"environment {json.dumps({'PRESET': promotion.tier.target.preset, **promotion.tier.target.environment})}",
        f"sandbox {run.level}; artifact sha256:{measurement.artifact_sha256}",
        f"seed:{measurement.seed}",
        f"val_tokens: {manifest.tokens[split] - 1}",
        "--- training, in the program's own words ---",
        *_program_log(folder / "train.log"),
        "--- packing, in the program's own words ---",
        *_program_log(folder / "pack.log"),
        "--- measured from outside ---",
    ]
    step = min(max(curve[-1].step, 1), MAX_STEPS) if curve else 1
    loss = curve[-1].loss if curve else 0.0
    lines.append(
        f"step:{step}/{step} train_loss:{loss:.4f} train_time:{milliseconds:.0f}ms step_avg:{milliseconds / step:.2f}ms"
    )
    return "\n".join(
        [
            *lines,
            f"Serialized model packed: {measurement.model_bytes} bytes",
            f"Code size: {measurement.code_bytes} bytes",
            f"Total submission size packed: {measurement.artifact_bytes} bytes",
            f"audit: {audit.tokens} losses scored twice, {audit.places} probe positions, largest difference "
            f"{audit.largest_difference_nats:.3g} nats, noise {audit.noise_nats:.3g}; "
            f"val_bpb has {measurement.charge_bpb:.3g} charged for it and "
            f"is off by at most {measurement.honesty_bpb:.6f} by a systematic bias, "
            f"{measurement.rare_bpb:.6f} by sparse tampering on under {audit.rare_share:.4%} of tokens",
            f"final_conversation_exact val_loss:{measurement.val_nats:.8f} val_bpb:{measurement.val_bpb:.8f} "
            f"eval_time:{1000 * measurement.evaluation_wall_seconds:.0f}ms",
            "",
        ]
    )


def _program_log(path: Path) -> list[str]:
    """Return a program's log; a line that resembles the harness's own is quoted, except training steps."""
    if not path.exists():
        return []
    with path.open("rb") as file:
        text = file.read(MAX_LOG_BYTES).decode("utf-8", "backslashreplace")
    lines = [one_line(line, 500) for line in text.splitlines()]
    return [line if _harmless(line) else f"> {line}" for line in lines]


def _harmless(line: str) -> bool:
    step = logs.STEP.match(line)
    return logs.parse(line) == logs.Log() or (step is not None and "val_" not in line)
