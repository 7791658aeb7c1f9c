"""The real base/ on real text: what can be bought, what lies are caught, and what a kept bundle is worth by hand."""

import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
from datetime import date

import numpy as np
import pytest
import sentencepiece
from support import ROOT, git, proposal

from data.corpus import Corpus
from data.state import State
from dev.benchmarks.budgets import BOUGHT, CAP_BYTES
from dev.benchmarks.pocket import by_hand
from experiments import budgets
from experiments.baseline import baseline, budget
from experiments.loop import open_bench
from experiments.luck import released
from experiments.promote import promote
from experiments.record import Author, contents
from experiments.tiers import FULL_POCKET, PROFILES, RECORD_POCKET
from experiments.trial import run_trial
from preflight import logs
from preflight.phases import Candidate
from preflight.sandbox import Limits, image, residue, run
from preflight.sandbox.isolation import available_levels

pytestmark = [pytest.mark.slow, pytest.mark.torch]

TARGET = FULL_POCKET.target
SHORT = dataclasses.replace(
    FULL_POCKET,
    target=dataclasses.replace(TARGET, environment={**TARGET.environment, "ITERATIONS": "150"}),
    proof_places=64,
)
LIMITS = Limits(wall_seconds=120, cpu_seconds=120)


@pytest.fixture(scope="module")
def pocket(tmp_path_factory):
    """A clone of this repository's committed and uncommitted base/, with half of pocket's steps.

    Fewer would do, but their CPU seconds vary by more than the tier's slack.
    """
    root = tmp_path_factory.mktemp("pocket") / "repo"
    root.mkdir()
    shutil.copytree(ROOT / "base", root / "base", ignore=shutil.ignore_patterns("__pycache__"))
    (root / ".gitignore").write_text("shards/\ntrials/\n")
    (root / "shards").mkdir()
    (root / "shards" / "pocket").symlink_to(ROOT / "shards" / "pocket")
    git(root, "init", "--quiet", "--initial-branch=main")
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message=start")
    full = PROFILES["pocket"]
    PROFILES["pocket"] = dataclasses.replace(full, tier=SHORT)
    bench = open_bench(root, "night", "pocket", lambda *_: None)
    start = baseline(bench)
    assert start.state is State.BASELINE
    yield bench, budget(bench, start)
    PROFILES["pocket"] = full
    bench.close()


DEARER = {
    "twice the steps": (0.4, 0.6),
    "twice the batch": (0.4, 0.7),
    "twice the width": (0.2, 0.7),
    "four layers": (0.6, 0.9),
}


@pytest.fixture(scope="module")
def roomy(pocket):
    """The same with bytes for a wider model: what compute it may use is the question here."""
    bench, limits = pocket
    target = dataclasses.replace(bench.tier.target, cap_bytes=CAP_BYTES)
    return dataclasses.replace(bench, tier=dataclasses.replace(bench.tier, target=target)), limits


@pytest.mark.parametrize("name", BOUGHT)
def test_the_budget_cannot_be_bought(roomy, name):
    """More of anything is fewer steps or within the budget of scoring: never more compute, and each has its value."""
    bench, limits = roomy
    row = run_trial(bench, proposal(bench, BOUGHT[name], title=name), limits)
    assert row.state.judged, row.detail
    assert row.val_bpb is not None
    print(name, row.val_bpb, row.delta_bpb, row.steps, row.step_cost, row.spent)
    for what, (used, limit) in json.loads(row.spent).items():
        assert used <= limit or what == budgets.FREE, what
    assert row.steps * row.step_cost <= 1.2 * SHORT.steps  # 1.1 of the budget, set-up and end included
    if name in DEARER:
        least, most = DEARER[name]
        assert least * SHORT.steps <= row.steps <= most * SHORT.steps, row.step_cost


def test_what_overruns_its_evaluation_is_ended_and_shows_its_value(roomy):
    bench, limits = roomy
    edit = ("base/evaluate/sliding.py", "config.eval.eval_stride, config.eval.eval_batch", "4, config.eval.eval_batch")
    row = run_trial(bench, proposal(bench, edit, title="a stride of four"), limits)
    assert row.state is State.TIMEOUT_SCORE, row.detail
    used, limit = json.loads(row.spent)["score_cpu_seconds"]
    assert limit < used < 1.1 * limit
    assert row.delta_bpb is not None
    assert abs(row.delta_bpb) < 0.2
    assert "of the text, claimed and not proved" in row.detail


