"""The second pass of the scoring protocol: an audit of the losses that the first pass claimed.

Are the losses those of one normalized, causal distribution, and how far off can they be? A fresh process reads the
stream again, with different cuts. At probe positions, which the program cannot foresee, it must state a whole
distribution before it sees the token. Each distribution must sum to one, the token's loss must be the one that the
distribution gives it, and every loss must equal that of the first pass. Differences within the tolerance are measured
and charged; tampering that no probe detects is bounded (preflight/scoring/positions.py).
"""

from typing import NoReturn

import numpy as np
import numpy.typing as npt

from common.errors import Refused
from common.state import State
from data.shards import Tokens
from preflight.scoring import positions
from preflight.scoring.honesty import Honesty
from preflight.scoring.protocol import ScorerClient, Values

ROUNDING_NATS = 1e-3  # float32 sums in another order differ by far less; the measured noise is added on top
NOISE_LIMIT_NATS = 5e-3  # bf16 and atomic sums move a loss by about 1e-3; more is not rounding
LONGEST_BLOCK = 32_768.0  # tokens; the cuts at probe positions make most blocks shorter anyway
SUM_TOLERANCE = 1e-4  # a float32 softmax sums to one far more closely, however noisy its input


def audit(
    scorer: ScorerClient,
    tokens: Tokens,
    losses: Values,
    rng: np.random.Generator,
    probes: int,
    reference: Values | None = None,
    prefix: int | None = None,
    repeat: int = 1024,
) -> Honesty:
    """Read `tokens` a second time and compare with the losses of the first pass.

    Args:
        scorer: A process that has never seen the stream: one that remembers it can predict it.
        tokens: The stream, shape (n,).
        losses: What the first pass claimed for it, in nats, shape (n,).
        rng: Draws cuts and probe positions; the candidate must not be able to foresee them.
        probes: How many whole distributions to demand.
        reference: Losses of the same tokens over which a gain is claimed.
        prefix: Audit only so many tokens; the gain claimed on the rest goes into the bound.
        repeat: Tokens of the stretch that is read once more to measure the scorer's noise.

    Raises:
        Refused: A check failed; the message names the token and both numbers.
    """
    unread = slice(min(prefix or len(tokens), len(tokens)), None)
    unread_nats = _claimed(losses[unread], None if reference is None else reference[unread]) / max(len(tokens) - 1, 1)
    unread_share = 1.0 - unread.start / len(tokens)
    tokens, losses = tokens[: unread.start], losses[: unread.start]
    reference = None if reference is None else reference[: unread.start]
    probed = positions.draw(losses, reference, probes, rng)
    probed_tokens = np.unique(probed.chosen)
    cuts = _cuts(len(tokens), probed_tokens, rng)
    second, tables = _read(scorer, tokens, cuts, set(probed_tokens.tolist()))
    noise = _measure_noise(scorer, tokens, cuts, second, repeat)  # last, so that remembering cannot help
    tolerance = ROUNDING_NATS + 2.0 * noise
    promised = {int(at): _promised(at, tokens, tables[int(at)], second, losses, tolerance) for at in probed_tokens}
    differences = np.abs(second.astype(np.float64) - losses)
    worst = int(differences.argmax())
    if not differences[worst] <= tolerance:
        _refuse(worst, "a first loss of", float(losses[worst]), "with other cuts", float(second[worst]), None)

    gaps = np.array([promised[int(at)] - float(losses[at]) for at in probed.chosen])
    gap = positions.gap(gaps, probed, tolerance)
    missed, uniform = probed.missed_share, float(np.log(scorer.vocab_size))
    rare_share, gain = missed / probed.even_share, probed.claimed_gain_nats
    return Honesty(
        places=len(probed.chosen),
        tokens=len(tokens),
        noise_nats=noise,
        largest_difference_nats=float(max(differences.max(), np.abs(gaps).max())),
        smooth_bound_nats=max(gap.bound - gap.charge, 0.0),
        rare_share=rare_share,
        rare_bound_nats=rare_share * uniform,
        gap_nats=gap.mean,
        charge_nats=gap.charge,
        rare_gain_nats=None if gain is None else missed / positions.GAIN * gain,
        unread_share=unread_share,
        unread_bound_nats=unread_nats,
    )


def _claimed(losses: Values, reference: Values | None) -> float:
    """Return the gain of `losses` over `reference`, summed; without a reference, the sum of the losses."""
    gain = losses if reference is None else reference - losses
    return float(np.maximum(gain.astype(np.float64), 0.0).sum())


def _promised(at: int, tokens: Tokens, table: Values, second: Values, losses: Values, tolerance: float) -> float:
    """Return the loss that the stated distribution gives its token, normalized; raise Refused if a pass disagrees."""
    token = int(tokens[at])
    total = float(np.exp(np.minimum(table.astype(np.float64), 700.0)).sum())
    if not abs(total - 1.0) <= SUM_TOLERANCE:
        _refuse(at, "probabilities that sum to", total, "", 1.0, table)
    promised = float(np.log(total)) - float(table[token])
    for name, loss in (("this pass's loss", second[at]), ("the first pass's loss", losses[at])):
        if not abs(float(loss) - promised) <= tolerance:
            _refuse(at, f"{name} of token {token}", float(loss), "predict said", promised, table)
    return promised


def _cuts(count: int, probed_tokens: npt.NDArray[np.int64], rng: np.random.Generator) -> list[int]:
    """Return the block boundaries: 0, random steps of very different length, and both sides of each probe."""
    steps = np.exp(rng.uniform(0.0, np.log(LONGEST_BLOCK), size=count)).astype(np.int64) + 1
    ends = np.cumsum(steps)
    inner = np.concatenate([ends[ends < count], probed_tokens, probed_tokens + 1])
    return sorted({0, count, *(int(cut) for cut in inner if cut < count)})


def _read(
    scorer: ScorerClient, tokens: Tokens, cuts: list[int], probed_tokens: set[int]
) -> tuple[Values, dict[int, Values]]:
    """Score the blocks between the cuts; return all losses, and the distribution demanded before each probed token."""
    scorer.reset()
    losses, tables = [], {}
    for start, end in zip(cuts, cuts[1:], strict=False):
        if start in probed_tokens:
            tables[start] = scorer.predict()
        losses.append(scorer.observe(tokens[start:end]))
    return np.concatenate(losses), tables


def _measure_noise(scorer: ScorerClient, tokens: Tokens, cuts: list[int], losses: Values, repeat: int) -> float:
    """Read the first `repeat` tokens once more with the same cuts; return the largest difference from `losses`."""
    stretch = [cut for cut in cuts if cut <= max(repeat, cuts[1])]
    again, _ = _read(scorer, tokens[: stretch[-1]], stretch, set())
    noise = float(np.abs(again - losses[: len(again)]).max())
    if not noise <= NOISE_LIMIT_NATS:
        message = f"got losses that move by {noise:.4g} nats when a stretch is repeated with the same cuts"
        raise Refused(State.DISHONEST, f"{message}, expected at most {NOISE_LIMIT_NATS}")
    return noise


def _refuse(at: int, what: str, got: float, against: str, expected: float, table: Values | None) -> NoReturn:
    terms = ""
    if table is not None:
        top = np.argsort(table)[::-1][:3]
        terms = "; largest terms " + ", ".join(f"p({token})={np.exp(table[token]):.4g}" for token in top)
    witness = f"at token {at}: got {what} {got:.6f}, expected {against} {expected:.6f}".replace("  ", " ")
    raise Refused(State.DISHONEST, witness + terms)
