"""Tests of every preset at pocket width: it trains, packs and scores in the sandbox, eager and compiled."""

import dataclasses
import json

import pytest
from helpers.base_tree import BASE
from helpers.tiny_profile import ROOT

from common.profiles import read_profiles
from experiments.promotion.golden import bundled
from preflight import smoke
from preflight.candidate import describe
from preflight.candidate.candidate import Candidate
from preflight.candidate.launch import launch_config
from preflight.sandbox.isolation.levels import available_levels
from preflight.sandbox.job import Limits
from preflight.source import bundle

POCKET = launch_config(read_profiles()["pocket"])

pytestmark = [pytest.mark.slow, pytest.mark.torch]
ISOLATED = [level for level in available_levels() if level != "none"]
PRESETS = sorted(path.stem for path in (ROOT / "tests" / "base" / "golden").glob("*.txt"))
# The first forward and backward pass are compiled before the clock starts, which takes minutes on a busy machine
GENEROUS = Limits(wall_seconds=600, cpu_seconds=900, setup_seconds=900, setup_cpu_seconds=900)


def test_the_golden_files_cover_all_presets():
    with bundled(BASE, ISOLATED[0]) as golden:
        assert sorted(golden.presets("pocket")) == PRESETS


# Each preset at every level eagerly. Compiling takes minutes: the least and the largest preset, each at one level.
COMPILED = ("pocket", "challenge_pocket")
CASES = [(preset, level, "0") for preset in PRESETS for level in ISOLATED]
CASES += [(preset, ISOLATED[number % len(ISOLATED)], "1") for number, preset in enumerate(COMPILED) if ISOLATED]


@pytest.mark.parametrize(
    ("preset", "level", "compiled"),
    CASES,
    ids=[f"{preset}-{level}-{'compiled' if compiled == '1' else 'eager'}" for preset, level, compiled in CASES],
)
def test_a_preset_passes(preset, level, compiled, tiny_corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(smoke, "LIMITS", GENEROUS)
    environment = {**POCKET.environment, "COMPILE": compiled}
    target = dataclasses.replace(POCKET, preset=preset, cap_bytes=1 << 20, environment=environment)
    program = tmp_path / bundle.NAME
    program.write_bytes(bundle.build(BASE))
    candidate, work = Candidate(program, target, level), tmp_path / "work"
    assert json.loads(describe.knobs_json(candidate, tmp_path / "describe")[0])["compile"] is (compiled == "1")
    artifact = smoke.pack(candidate, work, smoke.train(candidate, tiny_corpus, work, (7,))[0])
    assert smoke.score_and_audit(candidate, tiny_corpus, work, artifact).largest_difference_nats < 1e-4
