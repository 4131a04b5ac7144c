"""`survey`: what a model consists of and what stands in its way, without giving up at an unsupported operator."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import onnx

from freeml.errors import ModelFileError
from freeml.frontend.loading import opset_of, prepare, read_model
from freeml.frontend.onnx_reader import name_outputs
from freeml.frontend.tensors import dtype_name, tensor_shape
from freeml.frontend.walk import Outcome, Walk, walk


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """A graph input or output. `shape` is as freeml takes it where known, else as declared (str: a dynamic axis)."""

    name: str
    dtype: str
    shape: tuple[int | str, ...] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """A model at a glance. `nodes` has one entry per node of the file (functions inlined), in order of execution.

    `problems` is all that keeps the model from being compiled, as UnsupportedModelError would list it.
    """

    name: str
    producer: str
    ir_version: int
    opset: int
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    nodes: tuple[Outcome, ...]
    problems: tuple[str, ...]

    @property
    def supported(self) -> bool:
        """Whether the model can be imported."""
        return not self.problems

    def operators(self) -> dict[str, int]:
        """Number of nodes by operator, in alphabetical order."""
        names = sorted(node.op_type for node in self.nodes)
        return {name: names.count(name) for name in dict.fromkeys(names)}


def survey(path: Path) -> Survey:
    """Look at every node of a model file. Raises ModelFileError, or UnsupportedModelError for an opset out of reach."""
    model = read_model(path)
    return survey_model(model, path.parent, model.graph.name or path.stem)


def survey_model(model: onnx.ModelProto, base_dir: Path | None, name: str = "model") -> Survey:
    """`survey` of a model in memory."""
    prepared = prepare(model, base_dir)
    graph = prepared.graph
    if not graph.output:
        raise ModelFileError(f"the model {name} has no outputs; export it again")
    state = walk(prepared, keep_batch=False)
    name_outputs(state, tuple(value.name for value in graph.output))
    initializers = {tensor.name for tensor in graph.initializer}
    return Survey(
        name=name,
        producer=f"{prepared.producer_name} {prepared.producer_version}".strip(),
        ir_version=int(prepared.ir_version),
        opset=opset_of(prepared),
        inputs=tuple(_port(state, value) for value in graph.input if value.name not in initializers),
        outputs=tuple(_port(state, value) for value in graph.output),
        nodes=tuple(state.outcomes),
        problems=tuple(state.problems),
    )


def _port(state: Walk, value: onnx.ValueInfoProto) -> Port:
    known = state.builder.types.get(state.builder.resolve(value.name))
    return Port(
        name=value.name,
        dtype=dtype_name(value.type.tensor_type.elem_type),
        shape=tensor_shape(value) if known is None else known.shape,
    )
