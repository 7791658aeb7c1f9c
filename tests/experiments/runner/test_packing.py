"""Packing is entropy coding: an artifact decodes to the trained weights, so it cannot carry text for later."""

import dataclasses
import json

import pytest
from helpers.tiny_profile import proposal

from common.state import State
from experiments.ledger.usage import exceeded_limit
from experiments.trial.trial import run_trial

pytestmark = pytest.mark.trial

CODEC, MODEL = "base/codec.py", "base/model.py"
COMPRESS, DECOMPRESS = "    return zlib.compress(blob, 9)\n", "    return zlib.decompress(blob)\n"
HEAD = "import zlib\n"
NUMPY = "import zlib\n\nimport numpy as np\n"
TABLE = 1 << 20  # bytes of the counts, the weights of the counter

# Training appends the text to its weights, and packing learns from it
APPEND_TEXT = (
    MODEL,
    "    return counts\n",
    '    return np.concatenate([counts.ravel(), stream.astype("<u2").view(np.uint8)])\n',
)
LEARN = (
    "    counts = np.frombuffer(blob[:TABLE], dtype=np.uint8).astype(np.float32).reshape(1024, 1024)\n"
    '    text = np.frombuffer(blob[TABLE:], dtype="<u2").astype(np.int64)\n'
    "    np.add.at(counts, (text[:-1], text[1:]), 1.0)\n"
    "    return zlib.compress(np.clip(counts, 0, 255).astype(np.uint8).tobytes(), 9)\n"
).replace("TABLE", str(TABLE))

CHEATS = {
    "text behind the weights, learned from in packing": [APPEND_TEXT, (CODEC, HEAD, NUMPY), (CODEC, COMPRESS, LEARN)],
    "weights that packing sharpens": [
        (CODEC, HEAD, NUMPY),
        (
            CODEC,
            COMPRESS,
            "    counts = np.frombuffer(blob, dtype=np.uint8)\n"
            "    return zlib.compress(np.where(counts > 1, counts, 0).tobytes(), 9)\n",
        ),
    ],
    "a tail that is cut off": [
        (MODEL, "    return counts\n", "    return np.concatenate([counts.ravel(), counts.ravel()[:9]])\n"),
        (CODEC, COMPRESS, f"    return zlib.compress(blob[:{TABLE}], 9)\n"),
    ],
    "more than was packed": [(CODEC, DECOMPRESS, '    return zlib.decompress(blob) + b"x"\n')],
    "an artifact that decodes once": [
        (
            CODEC,
            DECOMPRESS,
            "    import sys\n\n    found = zlib.decompress(blob)\n"
            '    return found[:-1] + b"x" if "unpack" in sys.argv else found\n',
        )
    ],
}
CODERS = {
    "lzma": [
        (CODEC, HEAD, "import lzma\n"),
        (CODEC, COMPRESS, "    return lzma.compress(blob)\n"),
        (CODEC, DECOMPRESS, "    return lzma.decompress(blob)\n"),
    ],
    "columns first": [
        (CODEC, HEAD, NUMPY),
        (CODEC, COMPRESS, "    turned = np.frombuffer(blob, dtype=np.uint8).reshape(1024, 1024).T\n"
                          "    return zlib.compress(turned.tobytes(), 9)\n"),
        (CODEC, DECOMPRESS, "    turned = np.frombuffer(zlib.decompress(blob), dtype=np.uint8)\n"
                            "    return turned.reshape(1024, 1024).T.tobytes()\n"),
    ],
    "differences": [
        (CODEC, HEAD, NUMPY),
        (CODEC, COMPRESS, "    steps = np.diff(np.frombuffer(blob, dtype=np.uint8), prepend=np.uint8(0))\n"
                          "    return zlib.compress(steps.tobytes())\n"),
        (CODEC, DECOMPRESS, "    steps = np.frombuffer(zlib.decompress(blob), dtype=np.uint8)\n"
                            "    return np.cumsum(steps, dtype=np.uint8).tobytes()\n"),
    ],
}  # fmt: skip


@pytest.mark.usefixtures("unlinted")
@pytest.mark.parametrize(
    "name", [name if at < 2 else pytest.param(name, marks=pytest.mark.slow) for at, name in enumerate(CHEATS)]
)
def test_packing_that_is_more_than_coding_is_refused(run, budget, name):
    row = run_trial(run, proposal(run, *CHEATS[name]), budget)
    assert row.state is State.DISHONEST, row.detail
    assert "unpack" in row.detail


@pytest.mark.slow
@pytest.mark.usefixtures("unlinted")
def test_slow_unpacking_exceeds_the_budget_of_packing(run, budget):
    small = dataclasses.replace(run, tier=dataclasses.replace(run.tier, pack_cpu_seconds=1.0))
    spin = "    import sys, time\n\n    while 'unpack' in sys.argv and time.process_time() < 3:\n        pass\n"
    row = run_trial(small, proposal(run, (CODEC, DECOMPRESS, spin + DECOMPRESS)), budget)
    assert row.state is State.TIMEOUT_UNPACK, row.detail
    used, limit = json.loads(row.spent)["unpack_cpu_seconds"]
    assert limit == 1.0 < used
    assert exceeded_limit(row).startswith("unpack ")


def test_an_artifact_that_outgrows_the_cap_in_training_is_reported_with_its_bytes(run, budget):
    padded = "    return zlib.compress(blob, 9) + bytes(300_000 if sum(blob) > 5_000 else 0)\n"
    row = run_trial(run, proposal(run, (CODEC, COMPRESS, padded)), budget)
    assert row.state is State.OVERSIZE, row.detail
    used, limit = json.loads(row.spent)["artifact_bytes"]
    assert limit == run.tier.target.cap_bytes
    assert limit < used < limit + 150_000
    assert exceeded_limit(row) == f"artifact {used:,} of {limit:,} bytes"


@pytest.mark.parametrize(
    "name", [name if name == "lzma" else pytest.param(name, marks=pytest.mark.slow) for name in CODERS]
)
def test_another_coder_is_accepted(run, budget, name):
    edits = [*CODERS[name], (MODEL, "+ 0.1\n", "+ 0.10001\n")]
    row = run_trial(run, proposal(run, *edits), budget)
    assert row.state in (State.KEPT, State.DISCARDED, State.REVERTED), row.detail
