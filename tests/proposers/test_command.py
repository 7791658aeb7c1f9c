"""The `command` proposer: real programs behind real walls, answering on stdout or by editing their copy."""

import json
import os
import socket
import sys
import threading
from dataclasses import replace

import pytest
from proposing import context
from support import ROOT

from data.errors import NeedsPerson, ProposalError, ProposerFailed
from experiments.proposal import Proposal, apply
from preflight.sandbox.isolation import available_levels
from preflight.tree import PLAIN, Source
from proposers import Options
from proposers.command import LIMITS, Command
from proposers.reply import next_proposal

TREE = {
    "base/a.py": Source(PLAIN, b"x = 1\ny = 2\n"),
    "base/model/b.py": Source(PLAIN, b"z = 3\n"),
    "base/__main__.py": Source(PLAIN, b""),
}


@pytest.fixture
def ask(tmp_path):
    """Writes a program, starts it as the proposer, and returns what the harness makes of its answer."""

    def run(source, show=(), passed=()):
        program = tmp_path / "program.py"
        program.write_text("import json, os, sys\ncontext = json.load(sys.stdin)\n" + source)
        command = (sys.executable, str(program))
        view = context(TREE, folder=tmp_path / "proposer")
        return next_proposal(Command(Options(command=command, show=show, passed=passed)), view)

    return run


EDIT = {"path": "base/a.py", "search": "x = 1", "replace": "x = 5"}
ANSWER = {"title": "five", "hypothesis": "h", "class": "schedule", "expected_delta_bpb": -0.1, "edits": [EDIT]}


def test_an_answer_on_stdout(ask):
    made = Proposal.parse(ask(f"print('Here it is:'); print({json.dumps(ANSWER)!r})"))
    assert (made.title, made.parent) == ("five", "a" * 40)
    assert apply(made, TREE)["base/a.py"].content == b"x = 5\ny = 2\n"


def test_the_context_is_what_a_proposer_may_know(ask):
    checks = (
        "assert context['program'] == 'the brief'\n"
        "assert context['files']['base/a.py'] == 'x = 1\\ny = 2\\n'\n"
        "assert set(context['proposal_schema']['properties']) >= {'title', 'class', 'edits'}\n"
        "assert open('base/model/b.py').read() == 'z = 3\\n' and not os.path.exists('.git')\n"
        "assert 'seed' not in json.dumps(context['trials'])\n"
    )
    assert Proposal.parse(ask(checks + f"print({json.dumps(ANSWER)!r})"))


def test_edits_of_the_copy_are_diffed_by_the_harness(ask):
    source = (
        "open('base/a.py', 'a').write('w = 4\\n'); open('base/c.py', 'w').write('new = 1\\n')\n"
        "print('I did it. ' + json.dumps({'title': 'two files', 'class': 'simplify', 'edits': 'lies'}))"
    )
    made = Proposal.parse(ask(source))
    assert (made.title, made.kind) == ("two files", "simplify")
    tree = apply(made, TREE)
    assert tree["base/a.py"].content == b"x = 1\ny = 2\nw = 4\n"
    assert tree["base/c.py"].content == b"new = 1\n"


def test_a_refusal_comes_back_and_edits_go_on(ask):
    """The first edit is a no-op; told so, the program finds its own edit and adds to it."""
    source = (
        "text = open('base/a.py').read()\n"
        "if context['refused']:\n"
        "    assert 'no_op' in context['refused'] and '# c' in text\n"
        "    open('base/a.py', 'w').write(text.replace('1', '7'))\n"
        "else:\n"
        "    open('base/a.py', 'w').write(text + '# c\\n')\n"
    )
    assert apply(Proposal.parse(ask(source)), TREE)["base/a.py"].content == b"x = 7\ny = 2\n# c\n"


def test_a_deleted_file_and_a_link_are_refused(ask):
    text = ask("os.remove('base/a.py') if os.path.exists('base/a.py') else None")
    assert "base/a.py: is gone" in text  # three times: the loop settles it as a row
    with pytest.raises(ProposalError):
        Proposal.parse(text)
    with pytest.raises(ProposerFailed, match="plain file"):
        ask("os.mkfifo('base/pipe.py')")


