"""Tests of the trial states: every refusal in the code, and every end of a phase, is a state that a row can end in."""

import ast

import pytest
from helpers.tiny_profile import ROOT

from common.errors import Refused, SandboxError
from common.state import State
from preflight.candidate.candidate import ENDED_BY, EXIT_NOT_FINITE, raise_for_outcome
from preflight.sandbox.job import Job, Limits, Outcome

TRUSTED = ("data", "preflight", "experiments", "proposers", "dev")
REFUSALS = ("Refused", "ProposalError")
PHASES = ("describe", "size", "train", "pack", "unpack", "score", "proof")
REASONS = ("setup", "setup_cpu", "wall", "cpu", *ENDED_BY)
INCONCLUSIVE = (State.INFRA, State.STOPPED, State.UNJUDGED)


def refusals():
    """Yield (location, first argument) of every refusal in the source of the trusted packages."""
    for package in TRUSTED:
        for path in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in REFUSALS:
                    yield f"{path.relative_to(ROOT)}:{node.lineno}", ast.unparse(node.args[0])


def test_every_refusal_names_a_final_state_that_is_the_candidates_fault():
    verdicts = dict(refusals())
    assert len(verdicts) > 40
    named = [(place, verdict) for place, verdict in verdicts.items() if verdict.startswith("State.")]
    literals = {place: verdict.removeprefix("State.") for place, verdict in named}
    for place, name in literals.items():
        if not name.startswith("timeout("):
            assert State[name].finished, place
            assert State[name] not in INCONCLUSIVE, place
    # mypy checks that these are states: the verdicts of findings, of other refusals and of training curves
    expressions = {verdict for place, verdict in verdicts.items() if place not in literals}
    assert expressions <= {
        "verdict",
        "State(self.rule)",
        "State(finding.rule)",
        "refusal.verdict",
        "self.verdict",
        "error.verdict",
        "*stop",
    }


@pytest.mark.parametrize("phase", PHASES)
def test_every_end_of_a_phase_is_a_state(phase, tmp_path):
    job = Job(("true",), tmp_path, Limits(1, 1))
    job.log.write_text("some output\n")
    for reason in REASONS:
        with pytest.raises(Refused) as refused:
            raise_for_outcome(job, outcome(reason=reason), phase)
        expected = ENDED_BY[reason][0] if reason in ENDED_BY else State(f"timeout({phase})")
        assert refused.value.verdict is expected
        if expected.hit_limit:
            ((name, (_, limit)),) = refused.value.spent.items()
            assert name.startswith(phase)
            assert limit > 0
    for status in (1, -11, -9, EXIT_NOT_FINITE):
        with pytest.raises(Refused) as refused:
            raise_for_outcome(job, outcome(status=status), phase)
        not_finite = (status, phase) == (EXIT_NOT_FINITE, "train")
        assert refused.value.verdict is (State.NAN if not_finite else State.CRASH)
    with pytest.raises(SandboxError):
        raise_for_outcome(job, outcome(reason="stopped"), phase)


def test_a_program_outside_the_phases_of_a_trial_has_an_end_too(tmp_path):
    job = Job(("true",), tmp_path, Limits(1, 1))
    with pytest.raises(Refused) as refused:
        raise_for_outcome(job, outcome(reason="wall"), "probe")
    assert refused.value.verdict is State.TIMEOUT


def outcome(status=None, reason=""):
    return Outcome(status, reason, 0.0, 0.0, 2.0, 2.0, 1 << 20)
