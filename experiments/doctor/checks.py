"""Checks of everything that a run needs, each a line of doctor's output with what to type where it fails."""

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from common.errors import CaddieError
from common.text import one_line
from data.corpus import Corpus, Manifest
from data.fineweb import VARIANTS
from experiments import credentials
from experiments.doctor import messages_api
from experiments.doctor.repository import repository, stop_file
from experiments.doctor.result import BAD, GOOD, NOTE, CheckResult, pass_or_fail
from experiments.ledger import filesystem
from experiments.proposal.options import PROPOSERS
from experiments.run.gc import CHECKPOINT_CAPS, CHECKPOINT_TRIALS
from experiments.run.machine import corpus_folder
from experiments.run.request import RunRequest
from experiments.tiers import KEPT_SHARE, MEASUREMENTS_PER_TRIAL
from preflight.candidate import probe
from preflight.sandbox.isolation import levels as isolation
from preflight.sandbox.isolation import residue

NEEDS_KEY = ("anthropic", "mix")
PROPOSAL_DOLLARS = 0.12  # a prompt from the cache and 5,000 tokens of answer and thinking, at list price
# A pocket trial while it runs; a GPU trial adds its artifacts and logs, which are counted per trial kept.
TRIAL_BYTES, TRIAL_FILES = 64 << 20, 5_000

Check = Callable[[RunRequest], Iterator[CheckResult]]


def examine(request: RunRequest) -> Iterator[CheckResult]:
    """Yield every result in order; a check that fails to run is a bad result itself."""
    for check in CHECKS:
        try:
            yield from check(request)
        except (CaddieError, OSError, sqlite3.Error, subprocess.SubprocessError) as error:
            name, fix = check.__name__.replace("_", " "), "fix what the message names, then start again"
            yield CheckResult(name, BAD, one_line(str(error), 200), "a check that runs", fix)


def python(request: RunRequest) -> Iterator[CheckResult]:
    """Check the versions of Python and torch."""
    version = ".".join(map(str, sys.version_info[:3]))
    yield pass_or_fail("python", sys.version_info >= (3, 11), version, "3.11 or newer", "PYTHON=python3.11 ./loop.sh")
    torch = probe.torch_version()
    needed = "2.9 to 2.13" if not request.machine.gpus else "2.9 to 2.13 with CUDA"
    yield pass_or_fail("torch", probe.supported(torch), torch or "none", needed, "rm -rf .venv && make setup")


def tools(request: RunRequest) -> Iterator[CheckResult]:
    """Check that git and a C compiler are installed."""
    git = shutil.which("git")
    yield pass_or_fail("git", bool(git), git or "none", "git", "apt-get install git")
    compiler = next((path for name in ("cc", "gcc", "clang") if (path := shutil.which(name))), None)
    if request.machine.tier.target.environment.get("COMPILE") == "1":
        yield pass_or_fail(
            "compiler", bool(compiler), compiler or "none", "cc for torch.compile", "apt-get install gcc"
        )
    else:
        state = GOOD if compiler else NOTE
        yield CheckResult("compiler", state, compiler or "none", "only proposals with COMPILE=1 need one")


def gpus(request: RunRequest) -> Iterator[CheckResult]:
    """Check that the profile's GPUs are present."""
    expected = request.machine.gpus
    devices = probe.gpus()
    names = ", ".join(sorted({gpu.name for gpu in devices}))
    actual = f"{len(devices)} × {names}, driver {devices[0].driver}" if devices else "none"
    if not expected:
        yield CheckResult("GPUs", GOOD, actual, "none")
        return
    kind = request.machine.table.gpu if request.machine.table else ""
    fitting = [gpu for gpu in devices if kind.lower() in gpu.name.lower()]
    needed = f"{expected}" + (f" × {kind}" if kind else "")
    if request.elsewhere:
        yield CheckResult("GPUs", NOTE, actual, f"{needed}, on the machine of the run")
        return
    if len(devices) >= expected > len(fitting):
        yield CheckResult("GPUs", NOTE, actual, f"{needed}: the profile's times and prices are for those")
        return
    yield pass_or_fail("GPUs", len(devices) >= expected, actual, needed, "nvidia-smi; or --profile pocket")