def test_keys_and_files_are_hidden_unless_named(ask, tmp_path, monkeypatch):
    monkeypatch.setenv("ANTHROPIC_API_KEY", "secret")
    monkeypatch.setenv("GEMINI_API_KEY", "other")
    notes = tmp_path / "notes.txt"
    notes.write_text("mine")
    source = (
        "assert 'ANTHROPIC_API_KEY' not in os.environ and os.environ['GEMINI_API_KEY'] == 'other'\n"
        f"assert open({str(notes)!r}).read() == 'mine'\n"
        f"assert not os.access({str(ROOT / 'README.md')!r}, os.R_OK)\n"
        "try:\n    open('/usr/written', 'w')\n    sys.exit('wrote')\nexcept OSError:\n    pass\n"
        f"print({json.dumps(ANSWER)!r})"
    )
    assert Proposal.parse(ask(source, show=(notes,), passed=("GEMINI_API_KEY",))).title == "five"


def test_the_network_is_open(ask):
    server = socket.create_server(("127.0.0.1", 0))

    def answer():
        with server.accept()[0] as connection:
            connection.sendall(b"an idea")

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    port = server.getsockname()[1]
    source = (
        f"import socket\nassert socket.create_connection(('127.0.0.1', {port})).recv(9) == b'an idea'\n"
        f"print({json.dumps(ANSWER)!r})"
    )
    assert Proposal.parse(ask(source)).title == "five"
    thread.join()
    server.close()


def test_a_program_that_fails_is_asked_again_later_and_one_that_is_missing_is_not(ask):
    with pytest.raises(ProposerFailed, match="exit status 1: out of ideas"):
        ask("sys.exit('out of ideas')")
    with pytest.raises(NeedsPerson, match="no-such-agent"):
        Command(Options(command=("no-such-agent",)))
    with pytest.raises(NeedsPerson, match="--command"):
        Command(Options())


def test_a_link_in_place_of_base_reads_nothing_of_ours(ask, tmp_path):
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "id.py").write_text("KEY = 1\n")
    with pytest.raises(ProposerFailed, match="expected a folder"):
        ask(f"import shutil; shutil.rmtree('base'); os.symlink({str(tmp_path / 'secret')!r}, 'base')")


def test_a_folder_among_the_arguments_is_not_shown(tmp_path, monkeypatch):
    program = tmp_path / "agent.py"
    program.write_text("")
    (tmp_path / "data").mkdir()
    made = Command(Options(command=(sys.executable, str(program), str(tmp_path / "data"))))
    assert program in made.show
    assert tmp_path / "data" not in made.show
    for options in (Options(command=("cat",), show=(tmp_path / "no",)), Options(command=("cat",), passed=("NO_SUCH",))):
        with pytest.raises(NeedsPerson, match="does not exist"):
            Command(options)


def test_daemons_of_the_machine_are_out_of_reach(ask, tmp_path):
    """A Unix socket such as a container daemon's, by path and in the abstract namespace."""
    source = (
        "import socket\ntry:\n    socket.socket(socket.AF_UNIX)\n    sys.exit('reached')\n"
        "except PermissionError:\n    pass\n"
        f"print({json.dumps(ANSWER)!r})"
    )
    assert Proposal.parse(ask(source)).title == "five"


def test_braces_around_the_answer_do_no_harm(ask):
    source = f"print('{{not json}} [1] {{}}', file=sys.stderr); print({json.dumps(ANSWER)!r}); print('done {{')"
    assert Proposal.parse(ask(source)).title == "five"


def test_an_agent_may_print_its_conversation_before_its_answer(ask):
    """Codex does: the prompt with the context in it, rows of the table, then what it says in the end, twice."""
    source = (
        'import subprocess\nprint(json.dumps(context, indent=1)); print(\'{"title": "another trial"}\')\n'
        "subprocess.run(['sed', '-i', 's/x = 1/x = 7/', 'base/a.py'], check=True)\n"
        "for _ in range(2):\n    print('Done. ' + json.dumps({'title': 'seven', 'class': 'schedule'}), 'tokens used')\n"
    )
    made = Proposal.parse(ask(source))
    assert (made.title, made.kind) == ("seven", "schedule")
    assert apply(made, TREE)["base/a.py"].content == b"x = 7\ny = 2\n"


