"""Tests of doctor in containers that restrict mounts, namespaces or Landlock."""

import platform
import sys

import pytest
from helpers.doctor import doctor, red_line
from helpers.tiny_profile import ROOT

from preflight.sandbox.isolation.levels import available_levels

CONTAINER = """
import os, struct, sys
sys.path.insert(0, {root!r})
from preflight.sandbox.isolation import landlock
steps = [(0x20, 0, 0, 0)]  # load the system call's number; forbid mount, unshare, setns and Landlock's own three
for number in (*{numbers}, *((444, 445, 446) if {without_landlock} else ())):
    steps += [(0x15, 0, 1, number), (0x06, 0, 0, 0x00050001)]
landlock.libc.prctl(landlock.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
landlock.filter_system_calls(b"".join(struct.pack("=HBBI", *step) for step in [*steps, (0x06, 0, 0, 0x7FFF0000)]))
os.execv(sys.argv[1], sys.argv[1:])
"""


def container(without_landlock: bool) -> tuple[str, ...]:
    """Return a command that forbids mounts and namespaces, as most containers do, and optionally Landlock."""
    numbers = {"x86_64": (165, 272, 308), "aarch64": (40, 97, 268)}[platform.machine()]
    return (sys.executable, "-c", CONTAINER.format(root=str(ROOT), numbers=numbers, without_landlock=without_landlock))


@pytest.mark.torch
@pytest.mark.skipif("landlock" not in available_levels(), reason="this kernel has no Landlock")
def test_a_container_without_namespaces_is_green_with_landlock(repo):
    status, text = doctor(repo, wrapper=container(without_landlock=False))
    assert status == 0, text
    assert "sandbox     landlock" in text
    assert "note    residue" in text  # failed name lookups: pocket notes them, an expensive profile refuses
    status, text = doctor(repo, "--profile", "h100", wrapper=container(without_landlock=False))
    assert "bad     residue" in text
    assert "or --unsafe" in text


@pytest.mark.slow
def test_a_container_without_any_isolation_is_red(repo):
    status, text = doctor(repo, wrapper=container(without_landlock=True))
    assert status == 2
    assert "bubblewrap" in red_line(text, "sandbox")
    _, text = doctor(repo, "--level", "none", wrapper=container(without_landlock=True))
    assert "ok    sandbox     none" in text  # only on request
