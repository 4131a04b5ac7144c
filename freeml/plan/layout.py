"""Layout: maps become channels-last, so that a window is a few contiguous runs and a dot product streams.

Transposes are lazy. Each value of the graph is held as a *view*: some stored value plus an order of its axes. A
Transpose of the model only changes the view; a copy is made when an operator needs an order that is not stored, once
per order, and costs nothing when it only moves axes of extent 1. A flattening before a dense layer permutes the layer's
weights instead.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import cast

import numpy as np

from freeml.ir.graph import Node, QGraph, QOp, Stage, single, verify
from freeml.ir.rewrite import Editor
from freeml.ir.types import QType, Shape
from freeml.ops.answer import QAnswer
from freeml.ops.base import LoweredOp
from freeml.ops.dense import QDense
from freeml.ops.reshape import QReshape
from freeml.ops.transpose import QTranspose

Order = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class View:
    """A logical value in terms of a stored one: stored = logical transposed by `order`.

    `flat` is set for a logical value that is a reshape of such a transposed tensor: its shape before the reshape.
    """

    stored: str
    order: Order
    flat: Shape | None = None


def identity(rank: int) -> Order:
    """No change of axes."""
    return tuple(range(rank))


def channels_last_order(rank: int) -> Order:
    """(0, 2, ..., 1)."""
    return (0, *range(2, rank), 1)


def to_channels_last(graph: QGraph) -> QGraph:
    """The same computation with every convolution and pool channels-last, and as few copies as the graph allows."""
    pass_ = _Layout(graph=graph)
    for node in graph.nodes:
        pass_.place(node)
    return pass_.finish()


class _Layout:
    def __init__(self, graph: QGraph) -> None:
        self.graph = graph
        self.edit: Editor[QOp, QType] = Editor.of(graph)
        self.edit.nodes = []
        self.views: dict[str, View] = {}
        self.copies: dict[tuple[str, Order], str] = {}
        for name in graph.inputs:
            self.views[name] = View(name, identity(len(graph.types[name].shape)))

    # --- views -------------------------------------------------------------------------------------------------------

    def logical(self, value: str) -> str:
        """A stored value in the logical order of `value`."""
        view = self.views[value]
        if view.flat is None:
            return self.ordered(value, identity(len(self.graph.types[value].shape)))
        plain = self._copy(view.stored, view.flat, view.order, identity(len(view.flat)))
        return self._reshape(plain, self.graph.types[value].shape, value)

    def ordered(self, value: str, order: Order) -> str:
        """A stored value that is `value` transposed by `order`."""
        view = self.views[value]
        shape = self.graph.types[value].shape
        if view.flat is not None:
            self.views[value] = view = View(self.logical(value), identity(len(shape)))
        return self._copy(view.stored, shape, view.order, order)

    def _copy(self, stored: str, shape: Shape, have: Order, want: Order) -> str:
        """`stored` is a tensor of logical `shape` transposed by `have`; return it transposed by `want`."""
        if have == want:
            return stored
        perm = tuple(have.index(axis) for axis in want)
        if (stored, perm) in self.copies:
            return self.copies[stored, perm]
        type_ = self.edit.types[stored]
        target = tuple(type_.shape[p] for p in perm)
        if [p for p in perm if type_.shape[p] != 1] == [p for p in range(len(perm)) if type_.shape[p] != 1]:
            name = self._reshape(stored, target, stored)
        else:
            name = self.edit.fresh(f"{stored}_{'last' if want[-1:] == (1,) else 'ordered'}")
            self.edit.types[name] = type_.with_shape(target)
            self.edit.nodes.append(single(f"{name}_copy", QTranspose(perm=perm), (stored,), (name,), "layout"))
        self.copies[stored, perm] = name
        return name

    def _reshape(self, stored: str, shape: Shape, base: str) -> str:
        if self.edit.types[stored].shape == shape:
            return stored
        key = (stored, shape)
        if key in self.copies:
            return self.copies[key]
        name = self.edit.fresh(f"{base}_shaped")
        self.edit.types[name] = self.edit.types[stored].with_shape(shape)
        self.edit.nodes.append(single(f"{name}_view", QReshape(shape=shape), (stored,), (name,), "layout"))
        self.copies[key] = name
        return name

    # --- nodes -------------------------------------------------------------------------------------------------------

    def place(self, node: Node[QOp]) -> None:
        """Append `node` in the best layout, with the copies it needs before it."""
        op, stage = node.op, node.stages[0]
        out = node.outputs[0]
        if isinstance(op, QTranspose) and len(node.stages) == 1:
            self._transpose(op, stage, out)
        elif isinstance(op, QReshape) and len(node.stages) == 1:
            self._reshaped(stage, out)
        else:
            order = self._wanted(node)
            if not (order and self._permuted(node, order)):
                self._plain(node)

    def _transpose(self, op: QTranspose, stage: Stage[QOp], out: str) -> None:
        view = self.views[stage.inputs[0]]
        if view.flat is not None:
            view = View(self.logical(stage.inputs[0]), identity(len(self.graph.types[stage.inputs[0]].shape)))
        # logical' = logical transposed by perm; stored = logical transposed by view.order
        self.views[out] = View(view.stored, tuple(op.perm.index(axis) for axis in view.order))

    def _reshaped(self, stage: Stage[QOp], out: str) -> None:
        source = stage.inputs[0]
        view, shape = self.views[source], self.graph.types[source].shape
        target = self.graph.types[out].shape
        readers = self.graph.consumers(out)
        absorbable = (
            view.order != identity(len(view.order))
            and len(target) >= 1
            and target[-1] == self.graph.types[out].size
            and out not in self.graph.outputs
            and all(
                isinstance(r.op, QDense) and r.stages[0].inputs[0] == out and r.inputs.count(out) == 1 for r in readers
            )
        )
        if view.flat is None and absorbable and bool(readers):
            flat = self._reshape(view.stored, target, out)
            self.views[out] = View(flat, view.order, flat=shape)
        else:
            stored = self._reshape(self.logical(source), target, out)
            self.views[out] = View(stored, identity(len(target)))

    def _wanted(self, node: Node[QOp]) -> Order | None:
        """The order the node should run in: channels-last for windows, else one that an input is already stored in."""
        shape = self.graph.types[node.stages[0].inputs[0]].shape
        if hasattr(node.op, "window") and not getattr(node.op, "channels_last", True):
            return channels_last_order(len(shape))
        rank = len(self.graph.types[node.outputs[0]].shape)
        for value in self.graph.activations(node):
            view = self.views[value]
            if view.flat is None and len(view.order) == rank and view.order != identity(rank):
                return view.order
        return None

    def _permuted(self, node: Node[QOp], order: Order) -> bool:
        """Place the node with all its activations in `order`; False when some stage cannot."""
        stages = []
        for stage in node.stages:
            op = stage.op.permuted(order) if isinstance(stage.op, LoweredOp) else None
            if op is None:
                return False
            activations = [v for v in stage.inputs if v not in self.graph.constants]
            if any(len(self.graph.types[v].shape) != len(order) for v in (*activations, *stage.outputs)):
                return False
            stages.append(replace(stage, op=op))
        inside = set(node.internal)
        renamed: list[Stage[QOp]] = []
        for stage in stages:
            inputs = []
            for value in stage.inputs:
                if value in inside:
                    inputs.append(value)
                elif value in self.graph.constants:
                    inputs.append(self._constant(value, order, stage.op))
                else:
                    inputs.append(self.ordered(value, order))
            renamed.append(replace(stage, inputs=tuple(inputs)))
        for value in (*node.internal, *node.outputs):
            logical = self.graph.types[value]
            self.edit.types[value] = logical.with_shape(tuple(logical.shape[a] for a in order))
            self.views[value] = View(value, order)
        final = self._stored_outputs(renamed, node, order)
        self.edit.nodes.append(replace(node, stages=tuple(final)))
        return True

    def _stored_outputs(self, stages: list[Stage[QOp]], node: Node[QOp], order: Order) -> list[Stage[QOp]]:
        """A graph output keeps its name for its logical order, so the stored tensor takes another name."""
        last = stages[-1]
        names = []
        for value in last.outputs:
            if value in self.graph.outputs:
                name = self.edit.fresh(f"{value}_stored")
                self.edit.types[name] = self.edit.types[value]
                self.edit.types[value] = self.graph.types[value]
                self.views[value] = View(name, order)
                names.append(name)
            else:
                names.append(value)
        return [*stages[:-1], replace(last, outputs=tuple(names))]

    def _constant(self, value: str, order: Order, op: QOp) -> str:
        """A constant operand of an elementwise operator follows its partner's order; weights stay as they are."""
        if hasattr(op, "window") or isinstance(op, QDense):
            return value
        type_, array = self.graph.types[value], self.graph.constants[value]
        if type_.size == 1:
            return value
        padded = (1,) * (len(order) - len(type_.shape)) + type_.shape
        moved = np.ascontiguousarray(array.reshape(padded).transpose(order))
        return self.edit.add_constant(f"{value}_ordered", moved, type_.with_shape(moved.shape))

    def _plain(self, node: Node[QOp]) -> None:
        """Place the node in the logical order of its inputs."""
        inside = set(node.internal)
        stages = []
        for stage in node.stages:
            names = list(stage.inputs)
            for index, value in enumerate(stage.inputs):
                if value in inside or value in self.graph.constants:
                    continue
                view = self.views[value]
                if index == 0 and isinstance(stage.op, QDense) and view.flat is not None:
                    names[0] = view.stored
                    names[1] = self._permuted_weights(names[1], view)
                else:
                    names[index] = self.logical(value)
            stages.append(replace(stage, inputs=tuple(names)))
        self.edit.nodes.append(replace(node, stages=tuple(stages)))
        for value in node.outputs:
            self.views[value] = View(value, identity(len(self.graph.types[value].shape)))

    def _permuted_weights(self, weights: str, view: View) -> str:
        """Columns of (M, K) weights in the order in which the flattened tensor is stored."""
        assert view.flat is not None
        array = self.graph.constants[weights]
        columns = np.arange(array.shape[1]).reshape(view.flat).transpose(view.order).ravel()
        return self.edit.add_constant(
            f"{weights}_ordered", np.ascontiguousarray(array[:, columns]), self.graph.types[weights]
        )

    def finish(self) -> QGraph:
        """Bring the graph's outputs to their logical order under their own names."""
        for value in self.graph.outputs:
            if value in self.graph.inputs:
                continue
            stored = self.logical(value)
            if stored != value:
                self._rename_output(stored, value)
        self.edit.nodes.sort(key=lambda node: isinstance(node.op, QAnswer))  # it comes behind the views of outputs too
        result = cast(QGraph, self.edit.finish())
        verify(result)
        return result

    def _rename_output(self, stored: str, value: str) -> None:
        """Let the node that makes `stored` make `value` instead, or alias it when others read it or it is an input."""
        readers = self.edit.consumers(stored)
        maker = next((n for n in self.edit.nodes if stored in n.outputs), None)
        if maker is None or readers or stored in self.graph.outputs:
            self.edit.types[value] = self.graph.types[value]
            self.edit.nodes.append(
                single(f"{value}_view", QReshape(shape=self.graph.types[value].shape), (stored,), (value,), "layout")
            )
            return
        last = maker.stages[-1]
        outputs = tuple(value if v == stored else v for v in last.outputs)
        self.edit.types[value] = self.graph.types[value]
        self.edit.replace(maker, replace(maker, stages=(*maker.stages[:-1], replace(last, outputs=outputs))))
        # other outputs may be the same tensor: they find it under its new name
        self.copies = {key: value if name == stored else name for key, name in self.copies.items()}
        self.views = {
            name: replace(view, stored=value) if view.stored == stored else view for name, view in self.views.items()
        }
