"""Run hostile programs in real sandbox jobs, for tests of the isolation and for the table of covert channels.

A program is Python source; `{in}/name` in it is the path of its input `name`. It prints JSON on its last line.
`python -m dev.hostile` reads attacks as JSON and prints their results: the harness as another user would run it.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from common.errors import Refused, SandboxError
from preflight.candidate.candidate import raise_for_outcome
from preflight.sandbox.job import Job, Limits, Outcome
from preflight.sandbox.start import run

ROOT = Path(__file__).resolve().parent.parent
OTHER_UID = 20_001  # a uid that owns nothing
BECOME_USER = """
set -e
if [ -n "$2" ]; then
    held=$(mktemp -d); mount --bind "$1" "$held"; mount -t tmpfs -o mode=755 none "$2"
    mkdir -p "$1"; mount --move "$held" "$1"; rmdir "$held"
fi
uid=$3; shift 3
exec setpriv --reuid "$uid" --regid "$uid" --clear-groups --inh-caps=-all "$@"
"""


@dataclass(frozen=True)
class Attack:
    """One hostile program, and what its job may see and use."""

    source: str
    name: str = "job"  # the name of the job's folder
    inputs: Mapping[str, str] = field(default_factory=dict)  # name -> path
    limits: Mapping[str, Any] = field(default_factory=dict)  # fields of Limits
    ranks: int = 1
    internet: bool = False
    concurrent: bool = False  # runs at the same time as the next attack


@dataclass(frozen=True)
class AttackResult:
    """The end of an attack, in the terms of the sandbox and of the ledger."""

    status: int | None
    reason: str
    verdict: str  # from preflight.candidate.candidate: empty, the candidate's fault, or infra
    log: str

    @property
    def output(self) -> Any:
        """The JSON on the program's last line; None if there is none."""
        try:
            return json.loads(self.log.splitlines()[-1])
        except (IndexError, ValueError):
            return None


def make_job(attack: Attack, folder: Path, level: str) -> Job:
    """Return the attack as a job of the sandbox."""
    source, inputs = attack.source, {name: Path(path) for name, path in attack.inputs.items()}
    if attack.internet:  # a proposer's program sees files at their own paths
        for name, path in attack.inputs.items():
            source = source.replace(f"{{in}}/{name}", path)
    return Job(
        (sys.executable, "-c", source),
        folder / attack.name,
        Limits(**{"wall_seconds": 20, "cpu_seconds": 40, **attack.limits}),
        inputs={} if attack.internet else inputs,
        host_paths=tuple(inputs.values()) if attack.internet else (),
        ranks=attack.ranks,
        internet=attack.internet,
        level=level,
    )


def make_result(job: Job, outcome: Outcome) -> AttackResult:
    """Return the result of an attack as preflight would judge it."""
    verdict = ""
    try:
        raise_for_outcome(job, outcome, "score")
    except Refused as refused:
        verdict = refused.verdict
    except SandboxError:
        verdict = "infra"
    return AttackResult(outcome.status, outcome.reason, verdict, job.log.read_text(errors="replace"))


def run_attacks_here(attacks: Sequence[Attack], folder: Path, level: str) -> list[AttackResult]:
    """Run attacks one after another, or two at a time, as the user of this process."""
    results: list[AttackResult | None] = [None] * len(attacks)

    def run_attack(index: int) -> None:
        job = make_job(attacks[index], folder, level)
        results[index] = make_result(job, run(job))

    with ExitStack() as waiting:
        for index, attack in enumerate(attacks):
            thread = threading.Thread(target=run_attack, args=(index,))
            thread.start()
            if attack.concurrent:
                waiting.callback(thread.join)
            else:
                thread.join()
    missing = [attack.name for attack, result in zip(attacks, results, strict=True) if result is None]
    if missing:
        raise SandboxError(f"got no outcome of {missing}")
    return [result for result in results if result is not None]


def run_attacks_as(uid: int, attacks: Sequence[Attack], folder: Path, level: str, nice: int = 0) -> list[AttackResult]:
    """Run attacks with the harness in a separate process of user `uid`, who must own `folder`."""
    request = json.dumps({"attacks": [asdict(attack) for attack in attacks], "folder": str(folder), "level": level})
    done = subprocess.run(
        [*as_user(uid), "nice", "-n", str(nice), sys.executable, "-m", "dev.hostile"],
        input=request,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "PYTHONPATH": str(ROOT)},
    )
    if done.returncode:
        raise SandboxError(f"uid {uid}: {done.stderr[-2000:]}")
    return [AttackResult(**fields) for fields in json.loads(done.stdout.splitlines()[-1])]


def as_user(uid: int) -> list[str]:
    """Return the command prefix that turns root into another user, who can use this Python even in root's own home."""
    if uid == os.geteuid():
        return []
    prefix = Path(sys.base_prefix)
    private = [path for path in reversed(prefix.parents) if not path.stat().st_mode & 1]
    return [
        "unshare",
        "--mount",
        "bash",
        "-c",
        BECOME_USER,
        "bash",
        str(prefix),
        str(private[0]) if private else "",
        str(uid),
    ]


def make_user_folder(uid: int) -> Path:
    """Create a new folder that the user owns; the caller removes it."""
    folder = Path(tempfile.mkdtemp(prefix="hostile-"))
    if uid != os.geteuid():
        os.chown(folder, uid, uid)
    return folder


@contextmanager
def attack_folder(uid: int) -> Iterator[Path]:
    """Create a temporary folder that the user owns, with one input, view/shard."""
    folder = make_user_folder(uid)
    try:
        (folder / "view").mkdir()
        (folder / "view" / "shard").write_bytes(bytes(5_000))
        for path in (folder / "view", folder / "view" / "shard"):
            os.chown(path, uid, uid)
        yield folder
    finally:
        subprocess.run(["rm", "-rf", str(folder)], check=True)


def run_attacks(uid: int, level: str, folder: Path, *attacks: Attack) -> list[AttackResult]:
    """Run attacks as a user, in a separate process unless it is the user of this one."""
    if uid == os.geteuid():
        return run_attacks_here(attacks, folder, level)
    return run_attacks_as(uid, attacks, folder, level)


def reason_unavailable(uid: int) -> str:
    """Return the reason why this process cannot become the user; empty if it can."""
    if uid == os.geteuid():
        return ""
    if missing := [name for name in ("unshare", "setpriv", "mount") if not shutil.which(name)]:
        return f"{', '.join(missing)} of util-linux is needed to become another user"
    failed = subprocess.run([*as_user(uid), "true"], capture_output=True).returncode
    return f"root cannot become uid {uid} here: no mount namespace for its Python" if failed else ""


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    request = json.load(sys.stdin)
    attacks = [Attack(**fields) for fields in request["attacks"]]
    results = run_attacks_here(attacks, Path(request["folder"]), request["level"])
    print(json.dumps([asdict(result) for result in results]))


if __name__ == "__main__":
    main()
