"""The image: found by any interpreter, replaced as a whole by a wipe, and a clear error where memory is short."""

import subprocess
import sys

import pytest
from helpers.sandbox import IMPORTS, LEVELS, at_every_level, run_in_new_venv
from helpers.tiny_profile import ROOT

from preflight.sandbox.image import image


@at_every_level
@pytest.mark.parametrize("linked", [False, True], ids=["in a folder", "behind a link"])
def test_an_interpreter_below_tmp_is_found(tmp_path, level, linked):
    """A checkout in /tmp, which every job sees empty; reached by a link, it is the same interpreter and image."""
    script = (
        f"{IMPORTS}from preflight.sandbox.image import image\n"
        f"job = Job((sys.executable, '-c', 'print(1 + 1)'), Path('job').resolve(), Limits(60, 60), level={level!r})\n"
        "print(run(job).ok, job.log.read_text().split(), image.ensure_image().root.exists())\n"
    )
    done = run_in_new_venv(tmp_path, script, linked)
    assert done.stdout.split() == ["True", "['2']", "True"], (done.stdout, done.stderr)


def test_a_wipe_leaves_one_image(tmp_path):
    """With an interpreter of its own, whose image no other test uses meanwhile."""
    source = """
from preflight.sandbox.image import image
with image.lease() as old:
    before = {path.stat().st_ino for path in old.root.iterdir()}
    image.wipe()
    assert old.root.exists(), "a job runs from it"
image.wipe()
with image.lease() as new:
    assert not before & {path.stat().st_ino for path in new.root.iterdir()}
    assert not old.root.exists()
    name = new.root.name.partition("-")[0]
    assert [path for path in new.root.parent.glob(f"{name}-*") if path.is_dir()] == [new.root]
"""
    done = run_in_new_venv(tmp_path, source)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_no_room_for_a_second_image_is_a_one_line_error(tmp_path):
    """In a /dev/shm with room for one and a half."""
    if "namespace" not in LEVELS:
        pytest.skip("bubblewrap is needed to have a small /dev/shm")
    size = sum(path.lstat().st_size for path in image.ensure_image().root.rglob("*") if path.is_file())
    source = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\nfrom common.errors import SandboxError\n"
        "from preflight.sandbox.image import image\nimage.ensure_image()\n"
        "try:\n    image.wipe()\nexcept SandboxError as error:\n    print(error)\n"
        "print(image.ensure_image().root.exists())"
    )
    command = ["bwrap", "--dev-bind", "/", "/", "--size", str(int(1.6 * size)), "--tmpfs", "/dev/shm", "--"]
    done = subprocess.run([*command, sys.executable, "-c", source], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "larger" in done.stdout
    assert done.stdout.endswith("True\n")
