"""Which ONNX operators freeml takes, and how each becomes nodes of the float graph.

`IMPORTERS` handles nodes that read activations, `FOLDERS` nodes all of whose inputs are constants. An operator in
`FOLDERS` alone is part of shape arithmetic: it is supported as long as it can be evaluated while importing.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from freeml.ops import onnx_linear, onnx_pointwise, onnx_pools, onnx_quantized, onnx_resize, onnx_shapes
from freeml.ops.importing import Builder, Importer, SourceNode, Unsupported
from freeml.ops.onnx_folding import CAST_DTYPES, FOLDERS
from freeml.ops.onnx_values import set_constant

__all__ = ["FOLDERS", "IMPORTERS", "INTEGER_OPERATORS"]


def import_alias(node: SourceNode, builder: Builder) -> None:
    """The same value under another name."""
    builder.alias(node.outputs[0], node.inputs[0])


def import_dropout(node: SourceNode, builder: Builder) -> None:
    """Dropout does nothing at inference."""
    if any(node.outputs[1:]):
        raise Unsupported("its mask is read; export the model in evaluation mode")
    if node.has(2) and np.any(builder.constant_input(node, 2, "training_mode")):
        raise Unsupported("training_mode is set; export the model in evaluation mode")
    import_alias(node, builder)


def import_cast(node: SourceNode, builder: Builder) -> None:
    """Between float types, or between integer types for an index, a cast changes nothing here."""
    target = CAST_DTYPES.get(node.int("to"), f"element type {node.int('to')}")
    held = builder.type(node.inputs[0]).dtype
    if not (held == target == "float32" or (held == "int64" and target in ("int32", "int64"))):
        raise Unsupported(
            f"{node.inputs[0]} is cast from {held} to {target} at run time; only float to float is supported"
        )
    import_alias(node, builder)


def import_cast_like(node: SourceNode, builder: Builder) -> None:
    """CastLike between float types."""
    if builder.type(node.inputs[0]).dtype != builder.type(node.inputs[1]).dtype:
        raise Unsupported("a value computed at run time is cast to another kind of number")
    import_alias(node, builder)


def import_constant(node: SourceNode, builder: Builder) -> None:
    """Constant in any of its forms but strings and sparse tensors."""
    forms = ("value", "value_float", "value_floats", "value_int", "value_ints")
    found = [name for name in forms if name in node.attributes]
    if len(found) != 1:
        raise Unsupported(f"expected one of the attributes {', '.join(forms)}, found {sorted(node.attributes)}")
    dtypes = {"value_float": np.float32, "value_floats": np.float32, "value_int": np.int64, "value_ints": np.int64}
    set_constant(builder, node.outputs[0], np.asarray(node.attributes[found[0]], dtype=dtypes.get(found[0])))


def import_shape(node: SourceNode, builder: Builder) -> None:
    """Shape of any value: every shape is known while importing. `start` and `end` clamp like a Python slice."""
    shape = builder.type(node.inputs[0]).shape
    end = node.int("end", len(shape))
    taken = shape[max(0, _from_end(node.int("start", 0), len(shape))) : max(0, _from_end(end, len(shape)))]
    set_constant(builder, node.outputs[0], np.array(taken, dtype=np.int64))


def _from_end(index: int, length: int) -> int:
    return index + length if index < 0 else index


def import_size(node: SourceNode, builder: Builder) -> None:
    """Number of elements of any value."""
    set_constant(builder, node.outputs[0], np.array(builder.type(node.inputs[0]).size, dtype=np.int64))


IMPORTERS: Mapping[str, Importer] = {
    **onnx_linear.IMPORTERS,
    **onnx_pointwise.IMPORTERS,
    **onnx_pools.IMPORTERS,
    **onnx_quantized.IMPORTERS,
    **onnx_resize.IMPORTERS,
    **onnx_shapes.IMPORTERS,
    "Cast": import_cast,
    "CastLike": import_cast_like,
    "Constant": import_constant,
    "Dropout": import_dropout,
    "Identity": import_alias,
    "Shape": import_shape,
    "Size": import_size,
}

INTEGER_OPERATORS = frozenset({"Cast", "Flatten", "Identity", "Reshape", "Shape", "Size", "Squeeze", "Unsqueeze"})
"""Operators that also take an index computed at run time (ArgMax): they look at its shape or move it, no more."""
