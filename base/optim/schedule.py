"""Learning rate and momentum over the course of a run."""

from base.config import Optim, Run


def lr_scale(run: Run, optim: Optim, step: int, seconds: float) -> float:
    """1, then linearly to 0 over the last `warmdown_iterations` steps, or over their time under a wallclock limit.

    The mean step is only trusted after a few steps: a slow first one would start the warmdown at once (#962).
    """
    warmdown = max(optim.warmdown_iterations, 1)
    scale = min(1.0, (run.iterations - step) / warmdown)
    if run.max_wallclock_seconds > 0 and step >= 10:
        left = run.max_wallclock_seconds - seconds
        scale = min(scale, max(left, 0.0) / (warmdown * seconds / step))
    return scale


def progress(run: Run, step: int, seconds: float) -> float:
    """Share of training that is over, by steps or by wallclock, whichever is further."""
    share = step / run.iterations
    return max(share, seconds / run.max_wallclock_seconds) if run.max_wallclock_seconds > 0 else share


def muon_momentum(optim: Optim, step: int) -> float:
    """Linear from muon_momentum_start to muon_momentum over the first muon_momentum_steps steps."""
    share = min(1.0, step / max(optim.muon_momentum_steps, 1))
    return optim.muon_momentum_start + share * (optim.muon_momentum - optim.muon_momentum_start)
