"""Commands behave the same in any environment: git's variables, encodings, read-only media, development mode."""

import json
import os
import subprocess

import pytest
from helpers.programs import run_experiments, run_python
from helpers.tiny_profile import ROOT, git

from experiments.repo.workspace import Workspace

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount something read-only")


@pytest.mark.parametrize(
    "name",
    [
        "GIT_DIR",
        "GIT_WORK_TREE",
        "GIT_INDEX_FILE",
        "GIT_OBJECT_DIRECTORY",
        "GIT_COMMON_DIR",
        "GIT_NAMESPACE",
        "GIT_PREFIX",
    ],
)
def test_git_uses_the_repository_of_root(repo_with_keep, tmp_path, monkeypatch, name):
    """Hooks, `git rebase --exec` and bare dotfile repositories set these variables."""
    git(tmp_path, "init", "--quiet", "other")
    values = {"GIT_NAMESPACE": "other", "GIT_PREFIX": "base/", "GIT_INDEX_FILE": str(tmp_path / "index")}
    monkeypatch.setenv(name, values.get(name, str(tmp_path / "other" / ".git")))
    monkeypatch.setenv("GIT_SSH_COMMAND", "ssh -p 2222")
    workspace = Workspace(repo_with_keep, "night")
    assert workspace.git_dir == repo_with_keep / ".git"
    assert workspace.trial_commits().keys() == {1}
    workspace.keep_tree(9, workspace.tree_of("HEAD"))
    assert "refs/caddie/night/0009" in git(repo_with_keep, "for-each-ref")
    assert not (tmp_path / "index").exists()
    assert os.environ["GIT_SSH_COMMAND"] == "ssh -p 2222", "the way to reach a remote is kept"


def test_a_command_started_from_a_hook_reads_its_own_run(repo_with_keep, tmp_path):
    git(tmp_path, "init", "--quiet", "other")
    done = run_experiments(repo_with_keep, "diff", "1", "--run", "night", GIT_DIR=str(tmp_path / "other" / ".git"))
    assert done.returncode == 0, done.stdout
    assert b"+++ b/base/config.py" in done.stdout


ENCODINGS = [
    {"PYTHONIOENCODING": "ascii"},
    {"PYTHONIOENCODING": "latin-1"},
    {"LC_ALL": "POSIX", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
]


@pytest.mark.parametrize(
    "settings", [*(pytest.param(each, marks=pytest.mark.slow) for each in ENCODINGS[:-1]), ENCODINGS[-1]]
)
def test_a_terminal_without_utf_8_shows_escapes(run, tmp_path, settings):
    root, script = run.workspace.root, tmp_path / "script"
    script.mkdir()
    edit = {"path": "base/config.py", "search": "The knobs of the counter.", "replace": "α ≤ β"}
    fields = {"title": "0.5 → 0.5 ± ε 日本", "hypothesis": "größer", "class": "schedule", "expected_delta_bpb": 0.0}
    (script / "1.json").write_text(json.dumps({**fields, "edits": [edit]}, ensure_ascii=False), encoding="utf-8")
    (root / "program.md").write_text("Größe ≠ Länge\n", encoding="utf-8")
    run.close()
    order = ("run", "--run", "night", "--profile", "tiny", "--trials", "1", "--proposer", "scripted")
    done = run_experiments(root, *order, "--script", str(script), **settings)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = json.loads(run_experiments(root, "show", "1", "--run", "night", "--json").stdout)["trials"]
    assert (rows[0]["title"], rows[0]["state"]) == (fields["title"], "no_op")
    for command in (["status"], ["show", "1"], ["log"], ["diff", "1"]):
        done = run_experiments(root, *command, "--run", "night", **settings)
        assert done.returncode == 0, done.stdout + done.stderr
        assert b"Error" not in done.stderr


@pytest.mark.parametrize(
    "program", [["-m", "experiments"], ["-m", "preflight"], ["-m", "data"], [f"{ROOT}/generate_next.py"]]
)
def test_modules_are_found_without_the_current_folder(tmp_path, program):
    done = run_python(*program, "--help", cwd=tmp_path, PYTHONSAFEPATH="1", PYTHONPATH="")
    assert done.returncode == 0, done.stderr


@needs_root
def test_reading_commands_work_on_a_read_only_medium(repo_with_keep):
    """They also read what is only in the write-ahead log."""
    root, shown = repo_with_keep, {}
    readonly = ("unshare", "--mount", "sh", "-c", f'mount --bind -o ro {root} {root} && cd {root} && exec "$@"', "sh")
    if subprocess.run([*readonly, "true"]).returncode:
        pytest.skip("this container cannot mount")  # root often may not; in CI it may
    before = sorted(root.rglob("*"))
    for command in (
        ["status"],
        ["show", "1"],
        ["log"],
        ["compare", "0", "1"],
        ["diff", "1"],
        ["doctor", "--profile", "tiny"],
    ):
        done = run_experiments(root, *command, "--run", "night", wrapper=readonly)
        shown[command[0]] = done
        assert b"Traceback" not in done.stderr, command
    for name in ("status", "show", "log", "compare", "diff"):
        assert shown[name].returncode == 0, (name, shown[name].stdout, shown[name].stderr)
    assert b"kept" in shown["status"].stdout
    assert b"not writable" in shown["doctor"].stdout
    assert sorted(root.rglob("*")) == before


def test_commands_close_their_files_and_databases(repo_with_keep):
    """Python 3.13 warns of databases that are not closed, 3.11 of files."""
    for command in (["status"], ["show", "1"], ["log"], ["diff", "1"], ["calls"]):
        done = run_experiments(repo_with_keep, *command, "--run", "night", PYTHONWARNINGS="error", PYTHONDEVMODE="1")
        assert done.returncode == 0, done.stderr
        assert b"ResourceWarning" not in done.stderr, command
