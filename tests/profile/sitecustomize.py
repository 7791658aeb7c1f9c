"""Found on PYTHONPATH by every process that a test starts: makes the profile `tiny` known there."""

import sys
from pathlib import Path

tests = Path(__file__).resolve().parent.parent
sys.path += [str(tests.parent), str(tests)]
import support  # noqa: E402, F401
