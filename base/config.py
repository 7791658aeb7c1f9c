"""Every knob of a run: frozen dataclasses by section, overridden by `--set NAME=VALUE` and by the environment.

A name means one knob wherever it stands, so NUM_LAYERS=11 in the environment (the challenge's habit) and
`--set num_layers=11` say the same. An environment variable that misses a knob by one letter is an error.
"""

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace


@dataclass(frozen=True)
class Range:
    """What a search may draw a knob from: low to high, both included. Written with literals: the harness reads it.

    `joint` marks what moves the artifact's bytes or the step's cost, and is searched only when that is weighed.
    """

    low: float
    high: float
    log: bool = False
    step: float | None = None
    joint: bool = False


def knob(default, doc, searched=None):
    return field(default=default, metadata={"doc": doc, "range": searched})


@dataclass(frozen=True)
class Run:
    seed: int = knob(1337, "keys every random draw, together with the name of what is drawn")
    iterations: int = knob(20_000, "training steps")
    max_wallclock_seconds: float = knob(0.0, "stop training after this long; 0 = by iterations alone")
    compile: bool = knob(False, "torch.compile the training step and the scorer")
    log_every: int = knob(10, "steps between lines of metrics.jsonl")


@dataclass(frozen=True)
class Data:
    batch_tokens: int = knob(524_288, "tokens of one optimiser step, over all ranks")
    sequence_length: int = knob(1024, "tokens of one training sequence")


@dataclass(frozen=True)
class Model:
    vocab_size: int = knob(1024, "rows of the embedding")
    num_layers: int = knob(9, "transformer blocks", Range(2, 12, joint=True))
    model_dim: int = knob(512, "width of the residual stream", Range(256, 768, step=64, joint=True))
    num_heads: int = knob(8, "query heads")
    num_kv_heads: int = knob(4, "key/value heads (GQA)")
    mlp_multiple: float = knob(2.0, "hidden width of the MLP over model_dim", Range(1.0, 4.0, step=0.5, joint=True))
    leaky_slope: float = knob(0.5, "LeakyReLU(s)^2; 0 = relu^2 (#493, #549)", Range(0.0, 0.9))
    qk_gain: float = knob(1.5, "initial gain on normalised queries, learned per head", Range(0.5, 6.0, log=True))
    rope_base: float = knob(10_000.0, "base of the rotary frequencies", Range(1_000.0, 100_000.0, log=True))
    softcap: float = knob(30.0, "logits become c*tanh(z/c)", Range(8.0, 60.0, log=True))
    embed_std: float = knob(0.005, "initial standard deviation of the tied embedding", Range(0.001, 0.1, log=True))


@dataclass(frozen=True)
class Optim:
    matrix_lr: float = knob(0.025, "Muon, for the matrices of the blocks", Range(0.005, 0.2, log=True))
    embed_lr: float = knob(0.035, "AdamW, for the tied embedding", Range(0.003, 0.3, log=True))
    scalar_lr: float = knob(0.025, "AdamW, for gains and mixes", Range(0.003, 0.3, log=True))
    weight_decay: float = knob(0.04, "decoupled, for all groups", Range(0.0, 0.3))
    muon_momentum: float = knob(0.95, "Nesterov momentum of Muon", Range(0.8, 0.99))
    muon_momentum_start: float = knob(0.85, "momentum at step 0")
    muon_momentum_steps: int = knob(500, "steps until muon_momentum is reached", Range(50, 2000, log=True))
    newton_schulz_steps: int = knob(5, "iterations of the orthogonalisation", Range(3, 7, joint=True))
    beta1: float = knob(0.9, "AdamW", Range(0.7, 0.97))
    beta2: float = knob(0.95, "AdamW", Range(0.8, 0.999))
    grad_clip: float = knob(0.3, "global gradient norm; 0 = off", Range(0.0, 2.0))
    warmdown_iterations: int = knob(
        1200, "last steps, or their time by wallclock, over which lr falls to 0", Range(300, 5000, log=True)
    )


@dataclass(frozen=True)
class Average:
    ema_decay: float = knob(
        0.997, "decay of the averaged weights that are exported; 0 = the last weights", Range(0.9, 0.9995)
    )


@dataclass(frozen=True)
class Quant:
    matrix_bits: int = knob(8, "bits of block matrices, 2 to 8", Range(4, 8, joint=True))
    embed_bits: int = knob(8, "bits of the embedding, 2 to 8", Range(4, 8, joint=True))


