"""What a night needs, looked at before it starts: one line each, with what to type where something is missing."""

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from data.corpus import Corpus, Manifest
from data.errors import CaddieError
from experiments import api_check, filesystem, key
from experiments.asking import PROPOSERS
from experiments.checkup import BAD, GOOD, NOTE, Line, Order, judged
from experiments.doctor_run import repository, stop_file
from experiments.ledger import journal_mode
from experiments.tiers import MEASUREMENTS
from preflight import machine
from preflight.sandbox import isolation, residue
from preflight.text import one_line

NEEDS_KEY = ("anthropic", "mix")
PROPOSAL_DOLLARS = 0.12  # a prompt from the cache and 5,000 tokens of answer and thinking, at list price
TRIAL_BYTES, TRIAL_FILES = (
    64 << 20,
    5_000,
)  # a pocket trial while it runs; GPU trials: artifacts and logs, per trial kept


def examine(order: Order) -> Iterator[Line]:
    """Every line in order; a check that fails to run is a bad line itself."""
    for check in CHECKS:
        try:
            yield from check(order)
        except (CaddieError, OSError, sqlite3.Error, subprocess.SubprocessError) as error:
            hint = "mend what the message names, then start again"
            yield Line(check.__name__.replace("_", " "), BAD, one_line(str(error), 200), "a check that runs", hint)


def python(order: Order) -> Iterator[Line]:
    version = ".".join(map(str, sys.version_info[:3]))
    yield judged("python", sys.version_info >= (3, 11), version, "3.11 or newer", "PYTHON=python3.11 ./loop.sh")
    torch = machine.torch_version()
    needed = "2.9 to 2.13" if not order.profile.gpus else "2.9 to 2.13 with CUDA"
    yield judged("torch", machine.supported(torch), torch or "none", needed, "rm -rf .venv && make setup")


def tools(order: Order) -> Iterator[Line]:
    git = shutil.which("git")
    yield judged("git", bool(git), git or "none", "git", "apt-get install git")
    compiler = next((path for name in ("cc", "gcc", "clang") if (path := shutil.which(name))), None)
    if order.profile.tier.target.environment.get("COMPILE") == "1":
        yield judged("compiler", bool(compiler), compiler or "none", "cc for torch.compile", "apt-get install gcc")
    else:
        state = GOOD if compiler else NOTE
        yield Line("compiler", state, compiler or "none", "only proposals with COMPILE=1 need one")


def gpus(order: Order) -> Iterator[Line]:
    needed = order.profile.gpus
    found = machine.gpus()
    names = ", ".join(sorted({gpu.name for gpu in found}))
    told = f"{len(found)} × {names}, driver {found[0].driver}" if found else "none"
    if not needed:
        yield Line("GPUs", GOOD, told, "none")
        return
    yield judged("GPUs", len(found) >= needed, told, str(needed), "nvidia-smi; or --profile pocket")


def sandbox(order: Order) -> Iterator[Line]:
    """The level, then what it holds and what it does not, a line each."""
    levels = isolation.available_levels()
    level = order.level or levels[0]
    good = level in levels and (level != "none" or order.level == "none")
    hint = "apt-get install bubblewrap, or a kernel with Landlock (5.13+)"
    found = level + ("" if level == levels[0] else f"; the best here is {levels[0]}")
    yield judged("sandbox", good, found, "namespace or landlock", hint)
    if level not in levels:
        return
    for what, held in residue.holds(level).items():
        yield Line(f"  {what}", GOOD if held.kernel else NOTE, held.words, held.best)
    within = residue.bits(level) <= residue.GOAL_BITS
    state = GOOD if within else BAD if order.profile.gpus and not order.unsafe else NOTE
    mend = "" if within else "apt-get install bubblewrap where namespaces are allowed; or --unsafe"
    yield Line("  residue", state, residue.in_words(level), f"{residue.GOAL_BITS:,.0f} bits", mend)


def ranks(order: Order) -> Iterator[Line]:
    """What training needs, tried inside the sandbox: torch, every rank in one sum, attention, Triton."""
    target = order.profile.tier.target
    level = order.level or isolation.available_levels()[0]
    facts = machine.probe(order.root.resolve() / "trials" / order.run / "doctor", target, level)
    if facts.problem:
        yield Line("ranks", BAD, facts.problem, f"a sum over {target.ranks} rank(s) in the sandbox", "make setup")
        return
    yield judged(
        "ranks", facts.ranks == target.ranks, f"{facts.ranks} on {facts.device}", str(target.ranks), "make setup"
    )
    if order.profile.gpus:
        yield judged("device", facts.device == "cuda", facts.device, "cuda", "rm -rf .venv && make setup")
        yield judged(
            "triton", facts.triton == "compiled", facts.triton, "a kernel compiled in the sandbox", "make setup"
        )
    slow = order.profile.gpus and "flash" not in facts.attention
    attention = facts.attention + ("; FlashAttention 3 is faster on Hopper" if slow else "")
    yield Line("attention", NOTE if slow else GOOD, attention, "any", "make setup" if slow else "")


