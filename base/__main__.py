"""The phases of one program (locked): describe, size, train, quantise, pack, unpack, score, or all of it in one go."""

import argparse
import json
import os
import sys
from pathlib import Path

from base import protocol
from base.compress.errors import FormatError
from base.config import Config
from base.overrides import describe_knobs, resolve
from base.presets import DEFAULT_PRESET, LEFT_OUT, PRESETS, PUBLISHED_PARAMETERS
from base.techniques import TECHNIQUES


def main() -> int:
    options = parse_arguments()
    config = resolve(PRESETS[options.preset](), options.set, os.environ)
    phases = {"describe": describe, "size": size, "train": train, "quantise": quantise, "pack": pack, "unpack": unpack}
    try:
        return {**phases, "score": score, None: all_phases}[options.phase](config, options)
    except FormatError as error:
        print(f"{options.phase}: {error}", file=sys.stderr)
        return 1


def parse_arguments() -> argparse.Namespace:
    shared = argparse.ArgumentParser(add_help=False)
    preset = os.environ.get("PRESET", DEFAULT_PRESET)
    shared.add_argument("--preset", default=preset, choices=PRESETS, help="whole configuration to start from")
    shared.add_argument("--set", default=[], action="append", metavar="NAME=VALUE", help="override one knob")
    parser = argparse.ArgumentParser(prog="train_gpt.py", description=__doc__, parents=[shared])
    phases = parser.add_subparsers(dest="phase")
    phase = phases.add_parser("describe", parents=[shared], help="a table of knobs and parameter counts")
    phase.add_argument("--changed", action="store_true", help="only the knobs that differ from their default")
    phase.add_argument("--json", action="store_true", help="everything, for programs")
    phase.add_argument("--knobs", action="store_true", help="as JSON without parameter counts, which need torch")
    phase = phases.add_parser("size", parents=[shared], help="the untrained model through its export path")
    phase.add_argument("--out", type=Path, required=True)
    phase = phases.add_parser("train", parents=[shared], help="train to OUT/weights.bin")
    phase.add_argument("--data", type=Path, required=True)
    phase.add_argument("--out", type=Path, required=True)
    phase = phases.add_parser("quantise", parents=[shared], help="weights again from a checkpoint, with other knobs")
    phase.add_argument("--checkpoint", type=Path, required=True)
    phase.add_argument("--out", type=Path, required=True)
    phase = phases.add_parser("pack", parents=[shared], help="entropy-code weights into an artifact")
    phase.add_argument("--weights", type=Path, required=True)
    phase.add_argument("--cap-bytes", type=int, required=True)
    phase.add_argument("--out", type=Path, required=True)
    phase = phases.add_parser("unpack", parents=[shared], help="the weights that were packed, byte for byte")
    phase.add_argument("--artifact", type=Path, required=True)
    phase.add_argument("--out", type=Path, required=True)
    phase = phases.add_parser("score", parents=[shared], help="answer the referee")
    phase.add_argument("--artifact", type=Path, required=True)
    phase.add_argument("--tokenizer", type=Path, required=True)
    phase.add_argument("--socket", required=True, help="fd:N or the path of a Unix socket")
    return parser.parse_args()


def describe(config: Config, options: argparse.Namespace) -> int:
    found = {"knobs": describe_knobs(config), "presets": list(PRESETS), "preset": options.preset}
    found["techniques"] = TECHNIQUES
    if not options.knobs:
        from base.model.gpt import GPT, parameter_counts

        counts = parameter_counts(GPT(config))  # never initialized, so the meta device is not needed
        found["parameters"] = counts
        if options.preset in PUBLISHED_PARAMETERS:
            published, left_out = PUBLISHED_PARAMETERS[options.preset], LEFT_OUT.get(options.preset, {})
            found["published"] = {"parameters": published, "left_out": left_out, "more": counts["total"] - published}
    if options.knobs or options.json:
        print(json.dumps(found))
    else:
        print_table(found, options.changed)
    return 0


def print_table(found: dict, changed: bool):
    """Print the knobs by section, marking those that differ from their default, and the parameter counts."""
    section = ""
    for knob, default in zip(found["knobs"], describe_knobs(Config()), strict=True):
        differs = knob["value"] != default["value"]
        if differs or not changed:
            if knob["section"] != section:
                section = knob["section"]
                print(f"\n{section}")
            mark = "*" if differs else " "
            print(f" {mark} {knob['name']:<22} {knob['value']!s:<16} {knob['doc']}")
    print(f"\nparameters of {found['preset']}")
    for name, count in found["parameters"].items():
        print(f"   {name:<22} {count:>12,}")


