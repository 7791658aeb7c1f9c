"""All phases in one process group, the way the challenge runs a submission, with its log lines."""

import os
import tempfile
import time
from pathlib import Path

import numpy as np

from base.compress.pruning import codecs_of, pack_within
from base.config import Config
from base.evaluate.experts.agreement import read_vocabulary
from base.evaluate.scorer import Scorer
from base.export import load_model, weights_bytes
from base.runtime import start, stop
from base.tokens import bpb, shards
from base.train import NotFinite, train

CAP_BYTES = 16_000_000  # of code and artifact
BLOCK_TOKENS = 1 << 14  # the losses do not depend on the block size


def run(config: Config, program: Path) -> int:
    """Train on DATA_PATH, write ./artifact.bin, score VAL_PATH (default DATA_PATH) through the artifact."""
    runtime = start()
    data = Path(os.environ.get("DATA_PATH", "./data/datasets/fineweb10B_sp1024"))
    tokenizer = os.environ.get("TOKENIZER_PATH", "./data/tokenizers/fineweb_1024_bpe.model")
    validation = shards.read(Path(os.environ.get("VAL_PATH", data)), "fineweb_val_*.bin")
    runtime.log(f"run_id:{os.environ.get('RUN_ID', 'none')} seed:{config.run.seed} world_size:{runtime.world}")

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "train").symlink_to(data.resolve())
        started = time.perf_counter()
        try:
            model, calibration = train(config, runtime, folder, folder)
        except NotFinite as error:
            runtime.log(str(error))
            stop(runtime)
            return 1
    artifact, code_bytes = Path("artifact.bin"), program.stat().st_size
    weights = weights_bytes(config, model, calibration, code_bytes, runtime.log) if runtime.rank == 0 else b""
    runtime.barrier()
    runtime.log(f"stopping train_time:{1000 * (time.perf_counter() - started):.0f}ms")
    if runtime.rank == 0:
        blob = pack_within(weights, CAP_BYTES - code_bytes, codecs_of(config.pack))
        artifact.write_bytes(blob)
        runtime.log(f"Code size: {code_bytes} bytes")
        runtime.log(f"Serialized model int{config.quant.matrix_bits}+entropy: {len(blob)} bytes")
        runtime.log(f"Total submission size int{config.quant.matrix_bits}+entropy: {code_bytes + len(blob)} bytes")
    runtime.barrier()

    loaded, model = load_model(artifact.read_bytes(), config.eval, runtime.dtype, runtime.device)
    vocabulary = read_vocabulary(tokenizer, loaded.model.vocab_size) if config.eval.agreement else None
    scorer = Scorer(loaded, runtime, model, vocabulary, config.run.compile)
    started = time.perf_counter()
    blocks = range(0, len(validation), BLOCK_TOKENS)
    losses = np.concatenate([scorer.observe(validation[block : block + BLOCK_TOKENS]) for block in blocks])
    nats = float(losses[1:].astype(np.float64).sum())  # the first token is context, not a target
    val_bpb = bpb.bits_per_byte(nats, bpb.target_bytes(tokenizer, validation))
    runtime.log(
        f"final_sliding_window stride:{config.eval.eval_stride} val_loss:{nats / (len(validation) - 1):.8f} "
        f"val_bpb:{val_bpb:.8f} eval_time:{1000 * (time.perf_counter() - started):.0f}ms"
    )
    stop(runtime)
    return 0
