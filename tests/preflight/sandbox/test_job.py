"""Collecting an output file: only a small plain file is accepted, and only the copy is used."""

import pytest
from helpers.sandbox import at_every_level, make_job

from common.errors import Refused
from preflight.sandbox.job import collect_output
from preflight.sandbox.start import run

RESULTS = {
    "symlink": "os.symlink('/etc/hostname', 'result')",
    "pipe": "import contextlib\nwith contextlib.suppress(OSError): os.mkfifo('result')",
    "folder": "os.mkdir('result')",
    "second name": "open('x', 'w').write('x'); os.link('x', 'result')",
    "too large": "open('result', 'wb').write(bytes(2000))",
    "sparse": "open('result', 'wb').truncate(1 << 30)",
    "missing": "pass",
}


@at_every_level
@pytest.mark.parametrize("name", RESULTS)
def test_only_a_small_plain_file_is_accepted(tmp_path, level, name):
    job = make_job(tmp_path, level, "import os\n" + RESULTS[name])
    assert run(job).ok
    with pytest.raises(Refused, match="result"):
        collect_output(job.out, "result", 1000, tmp_path / "store")
    assert not (tmp_path / "store").exists()


@at_every_level
def test_a_file_replaced_later_does_not_change_the_copy(tmp_path, level):
    job = make_job(tmp_path, level, "open('result', 'w').write('first')")
    assert run(job).ok
    digest = collect_output(job.out, "result", 1000, tmp_path / "store")
    (job.out / "result").write_text("later")
    assert (tmp_path / "store").read_text() == "first"
    assert collect_output(tmp_path, "store", 1000, tmp_path / "again") == digest
