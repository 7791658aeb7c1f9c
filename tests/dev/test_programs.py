"""Every program of dev/ can be imported and says what it does when asked."""

import os
import subprocess
import sys

import pytest
from helpers.tiny_profile import ROOT

PROGRAMS = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__main__")
    for path in (ROOT / "dev").rglob("*.py")
    if '__name__ == "__main__"' in path.read_text(encoding="utf-8")
)
NEEDS_TORCH = {
    name
    for name in PROGRAMS
    for text in [(ROOT / f"{name.replace('.', '/')}.py")]
    if text.exists() and "\nimport torch" in text.read_text(encoding="utf-8")
}


@pytest.mark.parametrize(
    "program", [pytest.param(name, marks=pytest.mark.torch) if name in NEEDS_TORCH else name for name in PROGRAMS]
)
def test_help(program):
    environment = {**os.environ, "COLUMNS": "100", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", program, "--help"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "--help" in done.stdout
