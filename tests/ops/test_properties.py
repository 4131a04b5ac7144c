"""Random nets down the whole line: the reference is near the float path, does not depend on the layout, and is the C."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from ops.compiled import Width, Workshop, compiled
from ops.harness import check_bounds, check_integers
from ops.nets import nets

from freeml.ir.graph import Graph

PRECISIONS = [("int8", 8), ("int16", 8), ("int16", 16)]


def check_net(graph: Graph, samples: dict[str, np.ndarray], width: Width, weight_bits: int, workshop: Workshop) -> None:
    """Every check on one net, fused and not fused."""
    net = compiled(graph, samples, width=width, weight_bits=weight_bits)  # type: ignore[arg-type]
    check_bounds(net, samples, weight_bits)
    check_integers(net, net.probes(samples), workshop)


@pytest.mark.parametrize(("width", "weight_bits"), PRECISIONS)
@settings(max_examples=50)
@given(drawn=nets())
def test_random_nets(
    drawn: tuple[Graph, dict[str, np.ndarray]], width: Width, weight_bits: int, workshop: Workshop
) -> None:
    check_net(*drawn, width, weight_bits, workshop)


@pytest.mark.nightly
@pytest.mark.parametrize(("width", "weight_bits"), PRECISIONS)
@settings(max_examples=1500)
@given(drawn=nets())
def test_many_random_nets(
    drawn: tuple[Graph, dict[str, np.ndarray]], width: Width, weight_bits: int, workshop: Workshop
) -> None:
    check_net(*drawn, width, weight_bits, workshop)
