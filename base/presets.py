"""Whole configurations by name; a run starts from one of these."""

from base.config import Average, Config, Data, Eval, Model, Optim, Range, Run


def baseline() -> Config:
    """The challenge's own first size: 9 layers of 512, sp1024 (README baseline, 1.2244 bpb)."""
    return Config()


def pocket() -> Config:
    """A model a laptop trains in half a minute; small enough to iterate, real enough to rank ideas."""
    return Config(
        run=Run(iterations=300, log_every=10),
        data=Data(batch_tokens=2048, sequence_length=128),
        model=Model(num_layers=3, model_dim=64, num_heads=2, num_kv_heads=1, mlp_multiple=3.0),
        optim=Optim(warmdown_iterations=150, muon_momentum_steps=100),
        average=Average(ema_decay=0.97),
        eval=Eval(eval_length=128, eval_stride=64, eval_batch=32),
    )


# Ranges that differ for a preset, because its horizon or its size does.
RANGES = {
    "pocket": {
        "num_layers": Range(1, 6, joint=True),
        "model_dim": Range(32, 96, step=16, joint=True),
        "muon_momentum_steps": Range(10, 300, log=True),
        "warmdown_iterations": Range(30, 300, log=True),
        "ema_decay": Range(0.8, 0.995),
    }
}
PRESETS = {"baseline": baseline, "pocket": pocket}
DEFAULT_PRESET = "baseline"
