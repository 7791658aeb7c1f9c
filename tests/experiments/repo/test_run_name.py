"""A run's name is valid as a folder and in git refs, or it is refused before anything is written."""

import pytest
from helpers.runs import run_command, start_run

from common.errors import CaddieError
from experiments.repo.run_name import checked_name


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../x",
        "a/b",
        "/tmp/x",
        "-n",
        "a b",
        "a..b",
        "x.lock",
        "x.",
        "a~b",
        "a:b",
        "a\nb",
        "é",
        "@{",
        "x" * 65,
    ],
)
def test_a_name_that_git_or_a_folder_does_not_take_is_refused(repo, name):
    before = sorted(repo.parent.rglob("*"))
    with pytest.raises(CaddieError, match="got run"):
        start_run(repo, name)
    commands = ["run", f"--run={name}"], ["status", f"--run={name}"], ["restore", ".", name], ["finalize", name]
    for command in commands if name in ("../x", "a b") else ():
        done = run_command(repo, *command)
        assert done.returncode == 2, command
        assert "got run" in done.stdout
    assert sorted(repo.parent.rglob("*")) == before, "nothing has been written"


def test_names_that_are_in_use_stay_valid():
    for name in ("demo", "night-2", "2026-11-30", "a.b_c", "X"):
        assert checked_name(name) == name
