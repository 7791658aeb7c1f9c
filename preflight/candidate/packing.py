"""Packing of weights into an artifact, verified to be coding alone by unpacking it again.

Training may leave large weights behind, and packing has its own limits. If the artifact could differ from the weights,
training could store raw text in them for packing to learn from, outside the training clock. The artifact must decode
to the weights byte for byte, so such text would take up space in the artifact. One change is allowed, because nothing
can be learnt in it: integers of +1 and -1 become 0, in an order that follows from the weights, to fit the cap. What was
pruned cost the artifact nothing and may itself have been text, so only the number is taken from that packing: the
harness prunes, and another process, which never saw the rest, packs what is left byte for byte.
"""

from pathlib import Path

from common.errors import Refused
from common.state import State
from preflight.candidate.candidate import Candidate, raise_for_outcome
from preflight.candidate.weights_file import pruned_count
from preflight.sandbox.cleanup import remove_tree
from preflight.sandbox.job import Job, Limits, Outcome, collect_output
from preflight.sandbox.start import run

MAX_PACKINGS = 4  # until one prunes nothing: packed anew, pruned weights may miss the cap by a few bytes


def _collect_artifact(candidate: Candidate, packing: Job, artifact: Path, slack: float) -> str:
    """Copy the artifact if it fits the cap together with the code; return its sha256, or raise Refused."""
    code_bytes, cap_bytes = candidate.bundle.stat().st_size, candidate.target.cap_bytes
    try:
        return collect_output(packing.out, "artifact.bin", int(cap_bytes / slack) - code_bytes, artifact)
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
    """Pack `weights` into `artifact` and verify that it unpacks to the same bytes, pruned at most.

    Args:
        candidate: The program, which packs and unpacks.
        folders: Folders of the two jobs.
        limits: Limits of each job.
        weights: What training left behind.
        artifact: Where to write the artifact.
        slack: Accept up to 1 / `slack` times the cap, code included.

    Returns:
        The outcomes of packing and unpacking, and the artifact's sha256.

    Raises:
        Refused: A job failed, the artifact is too large, or it unpacks to other bytes.
    """
    pruned, source = artifact.with_suffix(".pruned"), weights
    try:
        for _ in range(MAX_PACKINGS):
            packed, unpacked, sha256, after = _pack_once(candidate, folders, limits, source, artifact, slack)
            if after is None:
                return packed, unpacked, sha256
            pruned.write_bytes(after)
            source = pruned
            for folder in folders:
                remove_tree(folder)
    finally:
        pruned.unlink(missing_ok=True)
    raise Refused(State.CRASH, f"pack: pruned in each of {MAX_PACKINGS} packings, expected one that need not")


def _pack_once(
    candidate: Candidate, folders: tuple[Path, Path], limits: Limits, weights: Path, artifact: Path, slack: float
) -> tuple[Outcome, Outcome, str, bytes | None]:
    """Pack and unpack; returns the outcomes, the artifact's sha256, and the weights as pruned, None if they were not.

    Raises Refused.
    """
    packing = candidate.pack(folders[0], limits, weights)
    packed = run(packing)
    raise_for_outcome(packing, packed, "pack")
    sha256 = _collect_artifact(candidate, packing, artifact, slack)
    before = weights.read_bytes()
    unpacking = candidate.unpack(folders[1], limits, artifact)
    unpacked = run(unpacking)
    raise_for_outcome(unpacking, unpacked, "unpack")
    copy = artifact.with_suffix(".unpacked")
    try:
        collect_output(unpacking.out, "weights.bin", len(before), copy)
        after = copy.read_bytes()
    except Refused:  # more bytes, or none
        after = b""
    finally:
        copy.unlink(missing_ok=True)
    if pruned_count(before, after) is None:
        message = "unpack: got other bytes than were packed, expected weights.bin, or that pruned to fit in its order"
        raise Refused(State.DISHONEST, message)
    return packed, unpacked, sha256, after if after != before else None
