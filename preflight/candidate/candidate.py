"""The phases of a candidate as sandboxed jobs, and the translation of their outcomes into ledger states."""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from common.errors import Refused, SandboxError
from common.state import State
from common.text import tail
from data.corpus import Corpus
from preflight.candidate.launch import LaunchConfig
from preflight.sandbox.job import Job, Limits, Outcome

PROGRAM, METRICS = "train_gpt.py", "metrics.jsonl"
BLAMED_MEMORY_SHARE = 0.5  # of its limit; above this peak the job is to blame, not the machine
EXIT_NOT_FINITE = 3  # base/protocol.py
KILLED = (-9, 128 + 9)  # SIGKILL: directly, and as bubblewrap reports it
ENDED_BY = {
    "memory": (State.OOM, "memory"),
    "disk": (State.CRASH, "disk space or number of files"),
    "log": (State.CRASH, "length of the log"),
    "processes": (State.CRASH, "number of processes"),
}


@dataclass(frozen=True)
class Candidate:
    """A bundle on disk, the target it is run as, and the isolation level of its jobs.

    Example:
        >>> candidate = Candidate(Path("train_gpt.py"), POCKET, available_levels()[0])
        >>> outcome = run(candidate.size(Path("scratch/size"), Limits(wall_seconds=60, cpu_seconds=60)))
    """

    bundle: Path
    target: LaunchConfig
    level: str

    @property
    def weights_bytes(self) -> int:
        """Most bytes that training may hand to packing: enough for fp32; the artifact must encode all of them."""
        return 8 * self.target.cap_bytes

    def job(
        self,
        phase: str,
        folder: Path,
        limits: Limits,
        *arguments: str,
        inputs: Mapping[str, Path] | None = None,
        environment: Mapping[str, str] | None = None,
        release: tuple[Path, str] | None = None,
    ) -> Job:
        """Return the job of one phase: it sees the bundle and `inputs`, and runs on all ranks in train and score."""
        ranks = self.target.ranks if phase in ("train", "score") else 1
        return Job(
            command=(*interpreter(ranks), f"{{in}}/{PROGRAM}", phase, *arguments),
            folder=folder,
            limits=self.target.within(limits),
            inputs={PROGRAM: self.bundle, **(inputs or {})},
            environment={**self.target.environment, "PRESET": self.target.preset, **(environment or {})},
            release=release,
            ranks=ranks,
            follow=(METRICS,) if phase == "train" else (),
            level=self.level,
        )

    def describe(self, folder: Path, limits: Limits) -> Job:
        return self.job("describe", folder, limits, "--knobs")

    def size(self, folder: Path, limits: Limits) -> Job:
        return self.job("size", folder, limits, "--out", "{out}")

    def train(self, folder: Path, limits: Limits, corpus: Corpus, shards: Path, seed: int) -> Job:
        """Return the training job; `shards` appears in its data folder when it reports ready; no other split does."""
        view = folder / "view"
        view.mkdir(parents=True)
        (view / "tokenizer.model").write_bytes(corpus.tokenizer.read_bytes())
        facts = corpus.manifest
        manifest = {"variant": facts.variant, "vocab_size": facts.vocab_size}
        manifest |= {"tokens": facts.tokens["train"], "text_bytes": facts.text_bytes["train"]}
        (view / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
        return self.job(
            "train",
            folder,
            limits,
            *("--data", "{in}/data", "--out", "{out}"),
            inputs={"data": view},
            environment={"SEED": str(seed)},
            release=(shards, "data"),
        )

    @property
    def checkpoint_bytes(self) -> int:
        """Most bytes of a checkpoint: fp32 weights and Hessians; only `quantise` reads it."""
        return 32 * self.target.cap_bytes

    def quantise(self, folder: Path, limits: Limits, checkpoint: Path) -> Job:
        arguments = ("--checkpoint", "{in}/checkpoint.bin", "--out", "{out}/weights.bin")
        return self.job("quantise", folder, limits, *arguments, inputs={"checkpoint.bin": checkpoint})

    def pack(self, folder: Path, limits: Limits, weights: Path) -> Job:
        cap_bytes = self.target.cap_bytes - self.bundle.stat().st_size
        arguments = ("--weights", "{in}/weights.bin", "--cap-bytes", str(cap_bytes), "--out", "{out}/artifact.bin")
        return self.job("pack", folder, limits, *arguments, inputs={"weights.bin": weights})

    def unpack(self, folder: Path, limits: Limits, artifact: Path) -> Job:
        arguments = ("--artifact", "{in}/artifact.bin", "--out", "{out}/weights.bin")
        return self.job("unpack", folder, limits, *arguments, inputs={"artifact.bin": artifact})

    def score(self, folder: Path, limits: Limits, artifact: Path, tokenizer: Path) -> Job:
        arguments = ("--artifact", "{in}/artifact.bin", "--tokenizer", "{in}/tokenizer.model", "--socket", "{socket}")
        inputs = {"artifact.bin": artifact, "tokenizer.model": tokenizer}
        return self.job("score", folder, limits, *arguments, inputs=inputs)


def interpreter(ranks: int) -> tuple[str, ...]:
    """Return the command prefix that runs a program on that many ranks of this machine."""
    if ranks == 1:
        return (sys.executable,)
    return (sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={ranks}")


def raise_for_outcome(job: Job, outcome: Outcome, phase: str, quote_log: bool = True) -> None:
    """Raise Refused unless the job exited with success; `quote_log` adds the most telling line of its log.

    Raises SandboxError where the candidate is not to blame: the job was stopped, or the machine ran out of memory.
    """
    if outcome.ok:
        return
    if outcome.reason == "stopped":
        raise SandboxError(f"{phase} was stopped from outside")
    if outcome.reason in ("wall", "cpu", "setup", "setup_cpu"):
        used, limit, what = _time_limit(job.limits, outcome)
        message = f"{phase}: got {used:.1f} {what}, expected at most {limit:.1f}"
        name = f"{phase}_{outcome.reason.removeprefix('setup_')}_seconds"
        raise Refused(State.timeout(phase), message, spent={name: (used, limit)})
    used, limit = outcome.peak_memory_bytes, job.limits.memory_bytes
    if not outcome.reason and outcome.status in KILLED and outcome.machine_out_of_memory:
        if used < BLAMED_MEMORY_SHARE * limit:
            raise SandboxError(
                f"{phase} was killed with {used:,} of {limit:,} bytes in use: the machine is out of memory"
            )
        message = f"{phase}: the machine ran out of memory at {used:,} bytes, expected fewer"
        raise Refused(State.OOM, message, spent={f"{phase}_memory_bytes": (used, limit)})
    last_words = tail(job.log) if quote_log else f"see {phase}.log"
    if outcome.reason:
        verdict, what = ENDED_BY[outcome.reason]
        most = f", {job.limits.memory_bytes:,} bytes" if outcome.reason == "memory" else ""
        requested = max(used, limit + 1)  # the peak is only polled; the kernel refused more than the limit
        spent = {f"{phase}_memory_bytes": (requested, limit)} if outcome.reason == "memory" else None
        raise Refused(verdict, f"{phase}: ended by its limit on {what}{most}; {last_words}", spent=spent)
    if outcome.status == EXIT_NOT_FINITE and phase == "train":
        raise Refused(State.NAN, f"train: {last_words}")
    raise Refused(State.CRASH, f"{phase}: exit status {outcome.status}: {last_words}")


def _time_limit(limits: Limits, outcome: Outcome) -> tuple[float, float, str]:
    """Return (used, limit, unit) of the time limit that ended a job; set-up beyond its free CPU seconds is charged."""
    if not outcome.reason.endswith("cpu"):
        name = f"{outcome.reason}_seconds"
        return getattr(outcome, name), getattr(limits, name), f"{outcome.reason} seconds"
    charged = max(outcome.setup_cpu_seconds - limits.setup_cpu_seconds, 0.0)
    unit = f"cpu seconds, {charged:.1f} of them of set-up" if charged else "cpu seconds"
    return outcome.cpu_seconds + charged, limits.cpu_seconds, unit
