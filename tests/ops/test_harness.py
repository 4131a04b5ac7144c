"""The harness can fail: faults planted in the reference, in the layout and in the C are all found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from freeml.fixedpoint.rounding import Requant
from freeml.ir.graph import QGraph
from freeml.ops.add import Add
from freeml.ops.clip import Clip
from freeml.ops.maxpool import MaxPool
from freeml.ops.sigmoid import Sigmoid
from ops.compiled import Compiled, Workshop, compiled
from ops.harness import check_bounds, check_integers
from ops.sketch import Sketch


def sketch() -> Sketch:
    """A pooled convolution, a residual sum, a table."""
    s = Sketch(seed=2)
    x = s.add(Clip(low=0.0, high=float("inf")), s.conv(s.input(1, 3, 6, 6), 4, (3, 3), pads=((1, 1), (1, 1))))
    pool = MaxPool(kernel=(2, 2), strides=(2, 2), dilations=(1, 1), pads=((0, 0), (0, 0)))
    x = s.add(pool, x)
    s.add(Sigmoid(), s.add(Add(), s.conv(x, 4, (1, 1)), x))
    return s


def net(width: str = "int8") -> Compiled:
    """The net, sound."""
    return compiled(sketch().graph(), sketch().samples(), width=width)  # type: ignore[arg-type]


def changed(graph: QGraph, kind: str, change: Callable[[Any], Any]) -> QGraph:
    """The graph with the first operator of a kind changed."""
    done = False
    nodes = []
    for node in graph.nodes:
        stages = []
        for stage in node.stages:
            if stage.op.kind == kind and not done:
                stage, done = replace(stage, op=change(stage.op)), True
            stages.append(stage)
        nodes.append(replace(node, stages=tuple(stages)))
    assert done
    return replace(graph, nodes=tuple(nodes))


def scaled(requant: Requant, factor: float) -> Requant:
    """A requantization that is off by a factor."""
    return replace(requant, multipliers=tuple(int(m * factor) for m in requant.multipliers))


REFERENCE_FAULTS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "multipliers off by 5 %": ("Conv", lambda op: replace(op, requant=scaled(op.requant, 0.95))),
    "padding with 0 instead of the zero point": ("Conv", lambda op: replace(op, pad_value=-100)),
    "an output off by two": (
        "Conv",
        lambda op: replace(op, requant=replace(op.requant, zero_point=op.requant.zero_point + 2)),
    ),
    "a sum of which one factor is off by 10 %": (
        "Sum",
        lambda op: replace(op, factors=(op.factors[0], int(op.factors[1] * 0.9))),
    ),
    "a zero point forgotten": ("Sum", lambda op: replace(op, zero_points=(op.zero_points[0], op.zero_points[1] + 40))),
    "a table read backwards": ("Table", lambda op: replace(op, values=op.values[::-1])),
}


@pytest.mark.parametrize("name", REFERENCE_FAULTS)
def test_a_wrong_reference_is_out_of_bounds(name: str) -> None:
    kind, change = REFERENCE_FAULTS[name]
    sound, samples = net(), {k: v.astype(np.float64) for k, v in sketch().samples().items()}
    check_bounds(sound, samples, 8)
    with pytest.raises(AssertionError, match="expected at most"):
        check_bounds(replace(sound, qgraph=changed(sound.qgraph, kind, change)), samples, 8)


def test_a_wrong_layout_is_found(workshop: Workshop) -> None:
    sound = net()
    probes = sound.probes(sketch().samples())
    check_integers(sound, probes, workshop)
    (weights,) = [name for name, a in sound.planned.constants.items() if a.shape == (4, 3, 3, 3)]
    swapped = {**sound.planned.constants, weights: sound.planned.constants[weights].transpose(0, 2, 1, 3)}
    with pytest.raises(AssertionError, match="layout_disagreements"):
        check_integers(replace(sound, planned=replace(sound.planned, constants=swapped)), probes, workshop)


C_FAULTS = {
    "a window one pixel to the right": ("model.c", "ox - 1", "ox"),
    "one weight": ("weights.c", "{\n    ", "{\n    1 + "),
    "an address": ("model.c", "int8_t *out = &fm_arena.s8[", "int8_t *out = &fm_arena.s8[1 + "),
    "the smallest maximum": ("model.c", "INT32_MIN", "100000"),
}


@pytest.mark.parametrize("name", C_FAULTS)
def test_wrong_c_is_found(name: str, workshop: Workshop) -> None:
    file, right, wrong = C_FAULTS[name]
    sound = net()
    assert right in sound.files[file]
    spoiled = replace(sound, files={**sound.files, file: sound.files[file].replace(right, wrong, 1)})
    with pytest.raises(AssertionError, match="disagreements"):
        check_integers(spoiled, sound.probes(sketch().samples()), workshop)


def test_c_that_reads_what_no_layer_wrote_is_found(workshop: Workshop) -> None:
    """The arena starts as rubbish: a map that is only read before it is written cannot be right by chance."""
    sound = net()
    assert sound.planned.nodes[0].source == "layout"  # the copy of the input that the first convolution reads
    text = sound.files["model.c"]
    table = text.index("fm_layers[FM_LAYER_COUNT] = {")
    names = [f"fm_layer_{layer.name},\n" for layer in sound.program.layers[:2]]
    swapped = text[:table] + text[table:].replace(names[0], "@").replace(names[1], names[0]).replace("@", names[1])
    assert swapped != text
    with pytest.raises(AssertionError, match="disagreements"):
        spoiled = replace(sound, files={**sound.files, "model.c": swapped})
        check_integers(spoiled, sound.probes(sketch().samples()), workshop)