def sandbox(request: RunRequest) -> Iterator[CheckResult]:
    """Check the sandbox level, then each resource that it isolates or does not."""
    levels = isolation.available_levels()
    level = request.level or levels[0]
    good = level in levels and (level != "none" or request.level == "none")
    fix = "apt-get install bubblewrap, or a kernel with Landlock (5.13+)"
    actual = level + ("" if level == levels[0] else f"; the best here is {levels[0]}")
    yield pass_or_fail("sandbox", good, actual, "namespace or landlock", fix)
    if level not in levels:
        return
    for topic, protection in residue.protections(level).items():
        state = GOOD if protection.by_kernel else NOTE
        yield CheckResult(f"  {topic}", state, protection.state, protection.best)
    within = residue.bits(level) <= residue.GOAL_BITS
    state = GOOD if within else BAD if request.machine.gpus and not request.unsafe else NOTE
    fix = "" if within else "apt-get install bubblewrap where namespaces are allowed; or --unsafe"
    yield CheckResult("  residue", state, residue.describe(level), f"{residue.GOAL_BITS:,.0f} bits", fix)


def ranks(request: RunRequest) -> Iterator[CheckResult]:
    """Try what training needs inside the sandbox: torch, a sum over every rank, attention, Triton."""
    target = request.machine.tier.target
    if request.elsewhere and len(probe.gpus()) < request.machine.gpus:
        yield CheckResult("ranks", NOTE, "not tried without GPUs", f"a sum over {target.ranks} rank(s) in the sandbox")
        return
    level = request.level or isolation.available_levels()[0]
    facts = probe.probe(request.root.resolve() / "trials" / request.run / "doctor", target, level)
    if facts.problem:
        yield CheckResult(
            "ranks", BAD, facts.problem, f"a sum over {target.ranks} rank(s) in the sandbox", "make setup"
        )
        return
    yield pass_or_fail(
        "ranks", facts.ranks == target.ranks, f"{facts.ranks} on {facts.device}", str(target.ranks), "make setup"
    )
    if request.machine.gpus:
        yield pass_or_fail("device", facts.device == "cuda", facts.device, "cuda", "rm -rf .venv && make setup")
        yield pass_or_fail(
            "triton", facts.triton == "compiled", facts.triton, "a kernel compiled in the sandbox", "make setup"
        )
    slow = request.machine.gpus and "flash" not in facts.attention
    attention = facts.attention + ("; FlashAttention 3 is faster on Hopper" if slow else "")
    yield CheckResult("attention", NOTE if slow else GOOD, attention, "any", "make setup" if slow else "")


def corpus(request: RunRequest) -> Iterator[CheckResult]:
    """Check the shards of the profile's corpus against their manifest."""
    folder = corpus_folder(request.root, request.machine)
    name = folder.name
    prepare = "python -m data pocket" if name == "pocket" else f"python -m data prepare --variant {name}"
    if name not in ("pocket", *VARIANTS):
        prepare = f"python -m data tokenize TEXT --out {folder}"
    try:
        manifest = Corpus.open(folder, verify=True).manifest
    except CaddieError as error:
        yield CheckResult("shards", BAD, one_line(str(error), 200), f"shards/{name}", f".venv/bin/{prepare}")
        return
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    yield CheckResult("shards", GOOD, f"{size / 1e6:,.0f} MB, {_tokens(manifest)}", f"shards/{name}")
    if manifest.trials_can_read_text:
        yield CheckResult(
            "text", NOTE, "trials can read this corpus", "scores show mechanics only", f".venv/bin/{prepare}"
        )


def disk(request: RunRequest) -> Iterator[CheckResult]:
    """Check for enough space, inodes and shared memory."""
    folder = existing(request.root / "trials")
    target, rule = request.machine.tier.target, request.machine.tier.rule
    kept = 3 + MEASUREMENTS_PER_TRIAL * 8  # bundle, artifact, logs; and what training may pass to packing
    checkpoints = min(request.trials, CHECKPOINT_TRIALS) * MEASUREMENTS_PER_TRIAL
    checkpoints += (1 + KEPT_SHARE * request.trials) * (rule.seeds + rule.fresh)  # of the baseline and of keeps
    caps = kept * request.trials + CHECKPOINT_CAPS * checkpoints
    needed = (1 << 30) + int(caps * target.cap_bytes) + TRIAL_BYTES
    space, nodes = shutil.disk_usage(folder).free, os.statvfs(folder)
    fix = "make room, or ask for fewer --trials"
    yield pass_or_fail("disk", space >= needed, f"{space / 1e9:.1f} GB free", f"{needed / 1e9:.1f} GB", fix)
    files = 20 * request.trials + TRIAL_FILES
    unlimited = nodes.f_files == 0  # btrfs and others have no such count
    actual = "not counted" if unlimited else f"{nodes.f_favail:,} inodes free"
    yield pass_or_fail("inodes", unlimited or nodes.f_favail >= files, actual, f"{files:,}", fix)
    if target.ranks > 1:
        shared = shutil.disk_usage("/dev/shm").free
        fix = "docker run --shm-size=16g, or mount -o remount,size=16G /dev/shm"
        yield pass_or_fail("/dev/shm", shared >= 1 << 30, f"{shared / 1e9:.1f} GB free", "1.1 GB for ranks", fix)


