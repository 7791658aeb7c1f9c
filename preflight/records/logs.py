"""Parser of the challenge's training logs: sizes, times, token counts, and the score that counts.

The patterns were taken from the official ten-minute logs and similar ones (rules.md section 13). The same files quote
source code, so every pattern is anchored at the start of a line, after an optional time stamp. If there are several
scores, the last one that is not marked as a diagnostic counts: the int6 family prints one tag twice, for two
evaluations.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

F, N = r"(-?\d+(?:\.\d+)?(?:e-?\d+)?)", r"(\d+)"
# Prefixes of a line: times, levels, tags in brackets, a rank of torchrun or srun, the name of a container or worker
STAMP = re.compile(
    r"^(?:\d{9,}(?:\.\d+)? |\[?\d{4}[-/]\d\d[-/]\d\d[ T]\d\d:\d\d:\d\d(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?\]?[ |:-]*"
    r"|\d\d:\d\d:\d\d(?:[.,]\d+)? |(?:\[[\w ,.:/-]{1,40}\])+[ :-]*|(?:INFO|DEBUG|WARNING)(?::[\w.]{1,40}:|[ |:-]+)"
    r"|(?:default|rank)_?\d{1,4}: ?|\d{1,4}: |wandb: |\([^()]{1,60}\bpid=\d+[^()]{0,40}\) |[\w.-]{1,40} +\| )+"
)
COLORS = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07]*\x07")
MAX_LINE = 600  # characters; longer lines are quoted code

FINAL = re.compile(rf"(?P<tag>(?:final|quantized|legal_ttt)\w*)(?: stride:\d+)? val_loss: ?{F} val_bpb: ?{F}(?: .*)?")
NOT_FINITE = re.compile(
    r"(final|quantized|legal_ttt|ttt_sliding:done)\w* .*\bval_bpb[:=] ?[-+]?(nan|inf|infinity)\b", re.IGNORECASE
)
SLIDING_TTT = re.compile(rf"(?P<tag>ttt_sliding):done val_loss={F} val_bpb={F} elapsed={F}s")
TIME = re.compile(r"\b(?:eval_)?time: ?(\d+)ms")
SIZE = re.compile(rf"Total submission size(?P<how> \S+)?: {N} bytes")
ARTIFACT = re.compile(rf"artifact:{F}MB \w+:\d+\(\d+B\) fp:\d+\(\d+B\) code:{N}\b.*")
BUDGET = re.compile(rf"budget:{N}/\d+\b.*")
CODE = re.compile(rf"Code size(?: \((?P<how>uncompressed|compressed)\))?: {N} bytes")
BLOB = re.compile(rf"Serialized model (?P<how>\S+): {N} bytes")
STEP = re.compile(rf"(?:step:)?{N}/{N} (?P<what>train_loss|val_loss): ?{F}(?P<rest>.*)")
STOP = re.compile(rf"stopping_early: wallclock_cap train_time: ?{N}ms step: ?{N}/{N}")
TRAIN_TIME = re.compile(r"\btrain_time: ?(\d+(?:\.\d+)?)(ms|m|s)\b")
STEP_AVG = re.compile(rf"\bstep_avg: ?{F}ms")
CALIBRATION = (
    re.compile(rf"GPTQ:collected \d+ Hessians in {F}s"),
    re.compile(rf"gptq:generated \d+ seq(?:uence)?s in {F}s"),
    re.compile(rf"gptq:calibrated \d+ layers in {F}s"),
    re.compile(rf"gptq:done in {F}s"),
    re.compile(rf"GPTQ:quantized in {F}s"),
)
RESERVED = re.compile(rf"gptq:reserving {F}s")
TOTAL_EVALUATION = re.compile(rf"total_eval_time: ?{F}s")
SEED = re.compile(rf"(?:.*\s)?seed[:=] ?{N}\b")
TOKENS = re.compile(rf"(?:val_tokens: ?|val_loader:shards pattern=\S+ tokens:){N}")
SHARDS = re.compile(rf"(?:train_shards: ?|train_loader:dataset:\S+ train_shards:){N}")
SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0}


@dataclass(frozen=True)
class Final:
    """A printed score: nats per token, bits per byte, and seconds if they are on the same line."""

    tag: str
    val_nats: float
    val_bpb: float
    seconds: float | None


@dataclass
class Log:
    """The contents of a training log; None for what it does not state."""

    seed: int | None = None
    finals: list[Final] = field(default_factory=list)  # in the order they were printed
    total_bytes: int | None = None
    code_bytes: int | None = None
    packed_code_bytes: int | None = None
    model_bytes: int | None = None
    stop_milliseconds: float | None = None  # of training
    stop_step: int | None = None
    step_average: float | None = None  # milliseconds, from the last line that has it
    calibration_seconds: float | None = None  # after the stop
    reads_data_seconds: float | None = None  # the part of it spent reading training data
    reserved_seconds: float | None = None  # set aside for it before the stop
    total_evaluation_seconds: float | None = None
    val_tokens: int | None = None
    train_shards: int | None = None
    capped: bool = False  # training was stopped by its clock
    not_finite: str = ""  # the score that it ends with, if it is nan or inf

    @property
    def final(self) -> Final | None:
        """The score that counts, the last one."""
        return self.finals[-1] if self.finals else None

    @property
    def step_milliseconds(self) -> float | None:
        """The average time of a step: as printed, otherwise computed from the stop."""
        if self.step_average is None and self.stop_milliseconds and self.stop_step:
            return self.stop_milliseconds / self.stop_step
        return self.step_average

    @property
    def final_seconds(self) -> float | None:
        return self.seconds_of(self.final)

    def seconds_of(self, final: Final | None) -> float | None:
        """Return the evaluation time of a score; `_exact` lines repeat a score with more digits and no time."""
        if final is None:
            return None
        same = [other.seconds for other in self.finals if abs(other.val_bpb - final.val_bpb) < 1e-4]
        return next((seconds for seconds in reversed(same) if seconds is not None), None)


def parse(text: str) -> Log:
    """Parse a log; lines of no known form are skipped.

    Example:
        >>> parse("final_int8 val_loss:2.0719 val_bpb:1.2271 eval_time:1535ms").final.val_bpb
        1.2271
    """
    log = Log()
    raw_total: int | None = None
    for line in lines(text):
        raw_total = _sizes(log, line, raw_total)
        _clocks(log, line)
        _score(log, line)
    if log.total_bytes is None:  # a total without a format is that of the raw weights, and a last resort
        log.total_bytes = raw_total
    return log


def lines(text: str) -> Iterator[str]:
    """Yield the lines that may be parsed, without colors and prefixes."""
    for line in text.splitlines():
        if line and len(line) <= MAX_LINE:
            yield STAMP.sub("", COLORS.sub("", line)).rstrip()


def _sizes(log: Log, line: str, raw_total: int | None) -> int | None:
    if match := SIZE.fullmatch(line):
        if match["how"] is None:
            return int(match[2])
        log.total_bytes = int(match[2])
    elif match := ARTIFACT.fullmatch(line):
        log.code_bytes = int(match[2])  # its other numbers are rounded, or measured before compression
    elif match := BUDGET.fullmatch(line):
        log.total_bytes = int(match[1])
    elif match := CODE.fullmatch(line):
        if match["how"] == "compressed":
            log.packed_code_bytes = int(match[2])
        else:
            log.code_bytes = int(match[2])
    elif match := BLOB.match(line):
        log.model_bytes = int(match[2])
    return raw_total


def _clocks(log: Log, line: str) -> None:
    if match := STOP.match(line):
        log.stop_milliseconds, log.stop_step, log.capped = float(match[1]), int(match[2]), True
    elif match := STEP.match(line):
        if time := TRAIN_TIME.search(match["rest"]):
            milliseconds = 1000 * SECONDS[time[2]] * float(time[1])
            if not log.capped:
                log.stop_milliseconds, log.stop_step = milliseconds, int(match[1])
        if average := STEP_AVG.search(match["rest"]):
            log.step_average = float(average[1])
    elif match := RESERVED.match(line):
        log.reserved_seconds = float(match[1])
    elif match := TOTAL_EVALUATION.match(line):
        log.total_evaluation_seconds = float(match[1])
    elif match := next((match for form in CALIBRATION if (match := form.match(line))), None):
        log.calibration_seconds = float(match[1])
        if line.startswith(("GPTQ:collected", "gptq:calibrated")):
            log.reads_data_seconds = float(match[1])


def _score(log: Log, line: str) -> None:
    if match := NOT_FINITE.match(line):
        log.not_finite = match[0]
    elif match := SLIDING_TTT.match(line):
        log.not_finite = ""
        log.finals.append(Final(match["tag"], float(match[2]), float(match[3]), float(match[4])))
    elif match := FINAL.fullmatch(line):
        time = TIME.search(line)
        seconds = int(time[1]) / 1000 if time else None
        log.not_finite = ""
        log.finals.append(Final(match["tag"], float(match[2]), float(match[3]), seconds))
    elif match := TOKENS.match(line):
        log.val_tokens = int(match[1])
    elif match := SHARDS.match(line):
        log.train_shards = int(match[1])
    elif log.seed is None and (match := SEED.fullmatch(line.split(" ms")[0])) and "=" not in line.split("seed")[0]:
        log.seed = int(match[1])
