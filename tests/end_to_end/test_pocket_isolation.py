"""No held-out text of the pocket corpus can be read inside the sandbox."""

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest
import sentencepiece
from helpers.pocket import SHORT
from helpers.tiny_profile import ROOT

from data.corpus import Corpus
from preflight.candidate.candidate import Candidate
from preflight.sandbox.image import image
from preflight.sandbox.isolation.levels import available_levels
from preflight.sandbox.job import Limits
from preflight.sandbox.start import run as run_job

pytestmark = [pytest.mark.slow, pytest.mark.torch]

LIMITS = Limits(wall_seconds=120, cpu_seconds=120)
SEARCH = """
import json, os, sys
view, windows = sys.argv[1] + "/data", [bytes.fromhex(text) for text in WINDOWS]
open("ready", "w")
while not os.path.exists(view + "/train"):
    pass
found = []
for folder, _, names in os.walk(sys.argv[1]):
    for name in names:
        content = open(folder + "/" + name, "rb").read()
        found += [name for window in windows if window in content]
print(json.dumps([found, os.listdir(view), os.listdir(view + "/train")]))
"""


@pytest.mark.parametrize("level", [level for level in available_levels() if level != "none"])
def test_no_held_out_text_is_readable_in_the_sandbox(pocket, tmp_path, level):
    """64-byte windows of dev and validation, as text and as tokens, against every file a trial can read."""
    run, _ = pocket
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
    used_image = image.ensure_image()
    by_path = used_image.loaded_by_path() if level == "landlock" else ()
    roots = [used_image.root, *by_path]  # all that a job is shown of the machine
    files = subprocess.run(["find", "-H", *roots, "-type", "f", "-size", "-2M", "-print0"], capture_output=True).stdout
    grep = ["xargs", "-0", "grep", "-lFa", "-f", str(patterns)]
    assert not subprocess.run(grep, input=files, capture_output=True).stdout
    assert files.count(b"\0") > 5000

    candidate = Candidate(run.trial_folder(0) / "train_gpt.py", SHORT.target, level)
    job = candidate.train(tmp_path / "job", LIMITS, corpus, corpus.folder / "train", 1)
    source = SEARCH.replace("WINDOWS", repr(windows))
    job = dataclasses.replace(job, command=(sys.executable, "-c", source, "{in}"))
    outcome = run_job(job)
    assert outcome.ok, (outcome, job.log.read_text()[-2000:])
    found, listed, shards = json.loads(job.log.read_text().splitlines()[-1])
    assert not found
    assert sorted(listed) == ["manifest.json", "tokenizer.model", "train"]
    assert shards == ["fineweb_train_000000.bin"]
