"""From a file to a checked `onnx.ModelProto` whose data is all inside and whose model-local functions are inlined."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import onnx
import onnx.checker
import onnx.inliner
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message

from freeml.errors import ModelFileError, UnsupportedModelError
from freeml.frontend.external import embed_external_data

MAX_FILE_BYTES = 2**28
"""A file this large cannot be a net for these boards, whose memories are below 4 MiB."""

MAX_INLINED_NODES = 100_000
OLDEST_OPSET = 11
DEFAULT_DOMAINS = ("", "ai.onnx")
UNKNOWN_DOMAIN = "unknown.operators"


def read_model(path: Path) -> onnx.ModelProto:
    """The model in a file, parsed but not yet checked. Raises ModelFileError."""
    if path.is_dir():
        raise ModelFileError(f"{path}: expected an ONNX file, found a folder; name the .onnx file inside it")
    try:
        size_bytes = path.stat().st_size
        if size_bytes > MAX_FILE_BYTES:
            raise ModelFileError(
                f"{path}: {size_bytes} bytes are over the limit of {MAX_FILE_BYTES}; use a smaller net"
            )
        data = path.read_bytes()
    except FileNotFoundError:
        raise ModelFileError(f"{path}: there is no such file; check the path") from None
    except (OSError, ValueError) as error:
        raise ModelFileError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if not data:
        raise ModelFileError(f"{path}: the file is empty; export the model again")
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except (DecodeError, ValueError):
        raise ModelFileError(f"{path}: not an ONNX model, or a truncated one; export the model again") from None
    if not model.HasField("graph") or model.ir_version <= 0:
        raise ModelFileError(f"{path}: not an ONNX model: it holds no graph; export the model again")
    if not is_text(model):
        raise ModelFileError(f"{path}: not an ONNX model: its names are not text; export the model again")
    return model


def is_text(message: Message) -> bool:
    """Whether every string of a message and the messages in it is valid UTF-8; protobuf hands out bytes otherwise."""
    try:
        fields = message.ListFields()
    except UnicodeDecodeError:
        return False
    for field, value in fields:
        values = value if isinstance(value, Iterable) and not isinstance(value, str | bytes) else (value,)
        if field.type == FieldDescriptor.TYPE_STRING and not all(isinstance(text, str) for text in values):
            return False
        if field.type == FieldDescriptor.TYPE_MESSAGE and not all(is_text(part) for part in values):
            return False
    return True


def prepare(model: onnx.ModelProto, base_dir: Path | None) -> onnx.ModelProto:
    """Embed external data, check versions and structure, inline functions. The model given is left as it is.

    `base_dir` is the folder that external data must lie in; None allows none.
    Raises ModelFileError for a broken model and UnsupportedModelError for versions out of reach.
    """
    check_versions(model)
    prepared = onnx.ModelProto()
    prepared.CopyFrom(model)
    embed_external_data(prepared, base_dir)
    if prepared.functions:
        prepared = inline_functions(prepared)
    check_structure(prepared)
    return prepared


def opset_of(model: onnx.ModelProto) -> int:
    """Version of ONNX's own operator set; 0 when the model imports none."""
    return max((entry.version for entry in model.opset_import if entry.domain in DEFAULT_DOMAINS), default=0)


def check_versions(model: onnx.ModelProto) -> None:
    """Refuse file formats and operator sets that are too old or newer than the installed onnx package."""
    newest = onnx.defs.onnx_opset_version()
    opset = opset_of(model)
    if model.ir_version > onnx.IR_VERSION:
        raise ModelFileError(
            f"the model has IR version {model.ir_version}, the installed onnx {onnx.__version__} knows up to "
            f"{onnx.IR_VERSION}; upgrade onnx or export for an older version"
        )
    if opset == 0:
        raise ModelFileError("the model does not say which ONNX operator set it uses; export it again")
    if opset < OLDEST_OPSET:
        raise UnsupportedModelError(
            [f"opset {opset} is too old: expected {OLDEST_OPSET} or newer; export again with a newer opset_version"]
        )
    if opset > newest:
        raise UnsupportedModelError(
            [f"opset {opset} is newer than the installed onnx {onnx.__version__} knows ({newest}); upgrade onnx"]
        )


def check_structure(model: onnx.ModelProto) -> None:
    """Run ONNX's checker on a copy, spared what the import treats better.

    Operators the checker does not know would end it at the first one; the import lists them all. It refuses graph
    inputs and outputs without a declared shape, yet that of outputs is inferred; and graphs without a name.
    """
    checked = onnx.ModelProto()
    checked.CopyFrom(model)
    checked.graph.name = checked.graph.name or "graph"
    opset = opset_of(model)
    for node in checked.graph.node:
        if node.domain in DEFAULT_DOMAINS and not defines(opset, node.op_type):
            node.domain = UNKNOWN_DOMAIN  # foreign domains pass
    if any(node.domain == UNKNOWN_DOMAIN for node in checked.graph.node):
        checked.opset_import.add(domain=UNKNOWN_DOMAIN, version=1)
    for value in (*checked.graph.input, *checked.graph.output):
        if value.type.HasField("tensor_type") and not value.type.tensor_type.HasField("shape"):
            value.type.tensor_type.shape.SetInParent()
    try:
        onnx.checker.check_model(checked)
    except onnx.checker.ValidationError as error:
        raise ModelFileError(f"the model is not valid ONNX: {short_cause(str(error))}") from None
    except (ValueError, RuntimeError, UnicodeDecodeError) as error:
        raise ModelFileError(f"the model cannot be checked: {short_cause(str(error))}") from None


def defines(opset: int, op_type: str) -> bool:
    """Whether an operator set of ONNX has the operator, and has not dropped it."""
    try:
        return not onnx.defs.get_schema(op_type, opset, "").deprecated
    except onnx.defs.SchemaError:
        return False


def short_cause(message: str) -> str:
    """First sentence-like part of a message of the onnx library, on one line."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    return (lines[0] if lines else "no cause given")[:300]


def inline_functions(model: onnx.ModelProto) -> onnx.ModelProto:
    """Replace calls of model-local functions by their bodies."""
    expanded = _inlined_nodes(model)
    if expanded > MAX_INLINED_NODES:
        raise ModelFileError(f"the model's local functions expand to {expanded} nodes; export it without functions")
    try:
        return onnx.inliner.inline_local_functions(model, convert_version=True)
    except Exception as error:  # of several unrelated classes: from inlining, checking, converting, inferring
        raise ModelFileError(f"the model's local functions cannot be inlined: {short_cause(str(error))}") from None


def _inlined_nodes(model: onnx.ModelProto) -> int:
    """Nodes after inlining. Raises ModelFileError for functions that call themselves."""
    bodies = {(f.domain, f.name): f for f in model.functions}
    sizes: dict[tuple[str, str], int] = {}
    pending: list[tuple[str, str]] = []

    def size(nodes: Iterator[onnx.NodeProto]) -> int:
        total = 0
        for node in nodes:
            key = (node.domain, node.op_type)
            total += body_size(key) if key in bodies else 1
            for attribute in node.attribute:
                for graph in (attribute.g, *attribute.graphs):
                    total += size(iter(graph.node))
        return total

    def body_size(key: tuple[str, str]) -> int:
        if key in pending or len(pending) > 100:
            raise ModelFileError(f"the model's local function {key[1]} calls itself; export it without functions")
        if key not in sizes:
            pending.append(key)
            sizes[key] = size(iter(bodies[key].node))
            pending.pop()
        return sizes[key]

    return size(iter(model.graph.node))
