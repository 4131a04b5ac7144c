"""Speed follows: how many cycles compressed nets take on the MSP430 simulator, against the multiply-accumulates removed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from freeml.compression.budget import Budget, parse_size
from freeml.options import Options
from freeml.pipeline import compile_model
from freeml.profiling import Profile, profile
from freeml.report.terminal import line, print_stored, table

EXAMPLES = Path(__file__).parents[2] / "examples"

pytestmark = pytest.mark.bench


@pytest.mark.parametrize(
    ("net", "data", "flash"), [("lenet5", "mnist5k", "10.1KB"), ("har", "har", "10.7KB")], ids=("lenet5", "har")
)
def test_cycles_fall_with_the_work(
    net: str, data: str, flash: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Cycles of a simulated inference, commits and unpacking included, fall by half of the share of the
    multiply-accumulates at least; what is slower than plain weights is named."""
    archive = EXAMPLES / ".data" / f"{data}.npz"
    if not archive.is_file():
        pytest.skip(f"{archive.name} is not made; run make data")
    budgets = {"before": None, "after": Budget(flash_bytes=parse_size(flash, "--flash"), max_drop_points=100.0)}
    reports, profiles = {}, {}
    for name, budget in budgets.items():
        folder = tmp_path / name
        compile_model(EXAMPLES / "models" / f"{net}.onnx", options=Options(budget=budget), data=archive, output=folder)
        reports[name] = json.loads((folder / "report.json").read_text())
        profiles[name] = profile(folder)
    macs = reports["after"]["macs"] / reports["before"]["macs"]
    cycles = _cycles(profiles["after"]) / _cycles(profiles["before"])
    rows = [
        (
            name,
            f"{reports[name]['bytes']['weights']:,}",
            f"{reports[name]['macs']:,}",
            f"{_cycles(profiles[name]):,.0f}",
        )
        for name in budgets
    ]
    with capsys.disabled():
        print()
        table(f"{net} under --flash {flash}, simulated", ("", "weights B", "MACs", "cycles"), rows)
        line(f"multiply-accumulates x {macs:.3f}, cycles x {cycles:.3f}, at most {1 - 0.5 * (1 - macs):.3f}")
        print_stored(reports["after"]["layers"], reports["after"]["cost_unit"])
    assert macs < 1
    assert cycles <= 1 - 0.5 * (1 - macs)
    # The form is why a layer is slow: its prediction, which names what the form costs, is that of the simulator.
    for layer, found in zip(reports["after"]["layers"], profiles["after"].layers, strict=True):
        assert layer["name"] == found.name
        assert layer["predicted_cost"] == pytest.approx(found.cycles, rel=0.10)


def _cycles(found: Profile) -> float:
    assert found.total.cycles is not None
    return found.total.cycles
