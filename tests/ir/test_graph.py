"""Graphs are frozen and checked; what is stored is read back the same; text shows everything."""

import dataclasses

import numpy as np
import pytest

from freeml.errors import ArtifactError, GraphError
from freeml.ir.graph import Graph, execute, single, verify
from freeml.ir.rewrite import Editor
from freeml.ir.serialize import from_json, to_json
from freeml.ir.text import to_text
from freeml.ir.types import TensorType
from freeml.making import lower_graph
from freeml.ops import INTEGER_CLASSES
from freeml.ops.add import Add
from freeml.ops.clip import Clip
from freeml.quant.choose import choose
from freeml.quant.quantize import Precision
from ops.sketch import Sketch


def two_clips(**changes):
    kind = TensorType(shape=(1, 3))
    nodes = (single("a", Clip(low=0, high=1), ("x",), ("h",)), single("b", Add(), ("h", "k"), ("y",)))
    values = {
        "name": "net", "inputs": ("x",), "outputs": ("y",), "nodes": nodes,
        "types": {"x": kind, "h": kind, "y": kind, "k": TensorType(shape=(3,))},
        "constants": {"k": np.arange(3, dtype=np.float32)},
    }  # fmt: skip
    return Graph(**{**values, **changes})


def test_a_good_graph_passes_and_runs():
    graph = two_clips()
    verify(graph)
    assert execute(graph, {"x": np.full((2, 1, 3), 5.0)})["y"].tolist() == [[[1, 2, 3]], [[1, 2, 3]]]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"outputs": ("z",)}, "nothing produces the output z"),
        ({"inputs": ("x", "x")}, "listed twice"),
        ({"constants": {}}, "reads k, which nothing before it produces"),
        ({"constants": {"k": np.zeros(4, np.float32)}}, r"constant k: expected shape \(3,\), found \(4,\)"),
        ({"nodes": tuple(reversed(two_clips().nodes))}, "node b .Add. reads h, which nothing before it produces"),
        ({"nodes": (two_clips().nodes[0],) * 2, "outputs": ("h",)}, "two nodes are called a"),
        ({"types": {k: v for k, v in two_clips().types.items() if k != "h"}}, "h has no type"),
        ({"types": {**two_clips().types, "y": TensorType(shape=(1, 4))}}, "producing y: expected"),
    ],
)
def test_what_is_wrong_is_named(changes, words):
    with pytest.raises(GraphError, match=words):
        verify(two_clips(**changes))


def test_nothing_can_be_changed_in_place():
    graph = two_clips()
    with pytest.raises(dataclasses.FrozenInstanceError):
        graph.name = "other"
    with pytest.raises(TypeError):
        graph.types["x"] = TensorType(shape=(1,))
    with pytest.raises(ValueError, match="read-only"):
        graph.constants["k"][0] = 7
    array = np.arange(3, dtype=np.float32)
    copied = two_clips(constants={"k": array})
    array[0] = 9  # the graph has its own copy
    assert copied.constants["k"][0] == 0


def test_an_editor_drops_what_nothing_reads():
    graph = two_clips()
    edit = Editor.of(graph)
    edit.outputs = ("h",)
    finished = edit.finish()
    verify(finished)
    assert [n.name for n in finished.nodes] == ["a"]
    assert not finished.constants
    assert set(finished.types) == {"x", "h"}


def integer_graph():
    sketch = Sketch(seed=0)
    x = sketch.input(1, 3, 6, 6)
    y = sketch.add(Clip(low=0.0, high=1.0), x)
    graph, inputs = sketch.graph(y), dict(sketch.samples(4))
    return choose(graph, inputs, precision=Precision()).qgraph


def test_a_stored_graph_comes_back_the_same():
    graph = lower_graph(integer_graph())[0]
    text = to_json(graph)
    back = from_json(text, INTEGER_CLASSES)
    assert to_json(back) == text
    assert to_text(back) == to_text(graph)
    assert all(np.array_equal(back.constants[k], v) for k, v in graph.constants.items())


@pytest.mark.parametrize("damage", [lambda t: t[: len(t) // 2], lambda t: t.replace('"format": 1', '"format": 2'),
                                    lambda t: t.replace("QClip", "QNothing"), lambda t: "[]", lambda t: "{}"])  # fmt: skip
def test_a_damaged_stored_graph_is_an_error_not_a_crash(damage):
    with pytest.raises(ArtifactError, match="compile the model anew"):
        from_json(damage(to_json(integer_graph())), INTEGER_CLASSES)


def test_every_integer_class_is_known_to_the_store():
    import importlib
    import pkgutil

    import freeml.ops
    from freeml.ir.graph import QOp

    found = set()
    for module in pkgutil.iter_modules(freeml.ops.__path__):
        for item in vars(importlib.import_module(f"freeml.ops.{module.name}")).values():
            if isinstance(item, type) and issubclass(item, QOp) and dataclasses.is_dataclass(item):
                found.add(item.__name__)
    assert found <= set(INTEGER_CLASSES)
    assert len(found) >= 18
