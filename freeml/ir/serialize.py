"""Integer graphs as JSON: what `freeml verify` and `freeml run` read back. Plain, deterministic, checked on reading."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

from freeml.errors import ArtifactError
from freeml.ir.graph import Node, QGraph, QOp, Stage, verify
from freeml.ir.types import QRANGE, Array, QType

FORMAT = 1


def to_json(graph: QGraph) -> str:
    """The graph as one JSON object."""
    document = {
        "format": FORMAT,
        "name": graph.name,
        "inputs": graph.inputs,
        "outputs": graph.outputs,
        "types": {name: _type(t) for name, t in graph.types.items()},
        "nodes": [
            {
                "name": node.name,
                "source": node.source,
                "stages": [{"op": _value(s.op), "inputs": s.inputs, "outputs": s.outputs} for s in node.stages],
            }
            for node in graph.nodes
        ],
        "constants": {name: _packed(array, graph.types[name]) for name, array in graph.constants.items()},
    }
    return json.dumps(document, indent=1) + "\n"


def from_json(text: str, classes: Mapping[str, type]) -> QGraph:
    """The graph back. `classes` holds every dataclass an operator may be made of, by name."""
    try:
        document = json.loads(text)
        if document["format"] != FORMAT:
            raise ArtifactError(f"expected graph format {FORMAT}, found {document['format']}; compile the model anew")
        types = {name: QType(**{**t, "shape": tuple(t["shape"])}) for name, t in document["types"].items()}
        graph = QGraph(
            name=document["name"],
            inputs=tuple(document["inputs"]),
            outputs=tuple(document["outputs"]),
            types=types,
            nodes=tuple(_node(n, classes) for n in document["nodes"]),
            constants={name: _unpacked(data, types[name]) for name, data in document["constants"].items()},
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactError(f"the stored graph cannot be read ({error}); compile the model anew") from error
    verify(graph)
    return graph


def _type(type_: QType) -> dict[str, object]:
    return {f.name: getattr(type_, f.name) for f in fields(type_)}


def _value(value: object) -> object:
    if is_dataclass(value):
        return {"class": type(value).__name__, **{f.name: _value(getattr(value, f.name)) for f in fields(value)}}
    if isinstance(value, tuple):
        return [_value(v) for v in value]
    if isinstance(value, np.integer):
        return int(value)
    return value


def _rebuilt(value: Any, classes: Mapping[str, type]) -> Any:  # noqa: ANN401 - JSON
    if isinstance(value, dict):
        kind = classes[value["class"]]
        return kind(**{k: _rebuilt(v, classes) for k, v in value.items() if k != "class"})
    if isinstance(value, list):
        return tuple(_rebuilt(v, classes) for v in value)
    return value


def _node(data: Mapping[str, Any], classes: Mapping[str, type]) -> Node[QOp]:
    stages = tuple(
        Stage(op=_rebuilt(s["op"], classes), inputs=tuple(s["inputs"]), outputs=tuple(s["outputs"]))
        for s in data["stages"]
    )
    return Node(name=data["name"], source=data["source"], stages=stages)


def _dtype(type_: QType) -> str:
    return {"int8": "<i1", "int16": "<i2", "int32": "<i4"}[type_.dtype]


def _packed(array: Array, type_: QType) -> str:
    low, high = QRANGE[type_.dtype]
    assert array.size == 0 or (int(array.min()) >= low and int(array.max()) <= high)
    return base64.b64encode(array.astype(_dtype(type_)).tobytes()).decode("ascii")


def _unpacked(data: str, type_: QType) -> Array:
    flat = np.frombuffer(base64.b64decode(data, validate=True), dtype=_dtype(type_))
    return flat.reshape(type_.shape).astype(np.int64)
