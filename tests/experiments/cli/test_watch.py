"""Live view in a real terminal of 60, 80, 120 and 200 columns: whole numbers, the stage, the order, the gains."""

import contextlib
import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import time

import pytest
from helpers.tiny_profile import ROOT

from common.lock import acquire
from experiments.ledger.store import Ledger
from experiments.run import progress

ROWS = 40
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[()][A-Z0-9]|\r")


def screen(root, columns, *words):
    """Start `status --watch` in a terminal and return what it shows once all `words` are there."""
    reader, writer = pty.openpty()
    fcntl.ioctl(writer, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, columns, 0, 0))
    command = [sys.executable, "-m", "experiments", "status", "--run", "night", "--watch"]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}/tests/fixtures/profile", "TERM": "xterm", "COLUMNS": ""}
    environment.pop("COLUMNS")
    process = subprocess.Popen(command, cwd=root, stdin=writer, stdout=writer, stderr=writer, env=environment)
    os.close(writer)
    seen, deadline = "", time.monotonic() + 60
    try:
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                seen += os.read(reader, 1 << 16).decode("utf-8", "replace")
            text = CONTROL.sub("", seen)
            if all(word in text for word in words):
                return text
        raise AssertionError(f"expected {words} on the screen, got {text}")
    finally:
        process.send_signal(signal.SIGINT)
        while process.poll() is None:
            with contextlib.suppress(OSError):
                os.read(reader, 1 << 16)
        os.close(reader)


@pytest.mark.parametrize("columns", [60, 80, 120, 200])
def test_every_number_is_whole_at_every_width(repo_with_keep, columns):
    folder = repo_with_keep / "trials" / "night"
    ledger = Ledger(folder / "ledger.sqlite")
    row = ledger.row(1)
    ledger.set_fact("options", '{"trials": 20, "hours": 8.0, "proposer": "search", "budget-usd": 5.0}')
    progress.save(
        ledger, 2, "Another idea with a title that is longer than any narrow terminal", "measure, seed 2 of 3"
    )
    ledger.close()
    curve = folder / "work" / "m_1" / "x" / "out" / "metrics.jsonl"
    curve.parent.mkdir(parents=True)
    curve.write_text('{"step": 1, "loss": 5.125}\n{"step": 2, "loss": 4.25}\n')
    with acquire(folder / "lock"):
        text = screen(repo_with_keep, columns, "proposer: search", "kept, paired on fresh seeds"[-12:])
    for words in ("0000", "0001", f"{row.val_bpb:.4f}", f"{row.delta_bpb:+.4f}", "kept", "baseline"):
        assert words in text
    flat = " ".join(text.split())
    for words in (
        "trial 0002",
        "measure, seed 2 of 3",
        "step 2, training",
        "loss 4.250",
        "of 20 trials",
        "of 8 hours",
        "of $5.00",
    ):
        assert words in flat, flat
    assert "…" not in re.sub(r"[A-Za-z ]…", "", text)  # only words are ever cut
    if columns >= 80:
        assert "±" in text
    if columns >= 120:
        assert f"{row.artifact_bytes:,}" in text


def test_nothing_runs_when_no_controller_holds_the_run(repo_with_keep):
    ledger = Ledger(repo_with_keep / "trials" / "night" / "ledger.sqlite")
    progress.save(ledger, 2, "an idea", "measure")
    assert progress.current(ledger) is None
    ledger.close()
