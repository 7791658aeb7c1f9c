"""One list of verdicts: whatever refuses a candidate, anywhere, names a state that its row can end in."""

import ast

import pytest
from support import ROOT

from data.errors import Refused, SandboxError
from data.state import State
from preflight.phases import ENDED_BY, EXIT_NOT_FINITE, require
from preflight.sandbox import Job, Limits, Outcome

TRUSTED = ("data", "preflight", "experiments", "proposers", "dev")
REFUSALS = ("Refused", "ProposalError")
PHASES = ("describe", "size", "train", "pack", "unpack", "score", "proof")
REASONS = ("setup", "setup_cpu", "wall", "cpu", *ENDED_BY)
OF_THE_MACHINE = (State.INFRA, State.STOPPED, State.UNJUDGED)


def refusals():
    """(place, first argument) of every refusal in the trusted packages' own source."""
    for package in TRUSTED:
        for path in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in REFUSALS:
                    yield f"{path.relative_to(ROOT)}:{node.lineno}", ast.unparse(node.args[0])


def test_every_refusal_names_an_end_that_is_the_candidates():
    found = dict(refusals())
    assert len(found) > 40
    named = {place: said.removeprefix("State.") for place, said in found.items() if said.startswith("State.")}
    for place, name in named.items():
        if not name.startswith("timeout("):
            assert State[name].finished, place
            assert State[name] not in OF_THE_MACHINE, place
    # mypy knows these for states: what a finding, another refusal or a training curve said
    others = {said for place, said in found.items() if place not in named}
    assert others <= {
        "verdict",
        "State(self.rule)",
        "State(finding.rule)",
        "refusal.verdict",
        "self.verdict",
        "error.verdict",
        "*found",
    }


@pytest.mark.parametrize("phase", PHASES)
def test_every_end_of_a_phase_is_a_state(phase, tmp_path):
    job = Job(("true",), tmp_path, Limits(1, 1))
    job.log.write_text("its words\n")
    for reason in REASONS:
        with pytest.raises(Refused) as refused:
            require(job, outcome(reason=reason), phase)
        expected = ENDED_BY[reason][0] if reason in ENDED_BY else State(f"timeout({phase})")
        assert refused.value.verdict is expected
        if expected.limit:
            ((name, (_, limit)),) = refused.value.spent.items()
            assert name.startswith(phase)
            assert limit > 0
    for status in (1, -11, -9, EXIT_NOT_FINITE):
        with pytest.raises(Refused) as refused:
            require(job, outcome(status=status), phase)
        not_finite = (status, phase) == (EXIT_NOT_FINITE, "train")
        assert refused.value.verdict is (State.NAN if not_finite else State.CRASH)
    with pytest.raises(SandboxError):
        require(job, outcome(reason="stopped"), phase)


def test_what_is_no_phase_of_a_trial_has_an_end_too(tmp_path):
    job = Job(("true",), tmp_path, Limits(1, 1))
    with pytest.raises(Refused) as refused:
        require(job, outcome(reason="wall"), "probe")
    assert refused.value.verdict is State.TIMEOUT


def outcome(status=None, reason=""):
    return Outcome(status, reason, 0.0, 0.0, 2.0, 2.0, 1 << 20)
