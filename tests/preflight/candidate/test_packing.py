"""Packing in the sandbox: what it may change, and that what it pruned away has taught the artifact nothing."""

import numpy as np
import pytest

from base.compress import container
from common.errors import Refused
from common.state import State
from preflight.candidate import packing
from preflight.candidate.candidate import Candidate
from preflight.candidate.launch import LaunchConfig
from preflight.sandbox.isolation.levels import available_levels
from preflight.sandbox.job import Limits

pytestmark = pytest.mark.sandbox
LIMITS = Limits(wall_seconds=60, cpu_seconds=30)
PROGRAM = """
import json, sys
phase, options = sys.argv[1], dict(zip(sys.argv[2::2], sys.argv[3::2]))
def parts(blob):
    length = int.from_bytes(blob[5:9], "little")
    return blob[:9 + length], bytearray(blob[9 + length:])
if phase == "pack":
    blob = open(options["--weights"], "rb").read()
    header, body = parts(blob)
    {learn}
    open(options["--out"], "wb").write(bytes([len(learnt)]) + learnt + header + bytes(body))
else:
    blob = open(options["--artifact"], "rb").read()
    open(options["--out"], "wb").write(blob[1 + blob[0]:])
"""
TEXT = np.where(np.unpackbits(np.frombuffer(b"what was read in training", np.uint8)), 1, -1).astype(np.int8)


def weights(folder):
    """A matrix, and text as signs of the smallest scale, which are pruned first."""
    arrays = {"w:q": np.full((3, 8), 5, np.int8), "w:scale": np.ones(3, np.float16)}
    arrays |= {"a:q": TEXT.reshape(1, -1).copy(), "a:scale": np.full(1, 1e-7, np.float16)}
    path = folder / "weights.bin"
    path.write_bytes(container.dump({}, arrays))
    return path


def pack(folder, learn):
    program = folder / "train_gpt.py"
    program.write_text(PROGRAM.replace("{learn}", learn))
    candidate = Candidate(program, LaunchConfig("none", 100_000), available_levels()[0])
    artifact = folder / "artifact.bin"
    packing.pack(candidate, (folder / "pack", folder / "unpack"), LIMITS, weights(folder), artifact)
    return artifact.read_bytes()


def test_packing_that_changes_nothing_is_taken_as_it_is(tmp_path):
    assert pack(tmp_path, 'learnt = b"!"').startswith(b"\x01!")


def test_what_was_pruned_away_has_taught_the_artifact_nothing(tmp_path):
    """It reads text in integers that it then prunes, which cost nothing, and keeps what it learnt elsewhere."""
    text = f"body[8:{8 + TEXT.size}]"  # behind four scales
    learn = f"learnt = bytes(x == 1 for x in {text}); {text} = bytes({TEXT.size})"
    artifact = pack(tmp_path, learn)
    assert artifact[0] == TEXT.size
    assert not any(artifact[1 : 1 + TEXT.size]), "packed again from what is left"


@pytest.mark.parametrize(
    "learn",
    [
        f"learnt = b''; body[9:{8 + TEXT.size}:2] = bytes({TEXT.size // 2})",  # a choice of its own
        "learnt = b''; body[0] = 7",
        "learnt = b''; body[-1] = 7",
        "learnt = b''; body += b'x'",
    ],
)
def test_any_other_change_is_refused(tmp_path, learn):
    with pytest.raises(Refused, match="unpack") as refused:
        pack(tmp_path, learn)
    assert refused.value.verdict is State.DISHONEST


def test_one_that_never_stops_pruning_is_refused(tmp_path):
    one_less = f"learnt = b''; ones = [i for i in range(8, {8 + TEXT.size}) if body[i]]; body[ones[0]] = 0"
    with pytest.raises(Refused, match="in each of 4 packings"):
        pack(tmp_path, one_less)


def test_a_second_pruning_is_no_lie(tmp_path):
    """Packed anew, what was pruned may miss the cap by a byte: the last of all packings prunes nothing."""
    twice = f"learnt = b''; ones = [i for i in range(8, {8 + TEXT.size}) if body[i]]"
    twice += f"; body[ones[0]] = 0 if len(ones) > {TEXT.size - 2} else body[ones[0]]"
    assert pack(tmp_path, twice).count(0) > 0
