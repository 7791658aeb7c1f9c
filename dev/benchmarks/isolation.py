"""Measure the cost of isolation: an empty job at each level, and a pocket trial's time beyond training and scoring.

.venv/bin/python -m dev.benchmarks.isolation jobs          # seconds per job, by level, compared with none
.venv/bin/python -m dev.benchmarks.isolation trials RUN    # overhead of a run in trials/ over its measured time
"""

import sqlite3
import statistics
import sys
import tempfile
import time
from pathlib import Path

import typer

from preflight.sandbox.isolation.levels import available_levels
from preflight.sandbox.job import Job, Limits
from preflight.sandbox.start import run, wipe_shared_state

app = typer.Typer(help=__doc__)
JOBS = 15
MEASURED = (
    "train_setup_seconds",
    "train_wall_seconds",
    "load_wall_seconds",
    "score_wall_seconds",
    "proof_wall_seconds",
)


@app.command()
def jobs() -> None:
    """Time JOBS jobs that import nothing, alternating between levels; then time a wipe."""
    seconds: dict[str, list[float]] = {level: [] for level in available_levels()}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(-1, JOBS):  # the first job of a level builds the image
            for level, taken in seconds.items():
                started = time.monotonic()
                command = (sys.executable, "-I", "-S", "-c", "pass")
                outcome = run(Job(command, Path(folder) / f"{level}{number}", Limits(60, 60), level=level))
                assert outcome.ok, outcome
                taken += [time.monotonic() - started] if number >= 0 else []
    none = statistics.median(seconds["none"])
    print("| level | median s | least | most | over none |\n|---|---|---|---|---|")
    for level, taken in seconds.items():
        middle = statistics.median(taken)
        print(f"| {level} | {middle:.3f} | {min(taken):.3f} | {max(taken):.3f} | {middle - none:+.3f} |")
    started = time.monotonic()
    wipe_shared_state()
    print(f"\nA wipe of all shared state: {time.monotonic() - started:.1f} s.")


@app.command()
def trials(name: str, root: Path = Path()) -> None:
    """Compare all stages of each measured trial with its own training, scoring and audit."""
    with sqlite3.connect(root / "trials" / name / "ledger.sqlite") as ledger:
        parts = " + ".join(f"json_extract(measured, '$.{part}')" for part in MEASURED)
        sums = ledger.execute(
            f"SELECT COALESCE(fresh_for, trial), COUNT(*), SUM({parts}) FROM measurements GROUP BY 1 ORDER BY 1"
        ).fetchall()
        rows = []
        for trial, count, measured in sums:
            query = "SELECT SUM(seconds), SUM(CASE stage WHEN 'pace' THEN seconds ELSE 0 END) FROM stages"
            query += " WHERE trial = ? AND stage NOT LIKE 'preflight: %' AND stage != 'propose'"
            rows.append((str(trial), count, measured, *ledger.execute(query, (trial,)).fetchone()))
    if tried := [row[1:] for row in rows if row[0] != "0"]:
        rows.append(("all but the baseline", *(sum(column) for column in zip(*tried, strict=True))))
    print("| trial | measurements | training and scoring s | all stages s | beyond | of it the cost of a step |")
    print("|---|---|---|---|---|---|")
    for trial, count, measured, whole, pace in rows:
        cells = f"{measured:.1f} | {whole:.1f} | {whole / measured - 1:.0%} | {pace / measured:.0%}"
        print(f"| {trial} | {count} | {cells} |")


if __name__ == "__main__":
    app()
