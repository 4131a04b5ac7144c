"""How sure scores are, in integers: what the board computes at an exit (firmware/common/fm_exits.c).

Scores are integers of a common scale, (samples, classes). No exponential or logarithm is taken at run time: two tables
of 176 and 64 numbers stand for them.
"""

from __future__ import annotations

from math import exp, log

import numpy as np

from freeml.ir.types import IntArray

EXP_STEPS = 16
"""Entries of the table of exponentials per nat."""

EXP_TABLE: tuple[int, ...] = tuple(round(exp(-i / EXP_STEPS) * 2**15) for i in range(11 * EXP_STEPS))
"""exp(-i / 16) in units of 2**-15; beyond 11 nats a class counts for nothing."""

NAT = 1024
"""Entropies are in units of 1/1024 nat."""

LOG_TABLE: tuple[int, ...] = tuple(round(log(1 + i / 64) * NAT) for i in range(64))
"""log(1 + i / 64) in units of 1/1024 nat."""

LOG_2 = round(log(2) * NAT)


def margins(scores: IntArray) -> IntArray:
    """Largest minus second largest score, (samples,); 0..65535 for 16-bit scores."""
    top = np.partition(scores, -2, axis=1)[:, -2:]
    return np.asarray(top[:, 1] - top[:, 0], dtype=np.int64)


def entropies(scores: IntArray, steps: int) -> IntArray:
    """Entropy of the softmax in 1/1024 nat, (samples,); `steps` are sixteenths of a nat per 65,536 units of scores.

    H = log S + sum(e_k d_k) / S with e_k = exp(-d_k), S = sum(e_k), d_k the distance from the largest score.
    """
    distance = scores.max(axis=1, keepdims=True) - scores
    index = np.minimum((distance * steps) >> 16, len(EXP_TABLE))
    weight = np.array((*EXP_TABLE, 0), dtype=np.int64)[index]
    total, spread = weight.sum(axis=1), (weight * index).sum(axis=1)
    shift = np.array([max(0, int(s).bit_length() - 16) for s in total], dtype=np.int64)  # the largest counts 2**15
    log_total = shift * LOG_2 + np.array(LOG_TABLE, dtype=np.int64)[((total >> shift) - 2**15) >> 9]
    return np.asarray(log_total + (spread * (NAT // EXP_STEPS)) // total, dtype=np.int64)