def test_steps_batch_and_length_cannot_be_edited_in_the_preset(pocket):
    bench, limits = pocket
    edit = ("base/presets.py", "batch_tokens=2048, sequence_length=128", "batch_tokens=4096, sequence_length=256")
    row = run_trial(bench, proposal(bench, edit, title="preset"), limits)
    assert row.state is State.NO_OP, row.detail


OBSERVE = "        return losses\n"
SERVE = "base/evaluate/sliding.py"
LIES = {
    "constant small losses": (SERVE, OBSERVE, "        return np.full_like(losses, 0.01)\n"),
    "losses x 0.95": (SERVE, OBSERVE, "        return 0.95 * losses\n"),
    "honest predict, lying observe": (SERVE, OBSERVE, "        return np.maximum(losses - 0.05, 0.0)\n"),
    "a future peek inside a block": (
        SERVE,
        OBSERVE,
        "        following = np.append(tokens[1:], tokens[-1:])\n"
        "        return np.where(following == tokens, 0.5, 0.98) * losses\n",
    ),
    "state kept over reset": (
        SERVE,
        OBSERVE,
        "        self.memory = getattr(self, 'memory', set())\n"
        "        known = np.array([token in self.memory for token in tokens.tolist()], dtype=bool)\n"
        "        self.memory |= set(tokens.tolist())\n"
        "        return np.where(known, 0.9, 1.0) * losses\n",
    ),
    "losses that depend on the block size": (
        SERVE,
        OBSERVE,
        "        return losses * (0.97 if len(losses) > 300 else 1)\n",
    ),
}


@pytest.mark.parametrize("name", LIES)
def test_a_lying_scorer_is_dishonest(pocket, name):
    bench, limits = pocket
    row = run_trial(bench, proposal(bench, LIES[name], title=name), limits)
    assert row.state is State.DISHONEST, row.detail


def test_the_honest_baseline_has_a_small_bound(pocket):
    bench, _ = pocket
    row = bench.ledger.row(0)
    text_bytes = int(bench.corpus.byte_table().target_bytes(bench.corpus.tokens("dev")).sum())
    assert row.honesty_bpb - residue.bpb(bench.level, text_bytes, row.val_bpb) < 1e-3  # what 64 places can exclude
    assert bench.ledger.measurements(0)[0].charge_bpb < 1e-6
    assert bench.ledger.measurements(0)[0].honesty.tokens == 147_964 or bench.corpus.manifest.trials_can_read_text


