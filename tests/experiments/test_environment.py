"""The environment does not change what a run means: git's variables, proxies, encodings, clocks, read-only media."""

import json
import os
import shutil
import subprocess
import sys
import time

import pytest
from messages_api import KEY
from support import ROOT, git

from data.errors import DataError, NeedsPerson
from data.network import require_usable, without_password
from experiments import api_check, api_client, session
from experiments.session import Session
from experiments.workspace import Workspace

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount something read-only")
PROXIES = [f"{scheme}_proxy" for scheme in ("all", "http", "https", "no")]


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch):
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def kept(kept_repo, tmp_path):
    return shutil.copytree(kept_repo, tmp_path / "kept", symlinks=True)


def python(*arguments, cwd, wrapper=(), **environment):
    command = [*wrapper, sys.executable, *arguments]
    settings = {**os.environ, "PYTHONPATH": f"{ROOT}/tests/profile", **environment}
    return subprocess.run(command, cwd=cwd, capture_output=True, env=settings)


def experiments(root, *arguments, **options):
    return python("-m", "experiments", *arguments, cwd=root, **options)


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
def test_git_works_on_the_repository_that_root_names(kept, tmp_path, monkeypatch, name):
    """As a hook, `git rebase --exec` and bare dotfiles set them."""
    git(tmp_path, "init", "--quiet", "other")
    values = {"GIT_NAMESPACE": "other", "GIT_PREFIX": "base/", "GIT_INDEX_FILE": str(tmp_path / "index")}
    monkeypatch.setenv(name, values.get(name, str(tmp_path / "other" / ".git")))
    monkeypatch.setenv("GIT_SSH_COMMAND", "ssh -p 2222")
    workspace = Workspace(kept, "night")
    assert workspace.git_dir == kept / ".git"
    assert workspace.trial_branches().keys() == {1}
    workspace.hold(9, workspace.tree_of("HEAD"))
    assert "refs/caddie/night/0009" in git(kept, "for-each-ref")
    assert not (tmp_path / "index").exists()
    assert os.environ["GIT_SSH_COMMAND"] == "ssh -p 2222", "how to reach a remote stays"


def test_a_command_started_from_a_hook_reads_its_own_run(kept, tmp_path):
    git(tmp_path, "init", "--quiet", "other")
    done = experiments(kept, "diff", "1", "--run", "night", GIT_DIR=str(tmp_path / "other" / ".git"))
    assert done.returncode == 0, done.stdout
    assert b"+++ b/base/config.py" in done.stdout


@pytest.mark.parametrize(
    "settings",
    [
        {"ALL_PROXY": "socks5://127.0.0.1:9"},
        {"all_proxy": "socks5h://user:secret@127.0.0.1:9"},
        {"HTTPS_PROXY": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9"},
        {"HTTP_PROXY": "http://127.0.0.1:9", "NO_PROXY": "localhost,127.0.0.1,[::1]"},
        {"HTTP_PROXY": "http://127.0.0.1:9", "no_proxy": "127.0.0.0/8, [fe80::1]:80 ,.corp,*.intern"},
        {"NO_PROXY": "*"},
    ],
)
def test_proxies_of_any_spelling_leave_loopback_alone(api, monkeypatch, settings):
    """And doctor asks as the run does: with the same client."""
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    assert api_check.problem(KEY, "") == ""


@pytest.mark.parametrize("name", ["NO_PROXY", "no_proxy"])
def test_what_a_person_leaves_out_of_a_proxy_stays_out(monkeypatch, name):
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:3128")
    monkeypatch.setenv(name, "api.internal.example, 10.0.0.0/8,[fd00::1]")
    require_usable()
    expected = "api.internal.example,10.0.0.0/8,fd00::1,localhost,127.0.0.1,::1"
    assert os.environ["no_proxy"] == os.environ["NO_PROXY"] == expected
    require_usable()
    assert os.environ["no_proxy"].startswith(expected)


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("http://user:secret@proxy:3128", "http://…@proxy:3128"),
        ("user:secret@proxy:31x28", "…@proxy:31x28"),
        ("http://user:se/cret@proxy:3128", "http://…@proxy:3128"),
        ("http://user:p@ss@proxy:1", "http://…@proxy:1"),
        ("socks5h://proxy:1", "socks5h://proxy:1"),
        ("/etc/ssl/ca.pem", "/etc/ssl/ca.pem"),
    ],
)
def test_no_password_is_shown_however_it_is_written(monkeypatch, address, shown):
    assert without_password(address) == shown
    monkeypatch.setenv("HTTPS_PROXY", address)
    problem = ""
    try:
        require_usable()
    except DataError as error:
        problem = str(error)
    assert not any(secret in problem for secret in ("secret", "se/cret", "'se'", "p@ss"))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"SSL_CERT_FILE": "/nonexistent.pem"}, "SSL_CERT_FILE=/nonexistent.pem: .*No such file"),
        ({"SSL_CERT_FILE": __file__}, "SSL_CERT_FILE=.*test_environment.py: "),
        ({"HTTPS_PROXY": "ftp://proxy:21"}, "HTTPS_PROXY=ftp://proxy:21: .*scheme"),
        ({"ALL_PROXY": "socks5://user:secret@host:port"}, "ALL_PROXY=socks5://…@host:port: .*port"),
    ],
)
def test_what_no_client_can_use_is_named_once(api, monkeypatch, settings, words):
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(DataError, match=words) as caught:
        require_usable()
    assert "secret" not in str(caught.value)
    with pytest.raises(NeedsPerson, match="no connection can be made"):
        api_client.client(KEY)
    assert api_check.problem(KEY, "") == str(caught.value)


