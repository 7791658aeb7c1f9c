"""The command proposer: answers on stdout, edits of the copy, and failures of the program."""

import json
import shlex
import sys
from dataclasses import replace

import pytest
from helpers.proposers.contexts import context
from helpers.proposers.small_tree import ANSWER, TREE
from helpers.tiny_profile import ROOT

from common.errors import NeedsPerson, ProposalError, ProposerFailed
from experiments.proposal.options import ProposerOptions
from experiments.proposal.patch import apply
from experiments.proposal.schema import Proposal
from proposers.command import LIMITS, Command
from proposers.reply import next_proposal


def test_answer_on_stdout(run_program):
    proposal = Proposal.parse(run_program(f"print('Here it is:'); print({json.dumps(ANSWER)!r})"))
    assert (proposal.title, proposal.parent) == ("five", "a" * 40)
    assert apply(proposal, TREE)["base/a.py"].content == b"x = 5\ny = 2\n"


def test_program_gets_the_context(run_program):
    checks = (
        "assert context['program'] == 'the brief'\n"
        "assert context['files']['base/a.py'] == 'x = 1\\ny = 2\\n'\n"
        "assert set(context['proposal_schema']['properties']) >= {'title', 'class', 'edits'}\n"
        "assert open('base/model/b.py').read() == 'z = 3\\n' and not os.path.exists('.git')\n"
        "assert 'seed' not in json.dumps(context['trials'])\n"
    )
    assert Proposal.parse(run_program(checks + f"print({json.dumps(ANSWER)!r})"))


def test_proposal_is_made_from_edits_of_the_copy(run_program):
    source = (
        "open('base/a.py', 'a').write('w = 4\\n'); open('base/c.py', 'w').write('new = 1\\n')\n"
        "print('I did it. ' + json.dumps({'title': 'two files', 'class': 'simplify', 'edits': 'lies'}))"
    )
    proposal = Proposal.parse(run_program(source))
    assert (proposal.title, proposal.kind) == ("two files", "simplify")
    tree = apply(proposal, TREE)
    assert tree["base/a.py"].content == b"x = 1\ny = 2\nw = 4\n"
    assert tree["base/c.py"].content == b"new = 1\n"


def test_repair_continues_with_earlier_edits(run_program):
    """The first edit is a no-op; the program then finds it in its copy and changes more."""
    source = (
        "text = open('base/a.py').read()\n"
        "if context['refused']:\n"
        "    assert 'no_op' in context['refused'] and '# c' in text\n"
        "    open('base/a.py', 'w').write(text.replace('1', '7'))\n"
        "else:\n"
        "    open('base/a.py', 'w').write(text + '# c\\n')\n"
    )
    assert apply(Proposal.parse(run_program(source)), TREE)["base/a.py"].content == b"x = 7\ny = 2\n# c\n"


def test_deleted_file_and_pipe_are_refused(run_program):
    text = run_program("os.remove('base/a.py') if os.path.exists('base/a.py') else None")
    assert "base/a.py: was deleted" in text  # three times: the loop records it as a row
    with pytest.raises(ProposalError):
        Proposal.parse(text)
    with pytest.raises(ProposerFailed, match="plain file"):
        run_program("os.mkfifo('base/pipe.py')")


def test_failing_program_may_be_retried_but_a_missing_one_needs_a_person(run_program):
    with pytest.raises(ProposerFailed, match="exit status 1: out of ideas"):
        run_program("sys.exit('out of ideas')")
    with pytest.raises(NeedsPerson, match="no-such-agent"):
        Command(ProposerOptions(command="no-such-agent"))
    with pytest.raises(NeedsPerson, match="--command"):
        Command(ProposerOptions())


def test_braces_around_the_answer_are_ignored(run_program):
    source = f"print('{{not json}} [1] {{}}', file=sys.stderr); print({json.dumps(ANSWER)!r}); print('done {{')"
    assert Proposal.parse(run_program(source)).title == "five"


def test_an_agent_may_print_its_conversation_before_its_answer(run_program):
    """Codex prints its input with the context, a row of the table, then its final answer twice."""
    source = (
        'import subprocess\nprint(json.dumps(context, indent=1)); print(\'{"title": "another trial"}\')\n'
        "subprocess.run(['sed', '-i', 's/x = 1/x = 7/', 'base/a.py'], check=True)\n"
        "for _ in range(2):\n    print('Done. ' + json.dumps({'title': 'seven', 'class': 'schedule'}), 'tokens used')\n"
    )
    proposal = Proposal.parse(run_program(source))
    assert (proposal.title, proposal.kind) == ("seven", "schedule")
    assert apply(proposal, TREE)["base/a.py"].content == b"x = 7\ny = 2\n"