@dataclass(frozen=True)
class Pack:
    zstd_level: int = knob(22, "level of the entropy coder")


@dataclass(frozen=True)
class Eval:
    eval_length: int = knob(1024, "longest context of a scored token")
    eval_stride: int = knob(64, "tokens scored by one window; divides eval_length")
    eval_batch: int = knob(32, "windows of one forward pass")


@dataclass(frozen=True)
class Config:
    run: Run = Run()
    data: Data = Data()
    model: Model = Model()
    optim: Optim = Optim()
    average: Average = Average()
    quant: Quant = Quant()
    pack: Pack = Pack()
    eval: Eval = Eval()


# Set by launchers, drivers and shells: never mistaken for a misspelt knob.
RESERVED_PREFIXES = (
    "CUDA", "NCCL", "GLOO", "OMP", "MKL", "KMP", "PYTHON", "TORCH", "TRITON", "PYTORCH", "LOCAL_", "GROUP_", "ROLE_",
    "MASTER_", "WORLD_SIZE", "RANK", "LC_", "XDG_", "SLURM", "NVIDIA",
)  # fmt: skip
RESERVED_NAMES = {"PATH", "HOME", "USER", "TMPDIR", "LANG", "TERM", "SHELL", "PWD", "PRESET"}
RESERVED_NAMES |= {"DATA_PATH", "VAL_PATH", "TOKENIZER_PATH", "RUN_ID"}


def sections() -> dict[str, str]:
    """Knob name -> section name; names are unique over sections."""
    return {knob.name: section.name for section in fields(Config) for knob in fields(section.default)}


def resolve(preset: Config, assignments: Sequence[str], environment: Mapping[str, str]) -> Config:
    """The preset, then exact knob names in the environment, then NAME=VALUE assignments.

    Raises ValueError for unknown or ill-typed values and for environment names that miss a knob by one letter.
    """
    values = {name.lower(): text for name, text in environment.items() if name.lower() in sections() and name.isupper()}
    for name in environment:
        near = next((known for known in sections() if one_letter_apart(name.lower(), known)), None)
        if near and name.isupper() and name not in RESERVED_NAMES and not name.startswith(RESERVED_PREFIXES):
            raise ValueError(f"environment variable {name} is no knob; did you mean {near.upper()}? rename or unset it")
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals:
            raise ValueError(f"--set expects NAME=VALUE, got {assignment!r}")
        values[name.lower()] = text
    return override(preset, values)


def override(config: Config, values: Mapping[str, str]) -> Config:
    """A copy of `config` with some knobs read from text."""
    where = sections()
    for name, text in values.items():
        if name not in where:
            near = difflib.get_close_matches(name, where, n=1)
            raise ValueError(f"unknown knob {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
        section = getattr(config, where[name])
        value = parse(name, text, type(getattr(section, name)))
        config = replace(config, **{where[name]: replace(section, **{name: value})})
    return config


def parse(name: str, text: str, kind: type):
    readers: dict[type, Callable] = {
        bool: lambda text: {"1": True, "true": True, "0": False, "false": False}[text.lower()],
        int: int,
        float: float,
        str: str,
    }
    try:
        return readers[kind](text)
    except (KeyError, ValueError):
        raise ValueError(f"knob {name} expects {kind.__name__}, got {text!r}") from None


def one_letter_apart(one: str, other: str) -> bool:
    """Whether one insertion, deletion, substitution or swap of neighbours turns one word into the other."""
    if one == other or abs(len(one) - len(other)) > 1:
        return False
    start = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    a, b = one[start:], other[start:]
    return a[1:] == b or a == b[1:] or a[1:] == b[1:] or (a[:2] == b[:2][::-1] and a[2:] == b[2:])


def describe_knobs(config: Config) -> list[dict]:
    """Every knob with its section, type, resolved value and doc."""
    return [
        {
            "name": knob.name,
            "section": section.name,
            "type": type(getattr(getattr(config, section.name), knob.name)).__name__,
            "value": getattr(getattr(config, section.name), knob.name),
            "doc": knob.metadata["doc"],
            "range": asdict(knob.metadata["range"]) if knob.metadata["range"] else None,
        }
        for section in fields(config)
        for knob in fields(getattr(config, section.name))
    ]


def as_dict(config: Config) -> dict:
    return asdict(config)
