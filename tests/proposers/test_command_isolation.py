"""Isolation of the command proposer: what a program can see, reach and read in the sandbox."""

import json
import os
import shlex
import socket
import sys
import threading
from dataclasses import replace

import pytest
from helpers.proposers.contexts import context
from helpers.proposers.small_tree import ANSWER, TREE
from helpers.tiny_profile import ROOT

from common.errors import NeedsPerson, ProposerFailed
from experiments.proposal.options import ProposerOptions
from experiments.proposal.patch import apply
from experiments.proposal.schema import Proposal
from preflight.sandbox.isolation.levels import available_levels
from proposers.command import Command
from proposers.reply import next_proposal


def test_keys_and_files_are_hidden_unless_named(run_program, tmp_path, monkeypatch):
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
    assert Proposal.parse(run_program(source, show=(notes,), passed=("GEMINI_API_KEY",))).title == "five"


def test_network_is_open(run_program):
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
    assert Proposal.parse(run_program(source)).title == "five"
    thread.join()
    server.close()


def test_link_in_place_of_base_is_refused(run_program, tmp_path):
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "id.py").write_text("KEY = 1\n")
    with pytest.raises(ProposerFailed, match="expected a folder"):
        run_program(f"import shutil; shutil.rmtree('base'); os.symlink({str(tmp_path / 'secret')!r}, 'base')")


def test_folder_among_the_arguments_is_not_visible(tmp_path, monkeypatch):
    program = tmp_path / "agent.py"
    program.write_text("")
    (tmp_path / "data").mkdir()
    command = Command(ProposerOptions(command=shlex.join((sys.executable, str(program), str(tmp_path / "data")))))
    assert program in command.show
    assert tmp_path / "data" not in command.show
    for options in (
        ProposerOptions(command="cat", show=(tmp_path / "no",)),
        ProposerOptions(command="cat", passed=("NO_SUCH",)),
    ):
        with pytest.raises(NeedsPerson, match="does not exist"):
            Command(options)


def test_unix_sockets_of_the_machine_are_out_of_reach(run_program, tmp_path):
    """Unix sockets, such as a container daemon's, cannot be created, by path or in the abstract namespace."""
    source = (
        "import socket\ntry:\n    socket.socket(socket.AF_UNIX)\n    sys.exit('reached')\n"
        "except PermissionError:\n    pass\n"
        f"print({json.dumps(ANSWER)!r})"
    )
    assert Proposal.parse(run_program(source)).title == "five"


def test_sed_in_place_prints_no_error(run_program):
    """sed copies access control lists; the seccomp filter refuses that like a file system without them."""
    source = (
        "import subprocess\ndone = subprocess.run(['sed', '-i', 's/x = 1/x = 7/', 'base/a.py'], capture_output=True)\n"
        'assert not done.stderr, done.stderr\nprint(\'{"title": "quiet"}\')\n'
    )
    assert Proposal.parse(run_program(source)).title == "quiet"


@pytest.mark.parametrize("level", [level for level in available_levels() if level != "none"])
def test_agent_with_child_processes(tmp_path, level, capsys):
    """Real agents do this: children read their own maps, the input is printed on stderr, junk stays, status 1."""
    program = tmp_path / "agent.sh"
    child = "import json, sys; open('/proc/self/maps').read(); open('/proc/self/status').read()"
    program.write_text(
        '#!/bin/sh\ncat > "$TMPDIR/input" || exit 3\ncat "$TMPDIR/input" >&2\n'
        f'{sys.executable} -c "{child}" || exit 4\n'
        f"({sys.executable} -c \"{child}; open('base/a.py', 'a').write('w = 1\\n')\")|| exit 5\n"
        'echo \'{"title": "many", "class": "schedule"}\'; touch base/.DS_Store; exit 1\n'
    )
    program.chmod(0o755)
    view = replace(context(TREE, folder=tmp_path / "proposer"), level=level)
    proposal = Proposal.parse(next_proposal(Command(ProposerOptions(command=str(program))), view))
    assert (proposal.title, proposal.kind) == ("many", "schedule")
    assert apply(proposal, TREE)["base/a.py"].content == b"x = 1\ny = 2\nw = 1\n"


@pytest.mark.parametrize("level", [level for level in available_levels() if level != "none"])
def test_other_processes_are_not_readable(tmp_path, level):
    """An agent may read /proc, which its children need, but not memory, environment and files of other processes."""
    program = tmp_path / "agent.py"
    program.write_text(
        "import os, sys\nopened = []\n"
        "for name in ('environ', 'maps', 'mem', 'fd/0', 'cwd', 'root', 'exe', 'map_files'):\n"
        f"    path = '/proc/{os.getpid()}/' + name\n"
        "    try:\n"
        "        os.listdir(path) if name in ('root', 'cwd', 'map_files') else open(path, 'rb').read(1)\n"
        "        opened.append(path)\n"
        "    except OSError:\n        pass\n"
        f"print({json.dumps(ANSWER)!r} if not opened else opened)\n"
    )
    view = replace(context(TREE, folder=tmp_path / "proposer"), level=level)
    command = Command(ProposerOptions(command=shlex.join((sys.executable, str(program)))))
    assert Proposal.parse(next_proposal(command, view)).title == "five"
