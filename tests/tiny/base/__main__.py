"""The phases of the counter, with the command line of the real base/."""

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np

from base import codec, config, model, protocol
from base.scorer import Scorer


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("phase")
    for name in ("data", "out", "weights", "artifact", "tokenizer"):
        parser.add_argument(f"--{name}", type=Path)
    parser.add_argument("--cap-bytes", type=int)
    parser.add_argument("--socket")
    parser.add_argument("--knobs", action="store_true")
    options = parser.parse_args()
    knobs = config.resolve()
    phases = {"describe": describe, "train": train, "pack": pack, "unpack": unpack, "score": score}
    return phases[options.phase](knobs, options)


def describe(knobs, options):
    found = {
        "knobs": [
            {"name": name, "value": value, "section": config.SECTIONS.get(name, "train")}
            for name, value in knobs.items()
        ]
    }
    found |= {"presets": list(config.PRESETS), "techniques": config.TECHNIQUES}
    print(json.dumps(found | {"parameters": {"total": model.VOCAB**2 * knobs["passes"]}}))


def train(knobs, options):
    (options.out / "ready").touch()
    while not (options.data / "train").exists():
        time.sleep(0.002)
    shards = sorted((options.data / "train").glob("fineweb_train_*.bin"))
    stream = np.concatenate([np.fromfile(shard, dtype="<u2", offset=1024) for shard in shards])
    counts = model.train(knobs, stream)
    np.clip(counts, 0, 255).astype(np.uint8).tofile(options.out / "weights.bin")
    (options.out / "metrics.jsonl").write_text('{"step": 1, "loss": 1.0}\n')


def pack(knobs, options):
    options.out.write_bytes(codec.compress(options.weights.read_bytes()))


def unpack(knobs, options):
    options.out.write_bytes(codec.decompress(options.artifact.read_bytes()))


def score(knobs, options):
    counts = np.frombuffer(codec.decompress(options.artifact.read_bytes()), dtype=np.uint8).astype(np.float32)
    scorer = Scorer(model.log_table(knobs, counts.reshape(model.VOCAB, model.VOCAB)))
    connection = protocol.connect(options.socket)
    while True:
        operation, tokens = protocol.receive(connection)
        if operation == protocol.QUIT:
            return
        values = np.zeros(0)
        if operation == protocol.OBSERVE:
            values = scorer.observe(tokens)
        elif operation == protocol.PREDICT:
            values = scorer.predict()
        else:
            scorer.reset()
        protocol.reply(connection, operation, values)


if __name__ == "__main__":
    sys.exit(main())
