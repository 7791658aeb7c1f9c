"""All checks of a record folder, ours or anyone's, without running anything in it.

They cover the files, the JSON's schema, agreement of README, JSON and logs, the script as it is shipped and its real
size with all files it reads, byte caps and time limits, that all seeds share one configuration, the bytes of text that
the losses imply, and the p-value. The challenge's rules, and what its maintainers tolerate, are in rules.md sections 1,
2, 7, 8, 9.
"""

from pathlib import Path
from statistics import fmean

from common.limits import ARTIFACT_BYTES, EVALUATION_SECONDS, RECORD_SEEDS, TEXT_BYTES, TEXT_TOLERANCE, TRAIN_SECONDS
from common.text import one_line
from preflight.records import readme, script, submission
from preflight.records.claims import Claimed, Claims, decimals, seed_from_name
from preflight.records.folder import TEN_MINUTES, Folder, read
from preflight.records.logs import Log
from preflight.records.submission import Submission

TOLERANCE_SECONDS = 1.0  # official logs stop up to 0.14 s late; more than 1 s was challenged (rules.md section 2)
BYTES_PER_TOKEN = {"sp1024": 2.4359, "sp4096": 3.3197, "sp8192": 3.72663, "CaseOps": 3.15715, "byte260": 1.0}
LN2 = 0.6931471805599453


def check(path: Path) -> Folder:
    """Run all checks on one folder and return it with its findings; raises OSError if it cannot be read.

    Example:
        >>> record = check(Path("records/track_10min_16mb/2026-01-01_Fine"))
        >>> for finding in record.findings:
        ...     print(finding)
    """
    folder = Folder(path.resolve())
    read(folder)
    if folder.submission:
        track = (folder.submission.track or "").replace("-", "_").removeprefix("track_")
        if folder.track == TEN_MINUTES and "non_record" in track:
            folder.complain(
                "schema", "submission.json", f"track {one_line(track, 60)}", f"that of its folder, {TEN_MINUTES}"
            )
        folder.claimed = Claims(folder.submission, folder.logs, folder.complain, folder.notes).check()
        _readme(folder, folder.submission)
    scores = sum(run.final is not None for run in folder.claimed.values())
    if folder.timed and 0 < scores < RECORD_SEEDS:
        folder.notes.append(f"its score rests on {scores} log{'s' * (scores > 1)}; {RECORD_SEEDS} seeds are usual")
    folder.claimed = folder.claimed or {name: Claimed(log, log.final) for name, log in folder.logs.items()}
    _bytes(folder)
    _one_configuration(folder)
    for name, log in folder.logs.items():
        if log.not_finite and (name in folder.claimed or not log.finals):
            folder.complain("numbers", name, f"{log.not_finite}, the last score it prints", "a number")
        elif log.not_finite:
            folder.notes.append(f"{name}: not claimed; it ends with {log.not_finite}")
        if folder.timed:
            _clocks(folder, name, log)
    for name, run in folder.claimed.items():
        _text_bytes(folder, name, run)
    return folder


def _readme(folder: Folder, claim: Submission) -> None:
    """Check the README's headline and tables against the JSON and the logs."""
    if folder.readme:
        seeds: dict[int, list[float]] = {}
        for name, run in folder.claimed.items():
            seed = run.log.seed if run.log.seed is not None else seed_from_name(name)
            if seed is not None and run.final:
                seeds[seed] = [*(final.val_bpb for final in run.log.finals), run.final.val_bpb]
        val_bpb = claim.val_bpb if claim.val_bpb != submission.MISSING_BPB else None
        readme.check(folder.readme, val_bpb, seeds, folder.complain)


def _bytes(folder: Folder) -> None:
    """Check claimed, logged and real bytes against the cap, and the script's size against the one that was logged."""
    claim = folder.submission
    if claim and claim.bytes_total and claim.bytes_total > ARTIFACT_BYTES:
        folder.complain("oversize", "submission.json", f"bytes_total {claim.bytes_total:,}", f"{ARTIFACT_BYTES:,}")
    logs = {name: run.log for name, run in folder.claimed.items()}
    shipped = script.examine(folder.path, [log.code_bytes for log in logs.values() if log.code_bytes])
    folder.findings += shipped.findings
    folder.notes += shipped.notes
    for name, log in logs.items():
        if log.total_bytes and log.total_bytes > ARTIFACT_BYTES:
            folder.complain("oversize", name, f"{log.total_bytes:,} bytes by its own log", f"{ARTIFACT_BYTES:,}")
        if not shipped.main:
            continue
        if log.model_bytes and (real := log.model_bytes + shipped.code_bytes) > ARTIFACT_BYTES:
            parts = ", ".join(f"{part} {size:,}" for part, size in shipped.parts.items())
            got = f"{real:,} bytes: model {log.model_bytes:,}, {parts}"
            folder.complain("oversize", name, got, f"{ARTIFACT_BYTES:,} with the code as it is shipped")
        ran = {log.code_bytes, log.packed_code_bytes} - {None}
        if ran and not ran & {*shipped.sizes.values(), shipped.code_bytes}:
            sizes = " or ".join(f"{size:,}" for size in sorted(filter(None, ran)))
            present = ", ".join(f"{part} {size:,}" for part, size in shipped.sizes.items())
            folder.complain("script", name, f"a run of {sizes} bytes of code", f"a script of the folder: {present}")
    if claim and shipped.main:
        _code(folder, claim, shipped)
    if claim and claim.bytes_total and (totals := _totals(folder, claim, shipped.main_bytes)):
        if claim.bytes_total not in totals:
            near = min(totals, key=lambda total: abs(total - (claim.bytes_total or 0)))
            folder.complain(
                "bytes", "submission.json", f"bytes_total {claim.bytes_total:,}", f"{near:,} as in the logs"
            )


