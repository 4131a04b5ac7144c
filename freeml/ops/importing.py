"""What an operator sees of an ONNX model: a node in plain Python terms and a builder to emit float-graph nodes with.

The ONNX library itself stays in `freeml/frontend`; operators know ONNX's vocabulary but not its files.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

from freeml.errors import GraphError
from freeml.ir.graph import Brought, Node, Op, single
from freeml.ir.types import Array, FloatArray, TensorType

Attribute: TypeAlias = int | float | str | tuple[int, ...] | tuple[float, ...] | Array


class Unsupported(Exception):  # noqa: N818 - a signal between importer and frontend, never shown as it is
    """This node cannot be honoured; the message says why and, where there is one, the way out."""


_Text: TypeAlias = str
_Integers: TypeAlias = tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceNode:
    """One node of the ONNX model. `inputs` holds "" for an input left out; `opset` is that of the node's domain."""

    op_type: str
    name: str
    opset: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Attribute]

    def has(self, index: int) -> bool:
        """Whether optional input number `index` is given."""
        return index < len(self.inputs) and self.inputs[index] != ""

    def int(self, name: str, default: int | None = None) -> int:
        """An integer attribute."""
        return int(self._get(name, default))  # type: ignore[arg-type]

    def float(self, name: str, default: float | None = None) -> float:
        """A float attribute."""
        return float(self._get(name, default))  # type: ignore[arg-type]

    def str(self, name: _Text, default: _Text | None = None) -> _Text:
        """A string attribute."""
        return str(self._get(name, default))

    def ints(self, name: _Text, default: _Integers | None = None) -> _Integers:
        """A list-of-integers attribute."""
        return tuple(int(v) for v in self._get(name, default))  # type: ignore[union-attr]

    def _get(self, name: _Text, default: Attribute | None) -> Attribute:
        value = self.attributes.get(name, default)
        if value is None:
            raise Unsupported(f"attribute {name} is missing")
        return value


@dataclass(slots=True)
class Builder:
    """Collects the float graph while a model is imported; it infers types and checks them as nodes arrive.

    Constants of any dtype live in `constants` (integers of shape arithmetic too; those left unread are dropped).
    `emit(op, inputs, outputs)` appends a node and infers its output types. A value can be given under another name
    with `alias`, which costs nothing.
    """

    types: dict[str, TensorType] = field(default_factory=dict)
    constants: dict[str, Array] = field(default_factory=dict)
    nodes: list[Node[Op]] = field(default_factory=list)
    brought: dict[str, Brought] = field(default_factory=dict)
    statistics: dict[str, tuple[FloatArray, FloatArray]] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)

    def resolve(self, name: str) -> str:
        """The value that `name` stands for."""
        while name in self.aliases:
            name = self.aliases[name]
        return name

    def type(self, name: str) -> TensorType:
        """Type of a value or constant."""
        return self.types[self.resolve(name)]

    def value(self, name: str) -> Array | None:
        """The array, when `name` is a constant."""
        return self.constants.get(self.resolve(name))

    def constant_input(self, node: SourceNode, index: int, what: str) -> Array:
        """Input number `index`, which must be a constant."""
        array = self.value(node.inputs[index]) if node.has(index) else None
        if array is None:
            raise Unsupported(f"input {index} ({what}) must be a constant of the model, it is computed at run time")
        return array

    def fresh(self, base: str) -> str:
        """A value name not used so far that starts with `base`."""
        name, count = base, 1
        while name in self.types or name in self.aliases:
            count += 1
            name = f"{base}_{count}"
        return name

    def add_constant(self, base: str, array: Array) -> str:
        """Add a float constant under a fresh name, which is returned."""
        name = self.fresh(base)
        self.constants[name] = np.asarray(array, dtype=np.float32)
        self.types[name] = TensorType(shape=tuple(array.shape))
        return name

    def alias(self, new: str, old: str) -> None:
        """Let `new` be another name of the value `old`."""
        self.aliases[new] = self.resolve(old)

    def emit(self, op: Op, inputs: tuple[str, ...], outputs: tuple[str, ...], source: SourceNode) -> None:
        """Append a node producing `outputs`; raises Unsupported when the operator refuses the input types."""
        resolved = tuple(self.resolve(name) for name in inputs)
        try:
            types = op.infer(tuple(self.types[name] for name in resolved))
        except GraphError as error:
            raise Unsupported(str(error)) from error
        self.types.update(zip(outputs, types, strict=True))
        taken = {n.name for n in self.nodes}
        base = name = source.name or outputs[0]
        count = 1
        while name in taken:
            count += 1
            name = f"{base}_{count}"
        self.nodes.append(single(name, op, resolved, outputs, source=source.name or outputs[0]))


Importer: TypeAlias = Callable[[SourceNode, Builder], None]


def normalized_axis(axis: int, rank: int) -> int:
    """An axis in 0..rank-1; negative ones count from the end."""
    if not -rank <= axis < rank:
        raise Unsupported(f"axis {axis} is outside a tensor of rank {rank}")
    return axis % rank


def spatial_pads(
    node: SourceNode,
    extents: tuple[int, ...],
    kernel: tuple[int, ...],
    strides: tuple[int, ...],
    dilations: tuple[int, ...],
) -> tuple[tuple[int, int], ...]:
    """(before, after) per spatial axis from `pads` or `auto_pad` (ONNX Conv and pool operators)."""
    mode = node.str("auto_pad", "NOTSET")
    rank = len(kernel)
    if mode == "NOTSET":
        pads = node.ints("pads", (0,) * (2 * rank))
        return tuple((pads[i], pads[rank + i]) for i in range(rank))
    if mode == "VALID":
        return ((0, 0),) * rank
    if mode not in ("SAME_UPPER", "SAME_LOWER"):
        raise Unsupported(f"auto_pad {mode} is not one of NOTSET, VALID, SAME_UPPER, SAME_LOWER")
    result = []
    for extent, k, stride, dilation in zip(extents, kernel, strides, dilations, strict=True):
        needed = max(0, (-(-extent // stride) - 1) * stride + (k - 1) * dilation + 1 - extent)
        small, large = needed // 2, needed - needed // 2
        result.append((small, large) if mode == "SAME_UPPER" else (large, small))
    return tuple(result)
