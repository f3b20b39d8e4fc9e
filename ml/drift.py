"""Significance of drift, in plain arithmetic: the web process asks it, and loads no statistics library for it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

TERMS = 100
"""Of Kolmogorov's series; beyond, each adds less than 1e-15 where the distance is worth a look."""
SMALLEST = 0.2
"""Below this the series of Kolmogorov's distribution converges slowly, and its tail is 1 in every digit shown."""


def distance_from_uniform(shares: Sequence[float]) -> float:
    """Return the Kolmogorov-Smirnov distance (0 to 1) of values between 0 and 1 from the uniform distribution.

    Raises ValueError where there are none.
    """
    if not shares:
        raise ValueError("No values, no distance.")
    n = len(shares)
    return max(max((rank + 1) / n - share, share - rank / n) for rank, share in enumerate(sorted(shares)))


def distance_p_value(distance: float, n: int) -> float:
    """Return how often n independent uniform values lie at least this far from uniform, 0 to 1.

    Kolmogorov's limiting distribution with Stephens' correction for finite n (1970, *Journal of the Royal Statistical
    Society B* 32, 115): within 6 % of the exact value for n of 20 and more, where that is 0.001 to 0.5.
    """
    root = math.sqrt(n)
    scaled = (root + 0.12 + 0.11 / root) * distance
    if scaled < SMALLEST:
        return 1.0
    series = math.fsum(
        (1.0 if term % 2 else -1.0) * math.exp(-2 * (term * scaled) ** 2) for term in range(1, TERMS + 1)
    )
    return min(1.0, max(0.0, 2 * series))


def at_least_p_value(count: int, n: int, share: float) -> float:
    """Return how often `count` or more of n independent events happen where each has the chance `share`, 0 to 1."""
    return min(
        1.0,
        math.fsum(math.comb(n, k) * share**k * (1 - share) ** (n - k) for k in range(max(0, count), n + 1)),
    )


def distance_of_counts(counts: Mapping[int, int], expected: Mapping[int, int]) -> float:
    """Return the Kolmogorov-Smirnov distance (0 to 1) between two histograms over the same bins.

    Values within a bin are not told apart, so it is at most that of the values themselves. Raises ValueError where one
    of the two is empty.
    """
    n, m = sum(counts.values()), sum(expected.values())
    if not n or not m:
        raise ValueError("No values, no distance.")
    below = of_these = of_those = 0.0
    for place in sorted(counts.keys() | expected.keys()):
        of_these += counts.get(place, 0) / n
        of_those += expected.get(place, 0) / m
        below = max(below, abs(of_these - of_those))
    return min(1.0, below)
