"""The folder that a job sees: its files are readable for the job's own user, whatever their modes are outside."""

import os

from helpers.sandbox import at_every_level, make_job, run_for_json


@at_every_level
def test_a_strict_umask_hides_nothing_from_a_job(tmp_path, level):
    source = "import json, sys; print(json.dumps(open(sys.argv[1] + '/view/shard').read()))"
    before = os.umask(0o077)
    try:
        (tmp_path / "view").mkdir()
        (tmp_path / "view" / "shard").write_text("mine")
        assert run_for_json(make_job(tmp_path, level, source, inputs={"view": tmp_path / "view"})) == "mine"
    finally:
        os.umask(before)


@at_every_level
def test_shards_that_only_their_owner_reads_are_copied(tmp_path, level):
    (tmp_path / "view").mkdir()
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "a.bin").write_text("tokens")
    (tmp_path / "shards" / "a.bin").chmod(0o600)
    source = """
import json, os, sys, time
open("ready", "w")
while not os.path.exists(sys.argv[1] + "/view/train"):
    time.sleep(0.01)  # the program polls for its shards, as base/ does
print(json.dumps(open(sys.argv[1] + "/view/train/a.bin").read()))
"""
    release = (tmp_path / "shards", "view")
    job = make_job(tmp_path, level, source, inputs={"view": tmp_path / "view"}, release=release)
    assert run_for_json(job) == "tokens"
    assert (tmp_path / "shards" / "a.bin").stat().st_mode & 0o777 == 0o600
