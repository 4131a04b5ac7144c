"""Float graphs put together in a few lines: for tests that need a net and no ONNX file."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from freeml.ir.graph import Graph, Node, Op, single, verify
from freeml.ir.types import Shape, TensorType
from freeml.ops.conv import Conv
from freeml.ops.dense import Dense


@dataclass(slots=True)
class Sketch:
    """Collects nodes; shapes are inferred as they arrive. Constants are drawn from `rng`."""

    seed: int = 0
    types: dict[str, TensorType] = field(default_factory=dict)
    constants: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    nodes: list[Node[Op]] = field(default_factory=list)
    inputs: list[str] = field(default_factory=list)
    rng: np.random.Generator = field(init=False)

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)

    def shape(self, value: str) -> Shape:
        """Shape of a value, batch axis included."""
        return self.types[value].shape

    def input(self, *shape: int, name: str = "x") -> str:
        """A graph input."""
        name = name if name not in self.types else f"{name}{len(self.inputs)}"
        self.types[name] = TensorType(shape=shape)
        self.inputs.append(name)
        return name

    def constant(self, array: NDArray[np.generic] | float) -> str:
        """A constant, float32."""
        name = f"c{len(self.constants)}"
        self.constants[name] = np.asarray(array, dtype=np.float32)
        self.types[name] = TensorType(shape=self.constants[name].shape)
        return name

    def normal(self, *shape: int, spread: float = 1.0) -> str:
        """A constant of normal numbers."""
        return self.constant(self.rng.normal(size=shape) * spread)

    def add(self, op: Op, *inputs: str) -> str:
        """Append a node; returns its output."""
        (type_,) = op.infer(tuple(self.types[name] for name in inputs))
        name = f"v{len(self.nodes)}"
        self.types[name] = type_
        self.nodes.append(single(f"n{len(self.nodes)}", op, inputs, (name,)))
        return name

    def conv(
        self,
        x: str,
        outputs: int,
        kernel: tuple[int, ...],
        *,
        strides: tuple[int, ...] | None = None,
        dilations: tuple[int, ...] | None = None,
        pads: tuple[tuple[int, int], ...] | None = None,
        group: int = 1,
        bias: bool = True,
        spread: float = 1.0,
    ) -> str:
        """A convolution with seeded weights of about unit gain."""
        rank, channels = len(kernel), self.shape(x)[1]
        fan_in = max(1, channels // group * int(np.prod(kernel)))
        op = Conv(
            strides=strides or (1,) * rank,
            dilations=dilations or (1,) * rank,
            pads=pads or ((0, 0),) * rank,
            group=group,
        )
        weights = self.normal(outputs, channels // group, *kernel, spread=spread / fan_in**0.5)
        return self.add(op, x, weights, *((self.normal(outputs, spread=0.3),) if bias else ()))

    def dense(self, x: str, outputs: int, *, bias: bool = True, spread: float = 1.0) -> str:
        """A dense layer with seeded weights of about unit gain."""
        depth = self.shape(x)[-1]
        weights = self.normal(depth, outputs, spread=spread / depth**0.5)
        return self.add(Dense(), x, weights, *((self.normal(outputs, spread=0.3),) if bias else ()))

    def graph(self, *outputs: str, name: str = "net") -> Graph:
        """The verified graph of everything so far; without names, the last value is the output."""
        result = Graph(
            name=name,
            inputs=tuple(self.inputs),
            outputs=outputs or self.nodes[-1].outputs,
            nodes=tuple(self.nodes),
            types=self.types,
            constants=self.constants,
        )
        verify(result)
        return result

    def samples(self, count: int = 8, *, spread: float = 1.0, seed: int = 1) -> dict[str, NDArray[np.float32]]:
        """Normal numbers for every input, (count, *shape)."""
        rng = np.random.default_rng(seed)
        return {n: (rng.normal(size=(count, *self.shape(n))) * spread).astype(np.float32) for n in self.inputs}