def size(config: Config, options: argparse.Namespace) -> int:
    """Write OUT/size.json: bytes of the untrained model through its own export path, and of each of its streams."""
    from base.compress import artifact
    from base.compress.pruning import codecs_of
    from base.export import untrained_weights

    options.out.mkdir(parents=True, exist_ok=True)
    packed = artifact.pack(untrained_weights(config, program_bytes()), codecs_of(config.pack))
    streams = [
        {"kind": stream.kind, "codec": stream.codec, "bytes": len(stream.blob)} for stream in artifact.read(packed)[2]
    ]
    (options.out / "size.json").write_text(json.dumps({"model_bytes": len(packed), "streams": streams}))
    return 0


def train(config: Config, options: argparse.Namespace) -> int:
    from base import runtime
    from base.export import checkpoint_bytes, weights_bytes
    from base.train import NotFinite
    from base.train import train as run_training

    here = runtime.start()
    options.out.mkdir(parents=True, exist_ok=True)
    try:
        model, calibration = run_training(config, here, options.data, options.out)
    except NotFinite as error:
        here.log(str(error))
        return protocol.EXIT_NOT_FINITE
    if here.rank == 0:
        (options.out / "checkpoint.bin").write_bytes(checkpoint_bytes(config, model, calibration))
        weights = weights_bytes(config, model, calibration, program_bytes(), here.log)
        (options.out / "weights.bin").write_bytes(weights)
    here.barrier()  # ranks that left earlier would take the connections with them
    runtime.stop(here)
    return 0


def quantise(config: Config, options: argparse.Namespace) -> int:
    """Write weights again from a checkpoint of training, which holds what was learnt from data."""
    from base import runtime
    from base.export import load_checkpoint, weights_bytes

    here = runtime.start()
    loaded, model, calibration = load_checkpoint(options.checkpoint.read_bytes(), config, here)
    options.out.write_bytes(weights_bytes(loaded, model, calibration, program_bytes(), here.log))
    runtime.stop(here)
    return 0


def program_bytes() -> int:
    """The bytes of this program as it is shipped."""
    return os.path.getsize(sys.argv[0])


def pack(config: Config, options: argparse.Namespace) -> int:
    """Write the artifact even if it is too large: the harness decides, and shows by how much it exceeds the cap."""
    from base.compress.pruning import codecs_of, pack_within

    artifact = pack_within(options.weights.read_bytes(), options.cap_bytes, codecs_of(config.pack))
    if len(artifact) > options.cap_bytes:
        print(f"artifact has {len(artifact)} bytes, expected at most {options.cap_bytes}", file=sys.stderr)
    options.out.write_bytes(artifact)
    return 0


def unpack(config: Config, options: argparse.Namespace) -> int:
    """Recover the weights, which shows that packing is entropy coding, and pruning of the smallest integers at most."""
    from base.compress import artifact, container

    options.out.write_bytes(container.dump(*artifact.unpack(options.artifact.read_bytes())))
    return 0


def score(config: Config, options: argparse.Namespace) -> int:
    from base import runtime
    from base.evaluate.serve import serve

    here = runtime.start()
    scorer = load_scorer(config, here, options.artifact, options.tokenizer)
    serve(scorer, here, protocol.connect(options.socket) if here.rank == 0 else None)
    runtime.stop(here)
    return 0


def load_scorer(config: Config, here, artifact: Path, tokenizer: Path):
    from base.evaluate.experts.agreement import read_vocabulary
    from base.evaluate.scorer import Scorer
    from base.export import load_model

    loaded, model = load_model(artifact.read_bytes(), config.eval, here.dtype, here.device)
    vocabulary = read_vocabulary(str(tokenizer), loaded.model.vocab_size) if config.eval.agreement else None
    return Scorer(loaded, here, model, vocabulary, config.run.compile)


def all_phases(config: Config, options: argparse.Namespace) -> int:
    """Train, pack and score the validation shards in one process group, with the challenge's log lines."""
    from base.challenge import run

    return run(config, Path(sys.argv[0]))


if __name__ == "__main__":
    sys.exit(main())
