"""How many directions of a noisy matrix are signal: empirical variational Bayes matrix factorization, solved exactly.

S. Nakajima, M. Sugiyama, S. D. Babacan and R. Tomioka, "Global analytic solution of fully-observed variational Bayesian
matrix factorization", JMLR 14 (2013). A matrix (L, M), L <= M, is taken for a product of low rank plus normal noise of
variance s. Every singular value is kept or dropped by one threshold, sqrt(s M x), x = (1 + t) (1 + a / t), a = L / M,
where t is the one zero of phi(t) + phi(t / a), phi(z) = log(z + 1) / z - 1/2 (their theorem 2 and corollary 2). The
variance is the minimum of the free energy (theorem 4), a function of one number.
"""

from __future__ import annotations

import numpy as np

from freeml.ir.types import FloatArray

CANDIDATES = 400
BISECTIONS = 100
REFINEMENTS = 60


def vbmf_rank(matrix: FloatArray) -> int:
    """The number of singular values above the threshold, 0 for a matrix that looks like noise alone."""
    rows, columns = sorted(matrix.shape)
    powers = np.linalg.svd(np.asarray(matrix, dtype=np.float64), compute_uv=False) ** 2 / columns
    if rows == 0 or not powers[0] > 0:
        return 0
    powers = np.maximum(powers, 1e-24 * powers[0])  # no noise at all has no logarithm
    share = rows / columns
    edge = _edge(share)
    return int((powers > edge * _noise(powers, rows, share, edge)).sum())


def _edge(share: float) -> float:
    """x at the threshold, for a = `share`: what a power is compared with in units of the noise variance."""

    def phi(z: float) -> float:
        return float(np.log1p(z)) / z - 0.5

    low, high = 1e-12, 10.0  # phi falls from 1/2 to below 0 at 2.52, and t / a is no less than t
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if phi(middle) + phi(middle / share) > 0 else (low, middle)
    return (1 + low) * (1 + share / low)


def _noise(powers: FloatArray, rows: int, share: float, edge: float) -> float:
    """The noise variance with the least free energy, between the bounds of their theorem 4.

    `powers` are squared singular values over the number of columns, the largest first.
    """
    most = min(int(np.ceil(rows / (1 + share))) - 1, rows - 1)  # no more can be above the threshold
    high = float(powers.sum()) / rows
    low = max(float(powers[most]) / edge, float(powers[most:].mean()), 1e-12 * high)
    if low >= high:
        return high
    grid = np.geomspace(low, high, CANDIDATES)
    best = int(np.argmin([_free_energy(powers, s, share, edge) for s in grid]))
    one, two = np.log(grid[max(best - 1, 0)]), np.log(grid[min(best + 1, CANDIDATES - 1)])
    golden = (np.sqrt(5) - 1) / 2
    for _ in range(REFINEMENTS):
        left, right = two - golden * (two - one), one + golden * (two - one)
        if _free_energy(powers, np.exp(left), share, edge) < _free_energy(powers, np.exp(right), share, edge):
            two = right
        else:
            one = left
    return float(np.exp((one + two) / 2))


def _free_energy(powers: FloatArray, noise: float, share: float, edge: float) -> float:
    """Up to a constant, what the factorization costs for a noise variance (their equations 30 to 35)."""
    x = powers / noise
    above = x[x > edge]
    middle = above - (1 + share)
    t = 0.5 * (middle + np.sqrt(middle * middle - 4 * share))
    kept = np.log1p(t) + share * np.log1p(t / share) - t
    return float((x - np.log(x)).sum() + kept.sum())
