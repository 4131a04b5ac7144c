"""Budgets from words, and how certain a measured drop is."""

from __future__ import annotations

import numpy as np
import pytest

from freeml.compression.budget import Budget, drop_interval, parse_budget, parse_energy, parse_size, wilson
from freeml.errors import FreemlError


@pytest.mark.parametrize(
    ("text", "size"), [("32KB", 32768), ("4 kB", 4096), ("1.5K", 1536), ("8KiB", 8192), ("4096", 4096), ("77B", 77)]
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text, "--flash") == size


@pytest.mark.parametrize("text", ["", "KB", "-4KB", "0", "32MB", "1e3", "4KB!", "0.0001K"])
def test_sizes_that_are_none(text: str) -> None:
    with pytest.raises(FreemlError, match=r"--ram: expected a number of bytes above 0, as in 32KB or 4096, found"):
        parse_size(text, "--ram")


@pytest.mark.parametrize(
    ("text", "joules"),
    [("5mJ", 5e-3), ("800uJ", 8e-4), ("0.01J", 0.01), (" 2.5 mJ ", 2.5e-3), ("40nJ", 4e-8), ("7µJ", 7e-6), ("1e-3J", 1e-3)],
)  # fmt: skip
def test_energies(text: str, joules: float) -> None:
    assert parse_energy(text, "--energy") == pytest.approx(joules, rel=1e-12)


@pytest.mark.parametrize(
    "text", ["", "5", "5m", "mJ", "-1mJ", "0J", "0.0uJ", "5MJ", "5 mj", "5mJ!", "9" * 400 + "J", "nanJ"]
)
def test_energies_that_are_none(text: str) -> None:
    with pytest.raises(
        FreemlError, match=r"--energy: expected an energy above 0 with its unit, as in 5mJ or 800uJ, found"
    ):
        parse_energy(text, "--energy")


def test_parse_budget() -> None:
    assert parse_budget(None, None, None, None, energy="2mJ") == Budget(energy_joules=2e-3)
    assert parse_budget("1KB", None, None, None, energy="2mJ") == Budget(flash_bytes=1024, energy_joules=2e-3)
    assert parse_budget(None, None, None, None) is None
    assert parse_budget("8KB", None, None, None) == Budget(flash_bytes=8192)
    found = parse_budget("8KB", "1KB", 0.5, "normal")
    assert found == Budget(flash_bytes=8192, ram_bytes=1024, max_drop_points=0.5, effort="normal")
    with pytest.raises(FreemlError, match="--max-drop and --effort: expected a budget to go with"):
        parse_budget(None, None, 1.0, "quick")
    with pytest.raises(FreemlError, match="--method: expected a budget to go with"):
        parse_budget(None, None, None, None, "sparsecomp")
    assert parse_budget("8KB", None, None, None, "sparsecomp") == Budget(flash_bytes=8192, method="sparsecomp")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "expected --flash, --ram or --energy, found none"),
        ({"energy_joules": 0.0}, "--energy: expected joules above 0"),
        ({"energy_joules": float("nan")}, "--energy: expected joules above 0"),
        ({"energy_joules": float("inf")}, "--energy: expected joules above 0"),
        ({"energy_joules": 1e-3, "method": "sparsecomp"}, "--method sparsecomp: expected --flash, for it lowers"),
        ({"flash_bytes": -1}, "whole numbers of bytes above 0"),
        ({"flash_bytes": 1000, "max_drop_points": -0.1}, "--max-drop: expected 0 to 100"),
        ({"flash_bytes": 1000, "max_drop_points": float("nan")}, "--max-drop: expected 0 to 100"),
        ({"flash_bytes": 1000, "effort": "heroic"}, "effort: expected one of quick, normal, thorough"),
    ],
)
def test_what_is_no_budget(options: dict[str, object], message: str) -> None:
    with pytest.raises(FreemlError, match=message):
        Budget(**options)  # type: ignore[arg-type]


def test_misses() -> None:
    budget = Budget(flash_bytes=100, ram_bytes=10)
    assert not budget.misses(100, 10, 9.9)
    assert budget.misses(101, 10, 0.0)
    assert budget.misses(100, 11, 0.0)
    assert not Budget(ram_bytes=10).misses(10**6, 10, 9.9)
    for joules in (8e-4, 0.0008, 800.0 * 1e-6):
        assert not Budget(energy_joules=parse_energy("800uJ", "")).misses(10**6, 10**6, joules)
    assert Budget(energy_joules=8e-4).misses(0, 0, 8.00001e-4)
    assert Budget(flash_bytes=10, energy_joules=5e-3).words() == "--flash 10 B and --energy 5,000 uJ"


@pytest.mark.parametrize(
    ("right", "count", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (29, 29, 0.8830, 1.0)],
)
def test_wilson(right: int, count: int, low: float, high: float) -> None:
    """The worked examples of R. G. Newcombe, Statistics in Medicine 17 (1998) 857, method 3; one of them mirrored."""
    assert wilson(right, count) == pytest.approx((low, high), abs=6e-5)


def test_drop_interval_is_symmetric_and_covers() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(300):
        before = rng.random(200) < 0.9
        after = np.where(rng.random(200) < 0.85, before, rng.random(200) < 0.7)  # loses 3 points on average
        low, high = drop_interval(before, after)
        assert drop_interval(after, before) == pytest.approx((-high, -low))
        assert low <= before.mean() - after.mean() <= high
        covered += low <= 0.03 <= high
    assert covered / 300 > 0.92


def test_drop_interval_narrows_with_what_both_answer() -> None:
    before = np.arange(1000) < 950
    low, high = drop_interval(before, np.arange(1000) < 945)
    apart = drop_interval(before, np.arange(1000) >= 55)
    assert high - low < (apart[1] - apart[0]) / 2
    same = drop_interval(before, before)
    assert same[0] <= 0 <= same[1]
