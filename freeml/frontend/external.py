"""Tensor data kept in files beside the model. Only regular files within the model's folder are read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import onnx

from freeml.errors import ModelFileError

MAX_EXTERNAL_BYTES = 2**28


def embed_external_data(model: onnx.ModelProto, base_dir: Path | None) -> None:
    """Move external data into the model, in place. Raises ModelFileError for data missing, outside or too short."""
    total = 0
    for tensor in _tensors(model):
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            continue
        data = _read(tensor, base_dir)
        total += len(data)
        if total > MAX_EXTERNAL_BYTES:
            raise ModelFileError(f"external data of more than {MAX_EXTERNAL_BYTES} bytes; use a smaller net")
        tensor.raw_data = data
        del tensor.external_data[:]
        tensor.data_location = onnx.TensorProto.DEFAULT


def _tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Every tensor of the model: initializers and attributes, those of functions and of nested graphs too."""
    yield from _graph_tensors(model.graph)
    for function in model.functions:
        for node in function.node:
            yield from _node_tensors(node)


def _graph_tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        yield from _node_tensors(node)


def _node_tensors(node: onnx.NodeProto) -> Iterator[onnx.TensorProto]:
    for attribute in node.attribute:
        if attribute.HasField("t"):
            yield attribute.t
        yield from attribute.tensors
        for graph in (attribute.g, *attribute.graphs):
            yield from _graph_tensors(graph)


def _read(tensor: onnx.TensorProto, base_dir: Path | None) -> bytes:
    """The bytes of one external tensor."""
    name = tensor.name or "(unnamed)"
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = entries.get("location", "")
    if base_dir is None:
        raise ModelFileError(f"tensor {name}: its data is in file {location!r}, but a model in memory has no folder")
    path = _within(base_dir, location, name)
    start = _number(entries, "offset", name) or 0
    length = _number(entries, "length", name)
    try:
        available = path.stat().st_size - start
        wanted = available if length is None else length
        if wanted > available or available < 0:
            raise ModelFileError(
                f"tensor {name}: expected {wanted} bytes at offset {start} of {location!r}, found {max(0, available)}; "
                "the file is truncated, export the model again"
            )
        if wanted > MAX_EXTERNAL_BYTES:
            raise ModelFileError(f"tensor {name}: external data of {wanted} bytes; use a smaller net")
        with path.open("rb") as file:
            file.seek(start)
            return file.read(wanted)
    except OSError as error:
        raise ModelFileError(f"tensor {name}: {location!r} cannot be read: {error.strerror}") from None


def _within(base_dir: Path, location: str, name: str) -> Path:
    """The data file, refused unless it is a regular file that lies in the model's folder, links followed."""
    way_out = "keep the data beside the model, or save it inside the model"
    try:
        folder = base_dir.resolve()
        path = (folder / location).resolve()
        outside = not location or Path(location).is_absolute() or not path.is_relative_to(folder)
        if outside:
            raise ModelFileError(f"tensor {name}: its data file {location!r} is outside the model's folder; {way_out}")
        if not path.is_file():
            raise ModelFileError(f"tensor {name}: its data file {location!r} is missing; {way_out}")
    except (OSError, RuntimeError, ValueError):
        raise ModelFileError(f"tensor {name}: its data file {location!r} is not a usable path; {way_out}") from None
    return path


def _number(entries: dict[str, str], key: str, name: str) -> int | None:
    """A byte count of the external data, None when it is left out."""
    text = entries.get(key)
    if text is None:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise ModelFileError(f"tensor {name}: expected a number of bytes for {key}, found {text!r}")
    return int(text)
