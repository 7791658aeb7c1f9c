"""Training logs of the challenge, read as its scripts print them: sizes, clocks, tokens, and the score that counts.

The grammar was taken from the official ten-minute logs and their neighbours (rules.md section 13). The same files quote
source code, so every form is anchored at the start of a line, after an optional Unix time. Of several scores the last
one counts that is not marked as a diagnosis: the int6 family prints one tag twice, for two evaluations.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

F, N = r"(-?\d+(?:\.\d+)?(?:e-?\d+)?)", r"(\d+)"
# What stands before a line: times, levels, tags in brackets, a rank of torchrun or srun, a container's or worker's name
STAMP = re.compile(
    r"^(?:\d{9,}(?:\.\d+)? |\[?\d{4}[-/]\d\d[-/]\d\d[ T]\d\d:\d\d:\d\d(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?\]?[ |:-]*"
    r"|\d\d:\d\d:\d\d(?:[.,]\d+)? |(?:\[[\w ,.:/-]{1,40}\])+[ :-]*|(?:INFO|DEBUG|WARNING)(?::[\w.]{1,40}:|[ |:-]+)"
    r"|(?:default|rank)_?\d{1,4}: ?|\d{1,4}: |wandb: |\([^()]{1,60}\bpid=\d+[^()]{0,40}\) |[\w.-]{1,40} +\| )+"
)
COLOURS = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07]*\x07")
LONGEST_LINE = 600  # of one that says something; code that is quoted may be longer

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
    """One printed score: nats per token, bits per byte, and seconds where they stand beside it."""

    tag: str
    val_nats: float
    val_bpb: float
    seconds: float | None


@dataclass
class Log:
    """What a training log says of its run; None = it does not say."""

    seed: int | None = None
    finals: list[Final] = field(default_factory=list)  # in the order they were printed
    total_bytes: int | None = None
    code_bytes: int | None = None
    packed_code_bytes: int | None = None
    model_bytes: int | None = None
    stop_milliseconds: float | None = None  # of training
    stop_step: int | None = None
    step_average: float | None = None  # milliseconds, at the last line that has it
    calibration_seconds: float | None = None  # after the stop
    reads_data_seconds: float | None = None  # the part of it that reads training data
    reserved_seconds: float | None = None  # kept free for that before the stop
    total_evaluation_seconds: float | None = None
    val_tokens: int | None = None
    train_shards: int | None = None
    capped: bool = False  # training was stopped by its clock
    not_finite: str = ""  # the score that it ends with, if that is none

    @property
    def final(self) -> Final | None:
        """The score that counts."""
        return self.finals[-1] if self.finals else None

    @property
    def step_milliseconds(self) -> float | None:
        """On average: as printed, else from the stop."""
        if self.step_average is None and self.stop_milliseconds and self.stop_step:
            return self.stop_milliseconds / self.stop_step
        return self.step_average

    @property
    def final_seconds(self) -> float | None:
        return self.seconds_of(self.final)

    def seconds_of(self, final: Final | None) -> float | None:
        """Evaluation time of a score; `_exact` lines repeat one with more digits and without its time."""
        if final is None:
            return None
        same = [one.seconds for one in self.finals if abs(one.val_bpb - final.val_bpb) < 1e-4]
        return next((seconds for seconds in reversed(same) if seconds is not None), None)


def parse(text: str) -> Log:
    """Read one log; lines of no known form are passed over."""
    log = Log()
    raw_total: int | None = None
    for line in lines(text):
        raw_total = _sizes(log, line, raw_total)
        _clocks(log, line)
        _score(log, line)
    if log.total_bytes is None:  # a total without a format is the raw weights', unless there is no other
        log.total_bytes = raw_total
    return log


def lines(text: str) -> Iterator[str]:
    """Lines that may say something, without colours and what some logs put before them."""
    for line in text.splitlines():
        if line and len(line) <= LONGEST_LINE:
            yield STAMP.sub("", COLOURS.sub("", line)).rstrip()


def _sizes(log: Log, line: str, raw_total: int | None) -> int | None:
    if found := SIZE.fullmatch(line):
        if found["how"] is None:
            return int(found[2])
        log.total_bytes = int(found[2])
    elif found := ARTIFACT.fullmatch(line):
        log.code_bytes = int(found[2])  # its other numbers are rounded, or from before compression
    elif found := BUDGET.fullmatch(line):
        log.total_bytes = int(found[1])
    elif found := CODE.fullmatch(line):
        if found["how"] == "compressed":
            log.packed_code_bytes = int(found[2])
        else:
            log.code_bytes = int(found[2])
    elif found := BLOB.match(line):
        log.model_bytes = int(found[2])
    return raw_total


def _clocks(log: Log, line: str) -> None:
    if found := STOP.match(line):
        log.stop_milliseconds, log.stop_step, log.capped = float(found[1]), int(found[2]), True
    elif found := STEP.match(line):
        if time := TRAIN_TIME.search(found["rest"]):
            milliseconds = 1000 * SECONDS[time[2]] * float(time[1])
            if not log.capped:
                log.stop_milliseconds, log.stop_step = milliseconds, int(found[1])
        if average := STEP_AVG.search(found["rest"]):
            log.step_average = float(average[1])
    elif found := RESERVED.match(line):
        log.reserved_seconds = float(found[1])
    elif found := TOTAL_EVALUATION.match(line):
        log.total_evaluation_seconds = float(found[1])
    elif found := next((found for form in CALIBRATION if (found := form.match(line))), None):
        log.calibration_seconds = float(found[1])
        if line.startswith(("GPTQ:collected", "gptq:calibrated")):
            log.reads_data_seconds = float(found[1])


def _score(log: Log, line: str) -> None:
    if found := NOT_FINITE.match(line):
        log.not_finite = found[0]
    elif found := SLIDING_TTT.match(line):
        log.not_finite = ""
        log.finals.append(Final(found["tag"], float(found[2]), float(found[3]), float(found[4])))
    elif found := FINAL.fullmatch(line):
        time = TIME.search(line)
        seconds = int(time[1]) / 1000 if time else None
        log.not_finite = ""
        log.finals.append(Final(found["tag"], float(found[2]), float(found[3]), seconds))
    elif found := TOKENS.match(line):
        log.val_tokens = int(found[1])
    elif found := SHARDS.match(line):
        log.train_shards = int(found[1])
    elif log.seed is None and (found := SEED.fullmatch(line.split(" ms")[0])) and "=" not in line.split("seed")[0]:
        log.seed = int(found[1])
