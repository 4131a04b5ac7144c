"""The least net is looked for in both forms of its weights, and what it takes is said; where neither fits the board, that."""

from __future__ import annotations

from pathlib import Path

import pytest

from blobs import arrays
from freeml.compression.allocate import Estimator, floor
from freeml.compression.budget import Budget
from freeml.compression.channels import find_channels
from freeml.compression.coarse import coarse_bits
from freeml.compression.recipe import first_recipe
from freeml.compression.search import run_trial
from freeml.errors import CompressionError, DoesNotFitError
from freeml.ir.graph import Graph
from freeml.making import Made
from freeml.options import Options
from freeml.pipeline import Prepared, prepare
from freeml.quant.quantize import Precision
from freeml.targets import get

BUDGET = Budget(flash_bytes=64)


@pytest.fixture(scope="module")
def prepared(model: Path) -> Prepared:
    return prepare(model, Options(budget=BUDGET), arrays())


def try_with(prepared: Prepared, built: list[Made], fits: bool) -> None:
    """A trial whose nets fit the board, where `fits`, with packed weights only; what is built goes to `built`."""

    def attempt(graph: Graph) -> Made:
        if not (fits and coarse_bits(graph)):
            raise DoesNotFitError("this board is small", bytes_={}, limits={})
        built.append(prepared.made(graph))
        return built[-1]

    estimator = Estimator(
        board=get("msp430"), precision=Precision(), prices=None, inputs=prepared.calibration, whole_bytes=500
    )
    assert prepared.dataset is not None
    run_trial(
        prepared.graph, prepared.dataset, BUDGET, attempt=attempt, estimator=estimator, seed=0,
        show=lambda *_: None, recipe=first_recipe("quick"),
    )  # fmt: skip


def test_the_packed_form_is_the_least_where_the_plain_one_does_not_fit(prepared: Prepared) -> None:
    built: list[Made] = []
    with pytest.raises(CompressionError) as refused:
        try_with(prepared, built, fits=True)
    (least,) = built
    assert refused.value.details["irreducible"]["flash"] == least.flash_bytes
    assert f"flash {least.flash_bytes:,} B" in str(refused.value)
    expected = prepared.made(floor(prepared.graph, find_channels(prepared.graph), packs=True))
    assert least.flash_bytes == expected.flash_bytes


def test_a_net_that_no_channels_bring_onto_the_board(prepared: Prepared) -> None:
    with pytest.raises(DoesNotFitError, match="this board is small"):
        try_with(prepared, [], fits=False)
