"""Shared fixtures: a small corpus, a git repository whose base/ needs no torch, and a run on it."""

import os

# Of BLAS and torch, before either is imported: two workers with two threads each are three times slower on two cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import shutil
import sysconfig
from pathlib import Path

import pytest
from helpers.servers.messages import MessagesApi
from helpers.tiny_profile import MORE_TEXT, ROOT, git, proposal

from common.state import State
from data.build import train_tokenizer, write_corpus
from data.corpus import Corpus
from experiments.run.run import Run, open_run
from experiments.runner.job import UNLIMITED, Budget
from experiments.trial.baseline import measure_baseline
from experiments.trial.trial import run_trial
from preflight.lint import lint
from preflight.sandbox.isolation.levels import available_levels

IN_A_SANDBOX = ("tests/preflight/sandbox/", "tests/experiments/doctor/")


def pytest_collection_modifyitems(items):
    """Mark what `make test-harness` leaves out: tests that run trials, those of the sandbox, and those in a browser."""
    for item in items:
        if {"measured_repo", "kept_repo", "paced_repo"} & set(item.fixturenames):
            item.add_marker("trial")
        if "browser" in item.fixturenames:
            item.add_marker("browser")
        if item.nodeid.startswith(IN_A_SANDBOX):
            item.add_marker("sandbox")


@pytest.fixture(autouse=True)
def scrubbed_environment(monkeypatch):
    """Keep API keys, knobs and git settings of the developer's environment out of the tests."""
    for name in list(os.environ):
        if name.startswith(("ANTHROPIC", "GIT_", "SEED", "PRESET")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "tests" / "fixtures" / "profile"))


@pytest.fixture(scope="session")
def tiny_corpus(tmp_path_factory) -> Corpus:
    """About 400 KB of source text of the standard library, tokenized like the pocket corpus."""
    stdlib = Path(sysconfig.get_path("stdlib"))
    names = ("argparse.py", "typing.py", "inspect.py", "tarfile.py", "subprocess.py", "enum.py", "ast.py", "shutil.py")
    text = "\n".join((stdlib / name).read_text() for name in names)
    documents = {f"part{i:03d}": text[start : start + 4000] for i, start in enumerate(range(0, len(text), 4000))}
    folder = tmp_path_factory.mktemp("corpus") / "tiny"
    folder.mkdir()
    tokenizer = train_tokenizer(documents, 1024)
    write_corpus(folder, "tiny", documents, tokenizer, "the standard library, for tests", True)
    return Corpus.open(folder, verify=True)


@pytest.fixture(scope="session")
def blank_repo(tmp_path_factory, tiny_corpus) -> Path:
    """A repository with the torch-free base/ committed and the small corpus in place."""
    root = tmp_path_factory.mktemp("blank") / "repo"
    shutil.copytree(ROOT / "tests" / "fixtures" / "tiny_base", root, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "base" / "protocol.py", root / "base")
    (root / "program.md").write_text("the brief\n")
    (root / ".gitignore").write_text("shards/\ntrials/\n")
    (root / "shards").mkdir()
    (root / "shards" / "tiny").symlink_to(tiny_corpus.folder)
    git(root, "init", "--quiet", "--initial-branch=main")
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message=start")
    return root


@pytest.fixture(scope="session")
def measured_repo(blank_repo, tmp_path_factory) -> Path:
    """The same with a run whose baseline is measured: once, for all tests that continue from there."""
    root = tmp_path_factory.mktemp("measured") / "repo"
    shutil.copytree(blank_repo, root, symlinks=True)
    opened = open_run(root, "night", "tiny", lambda *_: None, available_levels()[0])
    measure_baseline(opened)
    opened.close()
    return root


@pytest.fixture(scope="session")
def kept_repo(measured_repo, tmp_path_factory) -> Path:
    """A run with one keep: measured once, for all tests that continue from there."""
    root = shutil.copytree(measured_repo, tmp_path_factory.mktemp("kept") / "repo", symlinks=True)
    opened = open_run(root, "night", "tiny", lambda *_: None)
    row = run_trial(opened, proposal(opened, MORE_TEXT, title="more text"), UNLIMITED)
    assert row.state is State.KEPT, row.detail
    opened.close()
    return root


@pytest.fixture
def repo(blank_repo, tmp_path) -> Path:
    """A repository for one test, with no run yet."""
    return shutil.copytree(blank_repo, tmp_path / "repo", symlinks=True)


@pytest.fixture
def run(measured_repo, tmp_path) -> Run:
    """A run for one test, with a measured baseline."""
    root = shutil.copytree(measured_repo, tmp_path / "measured", symlinks=True)
    opened = open_run(root, "night", "tiny", lambda *_: None, available_levels()[0])
    yield opened
    opened.close()


@pytest.fixture
def unlinted(monkeypatch):
    """Switch off the lint: isolation must hold without it."""
    monkeypatch.setattr(lint, "check", lambda tree, parent=None: [])


@pytest.fixture
def budget() -> Budget:
    return UNLIMITED


class Model:
    """Prepared answers in order, the last one repeated; each is text, a Reply, or a function of the request."""

    def __init__(self):
        self.answers = []

    def __call__(self, request):
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return answer(request) if callable(answer) else answer


@pytest.fixture
def model() -> Model:
    return Model()


@pytest.fixture
def api(model, monkeypatch) -> MessagesApi:
    """The Messages API on loopback, with the environment pointing to it; `api.now` is its clock."""
    with MessagesApi(model, clock=lambda: server.now) as server:
        server.now = 0.0
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        yield server
