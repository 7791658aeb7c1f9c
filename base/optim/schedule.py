"""Learning rate and momentum over the course of a run."""

from math import cos, pi

from base.config import Optim, Run


def lr_scale(run: Run, optim: Optim, step: int, seconds: float, step_seconds: float = 0.0) -> float:
    """Return 1, then less, down to `lr_floor`, in the form that `warmdown` names.

    `step_seconds` is the mean time of a step, 0 as long as it is not known.
    linear: to 0 over the last `warmdown_iterations` steps, or over their time under a wallclock limit (#414)
    fraction: to 0 over the last `warmdown_share` of the run, by steps or wallclock (#1218; .85 and floor .10 in #1855)
    wsd: half a cosine over that share (#850: .25)
    """
    remaining = 1.0 - progress(run, step, seconds)
    if optim.warmdown == "linear":
        scale = linear_warmdown(run, optim, step, seconds, step_seconds)
    else:
        scale = min(1.0, max(remaining, 0.0) / optim.warmdown_share) if optim.warmdown_share > 0 else 1.0
        scale = scale if optim.warmdown == "fraction" else 0.5 * (1.0 - cos(pi * scale))
    return max(scale, optim.lr_floor)


def linear_warmdown(run: Run, optim: Optim, step: int, seconds: float, step_seconds: float) -> float:
    warmdown = max(optim.warmdown_iterations, 1)
    scale = min(1.0, (run.iterations - step) / warmdown)
    if run.max_wallclock_seconds > 0 and step_seconds > 0:
        scale = min(scale, max(run.max_wallclock_seconds - seconds, 0.0) / (warmdown * step_seconds))
    return scale


def progress(run: Run, step: int, seconds: float) -> float:
    """Return the share of training that is done, by steps or by wallclock, whichever is further."""
    share = step / run.iterations
    return max(share, seconds / run.max_wallclock_seconds) if run.max_wallclock_seconds > 0 else share


def muon_momentum(optim: Optim, step: int) -> float:
    """Linear from muon_momentum_start to muon_momentum over the first muon_momentum_steps steps."""
    share = min(1.0, step / max(optim.muon_momentum_steps, 1))
    return optim.muon_momentum_start + share * (optim.muon_momentum - optim.muon_momentum_start)
