"""Training steps in one process: side-effect-free warm-up, micro-batches, no waiting, no loop over parameters."""

import dataclasses
import json
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

from helpers.base.models import SMALL  # noqa: E402
from torch._dynamo.backends.common import aot_autograd  # noqa: E402
from torch._functorch.aot_autograd import make_boxed_func  # noqa: E402

from base.config import Optim  # noqa: E402
from base.overrides import override  # noqa: E402
from base.presets import pocket  # noqa: E402
from base.quant.fake_quant import crown_q_gradient  # noqa: E402
from base.runtime import Runtime  # noqa: E402
from base.techniques import TECHNIQUES, TRAINING  # noqa: E402
from base.train import Trainer, train  # noqa: E402
from data.shards import write_shard  # noqa: E402

RUNTIME = Runtime(0, 1, torch.device("cpu"), torch.float32)


def with_knobs(config=SMALL, **knobs):
    return override(config, {name: str(value) for name, value in knobs.items()})


def batch(config, seed=0):
    rows = config.data.batch_tokens // config.data.sequence_length
    shape = (rows, config.data.sequence_length + 1)
    drawn = torch.randint(config.model.vocab_size, shape, generator=torch.Generator().manual_seed(seed))
    return drawn[:, :-1], drawn[:, 1:]


@pytest.mark.parametrize("knobs", [{}, {"mousse": 1, "qat": "soft", "loop_passes": 2, "loop_first": 0, "loop_last": 0}])
def test_warm_up_leaves_weights_and_optimizer_bit_for_bit(knobs):
    warm, cold = (Trainer(with_knobs(**knobs), RUNTIME) for _ in range(2))
    warm.warm_up()
    for actual, expected in zip(warm.optimizer.state(), cold.optimizer.state(), strict=True):
        assert torch.equal(actual, expected)
    for seed in range(3):
        losses = []
        for trainer in (warm, cold):
            trainer.set_progress(seed / 3)
            losses.append(trainer.step(batch(SMALL, seed), None, 1.0, 0.9))
        assert torch.equal(*losses)
    for actual, expected in zip(warm.optimizer.state(), cold.optimizer.state(), strict=True):
        assert torch.equal(actual, expected)


def test_warm_up_runs_every_program_of_the_run():
    config = with_knobs(qat="ste", qat_start=0.8, loop_passes=2, loop_first=0, loop_last=0, loop_start=0.3)
    trainer, seen = Trainer(config, RUNTIME), []
    forward = trainer.loss
    trainer.loss = lambda *batch: seen.append((trainer.model.looping, trainer.fake_quant.enabled)) or forward(*batch)
    trainer.warm_up()
    assert seen == [(False, False), (True, False), (True, True)]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("alpha", [0.0, 0.5])
def test_nothing_is_compiled_once_the_clock_runs(alpha):
    """Every program is compiled in warm-up, with batches, token weights and flat parameters as in training."""
    small = {
        "iterations": 12,
        "loop_passes": 2,
        "loop_first": 0,
        "loop_last": 0,
        "loop_start": 0.3,
        "micro_tokens": 128,
    }
    trainer = Trainer(with_knobs(**small, qat="soft", qat_start=0.6, complementary_alpha=alpha), RUNTIME)
    eager, compiled = Trainer(trainer.config, RUNTIME), []

    def compiler(graph, _):
        compiled.append(graph)
        return make_boxed_func(graph.forward)

    torch._dynamo.reset()  # another test's programs count against the same limit
    trainer.loss = torch.compile(trainer.model, dynamic=False, backend=aot_autograd(fw_compiler=compiler))
    trainer.warm_up()
    warmed_up = len(compiled)
    assert warmed_up == 6  # forward and backward: plain, looping, looping and rounded
    stream = np.random.default_rng(0).integers(0, 97, 10_000).astype(np.uint16)
    with Path(os.devnull).open("w") as metrics:
        for each in (trainer, eager):
            assert list(each.run([stream], metrics)) == list(range(1, 13))
    assert (trainer.model.looping, trainer.fake_quant.enabled) == (True, True)
    assert len(compiled) == warmed_up
    weights = [each.optimizer.flat.weights for each in (trainer, eager)]
    torch.testing.assert_close(*weights, atol=2e-3, rtol=0)  # views of flat tensors, rounding jumps


