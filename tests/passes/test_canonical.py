"""Means in one form: pools where they are pools, axes kept otherwise; the numbers stay the same."""

import numpy as np
import pytest

from freeml.ir.graph import Graph, execute, single, verify
from freeml.ir.types import TensorType
from freeml.ops.averagepool import AveragePool
from freeml.ops.reducemean import ReduceMean
from freeml.passes.canonical import CanonicalMeans


def mean_net(shape, axes, keepdims):
    op = ReduceMean(axes=axes, keepdims=keepdims)
    types = {"x": TensorType(shape=shape)}
    types["y"] = op.infer((types["x"],))[0]
    node = single("mean", op, ("x",), ("y",))
    return Graph(name="net", inputs=("x",), outputs=("y",), nodes=(node,), types=types, constants={})


@pytest.mark.parametrize("keepdims", [True, False])
@pytest.mark.parametrize(
    ("shape", "axes", "pool"),
    [((1, 3, 4, 5), (2, 3), True), ((1, 3, 7), (2,), True), ((1, 3, 4, 5), (1,), False), ((1, 6), (1,), False)],
)
def test_means(shape, axes, pool, keepdims):
    graph = mean_net(shape, axes, keepdims)
    changed = CanonicalMeans().apply(graph)
    verify(changed)
    assert isinstance(changed.nodes[0].op, AveragePool) == pool
    if not pool:
        assert changed.nodes[0].op.keepdims
    x = np.random.default_rng(0).normal(size=(3, *shape)).astype(np.float32)
    np.testing.assert_allclose(execute(changed, {"x": x})["y"], execute(graph, {"x": x})["y"], rtol=1e-6, atol=1e-6)