def corpus(order: Order) -> Iterator[Line]:
    name = order.profile.corpus
    folder = order.root / "shards" / name
    hint = "python -m data pocket" if name == "pocket" else f"python -m data prepare --variant {name}"
    try:
        manifest = Corpus.open(folder, verify=True).manifest
    except CaddieError as error:
        yield Line("shards", BAD, one_line(str(error), 200), f"shards/{name}", f".venv/bin/{hint}")
        return
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    yield Line("shards", GOOD, f"{size / 1e6:,.0f} MB, {_tokens(manifest)}", f"shards/{name}")
    if manifest.trials_can_read_text:
        yield Line("text", NOTE, "trials can read this corpus", "scores show mechanics only", f".venv/bin/{hint}")


def disk(order: Order) -> Iterator[Line]:
    folder = existing(order.root / "trials")
    target = order.profile.tier.target
    kept = 3 + MEASUREMENTS * 8  # bundle, artifact, logs; and what training may hand to packing
    needed = (1 << 30) + int(kept * target.cap_bytes * order.trials) + TRIAL_BYTES
    space, nodes = shutil.disk_usage(folder).free, os.statvfs(folder)
    hint = "make room, or ask for fewer --trials"
    yield judged("disk", space >= needed, f"{space / 1e9:.1f} GB free", f"{needed / 1e9:.1f} GB", hint)
    files = 20 * order.trials + TRIAL_FILES
    unlimited = nodes.f_files == 0  # btrfs and others have no such count
    found = "not counted" if unlimited else f"{nodes.f_favail:,} inodes free"
    yield judged("inodes", unlimited or nodes.f_favail >= files, found, f"{files:,}", hint)
    if target.ranks > 1:
        shared = shutil.disk_usage("/dev/shm").free
        hint = "docker run --shm-size=16g, or mount -o remount,size=16G /dev/shm"
        yield judged("/dev/shm", shared >= 1 << 30, f"{shared / 1e9:.1f} GB free", "1.1 GB for ranks", hint)


def file_system(order: Order) -> Iterator[Line]:
    folder = existing(order.root / "trials")
    kind = filesystem.kind(folder)
    writable = os.access(folder, os.W_OK)
    found = f"{kind}, journal {journal_mode(folder)}" + ("" if writable else ", not writable")
    yield judged("trials/", writable, found, "writable; WAL only on a local disk", f"chown or move {folder}")


def proposer(order: Order) -> Iterator[Line]:
    known = ", ".join(PROPOSERS)
    yield judged(
        "proposer", order.proposer in PROPOSERS, one_line(order.proposer), f"one of {known}", "--proposer search"
    )
    if order.proposer == "command":
        program = shutil.which(order.command[0]) if order.command else None
        found = program or (one_line(order.command[0]) if order.command else "none")
        yield judged("program", bool(program), found, "a program", "--command 'PROGRAM ARGUMENTS'")
        gone = [str(path) for path in order.show if not path.exists()]
        gone += [name for name in order.passed if not key.variable(name)]
        for name in gone:
            yield Line("its view", BAD, f"no {one_line(name, 80)}", "what --show and --pass name", "mend the option")
    if order.script and not list(order.script.glob("*.json")):
        yield Line("script", BAD, f"no *.json in {order.script}", "a folder of proposals", "--script FOLDER")
    if order.proposer not in NEEDS_KEY:
        yield Line("key", GOOD, "not used", f"{key.VARIABLE}, for --proposer {' or '.join(NEEDS_KEY)} only")
        return
    problem = api_check.problem(key.read(), order.model)
    hint = f"export {key.VARIABLE}=…, or --proposer auto, which needs none"
    yield judged("key", not problem, problem or "accepted", key.VARIABLE, hint)


def price(order: Order) -> Iterator[Line]:
    minutes, baseline = order.profile.trial_minutes, order.profile.baseline_minutes
    hours = min((order.trials * minutes + baseline) / 60, order.hours)
    dollars = hours * order.profile.dollars_per_hour
    rate = f"${order.profile.dollars_per_hour:.2f}/h"
    found = (
        f"{order.trials} trials × {minutes:.1f} min, the baseline {baseline:.1f}, at most {order.hours:g} h: "
        f"{hours:.1f} h × {rate} = ${dollars:.2f}"
    )
    llm = "your program's own" if order.proposer == "command" else "none"
    if order.proposer in NEEDS_KEY:
        cap = f"--budget-usd {order.budget_usd:g}" if order.budget_usd is not None else "no --budget-usd"
        llm = f"about ${order.trials * PROPOSAL_DOLLARS:.2f} at ${PROPOSAL_DOLLARS:.2f} a proposal, {cap}"
    yield Line("price", GOOD, f"{found}; LLM: {llm}", "a night you would pay for")


CHECKS: tuple[Callable[[Order], Iterator[Line]], ...] = (
    *(python, tools, gpus, sandbox, ranks, corpus, disk, file_system, repository, stop_file, proposer, price),
)


def existing(folder: Path) -> Path:
    """The folder, or what stands where it will be made."""
    return next(path for path in (folder.resolve(), *folder.resolve().parents) if path.exists())


def _tokens(manifest: Manifest) -> str:
    return ", ".join(f"{split} {count:,}" for split, count in manifest.tokens.items()) + " tokens"