def file_system(request: RunRequest) -> Iterator[CheckResult]:
    """Check that trials/ is writable, and name its file system and SQLite's journal mode on it."""
    folder = existing(request.root / "trials")
    kind = filesystem.kind(folder)
    writable = os.access(folder, os.W_OK)
    actual = f"{kind}, journal {filesystem.journal_mode(folder)}" + ("" if writable else ", not writable")
    yield pass_or_fail("trials/", writable, actual, "writable; WAL only on a local disk", f"chown or move {folder}")


def proposer(request: RunRequest) -> Iterator[CheckResult]:
    """Check the proposer's options and, where it calls a model, the API key."""
    names = ", ".join(PROPOSERS)
    options = request.proposer
    good = options.name in PROPOSERS
    yield pass_or_fail("proposer", good, one_line(options.name), f"one of {names}", "--proposer search")
    if options.name == "command":
        program = shutil.which(options.program[0]) if options.program else None
        actual = program or (one_line(options.program[0]) if options.program else "none")
        yield pass_or_fail("program", bool(program), actual, "a program", "--command 'PROGRAM ARGUMENTS'")
        missing = [str(path) for path in options.show if not path.exists()]
        missing += [name for name in options.passed if not credentials.variable(name)]
        for name in missing:
            expected = "every path of --show and variable of --pass"
            yield CheckResult("its input", BAD, f"no {one_line(name, 80)}", expected, "fix the option")
    if options.script and not list(options.script.glob("*.json")):
        yield CheckResult("script", BAD, f"no *.json in {options.script}", "a folder of proposals", "--script FOLDER")
    if options.name not in NEEDS_KEY:
        yield CheckResult(
            "key", GOOD, "not used", f"{credentials.VARIABLE}, for --proposer {' or '.join(NEEDS_KEY)} only"
        )
        return
    problem = messages_api.problem(credentials.read(), options.model)
    fix = f"export {credentials.VARIABLE}=…, or --proposer auto, which needs none"
    yield pass_or_fail("key", not problem, problem or "accepted", credentials.VARIABLE, fix)


def price(request: RunRequest) -> Iterator[CheckResult]:
    """Estimate what the run costs: machine hours and model calls."""
    minutes, baseline = request.machine.trial_minutes, request.machine.baseline_minutes
    hours = min((request.trials * minutes + baseline) / 60, request.hours)
    dollars = hours * request.machine.dollars_per_hour
    rate = f"${request.machine.dollars_per_hour:.2f}/h"
    estimate = (
        f"{request.trials} trials × {minutes:.1f} min, the baseline {baseline:.1f}, at most {request.hours:g} h: "
        f"{hours:.1f} h × {rate} = ${dollars:.2f}"
    )
    budget = request.proposer.budget_usd
    llm = "your program's own" if request.proposer.name == "command" else "none"
    if request.proposer.name in NEEDS_KEY:
        cap = f"--budget-usd {budget:g}" if budget is not None else "no --budget-usd"
        llm = f"about ${request.trials * PROPOSAL_DOLLARS:.2f} at ${PROPOSAL_DOLLARS:.2f} a proposal, {cap}"
    yield CheckResult("price", GOOD, f"{estimate}; LLM: {llm}", "a price you agree to")


CHECKS: tuple[Check, ...] = (
    *(python, tools, gpus, sandbox, ranks, corpus, disk, file_system, repository, stop_file, proposer, price),
)


def existing(folder: Path) -> Path:
    """Return the folder, or its nearest parent that exists."""
    return next(path for path in (folder.resolve(), *folder.resolve().parents) if path.exists())


def _tokens(manifest: Manifest) -> str:
    return ", ".join(f"{split} {count:,}" for split, count in manifest.tokens.items()) + " tokens"
