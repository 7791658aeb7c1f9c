"""Hostile programs in real jobs, for tests of the walls and the table of channels: all that calls the sandbox.

A program is a Python source; `{in}/name` in it is where its input `name` lies. It prints JSON on its last line.
`python -m dev.hostile` reads acts as JSON and prints their endings: the harness as another person would run it.
"""

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

from data.errors import Refused, SandboxError
from preflight.phases import require
from preflight.sandbox import Job, Limits, Outcome, run

ROOT = Path(__file__).resolve().parent.parent
STRANGER = 20_001  # a uid that owns nothing
BEHIND_CURTAIN = """
set -e
if [ -n "$2" ]; then
    held=$(mktemp -d); mount --bind "$1" "$held"; mount -t tmpfs -o mode=755 none "$2"
    mkdir -p "$1"; mount --move "$held" "$1"; rmdir "$held"
fi
uid=$3; shift 3
exec setpriv --reuid "$uid" --regid "$uid" --clear-groups --inh-caps=-all "$@"
"""


@dataclass(frozen=True)
class Act:
    """One hostile program and what its job may see and spend."""

    source: str
    name: str = "job"  # of the job's folder
    inputs: Mapping[str, str] = field(default_factory=dict)  # name -> path
    limits: Mapping[str, float] = field(default_factory=dict)
    ranks: int = 1
    internet: bool = False
    beside: bool = False  # runs at the same time as the act after it


@dataclass(frozen=True)
class End:
    """How an act ended, in the sandbox's words and in the ledger's."""

    status: int | None
    reason: str
    verdict: str  # what preflight.phases makes of it: empty, the candidate's fault, or infra
    log: str

    @property
    def said(self) -> Any:
        """The JSON on the program's last line; None where there is none."""
        try:
            return json.loads(self.log.splitlines()[-1])
        except (IndexError, ValueError):
            return None


def job(act: Act, folder: Path, level: str) -> Job:
    """The act as the sandbox takes it: the only lines that know its fields."""
    source, inputs = act.source, {name: Path(path) for name, path in act.inputs.items()}
    if act.internet:  # a proposer's program sees files at their own paths
        for name, path in act.inputs.items():
            source = source.replace(f"{{in}}/{name}", path)
    return Job(
        (sys.executable, "-c", source),
        folder / act.name,
        Limits(**{"wall_seconds": 20, "cpu_seconds": 40, **act.limits}),
        inputs={} if act.internet else inputs,
        host_paths=tuple(inputs.values()) if act.internet else (),
        ranks=act.ranks,
        internet=act.internet,
        level=level,
    )


def end(made: Job, outcome: Outcome) -> End:
    verdict = ""
    try:
        require(made, outcome, "score")
    except Refused as refused:
        verdict = refused.verdict
    except SandboxError:
        verdict = "infra"
    return End(outcome.status, outcome.reason, verdict, made.log.read_text(errors="replace"))


def play(acts: Sequence[Act], folder: Path, level: str) -> list[End]:
    """The acts one after another, or two at a time, as the person who runs this process."""
    ends: list[End | None] = [None] * len(acts)

    def one(index: int) -> None:
        made = job(acts[index], folder, level)
        ends[index] = end(made, run(made))

    with ExitStack() as waiting:
        for index, act in enumerate(acts):
            thread = threading.Thread(target=one, args=(index,))
            thread.start()
            if act.beside:
                waiting.callback(thread.join)
            else:
                thread.join()
    if None in ends:
        raise SandboxError(f"got no outcome of {[act.name for act, done in zip(acts, ends) if done is None]}")  # noqa: B905
    return [done for done in ends if done is not None]


def play_as(uid: int, acts: Sequence[Act], folder: Path, level: str, nice: int = 0) -> list[End]:
    """The same with the harness run by another person (0: a process of one's own); `folder` must be that person's."""
    orders = json.dumps({"acts": [asdict(act) for act in acts], "folder": str(folder), "level": level})
    done = subprocess.run(
        [*as_person(uid), "nice", "-n", str(nice), sys.executable, "-m", "dev.hostile"],
        input=orders,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "PYTHONPATH": str(ROOT)},
    )
    if done.returncode:
        raise SandboxError(f"uid {uid}: {done.stderr[-2000:]}")
    return [End(**made) for made in json.loads(done.stdout.splitlines()[-1])]


def as_person(uid: int) -> list[str]:
    """What makes root another person, who reaches this Python even where it lies in a home that is root's alone."""
    if uid == os.geteuid():
        return []
    prefix = Path(sys.base_prefix)
    shut = [path for path in reversed(prefix.parents) if not path.stat().st_mode & 1]
    return [
        "unshare",
        "--mount",
        "bash",
        "-c",
        BEHIND_CURTAIN,
        "bash",
        str(prefix),
        str(shut[0]) if shut else "",
        str(uid),
    ]


def own_folder(uid: int) -> Path:
    """A fresh folder of that person's; the caller removes it."""
    folder = Path(tempfile.mkdtemp(prefix="hostile-"))
    if uid != os.geteuid():
        os.chown(folder, uid, uid)
    return folder


@contextmanager
def scene(uid: int) -> Iterator[Path]:
    """The same with one input, view/shard, while the context lasts."""
    folder = own_folder(uid)
    try:
        (folder / "view").mkdir()
        (folder / "view" / "shard").write_bytes(bytes(5_000))
        for path in (folder / "view", folder / "view" / "shard"):
            os.chown(path, uid, uid)
        yield folder
    finally:
        subprocess.run(["rm", "-rf", str(folder)], check=True)


def perform(uid: int, level: str, folder: Path, *acts: Act) -> list[End]:
    """The acts as that person, in a process of their own if it is another."""
    return play(acts, folder, level) if uid == os.geteuid() else play_as(uid, acts, folder, level)


def no_such_person(uid: int) -> str:
    """Why nobody can be that person here; empty if somebody can."""
    if uid == os.geteuid():
        return ""
    if missing := [name for name in ("unshare", "setpriv", "mount") if not shutil.which(name)]:
        return f"{', '.join(missing)} of util-linux is needed to be another person"
    failed = subprocess.run([*as_person(uid), "true"], capture_output=True).returncode
    return f"root may not become uid {uid} here: no mount namespace for its Python" if failed else ""


if __name__ == "__main__":
    orders = json.load(sys.stdin)
    played = play([Act(**act) for act in orders["acts"]], Path(orders["folder"]), orders["level"])
    print(json.dumps([asdict(done) for done in played]))
