"""Tests of the pocket corpus: the pinned archive's text, or the installed Python's own source."""

import subprocess
import sys
from pathlib import Path

import pytest
from helpers.tiny_profile import ROOT

from data import pocket
from data.corpus import Corpus


def test_the_pocket_corpus_is_the_pinned_archives_text():
    corpus = Corpus.open(ROOT / "shards" / "pocket", verify=True)
    assert corpus.manifest.vocab_size == 1024
    if corpus.manifest.trials_can_read_text:
        pytest.skip("built offline from the installed Python's source")
    assert pocket.ARCHIVE_SHA256 in corpus.manifest.source
    shares = {split: count / sum(corpus.manifest.tokens.values()) for split, count in corpus.manifest.tokens.items()}
    assert shares["train"] == pytest.approx(0.9, abs=0.03)


@pytest.mark.slow
def test_the_offline_corpus_says_that_trials_can_read_it(tmp_path):
    command = [sys.executable, "-m", "data", "pocket", "--folder", str(tmp_path / "pocket"), "--offline"]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    corpus = Corpus.open(tmp_path / "pocket", verify=True)
    assert corpus.manifest.trials_can_read_text
    assert not Path(tmp_path / "pocket.part").exists()
