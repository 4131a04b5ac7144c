"""What surviving power failures costs, by where a firmware commits: run by `make bench`, kept out of the tests.

The same kernels, an inference in boots that each spend a charged capacitor, on the MSP430's simulator.
"""

from pathlib import Path

import pytest

from freeml.power.compare import compare_regions, table

MODELS = Path(__file__).parents[2] / "examples" / "models"
LIVELOCK_UF = 47.0
"""Where restarting whole layers never ends, for these nets."""

pytestmark = pytest.mark.bench


@pytest.mark.parametrize("name", ["har", "lenet5"])
def test_commits_that_the_budget_asks_for_are_the_cheapest(name, capsys):
    rows = compare_regions(MODELS / f"{name}.onnx")
    with capsys.disabled():
        print(f"\n{name}\n{table(rows)}")
    sizes = sorted({row.capacitor_uf for row in rows})
    assert len(rows) == 3 * len(sizes)
    for size in sizes:
        at = {row.variant: row for row in rows if row.capacitor_uf == size}
        ours = at.pop("budget")
        assert ours.cycles is not None
        for other in at.values():
            assert other.cycles is None or ours.cycles <= other.cycles, (size, other.variant)
        if size == LIVELOCK_UF:
            assert at["layer"].boots is None
        if size == 100.0:
            assert ours.overhead <= 0.05
        if size == 1000.0:
            assert ours.overhead <= 0.01
