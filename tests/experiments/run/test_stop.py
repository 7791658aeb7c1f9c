"""The file STOP ends the runs that it names, or any run, once; a forgotten one is reported before a run starts."""

import json

import pytest
from helpers.runs import request, run_command

from experiments.doctor.repository import stop_file
from experiments.doctor.result import BAD
from experiments.run import stop


def test_a_forgotten_stop_is_red_and_ends_no_run(repo):
    root = repo
    for name in ("night", "other"):
        (root / "trials" / name).mkdir(parents=True)
    assert not list(stop_file(request(root)))
    (root / "STOP").write_text("other\n")
    assert not list(stop_file(request(root)))
    (root / "STOP").write_text("other night\n")
    (line,) = stop_file(request(root))
    assert line.state == BAD
    assert "rm " in line.fix
    done = run_command(root, "run", "--run", "night", "--profile", "tiny", "--trials", "1")
    assert done.returncode == 2
    assert "a file STOP is here since" in done.stdout
    assert (root / "STOP").exists()
    status = json.loads(run_command(root, "status", "--run", "night", "--json").stdout)
    assert not status["states"], "not even a baseline"


@pytest.mark.parametrize("words", [b"", b"please", b"Mon Nov 30 14:00", "night".encode("utf-16"), b"../x", b"\xff\0"])
def test_words_that_name_no_run_stop_the_first_run_that_sees_them(tmp_path, words):
    (tmp_path / "trials" / "night").mkdir(parents=True)
    (tmp_path / "STOP").write_bytes(words)
    assert stop.is_requested(tmp_path / "STOP", "night")
    stop.acknowledge(tmp_path / "STOP", "night")
    assert not (tmp_path / "STOP").exists()


def test_a_stop_that_cannot_be_removed_is_reported(tmp_path):
    (tmp_path / "STOP" / "x").mkdir(parents=True)
    assert stop.is_requested(tmp_path / "STOP", "night")
    assert "cannot be removed (Is a directory): rm -r STOP" in stop.acknowledge(tmp_path / "STOP", "night")


def test_a_stop_names_its_runs_and_stops_each_once(tmp_path):
    for name in ("night", "other"):
        (tmp_path / "trials" / name).mkdir(parents=True)
    file = tmp_path / "STOP"
    assert not stop.is_requested(file, "night")
    file.write_text("night other")
    assert stop.is_requested(file, "night")
    assert stop.acknowledge(file, "night") == "the file STOP asked run night to, and has been updated"
    assert not stop.is_requested(file, "night")
    assert stop.is_requested(file, "other")
    assert stop.acknowledge(file, "other").endswith("removed")
    assert not file.exists()
    file.touch()
    assert stop.is_requested(file, "any")
    stop.acknowledge(file, "any")
    assert not file.exists()
