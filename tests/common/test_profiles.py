"""Tables of profiles.toml: shipped ones are valid, a wrong key or value is one line, and a run brings one back."""

import json

import pytest

from common.errors import CaddieError
from common.limits import ARTIFACT_BYTES
from common.profiles import ProfileTable, read_profiles
from experiments.tiers import Profile

SHIPPED = read_profiles()


def test_the_shipped_profiles_are_those_that_docs_name():
    assert list(SHIPPED) == ["pocket", "laptop", "one_gpu", "h100", "8xh100"]
    assert all(table.about and table.artifact_bytes <= ARTIFACT_BYTES for table in SHIPPED.values())


@pytest.mark.parametrize("name", SHIPPED)
def test_a_table_survives_a_ledger(name):
    table = SHIPPED[name]
    assert ProfileTable.from_plain(name, json.loads(json.dumps(table.plain()))) == table
    assert Profile.of(table).tier.target.preset == table.preset


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"steps": "many"}, "steps: got 'many', expected a whole number"),
        ({"steps": 100, "minutes": 5}, "expected one of steps and minutes"),
        ({}, "expected one of steps and minutes"),
        ({"steps": 100, "gpus": 9}, "gpus: got 9, expected 0 to 8"),
        ({"steps": 100, "gpu_count": 1}, "unknown key gpu_count, expected one of about, gpus"),
        ({"steps": True}, "steps: got True"),
        ({"steps": 100, "artifact_bytes": 20_000_000}, "artifact_bytes: got 20000000, expected 1,000 to 16,000,000"),
        ({"steps": 100, "proxy": 5}, "proxy: got 5, expected a table"),
        ({"steps": 100, "proxy": {"stops": 5}}, "proxy: unknown key stops"),
        ({"minutes": 11.0}, "minutes: got 11.0, expected more than 0, at most 10"),
    ],
)
def test_a_wrong_table_is_one_line(values, words):
    with pytest.raises(CaddieError, match="profile mine") as error:
        ProfileTable.from_plain("mine", values)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_a_broken_file_is_one_line(tmp_path):
    for text, words in (("[mine", "expected TOML"), ("mine = 3", "expected a table")):
        (tmp_path / "profiles.toml").write_text(text)
        with pytest.raises(CaddieError, match=words):
            read_profiles(tmp_path / "profiles.toml")


def test_a_gpu_ends_by_the_clock_and_a_cpu_by_steps():
    gpu = Profile.of(ProfileTable("mine", gpus=2, preset="one_gpu", minutes=3.0)).tier
    assert gpu.target.ranks == 2
    assert gpu.target.environment["MAX_WALLCLOCK_SECONDS"] == "180"
    assert gpu.train_wall_seconds == 190
    assert not gpu.equal_compute
    cpu = Profile.of(ProfileTable("mine", threads=4, steps=50, vocab_size=2048, settings={"EVAL_STRIDE": "32"})).tier
    environment = cpu.target.environment
    assert (environment["OMP_NUM_THREADS"], environment["MAX_WALLCLOCK_SECONDS"]) == ("4", "0")
    assert (environment["VOCAB_SIZE"], environment["EVAL_STRIDE"], environment["ITERATIONS"]) == ("2048", "32", "50")
    assert cpu.equal_compute


def test_another_training_time_brings_its_limits_along():
    pocket, one_gpu = SHIPPED["pocket"].changed(minutes=5.0), SHIPPED["one_gpu"].changed(minutes=10.0)
    assert (pocket.steps, pocket.minutes) == (None, 5.0)
    assert pocket.longest_minutes > 5.0
    assert pocket.measurement_minutes > 5.0
    assert one_gpu.measurement_minutes == SHIPPED["one_gpu"].measurement_minutes + 5.0
    assert SHIPPED["pocket"].changed() == SHIPPED["pocket"]


@pytest.mark.parametrize("settings", [{"EVAL_STRIDE": 32}, {"LD_PRELOAD": "x"}, {"eval_stride": "32"}, {"A B": "1"}])
def test_settings_are_knobs_as_text(settings):
    with pytest.raises(CaddieError, match="settings: got .*, expected the name of a knob in capitals"):
        ProfileTable.from_plain("mine", {"steps": 100, "settings": settings})


def test_a_larger_vocabulary_gets_room_for_its_pieces():
    pocket = SHIPPED["pocket"]
    assert pocket.with_vocabulary(1_024).artifact_bytes == pocket.artifact_bytes
    assert pocket.with_vocabulary(260).artifact_bytes == pocket.artifact_bytes
    assert pocket.with_vocabulary(2_048).artifact_bytes == pocket.artifact_bytes + 1_024 * pocket.piece_bytes
    assert SHIPPED["8xh100"].with_vocabulary(8_192).artifact_bytes == ARTIFACT_BYTES
