"""The result of an audit: bounds on how far a scorer's claimed losses can be off."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Honesty:
    """Error bounds of claimed losses, in nats per token unless a field says otherwise.

    Ledgers store the fields as JSON under these names; a new field needs a default, for rows written before it.
    """

    places: int  # probe positions: tokens before which a whole distribution was demanded
    tokens: int  # losses compared between the two passes
    noise_nats: float  # largest difference between two readings of one stretch with the same cuts
    largest_difference_nats: float  # over all comparisons
    smooth_bound_nats: float  # 99 % bound on the error of losses plus charge that stays within the tolerance
    rare_share: float  # share of tokens on which larger errors would have been detected with probability 99 %
    rare_bound_nats: float  # that share, were each of those tokens worth a uniform guess
    # Absent from older ledgers:
    gap_nats: float = 0.0  # promised minus claimed loss, normalizer included: an estimate for all tokens
    charge_nats: float = 0.0  # the gap plus its error, never below zero: added to the claimed loss
    rare_gain_nats: float | None = None  # part of the gain over the reference that larger errors may account for
    unread_share: float = 0.0  # share of the stream that was not audited
    unread_bound_nats: float = 0.0  # gain claimed on it; without a reference, its whole loss
