"""Every preset at pocket width trains, packs and scores behind the walls, compiled and not: none asks for more."""

import dataclasses
import json

import pytest
from support import ROOT

from experiments.golden import prepared
from preflight import bundle, size, smoke
from preflight.phases import Candidate
from preflight.sandbox import Limits
from preflight.sandbox.isolation import available_levels
from preflight.targets import POCKET
from preflight.tree import read_folder

pytestmark = [pytest.mark.slow, pytest.mark.torch]
WALLED = [level for level in available_levels() if level != "none"]
PRESETS = sorted(path.stem for path in (ROOT / "tests" / "base" / "golden").glob("*.txt"))
BASE = read_folder(ROOT)
# The first forward and backward pass are compiled before the clock starts: minutes, on a busy machine
PATIENT = Limits(wall_seconds=600, cpu_seconds=900, setup_seconds=900, setup_cpu_seconds=900)


def test_these_are_all_presets():
    with prepared(BASE, WALLED[0]) as golden:
        assert sorted(golden.presets("pocket")) == PRESETS


@pytest.mark.parametrize("compiled", ["0", "1"], ids=["eager", "compiled"])
@pytest.mark.parametrize("level", WALLED)
@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_passes(preset, level, compiled, tiny_corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(smoke, "LIMITS", PATIENT)
    environment = {**POCKET.environment, "COMPILE": compiled}
    target = dataclasses.replace(POCKET, preset=preset, cap_bytes=1 << 20, environment=environment)
    program = tmp_path / bundle.NAME
    program.write_bytes(bundle.build(BASE))
    candidate, work = Candidate(program, target, level), tmp_path / "work"
    assert json.loads(size.knobs(candidate, tmp_path / "describe"))["compile"] is (compiled == "1")
    artifact = smoke.pack(candidate, work, smoke.train(candidate, tiny_corpus, work, (7,))[0])
    assert smoke.converse(candidate, tiny_corpus, work, artifact).largest_difference_nats < 1e-4
