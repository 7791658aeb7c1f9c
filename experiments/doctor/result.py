"""The result of one check of doctor."""

from dataclasses import dataclass

GOOD, NOTE, BAD = "ok", "note", "bad"


@dataclass(frozen=True)
class CheckResult:
    """One line of doctor's output."""

    what: str
    state: str  # GOOD, NOTE or BAD
    actual: str
    expected: str
    fix: str = ""  # a command or option to type


def pass_or_fail(what: str, good: bool, actual: str, expected: str, fix: str) -> CheckResult:
    """Return a good or a bad result; only a bad one carries the fix."""
    return CheckResult(what, GOOD if good else BAD, actual, expected, "" if good else fix)