def test_sed_in_place_has_nothing_to_complain_about(ask):
    """It copies access lists, which the filter refuses as a file system without them does."""
    source = (
        "import subprocess\ndone = subprocess.run(['sed', '-i', 's/x = 1/x = 7/', 'base/a.py'], capture_output=True)\n"
        'assert not done.stderr, done.stderr\nprint(\'{"title": "quiet"}\')\n'
    )
    assert Proposal.parse(ask(source)).title == "quiet"


@pytest.mark.parametrize("agent", ["claude", "codex"])
def test_the_shipped_scripts_start_an_agent_that_edits_its_copy(tmp_path, agent):
    """A stand-in for the agent's own program: it checks how it is called, edits, and says what it did."""
    program = tmp_path / agent
    told = {"title": "seven", "hypothesis": "h", "class": "schedule", "expected_delta_bpb": -0.1}
    program.write_text(
        f"#!{sys.executable}\n"
        "import json, pathlib, sys\n"
        "context = json.load(sys.stdin)\n"
        "assert 'files' not in context and context['program'] == 'the brief'\n"
        f"assert sys.argv[1:3] == {['--bare', '-p'] if agent == 'claude' else ['exec', '--ephemeral']}\n"
        "assert 'Make one change to files below base/' in sys.argv[-1]\n"
        "pathlib.Path('base/a.py').write_text('x = 7\\ny = 2\\n')\n"
        f"print('Done. ' + {json.dumps(told)!r})\n"
    )
    program.chmod(0o755)
    agents = ROOT / "proposers" / "agents"
    command = Command(Options(command=(str(agents / f"{agent}.sh"), str(program)), show=(agents,)))
    made = Proposal.parse(next_proposal(command, context(TREE, folder=tmp_path / "proposer")))
    assert (made.title, made.kind) == ("seven", "schedule")
    assert apply(made, TREE)["base/a.py"].content == b"x = 7\ny = 2\n"


def test_what_an_agent_leaves_beside_its_edits_costs_nothing(ask, capsys):
    source = (
        "text = 'x = 7\\r\\ny = 2\\r\\n'\n"
        "for name in ('a.py.orig', '.DS_Store', 'a.py~', '.a.py.swp', 'notes.md', 'core', '#a.py#'):\n"
        "    open('base/' + name, 'w').write('x')\n"
        "os.makedirs('base/.claude'); open('base/.claude/settings.json', 'w'); open('base/.claude/a.py', 'w')\n"
        "os.symlink('/etc/passwd', 'base/link'); os.mkfifo('base/pipe'); os.chmod('base/model/b.py', 0o755)\n"
        "open('base/a.py', 'w', newline='').write('\\ufeff' + text); open('base/big.bin', 'wb').truncate(1 << 24)\n"
    )
    made = Proposal.parse(ask(source))
    assert {edit.path for edit in made.edits} == {"base/a.py"}
    assert apply(made, TREE)["base/a.py"].content == b"x = 7\ny = 2\n"
    assert "left out, as no Python of base/: base/#a.py#, base/.DS_Store" in capsys.readouterr().err


def test_a_mode_or_line_ends_alone_are_no_edit(ask):
    source = (
        "os.chmod('base/a.py', 0o755); open('base/model/b.py', 'w', newline='').write('z = 3\\r\\n'); print('Done.')"
    )
    message = ask(source)
    assert "the program changed nothing in base/ and printed no proposal" in message
    assert "it ended: Done." in message
    titled = ask(f"print({json.dumps({'title': 'an idea', 'class': 'schedule'})!r})")
    assert "printed no proposal (one without edits)" in titled


