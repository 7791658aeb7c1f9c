"""Replies, repairs, the scripted proposer and generate_next.py as a process."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.proposers.contexts import context
from helpers.tiny_profile import ROOT

from common.errors import NeedsPerson, ProposalError
from experiments.proposal.options import ProposerOptions
from experiments.proposal.patch import apply, changed_lines
from experiments.proposal.schema import Proposal
from preflight.source import syntax
from preflight.source.tree import PLAIN, Source, read_folder
from proposers import make_proposer
from proposers.context import gather
from proposers.reply import json_object, next_proposal, read_proposal
from proposers.scripted import DEMO

TREE = {"base/a.py": Source(PLAIN, b"x = 1\ny = 2\nz = x + y\n"), "base/__main__.py": Source(PLAIN, b"")}
CONTEXT = context(TREE)
GOOD = {
    "title": "t",
    "hypothesis": "h",
    "class": "schedule",
    "expected_delta_bpb": -0.1,
    "edits": [{"path": "base/a.py", "search": "x = 1", "replace": "x = 3"}],
}


@pytest.mark.parametrize("form", ["{}", "Here it is:\n```json\n{}\n```\nDone.", "text {} text", "```\n{}\n```"])
def test_proposal_is_found_in_any_reply(form):
    text = form.replace("{}", json.dumps(GOOD))
    assert read_proposal(text, CONTEXT).parent == "a" * 40
    assert json_object(text)["title"] == "t"


class Answers:
    """A proposer that gives prepared answers and records the messages it gets."""

    def __init__(self, *answers):
        self.answers, self.messages = list(answers), []

    def propose(self, context):
        return self.answers.pop(0)

    def repair(self, message):
        self.messages.append(message)
        return self.answers.pop(0) if self.answers else None


def edited(**changes):
    return json.dumps({**GOOD, "edits": [{**GOOD["edits"][0], **changes}]})


def test_repair_message_names_the_nearest_lines():
    answers = Answers(edited(search="x = 11"), edited())
    assert json.loads(next_proposal(answers, CONTEXT))["edits"][0]["search"] == "x = 1"
    (message,) = answers.messages
    assert "its line 1, 'x = 11', differs from line 1 by different text; the file has 1: 'x = 1'" in message


def test_reply_is_returned_after_two_failed_repairs():
    answers = Answers(*[edited(search="nothing like it")] * 9)
    text = next_proposal(answers, CONTEXT)
    assert len(answers.messages) == 2
    with pytest.raises(ProposalError, match="matches 0 times"):
        apply(Proposal.parse(text), TREE)


@pytest.mark.parametrize("answer", ["no idea today", "[1, 2]", "{" * 5000])
def test_reply_without_json_is_returned_as_it_is(answer):
    text = next_proposal(Answers(answer, answer, answer), CONTEXT)
    with pytest.raises(ProposalError):
        Proposal.parse(text)


def test_no_op_is_sent_back():
    answers = Answers(edited(replace="x = 1  # one"), edited())
    next_proposal(answers, CONTEXT)
    assert "no_op" in answers.messages[0]


def test_edits_apply_in_order_and_count_their_lines():
    fields = {**GOOD, "parent": "a" * 40}
    fields["edits"] = [
        {"path": "base/a.py", "search": "x = 1", "replace": "x = 5"},
        {"path": "base/a.py", "search": "x = 5\n", "replace": ""},
        {"path": "base/b.py", "content": "new = 1\n"},
    ]
    tree = apply(Proposal.parse(json.dumps(fields)), TREE)
    assert tree["base/a.py"].content == b"y = 2\nz = x + y\n"
    assert changed_lines(tree, TREE) == (1, 1)


def test_ten_demo_proposals_apply_to_base():
    base = read_folder(ROOT)
    files = sorted(DEMO.glob("*.json"))
    assert len(files) == 10
    titles = set()
    for file in files:
        proposal = Proposal.parse(json.dumps({**json.loads(file.read_text()), "parent": "0" * 40}))
        tree = apply(proposal, base)
        assert syntax.check(tree) == [], file
        titles.add(proposal.title)
    assert len(titles) == 10


def test_demo_proposals_apply_on_top_of_each_other():
    tree = read_folder(ROOT)
    for file in sorted(DEMO.glob("*.json")):
        tree = apply(Proposal.parse(json.dumps({**json.loads(file.read_text()), "parent": "0" * 40})), tree)
    assert syntax.check(tree) == []


def test_unknown_proposer_is_named():
    with pytest.raises(NeedsPerson, match="scripted"):
        make_proposer("oracle", ProposerOptions())


def generate(root: Path, *arguments):
    command = [sys.executable, str(ROOT / "generate_next.py"), "--root", str(root), "--run", "night", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=root)


def test_generate_next_prints_a_proposal_or_one_line(run, tmp_path):
    script = tmp_path / "script"
    script.mkdir()
    done = generate(run.workspace.root, "--script", str(script))
    assert done.returncode == 3
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    edit = {"path": "base/config.py", "search": '"smoothing": 0.5', "replace": '"smoothing": 0.9'}
    (script / "1.json").write_text(json.dumps({**GOOD, "edits": [edit]}))
    done = generate(run.workspace.root, "--script", str(script))
    assert done.returncode == 0, done.stderr
    assert Proposal.parse(done.stdout).parent == run.workspace.best()


def test_context_holds_no_seed(run):
    context = gather(run.workspace.root, "night")
    assert context.program == "the brief\n"
    assert context.incumbent.number == 0
    seeds = [str(measurement.seed) for measurement in run.ledger.measurements(0)]
    assert len(seeds) == 3
    assert not [seed for seed in seeds if seed in repr(context)]
