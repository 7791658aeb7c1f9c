"""Each phase of a candidate as a sandboxed job, and what its end means in the ledger's words."""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from data.corpus import Corpus
from data.errors import Refused, SandboxError
from data.state import State
from preflight.sandbox import Job, Limits, Outcome
from preflight.text import tail

PROGRAM, METRICS = "train_gpt.py", "metrics.jsonl"
MEMORY_TO_BLAME = 0.5  # of its limit: from this peak on it is the job that the machine had no room for
EXIT_NOT_FINITE = 3  # base/protocol.py
KILLED = (-9, 128 + 9)  # SIGKILL; as bubblewrap passes it on
ENDED_BY = {
    "memory": (State.OOM, "memory"),
    "disk": (State.CRASH, "disk space or number of files"),
    "log": (State.CRASH, "length of the log"),
    "processes": (State.CRASH, "number of processes"),
}


@dataclass(frozen=True)
class Target:
    """What a candidate is run as: nothing here can be changed by an edit of base/."""

    preset: str
    cap_bytes: int  # code and compressed model together
    ranks: int = 1
    environment: Mapping[str, str] = field(default_factory=dict)  # overrides the preset
    memory_bytes: int = 8 << 30
    temporary_bytes: int = 256 << 20  # of /tmp and /dev/shm each: compiler caches, messages between ranks
    processes: int = 64
    threads: int = 1_024

    def within(self, limits: Limits) -> Limits:
        """Limits of time with this target's limits of space."""
        names = ("memory_bytes", "temporary_bytes", "processes", "threads")
        return replace(limits, **{name: getattr(self, name) for name in names})


@dataclass(frozen=True)
class Candidate:
    """A bundle on disk and what it is run as."""

    bundle: Path
    target: Target
    level: str

    @property
    def weights_bytes(self) -> int:
        """Most that training may hand to packing: room for fp32; what is in it needs room in the artifact, too."""
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
        """The bundle's `phase`; it sees itself and `inputs`, and every rank of the target in train and score."""
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
        """`shards` is linked into the job's data view when it says it is ready; nothing else of the corpus is there."""
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
    """What runs a program on that many ranks of this machine."""
    if ranks == 1:
        return (sys.executable,)
    return (sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={ranks}")


def require(job: Job, outcome: Outcome, phase: str, quote_log: bool = True) -> None:
    """Raise Refused unless the job ended by itself and well; `quote_log` adds its last telling line."""
    if outcome.ok:
        return
    if outcome.reason == "stopped":
        raise SandboxError(f"{phase} was stopped from outside")
    if outcome.reason in ("wall", "cpu", "setup", "setup_cpu"):
        used, limit, what = _broken(job.limits, outcome)
        message = f"{phase}: got {used:.1f} {what}, expected at most {limit:.1f}"
        name = f"{phase}_{outcome.reason.removeprefix('setup_')}_seconds"
        raise Refused(State.timeout(phase), message, spent={name: (used, limit)})
    used, limit = outcome.peak_memory_bytes, job.limits.memory_bytes
    if not outcome.reason and outcome.status in KILLED and outcome.machine_out_of_memory:
        if used < MEMORY_TO_BLAME * limit:
            raise SandboxError(
                f"{phase} was killed with {used:,} of {limit:,} bytes in use: the machine is out of memory"
            )
        told = f"{phase}: the machine ran out of memory at {used:,} bytes, expected fewer"
        raise Refused(State.OOM, told, spent={f"{phase}_memory_bytes": (used, limit)})
    said = tail(job.log) if quote_log else f"its words are in {phase}.log"
    if outcome.reason:
        verdict, what = ENDED_BY[outcome.reason]
        most = f", {job.limits.memory_bytes:,} bytes" if outcome.reason == "memory" else ""
        wanted = max(used, limit + 1)  # the peak is polled; the kernel refused one byte more than the limit, or many
        spent = {f"{phase}_memory_bytes": (wanted, limit)} if outcome.reason == "memory" else None
        raise Refused(verdict, f"{phase}: ended by its limit on {what}{most}; {said}", spent=spent)
    if outcome.status == EXIT_NOT_FINITE and phase == "train":
        raise Refused(State.NAN, f"train: {said}")
    raise Refused(State.CRASH, f"{phase}: exit status {outcome.status}: {said}")


def _broken(limits: Limits, outcome: Outcome) -> tuple[float, float, str]:
    """(used, limit, of what) where time ended a job; CPU seconds of set-up beyond the free ones are the job's own."""
    if not outcome.reason.endswith("cpu"):
        name = f"{outcome.reason}_seconds"
        return getattr(outcome, name), getattr(limits, name), f"{outcome.reason} seconds"
    charged = max(outcome.setup_cpu_seconds - limits.setup_cpu_seconds, 0.0)
    told = f"cpu seconds, {charged:.1f} of them of set-up" if charged else "cpu seconds"
    return outcome.cpu_seconds + charged, limits.cpu_seconds, told