@pytest.mark.parametrize("agent", ["claude", "codex"])
def test_shipped_scripts_start_the_agent(tmp_path, agent):
    """A stand-in for the agent checks how it is called, edits, and prints its answer."""
    program = tmp_path / agent
    answer = {"title": "seven", "hypothesis": "h", "class": "schedule", "expected_delta_bpb": -0.1}
    program.write_text(
        f"#!{sys.executable}\n"
        "import json, pathlib, sys\n"
        "context = json.load(sys.stdin)\n"
        "assert 'files' not in context and context['program'] == 'the brief'\n"
        f"assert sys.argv[1:3] == {['--bare', '-p'] if agent == 'claude' else ['exec', '--ephemeral']}\n"
        "assert 'Make one change to files in base/' in sys.argv[-1]\n"
        "pathlib.Path('base/a.py').write_text('x = 7\\ny = 2\\n')\n"
        f"print('Done. ' + {json.dumps(answer)!r})\n"
    )
    program.chmod(0o755)
    agents = ROOT / "proposers" / "agents"
    command = Command(ProposerOptions(command=shlex.join((str(agents / f"{agent}.sh"), str(program))), show=(agents,)))
    proposal = Proposal.parse(next_proposal(command, context(TREE, folder=tmp_path / "proposer")))
    assert (proposal.title, proposal.kind) == ("seven", "schedule")
    assert apply(proposal, TREE)["base/a.py"].content == b"x = 7\ny = 2\n"


def test_other_files_that_an_agent_leaves_are_ignored(run_program, capsys):
    source = (
        "text = 'x = 7\\r\\ny = 2\\r\\n'\n"
        "for name in ('a.py.orig', '.DS_Store', 'a.py~', '.a.py.swp', 'notes.md', 'core', '#a.py#'):\n"
        "    open('base/' + name, 'w').write('x')\n"
        "os.makedirs('base/.claude'); open('base/.claude/settings.json', 'w'); open('base/.claude/a.py', 'w')\n"
        "os.symlink('/etc/passwd', 'base/link'); os.mkfifo('base/pipe'); os.chmod('base/model/b.py', 0o755)\n"
        "open('base/a.py', 'w', newline='').write('\\ufeff' + text); open('base/big.bin', 'wb').truncate(1 << 24)\n"
    )
    proposal = Proposal.parse(run_program(source))
    assert {edit.path for edit in proposal.edits} == {"base/a.py"}
    assert apply(proposal, TREE)["base/a.py"].content == b"x = 7\ny = 2\n"
    assert "ignored, not Python files of base/: base/#a.py#, base/.DS_Store" in capsys.readouterr().err


def test_changed_mode_or_line_ends_are_not_an_edit(run_program):
    source = (
        "os.chmod('base/a.py', 0o755); open('base/model/b.py', 'w', newline='').write('z = 3\\r\\n'); print('Done.')"
    )
    message = run_program(source)
    assert "the program changed nothing in base/ and printed no proposal" in message
    assert "output ends: Done." in message
    message = run_program(f"print({json.dumps({'title': 'an idea', 'class': 'schedule'})!r})")
    assert "printed no proposal (got a JSON object without edits)" in message


def test_edits_are_used_although_the_program_exits_with_1(run_program, capsys):
    source = "open('base/a.py', 'w').write('x = 9\\ny = 2\\n'); print('Error: Reached max turns (10)'); sys.exit(1)"
    assert apply(Proposal.parse(run_program(source)), TREE)["base/a.py"].content == b"x = 9\ny = 2\n"
    assert "exited with status 1; its edits are used anyway: Error: Reached max turns (10)" in capsys.readouterr().err
    with pytest.raises(ProposerFailed, match="exit status (-9|137)"):  # the edit may be incomplete
        run_program("open('base/a.py', 'w').write('x = 9\\ny = 2\\n'); os.kill(os.getpid(), 9)")


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("Invalid API key · Please run /login", NeedsPerson),
        ("Credit balance is too low", NeedsPerson),
        ("ERROR: unexpected status 401 Unauthorized: Missing bearer", NeedsPerson),
        ("Quota exceeded. Check your plan and billing details.", NeedsPerson),
        ("You've hit your usage limit. Upgrade to Pro", NeedsPerson),
        ("There's an issue with the selected model (x). It may not exist or you may not have access", NeedsPerson),
        ("/bin/sh: 1: claude: command not found", NeedsPerson),
        ("API Error: 529 overloaded_error", ProposerFailed),
        ("stream disconnected before completion: Connection reset by peer", ProposerFailed),
        ("TypeError: cannot read properties of undefined", ProposerFailed),
        ("The loss is logged in base/train.py, at step 401 of 2000 the tokenizer quota was not found", ProposerFailed),
    ],
)
def test_error_message_decides_whether_a_person_is_needed(run_program, tmp_path, output, expected):
    with pytest.raises(expected) as caught:
        run_program(f"print({output!r}); sys.exit(1)")
    assert type(caught.value) is expected
    assert output in str(caught.value)
    assert (tmp_path / "proposer.log").read_text().strip() == output, "the log that the message names is kept"


def test_failed_repair_keeps_the_earlier_edits(run_program):
    """The refused proposal becomes a row; it is not an infrastructure failure."""
    source = "open('base/a.py', 'w').write('x = 1\\ny = 2\\n# c\\n')\nsys.exit(1 if context['refused'] else 0)"
    proposal = Proposal.parse(run_program(source))
    assert apply(proposal, TREE)["base/a.py"].content.endswith(b"# c\n")


def test_last_output_is_quoted_after_a_timeout(run_program, monkeypatch):
    monkeypatch.setattr("proposers.command.LIMITS", replace(LIMITS, wall_seconds=1.0))
    with pytest.raises(ProposerFailed, match="got 1.* wall seconds, .*; last output: still reading"):
        run_program("import signal\nprint('still reading base/', flush=True); signal.pause()")
