"""Shared fixtures: a small corpus, a git repository whose base/ needs no torch, and a bench on it."""

import os
import shutil
import sysconfig
from pathlib import Path

import pytest
from messages_api import MessagesApi
from support import MORE_TEXT, ROOT, git, proposal

from data.build import train_tokenizer, write_corpus
from data.corpus import Corpus
from data.state import State
from experiments.baseline import baseline
from experiments.bench import Bench
from experiments.job import UNLIMITED, Budget
from experiments.loop import open_bench
from experiments.trial import run_trial
from preflight import lint
from preflight.sandbox.isolation import available_levels


@pytest.fixture(autouse=True)
def scrubbed_environment(monkeypatch):
    """No key, knob or git setting of the person who runs the tests reaches one."""
    for name in list(os.environ):
        if name.startswith(("ANTHROPIC", "GIT_", "SEED", "PRESET")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "tests" / "profile"))


@pytest.fixture(scope="session")
def tiny_corpus(tmp_path_factory) -> Corpus:
    """About 400 KB of the standard library's own text, tokenised like the pocket corpus."""
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
    shutil.copytree(ROOT / "tests" / "tiny", root, ignore=shutil.ignore_patterns("__pycache__"))
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
    """The same with a run whose baseline has been measured: once, for all tests that only go on from there."""
    root = tmp_path_factory.mktemp("measured") / "repo"
    shutil.copytree(blank_repo, root, symlinks=True)
    opened = open_bench(root, "night", "tiny", lambda *_: None, available_levels()[0])
    baseline(opened)
    opened.close()
    return root


@pytest.fixture(scope="session")
def kept_repo(measured_repo, tmp_path_factory) -> Path:
    """A run with one keep: measured once, for all tests that go on from there."""
    root = shutil.copytree(measured_repo, tmp_path_factory.mktemp("kept") / "repo", symlinks=True)
    opened = open_bench(root, "night", "tiny", lambda *_: None)
    row = run_trial(opened, proposal(opened, MORE_TEXT, title="more text"), UNLIMITED)
    assert row.state is State.KEPT, row.detail
    opened.close()
    return root


@pytest.fixture
def repo(blank_repo, tmp_path) -> Path:
    """A repository of one's own, with no run yet."""
    return shutil.copytree(blank_repo, tmp_path / "repo", symlinks=True)


@pytest.fixture
def bench(measured_repo, tmp_path) -> Bench:
    """A run of one's own, its baseline measured."""
    root = shutil.copytree(measured_repo, tmp_path / "measured", symlinks=True)
    opened = open_bench(root, "night", "tiny", lambda *_: None, available_levels()[0])
    yield opened
    opened.close()


@pytest.fixture
def unlinted(monkeypatch):
    """Candidates may name what they like: what the walls hold, they hold without the lint."""
    monkeypatch.setattr(lint, "check", lambda tree, parent=None: [])


@pytest.fixture
def budget() -> Budget:
    return UNLIMITED


class Model:
    """Prepared answers in order, the last one for ever; each is text, a Reply, or a function of the request."""

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
    """The Messages API on loopback, and in the environment; `api.now` is its clock."""
    with MessagesApi(model, clock=lambda: served.now) as served:
        served.now = 0.0
        for name, value in served.environment.items():
            monkeypatch.setenv(name, value)
        yield served