def hand(bench, *launcher, **environment):
    """The person's own base/ as the challenge runs it, without the harness; returns the printed val_bpb."""
    first, turned = bench.ledger.measurements(0)[0], bench.folder / "turned"
    if not turned.exists():
        released(bench.corpus, turned, first.data_seed)
    command = by_hand("night", "pocket", 0, first.seed, turned)
    command = command.replace(".venv/bin/python", " ".join([sys.executable, *launcher]))
    extra = " ".join(f"{name}={value}" for name, value in environment.items())
    clean = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")}
    done = subprocess.run(
        command.replace("env ", f"env {extra} ", 1),
        shell=True,
        cwd=bench.workspace.root,
        env=clean,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    (found,) = re.findall(r"^final_sliding_window .* val_bpb:(\S+)", done.stdout, re.MULTILINE)
    assert re.search(r"^Total submission size \S+: \d+ bytes$", done.stdout, re.MULTILINE)
    return found


def first_seed(bench):
    """The score of the seed that `hand` repeats; the row has the mean of three."""
    return bench.ledger.measurements(0)[0].val_bpb


def test_by_hand_the_bundle_prints_the_recorded_score_to_the_last_digit(pocket):
    bench, _ = pocket
    assert hand(bench) == f"{first_seed(bench):.8f}"


def test_by_hand_on_two_ranks_it_is_close(pocket):
    bench, _ = pocket
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")
    assert float(hand(bench, *launcher)) == pytest.approx(first_seed(bench), abs=2e-3)


def test_by_hand_it_survives_torch_compile(pocket):
    bench, _ = pocket
    assert float(hand(bench, COMPILE="1")) == pytest.approx(first_seed(bench), abs=5e-3)


def test_a_record_alone_beside_data_repeats_its_score(pocket, tmp_path, monkeypatch):
    """No phase, no setting, no repository: only its folder, the data and a seed."""
    bench, _ = pocket
    few = {**TARGET.environment, "ITERATIONS": "60"}
    tier = dataclasses.replace(RECORD_POCKET, target=dataclasses.replace(TARGET, environment=few), proof_places=64)
    monkeypatch.setitem(PROFILES, "pocket", dataclasses.replace(PROFILES["pocket"], record=tier))
    today = date(2026, 11, 21)
    made = promote(bench, 0, 2, True, lambda _: None, today)
    for name, content in contents(bench, made, Author("a", "a"), today).items():
        (tmp_path / name).write_bytes(content)
    one = made.measured[0]
    data = ROOT / "shards" / "pocket"
    environment = {
        "PATH": os.environ["PATH"],
        "SEED": str(one.seed),
        "DATA_PATH": str(data / "train"),
        "VAL_PATH": str(data / "validation"),
        "TOKENIZER_PATH": str(data / "tokenizer.model"),
    }
    done = subprocess.run(
        [sys.executable, "train_gpt.py"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = logs.parse(done.stdout)
    assert abs(found.final.val_bpb - one.val_bpb) < 1e-6
    assert found.total_bytes == one.artifact_bytes
    said = logs.parse((tmp_path / f"train_seed{one.seed}.log").read_text())
    assert (said.final.val_bpb, said.total_bytes) == (pytest.approx(found.final.val_bpb, abs=1e-6), found.total_bytes)


@pytest.mark.parametrize("level", [level for level in available_levels() if level != "none"])
def test_no_held_out_text_is_readable_inside(pocket, tmp_path, level):
    """64-byte windows of dev and validation, as text and as tokens, against every file a trial can read."""
    bench, _ = pocket
    corpus = Corpus.open(ROOT / "shards" / "pocket")
    if corpus.manifest.trials_can_read_text:
        pytest.skip("this corpus was built offline from text that trials can read, and every row says so")
    model = sentencepiece.SentencePieceProcessor(model_file=str(corpus.tokenizer))
    rng = np.random.default_rng(0)
    texts, windows = [], []
    for split in ("dev", "validation"):
        tokens = corpus.tokens(split)
        text = model.decode(tokens.tolist()).encode()
        starts = rng.integers(0, len(text) - 64, 150)
        texts += [text[start : start + 64].decode(errors="ignore") for start in starts]
        windows += [tokens[start : start + 32].tobytes().hex() for start in rng.integers(0, len(tokens) - 32, 3)]
    patterns = tmp_path / "patterns"
    patterns.write_text("\n".join(text for text in texts if len(text) > 50 and "\n" not in text))
    used = image.image()
    roots = [
        used.root,
        *(used.loaded_by_path() if level == "landlock" else ()),
    ]  # all that a job is shown of the machine
    files = subprocess.run(["find", "-H", *roots, "-type", "f", "-size", "-2M", "-print0"], capture_output=True).stdout
    grep = ["xargs", "-0", "grep", "-lFa", "-f", str(patterns)]
    assert not subprocess.run(grep, input=files, capture_output=True).stdout
    assert files.count(b"\0") > 5000
    source = f"""
import json, os, sys
view, windows = sys.argv[1] + "/data", [bytes.fromhex(text) for text in {windows!r}]
open("ready", "w")
while not os.path.exists(view + "/train"):
    pass
found = []
for place, _, names in os.walk(sys.argv[1]):
    for name in names:
        content = open(place + "/" + name, "rb").read()
        found += [name for window in windows if window in content]
print(json.dumps([found, os.listdir(view), os.listdir(view + "/train")]))
"""
    candidate = Candidate(bench.trial_folder(0) / "train_gpt.py", SHORT.target, level)
    job = candidate.train(tmp_path / "job", LIMITS, corpus, corpus.folder / "train", 1)
    job = dataclasses.replace(job, command=(sys.executable, "-c", source, "{in}"))
    outcome = run(job)
    assert outcome.ok, (outcome, job.log.read_text()[-2000:])
    found, listed, shards = json.loads(job.log.read_text().splitlines()[-1])
    assert not found
    assert sorted(listed) == ["manifest.json", "tokenizer.model", "train"]
    assert shards == ["fineweb_train_000000.bin"]
