"""The two graphs of freeml, both frozen: `Graph` (float, as trained) and `QGraph` (integers, as it runs on the board).

Conventions shared by both:

- A *value* has a name and a static shape that includes the batch axis (1).
- Arrays handed to `run` carry one extra leading *sample* axis, so that a whole data set is one call: an activation of
  shape `s` comes as `(samples, *s)`, a constant as `(1, *s)`.
- Nodes are in topological order. Nothing here knows ONNX, torch or C.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Generic, TypeVar

import numpy as np

from freeml.errors import GraphError
from freeml.ir.types import Array, FloatArray, IntArray, QType, TensorType


class Op(ABC):
    """An operator of the float graph: a frozen dataclass of attributes."""

    __slots__ = ()

    @property
    def kind(self) -> str:
        """Name of the operator, as printed."""
        return type(self).__name__

    @abstractmethod
    def infer(self, inputs: tuple[TensorType, ...]) -> tuple[TensorType, ...]:
        """Types of the outputs. Raises GraphError when the inputs do not fit."""

    @abstractmethod
    def run(self, inputs: tuple[FloatArray, ...]) -> tuple[FloatArray, ...]:
        """Float reference; every array has a leading sample axis."""

    def macs(self, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> int:
        """Multiply-accumulates of one inference."""
        return 0


class QOp(ABC):
    """An operator of the integer graph: a frozen dataclass holding every number its arithmetic needs."""

    __slots__ = ()

    @property
    def kind(self) -> str:
        """Name of the operator, as printed: the class name without its leading Q."""
        return type(self).__name__.removeprefix("Q")

    @abstractmethod
    def run(self, inputs: tuple[IntArray, ...]) -> tuple[IntArray, ...]:
        """Integer reference on int64 arrays with a leading sample axis. The truth the C code is held against."""


OpT = TypeVar("OpT", Op, QOp)
TypeT = TypeVar("TypeT", TensorType, QType)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage(Generic[OpT]):
    """One operator application: `outputs = op(inputs)`."""

    op: OpT
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Node(Generic[OpT]):
    """A named unit of execution. Usually one stage; a fused node has several, and stores only the last one's outputs.

    `source` names the node of the original model it came from.
    """

    name: str
    stages: tuple[Stage[OpT], ...]
    source: str = ""

    @property
    def op(self) -> OpT:
        """Operator of the first stage, the one that shapes the loop nest."""
        return self.stages[0].op

    @property
    def outputs(self) -> tuple[str, ...]:
        """Values the node leaves behind."""
        return self.stages[-1].outputs

    @property
    def internal(self) -> tuple[str, ...]:
        """Values that exist only inside the fused node."""
        return tuple(name for stage in self.stages[:-1] for name in stage.outputs)

    @property
    def inputs(self) -> tuple[str, ...]:
        """Values read from outside the node, each once, in order of first use."""
        inside = set(self.internal)
        return tuple(dict.fromkeys(name for s in self.stages for name in s.inputs if name not in inside))


def single(name: str, op: OpT, inputs: tuple[str, ...], outputs: tuple[str, ...], source: str = "") -> Node[OpT]:
    """A node of one stage."""
    return Node(name=name, stages=(Stage(op=op, inputs=inputs, outputs=outputs),), source=source)


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseGraph(Generic[OpT, TypeT]):
    """What both graphs share. `types` covers every value, constants included; `constants` are read-only arrays."""

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    nodes: tuple[Node[OpT], ...]
    types: Mapping[str, TypeT]
    constants: Mapping[str, Array]

    def __post_init__(self) -> None:
        object.__setattr__(self, "types", MappingProxyType(dict(self.types)))
        object.__setattr__(self, "constants", MappingProxyType({k: _frozen(v) for k, v in self.constants.items()}))

    def producer(self, value: str) -> Node[OpT] | None:
        """The node that produces `value`; None for a graph input or a constant."""
        return next((n for n in self.nodes if value in n.outputs), None)

    def consumers(self, value: str) -> tuple[Node[OpT], ...]:
        """Every node that reads `value`."""
        return tuple(n for n in self.nodes if value in n.inputs)

    def activations(self, node: Node[OpT]) -> tuple[str, ...]:
        """Inputs of the node that are not constants."""
        return tuple(name for name in node.inputs if name not in self.constants)

    def stages(self) -> Iterator[Stage[OpT]]:
        """Every stage of every node, in order of execution."""
        for node in self.nodes:
            yield from node.stages


@dataclass(frozen=True, slots=True, kw_only=True)
class Brought:
    """A number format that the model brings for a value (QuantizeLinear / DequantizeLinear).

    `scale` and `zero_point` are float64 / int64 arrays of length 1, or one entry per index of `axis`.
    `bits` is 2, 4, 8, 16 or 32; formats are signed here (unsigned ones are shifted on import). `levels`, where there
    are any, are a codebook: at most 2**bits ascending numbers of 8 bits, and every weight is one of them times its
    scale.
    """

    scale: FloatArray
    zero_point: IntArray
    bits: int
    axis: int | None = None
    levels: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph(BaseGraph[Op, TensorType]):
    """The float graph.

    `brought` holds the formats that a quantized model brings; `statistics` holds per-channel (mean, standard deviation)
    that batch norms recorded for a value: the only knowledge of the data when there is no data. `unread` are inputs of
    the model that no output depends on: the graph leaves them out.
    """

    brought: Mapping[str, Brought] = field(default_factory=dict)
    statistics: Mapping[str, tuple[FloatArray, FloatArray]] = field(default_factory=dict)
    unread: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class QGraph(BaseGraph[QOp, QType]):
    """The integer graph: past this point nothing is computed in floating point."""


def _frozen(array: Array) -> Array:
    if array.flags.writeable:
        array = array.copy()
        array.flags.writeable = False
    return array


def verify(graph: BaseGraph[OpT, TypeT]) -> None:
    """Raise GraphError unless every value has a type and one producer, and is produced before it is read."""
    known = set(graph.inputs) | set(graph.constants)
    if len(known) != len(graph.inputs) + len(graph.constants):
        raise GraphError(f"graph {graph.name}: a name is both an input and a constant, or an input is listed twice")
    names: set[str] = set()
    for node in graph.nodes:
        if node.name in names:
            raise GraphError(f"graph {graph.name}: two nodes are called {node.name}")
        names.add(node.name)
        for stage in node.stages:
            for value in stage.inputs:
                if value not in known:
                    raise GraphError(
                        f"node {node.name} ({stage.op.kind}) reads {value}, which nothing before it produces"
                    )
            for value in stage.outputs:
                if value in known:
                    raise GraphError(f"node {node.name} ({stage.op.kind}) produces {value} a second time")
                known.add(value)
    for value in graph.outputs:
        if value not in known:
            raise GraphError(f"graph {graph.name}: nothing produces the output {value}")
    for value in known:
        if value not in graph.types:
            raise GraphError(f"graph {graph.name}: {value} has no type")
    for name, array in graph.constants.items():
        if array.shape != graph.types[name].shape:
            raise GraphError(f"constant {name}: expected shape {graph.types[name].shape}, found {array.shape}")
    if isinstance(graph, Graph):
        for stage in graph.stages():
            expected = stage.op.infer(tuple(graph.types[v] for v in stage.inputs))
            found = tuple(graph.types[v] for v in stage.outputs)
            if expected != found:
                raise GraphError(f"{stage.op.kind} producing {stage.outputs[0]}: expected {expected}, found {found}")


def execute(graph: BaseGraph[OpT, TypeT], inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Run the reference of every stage. Arrays of `inputs` have a leading sample axis.

    Returns every value that is not a constant by name, those inside fused nodes too.
    """
    values: dict[str, Array] = {name: inputs[name] for name in graph.inputs}
    constants = {name: array[np.newaxis] for name, array in graph.constants.items()}
    for stage in graph.stages():
        arguments = tuple(values[v] if v in values else constants[v] for v in stage.inputs)
        results = stage.op.run(arguments)
        values.update(zip(stage.outputs, results, strict=True))
    return values
