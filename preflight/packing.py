"""From weights to an artifact: entropy coding and nothing else, as unpacking it again shows.

What training leaves behind may be large, and packing has time of its own. Were an artifact allowed to hold anything but
those weights, raw text could be handed on in them and learned from there, outside the clock. It decodes to them byte
for byte, so that text would need its room in the artifact.
"""

import hashlib
from pathlib import Path

from data.errors import Refused
from data.state import State
from preflight.phases import Candidate, require
from preflight.sandbox import Job, Limits, Outcome, run, take


def _taken(candidate: Candidate, packing: Job, artifact: Path, slack: float) -> str:
    """The artifact, if it fits beside the code."""
    code_bytes, cap_bytes = candidate.bundle.stat().st_size, candidate.target.cap_bytes
    try:
        return take(packing.out, "artifact.bin", int(cap_bytes / slack) - code_bytes, artifact)
    except Refused as refusal:
        if refusal.verdict is not State.OVERSIZE:
            raise
        total = code_bytes + int(refusal.spent["artifact_bytes"][0])
        message = f"pack: got {total:,} bytes with the code, expected at most {cap_bytes:,}"
        raise Refused(refusal.verdict, message, spent={"artifact_bytes": (total, cap_bytes)}) from refusal


def pack(
    candidate: Candidate,
    folders: tuple[Path, Path],
    limits: Limits,
    weights: Path,
    artifact: Path,
    slack: float = 1.0,
) -> tuple[Outcome, Outcome, str]:
    """Write `artifact`; returns how packing and unpacking went and the artifact's sha256. Raises Refused.

    `folders` are those of the two jobs, each of which has `limits`. It may be `slack` times smaller in the end.
    """
    packing = candidate.pack(folders[0], limits, weights)
    packed = run(packing)
    require(packing, packed, "pack")
    sha256 = _taken(candidate, packing, artifact, slack)
    before = weights.read_bytes()
    unpacking = candidate.unpack(folders[1], limits, artifact)
    unpacked = run(unpacking)
    require(unpacking, unpacked, "unpack")
    after = artifact.with_suffix(".unpacked")
    try:
        same = take(unpacking.out, "weights.bin", len(before), after) == hashlib.sha256(before).hexdigest()
    except Refused:  # more bytes, or none
        same = False
    finally:
        after.unlink(missing_ok=True)
    if not same:
        message = "unpack: got other bytes than were packed, expected weights.bin: packing is entropy coding"
        raise Refused(State.DISHONEST, message)
    return packed, unpacked, sha256
