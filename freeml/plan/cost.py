"""What a layer will cost on a board, predicted before it runs: cycles, or instructions where a simulator counts those.

A layer is a number of events (`freeml.plan.events`), and each event has a price, fitted for a board and a compiler by
tools/calibrate_costs.py and kept in prices/. The prices are measurements of the project's own simulators.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from freeml.plan.counting import Events

FOLDER = Path(__file__).with_name("prices")


@dataclass(frozen=True, slots=True, kw_only=True)
class CostModel:
    """Prices of events for one board and compiler, in `unit`."""

    board: str
    toolchain: str
    unit: Literal["cycles", "instructions"]
    prices: Mapping[str, float]

    def predict(self, events: Events) -> float | None:
        """Cost of a layer; None when an event of it was never calibrated."""
        if any(name not in self.prices for name in events):
            return None
        return sum(count * self.prices[name] for name, count in events.items())


def prices_path(board: str, toolchain: str) -> Path:
    """Where the prices of a board and a compiler are kept."""
    return FOLDER / f"{board}-{toolchain}.json"


def load_cost_model(board: str, toolchain: str) -> CostModel | None:
    """The model of a board and a compiler, or None when there is none."""
    path = prices_path(board, toolchain)
    if not path.is_file():
        return None
    document = json.loads(path.read_text(encoding="utf-8"))
    return CostModel(board=board, toolchain=toolchain, unit=document["unit"], prices=document["prices"])
