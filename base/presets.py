"""Whole configurations by name; a run starts from one of these."""

from base.config import Average, Config, Data, Eval, Model, Optim, Run


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


PRESETS = {"baseline": baseline, "pocket": pocket}
DEFAULT_PRESET = "baseline"