def test_a_proposer_that_cannot_connect_ends_the_run_for_a_person(bench, api):
    root = bench.workspace.root
    bench.close()
    order = ("run", "--run", "night", "--profile", "tiny", "--trials", "1", "--proposer", "anthropic")
    done = experiments(root, *order, SSL_CERT_FILE="/no.pem")
    assert done.returncode == 2, done.stdout
    assert done.stdout.decode().count("no connection can be made with SSL_CERT_FILE=/no.pem") == 1


def test_a_download_behind_a_proxy_that_cannot_be_used_is_one_line(tmp_path):
    done = python(
        *("-m", "data", "prepare", "--train-shards", "1", "--folder", str(tmp_path / "p")),
        cwd=ROOT,
        ALL_PROXY="ftp://proxy",
    )
    assert done.returncode == 1
    assert done.stderr.decode().count("\n") == 1
    assert b"ALL_PROXY=ftp://proxy" in done.stderr


ENCODINGS = [
    {"PYTHONIOENCODING": "ascii"},
    {"PYTHONIOENCODING": "latin-1"},
    {"LC_ALL": "POSIX", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
]


@pytest.mark.parametrize("settings", ENCODINGS)
def test_a_terminal_that_is_no_utf_8_shows_escapes_and_ends_nothing(bench, tmp_path, settings):
    root, script = bench.workspace.root, tmp_path / "script"
    script.mkdir()
    edit = {"path": "base/config.py", "search": "The knobs of the counter.", "replace": "α ≤ β"}
    fields = {"title": "0.5 → 0.5 ± ε 日本", "hypothesis": "größer", "class": "schedule", "expected_delta_bpb": 0.0}
    (script / "1.json").write_text(json.dumps({**fields, "edits": [edit]}, ensure_ascii=False), encoding="utf-8")
    (root / "program.md").write_text("Größe ≠ Länge\n", encoding="utf-8")
    bench.close()
    order = ("run", "--run", "night", "--profile", "tiny", "--trials", "1", "--proposer", "scripted")
    done = experiments(root, *order, "--script", str(script), **settings)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = json.loads(experiments(root, "show", "1", "--run", "night", "--json").stdout)["trials"]
    assert (rows[0]["title"], rows[0]["state"]) == (fields["title"], "no_op")
    for command in (["status"], ["show", "1"], ["log"], ["diff", "1"]):
        done = experiments(root, *command, "--run", "night", **settings)
        assert done.returncode == 0, done.stdout + done.stderr
        assert b"Error" not in done.stderr


@pytest.mark.parametrize(
    "program", [["-m", "experiments"], ["-m", "preflight"], ["-m", "data"], [f"{ROOT}/generate_next.py"]]
)
def test_modules_are_found_without_the_current_folder(tmp_path, program):
    done = python(*program, "--help", cwd=tmp_path, PYTHONSAFEPATH="1", PYTHONPATH="")
    assert done.returncode == 0, done.stderr


def test_hours_are_counted_by_no_clock_that_can_be_set(bench, monkeypatch):
    begun = Session.begin(bench.ledger, "evening")
    monkeypatch.setattr(time, "time", lambda: 4e9)
    assert begun.hours < 0.01
    clock = session.since_boot()
    monkeypatch.setattr(session, "since_boot", lambda: clock + 3600)
    again = Session.begin(bench.ledger, "evening")  # after a crash, an hour later
    assert again.hours == pytest.approx(1.0, abs=0.01)
    monkeypatch.setattr(session, "boot", lambda: "another")
    monkeypatch.setattr(session, "since_boot", lambda: 60.0)
    assert Session.begin(bench.ledger, "evening").hours == pytest.approx(1.0, abs=0.01)
    monkeypatch.setattr(session, "since_boot", lambda: 60.0 + 1800)
    assert Session.begin(bench.ledger, "evening").hours == pytest.approx(1.5, abs=0.01)
    assert Session.begin(bench.ledger, "the next").hours == 0.0


@needs_root
def test_commands_that_only_read_read_a_medium_that_is_read_only(kept):
    """Also what stands in the write-ahead log alone."""
    shown = {}
    readonly = ("unshare", "--mount", "sh", "-c", f'mount --bind -o ro {kept} {kept} && cd {kept} && exec "$@"', "sh")
    if subprocess.run([*readonly, "true"]).returncode:
        pytest.skip("no mounts can be made here")  # a container's root often may not; CI's may
    before = sorted(kept.rglob("*"))
    for command in (
        ["status"],
        ["show", "1"],
        ["log"],
        ["compare", "0", "1"],
        ["diff", "1"],
        ["doctor", "--profile", "tiny"],
    ):
        done = experiments(kept, *command, "--run", "night", wrapper=readonly)
        shown[command[0]] = done
        assert b"Traceback" not in done.stderr, command
    for name in ("status", "show", "log", "compare", "diff"):
        assert shown[name].returncode == 0, (name, shown[name].stdout, shown[name].stderr)
    assert b"kept" in shown["status"].stdout
    assert b"not writable" in shown["doctor"].stdout
    assert sorted(kept.rglob("*")) == before


def test_commands_close_what_they_open(kept):
    """Python 3.13 complains of a database that is not closed; 3.11 of files."""
    for command in (["status"], ["show", "1"], ["log"], ["diff", "1"], ["calls"]):
        done = experiments(kept, *command, "--run", "night", PYTHONWARNINGS="error", PYTHONDEVMODE="1")
        assert done.returncode == 0, done.stderr
        assert b"ResourceWarning" not in done.stderr, command