def _code(folder: Folder, claim: Submission, shipped: script.Script) -> None:
    """Check that the claimed code bytes are those of a log or a script."""
    logged = {size for log in folder.logs.values() for size in (log.code_bytes, log.packed_code_bytes) if size}
    sizes = logged | {shipped.code_bytes, *shipped.sizes.values()}
    if claim.bytes_code and claim.bytes_code not in sizes:
        near = min(sizes, key=lambda size: abs(size - (claim.bytes_code or 0)))
        folder.complain("bytes", "submission.json", f"bytes_code {claim.bytes_code:,}", f"{near:,}, as a log or a file")


def _totals(folder: Folder, claim: Submission, main_bytes: int) -> set[int]:
    """Return the acceptable values of `bytes_total`: a log's own total, model plus script, a seed's, or their means."""
    logged = [log.total_bytes for log in folder.logs.values() if log.total_bytes]
    shipped = [log.model_bytes + main_bytes for log in folder.logs.values() if log.model_bytes]
    seeds = [result.artifact_bytes for result in (claim.seed_results or {}).values() if result.artifact_bytes]
    means = {round(fmean(sizes)) for sizes in (logged, shipped, seeds) if sizes}
    return {*logged, *shipped, *seeds, *means}


def _one_configuration(folder: Folder) -> None:
    """Check that all seeds ran the same program on the same data (cocohearts on openai/parameter-golf #2124)."""
    if not folder.submission:
        return  # nothing says that these logs belong together
    logged = {name: run.log for name, run in folder.claimed.items()}
    for what, values in {
        "code": {name: log.code_bytes for name, log in logged.items()},
        "packed code": {name: log.packed_code_bytes for name, log in logged.items()},
        "validation tokens": {name: log.val_tokens for name, log in logged.items()},
        "training shards": {name: log.train_shards for name, log in logged.items()},
    }.items():
        if len({value for value in values.values() if value}) > 1:
            listed = ", ".join(f"{name} {value:,}" for name, value in values.items() if value)
            folder.complain("seeds", "logs", f"{what}: {listed}", "one configuration for all seeds")


def _clocks(folder: Folder, name: str, log: Log) -> None:
    """Check the time limits; an overrun in a log that the submission does not claim is only a note."""
    claimed = folder.claimed.get(name)
    train = (log.stop_milliseconds or 0) / 1000
    with_data = train + (log.reads_data_seconds or 0)
    for what, seconds, limit in (
        ("of training", train, TRAIN_SECONDS),
        ("of training and of calibration on training data", with_data if with_data > train else 0, TRAIN_SECONDS),
        ("of evaluation", log.seconds_of(claimed.final if claimed else log.final) or 0, EVALUATION_SECONDS),
        ("of evaluation in all", log.total_evaluation_seconds or 0, EVALUATION_SECONDS),
    ):
        if seconds > limit + TOLERANCE_SECONDS:
            if claimed:
                folder.complain("time", name, f"{seconds:.1f} s {what}", f"{limit:.0f} s")
            else:
                folder.notes.append(f"{name}: not claimed; {seconds:.1f} s {what}")
    if log.calibration_seconds and not log.reads_data_seconds and train + log.calibration_seconds > TRAIN_SECONDS + 60:
        folder.notes.append(f"{name}: {log.calibration_seconds:.0f} s of calibration on its own text after the stop")
    if claimed and claimed.final and not train:
        folder.notes.append(f"{name}: does not state its training time")


def _text_bytes(folder: Folder, name: str, run: Claimed) -> None:
    """Check the number of text bytes that nats per token and bits per byte imply against the text's."""
    log, final = run.log, run.final
    if not final or not final.val_bpb:
        return
    per_token = final.val_nats / LN2 / final.val_bpb
    rounding = 10.0 ** -min(decimals(final.val_bpb), decimals(final.val_nats)) / final.val_bpb
    tolerance = TEXT_TOLERANCE + rounding
    claim = folder.submission
    whole = TEXT_BYTES if folder.challenge_track or not claim else claim.val_text_bytes
    if log.val_tokens and whole:
        implied = per_token * log.val_tokens
        if abs(implied / whole - 1) > tolerance:
            got = f"{implied / 1e6:.2f} M bytes of text implied ({per_token:.4f} a token, {log.val_tokens:,} tokens)"
            folder.complain("text_bytes", name, got, f"{whole / 1e6:.2f} M")
    elif not any(abs(per_token / expected - 1) < tolerance for expected in BYTES_PER_TOKEN.values()):
        folder.notes.append(
            f"{name}: {per_token:.4f} bytes a token fit no known tokenizer, and it does not state its number of tokens"
        )
