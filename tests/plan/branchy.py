"""Nets whose order matters to the peak of memory, as ONNX files."""

from __future__ import annotations

from math import inf
from pathlib import Path

from freeml.frontend.float_writer import to_onnx
from freeml.ir.graph import Graph, execute
from freeml.ops.add import Add
from freeml.ops.averagepool import AveragePool
from freeml.ops.clip import Clip
from freeml.ops.concat import Concat
from freeml.ops.reshape import Reshape
from freeml.ops.resize import Resize
from ops.sketch import Sketch

SAME = ((1, 1), (1, 1))


def branches() -> Graph:
    """Four branches that widen and narrow, written level by level; their sum and one of them end in two heads."""
    s = Sketch(seed=5)
    x = s.input(1, 2, 8, 8)
    wide = [s.add(Clip(low=0.0, high=inf), s.conv(x, 6 + i, (1, 1))) for i in range(4)]
    narrow = [s.conv(one, 2, (3, 3), pads=SAME, strides=(2, 2)) for one in wide]
    mean = AveragePool(kernel=(4, 4), strides=(4, 4), dilations=(1, 1), pads=((0, 0), (0, 0)))
    joined = s.add(Concat(axis=1), *narrow[:2], s.add(Add(), *narrow[2:]))
    scores = s.dense(s.add(Reshape(shape=(1, 6)), s.add(mean, joined)), 3)
    return s.graph(scores, s.dense(s.add(Reshape(shape=(1, 32)), narrow[3]), 2))


def skip() -> Graph:
    """A small map is enlarged, and the large one is read at once and again behind the widest layers."""
    s = Sketch(seed=6)
    relu = Clip(low=0.0, high=inf)
    small = s.add(relu, s.conv(s.input(1, 1, 4, 4), 12, (3, 3), pads=SAME))
    twice = tuple(i // 2 for i in range(8))
    large = s.add(Resize(indices=((0,), tuple(range(12)), twice, twice)), small)
    wide = s.add(relu, s.conv(s.add(relu, s.conv(large, 16, (3, 3), pads=SAME)), 16, (3, 3), pads=SAME))
    joined = s.add(Concat(axis=1), s.conv(wide, 2, (1, 1)), large)
    mean = AveragePool(kernel=(8, 8), strides=(8, 8), dilations=(1, 1), pads=((0, 0), (0, 0)))
    scores = s.dense(s.add(Reshape(shape=(1, 14)), s.add(mean, joined)), 3)
    bias = s.nodes[-1].stages[0].inputs[2]
    mean_scores = execute(s.graph(), s.samples(100))[scores].mean(axis=0)[0]
    s.constants[bias] = s.constants[bias] - mean_scores  # so that every class occurs
    return s.graph(scores)


def saved(graph: Graph, path: Path) -> Path:
    path.write_bytes(to_onnx(graph))
    return path