@pytest.mark.parametrize("alpha", [0.0, 0.5])
def test_micro_batches_add_up_to_the_whole_batch(alpha):
    trainers = [Trainer(with_knobs(micro_tokens=micro), RUNTIME) for micro in (10**6, 64)]
    assert [trainer.micro_batches for trainer in trainers] == [1, 4]
    weights = torch.rand(4, 64, generator=torch.Generator().manual_seed(0)) if alpha else None
    for seed in range(3):
        losses = [trainer.step(batch(SMALL, seed), weights, 1.0, 0.9) for trainer in trainers]
        torch.testing.assert_close(*losses, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(*(trainer.optimizer.flat.weights for trainer in trainers), atol=1e-3, rtol=1e-3)


def count_operations(work):
    """Count the ATen operations of `work` as (caller, name); the caller is "" for calls from Python."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        work()
    operations = [event for event in profile.events() if event.name.startswith("aten::")]
    return Counter((event.cpu_parent.name if event.cpu_parent else "", event.name) for event in operations)


@pytest.mark.parametrize("knobs", [{}, {"muon_row_norm": 1, "swa": "late"}])
def test_an_optimizer_step_costs_as_many_calls_for_six_layers_as_for_two(knobs):
    counts = []
    for layers in (2, 6):
        trainer = Trainer(with_knobs(num_layers=layers, **knobs), RUNTIME)
        operations = count_operations(lambda trainer=trainer: trainer.optimizer.step(1.0, 0.9))
        counts.append({name: count for (caller, name), count in operations.items() if not caller})
    assert counts[0] == counts[1]
    assert 0 < sum(counts[0].values()) < 300


@pytest.mark.slow
@pytest.mark.parametrize("knobs", [{}, {"qat": "soft", "qat_start": 0, "crown_q": 0.01, "complementary_alpha": 0.5}])
def test_a_run_waits_for_the_device_only_where_it_logs(tmp_path, knobs):
    """Each `.item()` is a wait on a GPU; twenty steps with two lines of metrics have two.

    The fused AdamW reads its step count by one on a CPU; its CUDA kernel reads it on the device.
    """
    config = with_knobs(iterations=20, log_every=10, swa="tight", swa_every=2, **knobs)
    (tmp_path / "train").mkdir()
    tokens = np.random.default_rng(0).integers(0, 97, 10_000)
    write_shard(tmp_path / "train" / "fineweb_train_000000.bin", tokens)
    operations = count_operations(lambda: train(config, RUNTIME, tmp_path, tmp_path))
    waits = {"aten::item", "aten::nonzero", "aten::masked_select", "aten::is_nonzero", "aten::_unique2"}
    callers: Counter = sum(
        (Counter({caller: count}) for (caller, name), count in operations.items() if name in waits), Counter()
    )
    assert callers.pop("aten::_fused_adamw_") > 0
    assert sum(callers.values()) == len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 2


QUICK = ("fraction", "mousse", "swa", "qat", "complementary", "muon_rows")  # one of each kind


@pytest.mark.parametrize(
    "name",
    [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in sorted(TRAINING)],
)
def test_every_technique_of_training_changes_the_result(name, tmp_path):
    """The same seed with and without it, through the whole loop: the weights differ, and the loss still falls."""
    (tmp_path / "train").mkdir()
    random = np.random.default_rng(0)
    for shard in range(3):
        words = np.minimum(random.zipf(1.5, 6000), 900) + 4
        words[::50] = 1
        write_shard(tmp_path / "train" / f"fineweb_train_{shard:06d}.bin", words)
    small = {"iterations": 24, "batch_tokens": 512, "sequence_length": 64, "warmdown_iterations": 12, "log_every": 1}
    small |= {"num_layers": 2, "eval_length": 64, "bigram_buckets": 64, "bigram_dim": 16}
    weights, last = [], []
    for knobs in (small, {**small, **TECHNIQUES[name], "swa_every": 1}):
        model, _ = train(with_knobs(pocket(), **knobs), RUNTIME, tmp_path, tmp_path)
        weights.append(torch.cat([weight.detach().flatten() for weight in model.parameters()]))
        losses = [json.loads(line)["loss"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
        assert losses[-1] < losses[0] - 0.5
        last.append(losses[-1])
    assert not torch.equal(*weights)


def test_weights_by_token_weigh_the_loss_and_its_gradient():
    trainer = Trainer(SMALL, RUNTIME)
    tokens, targets = batch(SMALL)
    weights = torch.rand(tokens.shape, generator=torch.Generator().manual_seed(0))
    trainer.model(tokens, targets, weights).backward()
    actual = trainer.optimizer.flat.grads.clone()
    trainer.optimizer.flat.grads.zero_()
    logits = trainer.model.logits(trainer.model.hidden(tokens))
    losses = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none")
    (losses * weights.flatten()).mean().backward()
    torch.testing.assert_close(actual, trainer.optimizer.flat.grads, atol=1e-6, rtol=1e-4)


def test_crown_q_is_added_to_the_gradients():
    """With no other gradient the penalty alone fills the momentum."""
    trainer = Trainer(dataclasses.replace(SMALL, optim=Optim(grad_clip=0.0)), RUNTIME)
    banks, bits = trainer.optimizer.flat.banks, SMALL.quant.matrix_bits
    expected = [crown_q_gradient(bank.weights, bits, 1e6) for bank in banks]
    trainer.optimizer.step(1.0, 0.9, crown_q=1e6)
    assert any(gradient.any() for gradient in expected)
    for momentum, gradient in zip(trainer.optimizer.muon.momenta, expected, strict=True):
        torch.testing.assert_close(momentum, gradient)


def test_products_in_bf16_train_as_well():
    """As on a GPU: activations and Muon's iteration in bf16, weights and state in fp32."""
    trainers = [Trainer(SMALL, dataclasses.replace(RUNTIME, dtype=dtype)) for dtype in (torch.float32, torch.bfloat16)]
    for seed in range(4):
        losses = [trainer.step(batch(SMALL, seed % 2), None, 1.0, 0.9).item() for trainer in trainers]
        assert losses[0] == pytest.approx(losses[1], abs=0.05)
    for tensor in trainers[1].optimizer.state():
        assert tensor.dtype in (torch.float32, torch.int64)