def test_edits_stand_when_the_program_ends_with_1(ask, capsys):
    source = "open('base/a.py', 'w').write('x = 9\\ny = 2\\n'); print('Error: Reached max turns (10)'); sys.exit(1)"
    assert apply(Proposal.parse(ask(source)), TREE)["base/a.py"].content == b"x = 9\ny = 2\n"
    assert "ended with status 1 after its edits, which stand: Error: Reached max turns (10)" in capsys.readouterr().err
    with pytest.raises(ProposerFailed, match="exit status (-9|137)"):  # half of an edit, perhaps
        ask("open('base/a.py', 'w').write('x = 9\\ny = 2\\n'); os.kill(os.getpid(), 9)")


@pytest.mark.parametrize(
    ("words", "kind"),
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
def test_what_only_a_person_can_mend_is_one_clear_line(ask, tmp_path, words, kind):
    with pytest.raises(kind) as caught:
        ask(f"print({words!r}); sys.exit(1)")
    assert type(caught.value) is kind
    assert words in str(caught.value)
    assert (tmp_path / "proposer.log").read_text().strip() == words, "the log that the message names outlives its job"


def test_a_repair_that_gives_up_leaves_the_edits_before_it(ask):
    """What was refused is refused once more, as a row: it is no failure of the machine."""
    source = "open('base/a.py', 'w').write('x = 1\\ny = 2\\n# c\\n')\nsys.exit(1 if context['refused'] else 0)"
    made = Proposal.parse(ask(source))
    assert apply(made, TREE)["base/a.py"].content.endswith(b"# c\n")


def test_an_agents_last_words_are_quoted_when_its_time_is_over(ask, monkeypatch):
    monkeypatch.setattr("proposers.command.LIMITS", replace(LIMITS, wall_seconds=1.0))
    with pytest.raises(ProposerFailed, match="got 1.* wall seconds, .*; its last words: still reading"):
        ask("import signal\nprint('still reading base/', flush=True); signal.pause()")


@pytest.mark.parametrize("level", [level for level in available_levels() if level != "none"])
def test_an_agent_of_many_processes(tmp_path, level, capsys):
    """What the real ones do: a child that reads its own maps, the input once more on stderr, junk, and status 1."""
    program = tmp_path / "agent.sh"
    child = "import json, sys; open('/proc/self/maps').read(); open('/proc/self/status').read()"
    program.write_text(
        '#!/bin/sh\ncat > "$TMPDIR/told" || exit 3\ncat "$TMPDIR/told" >&2\n'
        f'{sys.executable} -c "{child}" || exit 4\n'
        f"({sys.executable} -c \"{child}; open('base/a.py', 'a').write('w = 1\\n')\")|| exit 5\n"
        'echo \'{"title": "many", "class": "schedule"}\'; touch base/.DS_Store; exit 1\n'
    )
    program.chmod(0o755)
    view = replace(context(TREE, folder=tmp_path / "proposer"), level=level)
    made = Proposal.parse(next_proposal(Command(Options(command=(str(program),))), view))
    assert (made.title, made.kind) == ("many", "schedule")
    assert apply(made, TREE)["base/a.py"].content == b"x = 1\ny = 2\nw = 1\n"


@pytest.mark.parametrize("level", [level for level in available_levels() if level != "none"])
def test_what_other_processes_keep_is_closed_to_an_agent(tmp_path, level):
    """It may read /proc, for its own children's sake; memory, environment and files of others it cannot."""
    program = tmp_path / "agent.py"
    program.write_text(
        "import os, sys\nopened = []\n"
        "for name in ('environ', 'maps', 'mem', 'fd/0', 'cwd', 'root', 'exe', 'map_files'):\n"
        f"    place = '/proc/{os.getpid()}/' + name\n"
        "    try:\n"
        "        os.listdir(place) if name in ('root', 'cwd', 'map_files') else open(place, 'rb').read(1)\n"
        "        opened.append(place)\n"
        "    except OSError:\n        pass\n"
        f"print({json.dumps(ANSWER)!r} if not opened else opened)\n"
    )
    view = replace(context(TREE, folder=tmp_path / "proposer"), level=level)
    command = Command(Options(command=(sys.executable, str(program))))
    assert Proposal.parse(next_proposal(command, view)).title == "five"
