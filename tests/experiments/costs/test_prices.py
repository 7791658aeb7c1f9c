"""Prices of cached prefixes."""

from experiments.costs.prices import PRICES, cheapest_ttl, prefix_price


def test_cheapest_cache_ttl_follows_the_distance():
    price = PRICES["claude-opus-5-5"]
    assert [cheapest_ttl(price, minutes) for minutes in (1, 3, 6, 22, 45, 90)] == ["5m", "1h", "1h", "1h", "1h", ""]
    for minutes in (1, 6, 22, 90):
        best = prefix_price(price, cheapest_ttl(price, minutes), minutes)
        assert best == min(prefix_price(price, cache_ttl, minutes) for cache_ttl in ("5m", "1h", ""))
