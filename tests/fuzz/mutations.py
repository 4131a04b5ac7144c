"""Ways to spoil a model: byte by byte, and node by node.

Each mutation is a function of a model and a source of chance, so that a failing example is a model's name and a list of
(mutation, seed), which Hypothesis shortens.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import onnx
from onnx import AttributeProto, TensorProto, helper

EDGES = (0, 1, -1, 2, 3, 7, -2, 127, 128, 255, 256, 4096, 65536, 2**31 - 1, 2**31, -(2**31), 2**40, 2**63 - 1, -(2**63))
FLOATS = (0.0, -0.0, 1.0, -1.0, 1e-45, 1e-38, 1e38, 3.4e38, float("inf"), float("-inf"), float("nan"))
NAMES = (
    "",
    "x",
    "y",
    "a b",
    "*/ int x; /*",
    "//",
    "\\",
    "??/",
    "\n",
    "é",
    "名",
    "%s",
    "{{ x }}",
    "while",
    "0",
    "a" * 300,
)
OPERATORS = tuple(sorted({schema.name for schema in onnx.defs.get_all_schemas() if schema.domain == ""}))
DATA_TYPES = tuple(TensorProto.DataType.values())

UNARY = (
    "Abs", "ArgMax", "Dropout", "Elu", "Exp", "Flatten", "GlobalAveragePool", "GlobalMaxPool", "HardSigmoid", "HardSwish",
    "Identity", "LeakyRelu", "LogSoftmax", "Neg", "ReduceMean", "Relu", "Reciprocal", "Sigmoid", "Softmax", "Sqrt", "Squeeze",
    "Tanh", "Transpose",
)  # fmt: skip
BINARY = ("Add", "Sub", "Mul", "Div", "Max", "Min", "Concat", "PRelu", "MatMul")

Bytes = Callable[[bytearray, random.Random], None]
Structure = Callable[[onnx.ModelProto, random.Random], None]


# --- bytes ---------------------------------------------------------------------------------------------------------


def flip_bit(content: bytearray, chance: random.Random) -> None:
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)


def set_byte(content: bytearray, chance: random.Random) -> None:
    content[chance.randrange(len(content))] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))


def remove_bytes(content: bytearray, chance: random.Random) -> None:
    start = chance.randrange(len(content))
    del content[start : start + chance.choice((1, 2, 8, 100))]


def repeat_bytes(content: bytearray, chance: random.Random) -> None:
    start = chance.randrange(len(content))
    content[start:start] = content[start : start + chance.choice((1, 2, 8, 100))]


def truncate(content: bytearray, chance: random.Random) -> None:
    del content[chance.randrange(len(content)) :]


def zero_bytes(content: bytearray, chance: random.Random) -> None:
    start = chance.randrange(len(content))
    stop = min(len(content), start + chance.choice((4, 16, 64)))
    content[start:stop] = bytes(stop - start)


BYTES: tuple[Bytes, ...] = (flip_bit, set_byte, remove_bytes, repeat_bytes, truncate, zero_bytes)


# --- structure -----------------------------------------------------------------------------------------------------


def _node(model: onnx.ModelProto, chance: random.Random) -> onnx.NodeProto:
    return chance.choice(model.graph.node) if model.graph.node else model.graph.node.add()


def _tensor(model: onnx.ModelProto, chance: random.Random) -> onnx.TensorProto:
    held = [a.t for node in model.graph.node for a in node.attribute if a.HasField("t")]
    tensors = [*model.graph.initializer, *held]
    return chance.choice(tensors) if tensors else model.graph.initializer.add()


def _value(model: onnx.ModelProto, chance: random.Random) -> onnx.ValueInfoProto:
    values = [*model.graph.input, *model.graph.output, *model.graph.value_info]
    return chance.choice(values) if values else model.graph.input.add()


def _names(model: onnx.ModelProto) -> list[str]:
    graph = model.graph
    return [
        *(o for n in graph.node for o in n.output),
        *(t.name for t in graph.initializer),
        *(i.name for i in graph.input),
    ]


def _number(chance: random.Random) -> int:
    return chance.choice((*EDGES, chance.randrange(-8, 33)))


def drop_node(model: onnx.ModelProto, chance: random.Random) -> None:
    if model.graph.node:
        del model.graph.node[chance.randrange(len(model.graph.node))]


def duplicate_node(model: onnx.ModelProto, chance: random.Random) -> None:
    model.graph.node.insert(chance.randrange(len(model.graph.node) + 1), _node(model, chance))


def swap_nodes(model: onnx.ModelProto, chance: random.Random) -> None:
    first, second = _node(model, chance), _node(model, chance)
    kept = onnx.NodeProto()
    kept.CopyFrom(first)
    first.CopyFrom(second)
    second.CopyFrom(kept)


def rename_node(model: onnx.ModelProto, chance: random.Random) -> None:
    _node(model, chance).name = chance.choice(NAMES)


# What freeml itself makes of names, and what its runtime is called: the ends of C names of layers and constants.
ENDINGS = (
    "weights", "bias", "operand", "multipliers", "table", "knots", "offsets0", "exp", "prelu", "sigmoid", "add", "clip",
    "2", "fn", "step", "copy", "view",
)  # fmt: skip


def rename_node_like_another(model: onnx.ModelProto, chance: random.Random) -> None:
    """A name that looks as if freeml had made it from another node's: `conv_prelu`, `layer_conv`, `fn`."""
    other, ending = _node(model, chance).name, chance.choice(ENDINGS)
    _node(model, chance).name = chance.choice((f"{other}_{ending}", f"layer_{other}", ending, f"{other}.{ending}"))


def rename_value(model: onnx.ModelProto, chance: random.Random) -> None:
    """The same new name wherever the old one is: the net stays what it is."""
    old, new = chance.choice([*_names(model), "x"]), chance.choice(NAMES)
    for node in model.graph.node:
        for values in (node.input, node.output):
            values[:] = [new if value == old else value for value in values]
    for item in (*model.graph.input, *model.graph.output, *model.graph.initializer, *model.graph.value_info):
        if item.name == old:
            item.name = new


def rewire_input(model: onnx.ModelProto, chance: random.Random) -> None:
    node = _node(model, chance)
    if node.input:
        node.input[chance.randrange(len(node.input))] = chance.choice([*_names(model), *NAMES])


def rewire_output(model: onnx.ModelProto, chance: random.Random) -> None:
    node = _node(model, chance)
    if node.output:
        node.output[chance.randrange(len(node.output))] = chance.choice([*_names(model), *NAMES])


def add_operand(model: onnx.ModelProto, chance: random.Random) -> None:
    node = _node(model, chance)
    chance.choice((node.input, node.output)).append(chance.choice([*_names(model), "", "new"]))


def drop_operand(model: onnx.ModelProto, chance: random.Random) -> None:
    node = _node(model, chance)
    values = chance.choice((node.input, node.output))
    if values:
        del values[chance.randrange(len(values))]


def change_operator(model: onnx.ModelProto, chance: random.Random) -> None:
    _node(model, chance).op_type = chance.choice((*OPERATORS, "", "NoSuchOperator"))


def change_domain(model: onnx.ModelProto, chance: random.Random) -> None:
    domain = chance.choice(("ai.onnx", "ai.onnx.ml", "com.microsoft", "my.own", ""))
    _node(model, chance).domain = domain
    if chance.random() < 0.5:
        model.opset_import.append(helper.make_opsetid(domain, chance.choice((1, 2, 13))))


def _attribute(model: onnx.ModelProto, chance: random.Random) -> onnx.AttributeProto:
    node = _node(model, chance)
    schema_names = []
    if onnx.defs.has(node.op_type):
        schema_names = list(onnx.defs.get_schema(node.op_type).attributes)
    if node.attribute and (not schema_names or chance.random() < 0.7):
        return chance.choice(node.attribute)
    return node.attribute.add(name=chance.choice([*schema_names, "axis"]), type=AttributeProto.INT, i=_number(chance))


def change_number(model: onnx.ModelProto, chance: random.Random) -> None:
    attribute = _attribute(model, chance)
    if attribute.ints and chance.random() < 0.9:
        attribute.ints[chance.randrange(len(attribute.ints))] = _number(chance)
    elif attribute.HasField("f"):
        attribute.f = chance.choice(FLOATS)
    else:
        attribute.i = _number(chance)


def change_length(model: onnx.ModelProto, chance: random.Random) -> None:
    attribute = _attribute(model, chance)
    if attribute.ints and chance.random() < 0.5:
        del attribute.ints[chance.randrange(len(attribute.ints))]
    else:
        attribute.type = AttributeProto.INTS
        attribute.ints.append(_number(chance))


def change_text(model: onnx.ModelProto, chance: random.Random) -> None:
    attribute = _attribute(model, chance)
    attribute.type = AttributeProto.STRING
    attribute.s = chance.choice(
        (b"", b"SAME_LOWER", b"VALID", b"reflect", b"linear", b"half_pixel", b"\xff\xfe", b"edge")
    )


def change_attribute_type(model: onnx.ModelProto, chance: random.Random) -> None:
    _attribute(model, chance).type = chance.choice(AttributeProto.AttributeType.values())


def rename_attribute(model: onnx.ModelProto, chance: random.Random) -> None:
    _attribute(model, chance).name = chance.choice((*NAMES, "axis", "axes", "perm", "to", "group", "strides"))


def drop_attribute(model: onnx.ModelProto, chance: random.Random) -> None:
    node = _node(model, chance)
    if node.attribute:
        del node.attribute[chance.randrange(len(node.attribute))]


def insert_operator(model: onnx.ModelProto, chance: random.Random) -> None:
    """A new operator between two nodes, on one value or on two: often a valid net."""
    if not model.graph.node:
        return
    position = chance.randrange(len(model.graph.node))
    node = model.graph.node[position]
    if not node.input:
        return
    slot = chance.randrange(len(node.input))
    fresh = f"fresh_{chance.randrange(10**6)}"
    if chance.random() < 0.6:
        new = helper.make_node(chance.choice(UNARY), [node.input[slot]], [fresh], name=fresh)
    else:
        other = chance.choice([node.input[slot], *_names(model)])
        new = helper.make_node(chance.choice(BINARY), [node.input[slot], other], [fresh], name=fresh)
        if new.op_type == "Concat":
            new.attribute.append(helper.make_attribute("axis", chance.choice((0, 1, -1, 2))))
    node.input[slot] = fresh
    model.graph.node.insert(position, new)


def add_output(model: onnx.ModelProto, chance: random.Random) -> None:
    """Some value inside becomes an output as well."""
    made = [name for node in model.graph.node for name in node.output if name]
    if made:
        output = helper.make_tensor_value_info(chance.choice(made), TensorProto.FLOAT, None)
        model.graph.output.insert(chance.randrange(len(model.graph.output) + 1), output)


def scale_weights(model: onnx.ModelProto, chance: random.Random) -> None:
    """Float weights of another magnitude: finite, yet perhaps hard to quantize."""
    floats = [t for t in model.graph.initializer if t.data_type == TensorProto.FLOAT and t.raw_data]
    if floats:
        tensor = chance.choice(floats)
        whole = len(tensor.raw_data) // 4 * 4
        factor = np.float32(chance.choice((0.0, -1.0, 1e-30, 1e-6, 1e4, 1e12, 1e30)))
        with np.errstate(over="ignore"):
            tensor.raw_data = (np.frombuffer(tensor.raw_data[:whole], "<f4") * factor).astype("<f4").tobytes()


def nest_graph(model: onnx.ModelProto, chance: random.Random) -> None:
    """A graph inside an attribute, sometimes many levels deep."""
    attribute = _node(model, chance).attribute.add(name="body", type=AttributeProto.GRAPH)
    for _ in range(chance.choice((1, 3, 90))):
        attribute.g.name = "inner"
        attribute = attribute.g.node.add(op_type="Identity").attribute.add(name="body", type=AttributeProto.GRAPH)


def change_extents(model: onnx.ModelProto, chance: random.Random) -> None:
    tensor = _tensor(model, chance)
    how = chance.randrange(4)
    if how == 0 and tensor.dims:
        tensor.dims[chance.randrange(len(tensor.dims))] = _number(chance)
    elif how == 1:
        tensor.dims.append(chance.choice((1, 0, 2, 2**40)))
    elif how == 2 and tensor.dims:
        del tensor.dims[chance.randrange(len(tensor.dims))]
    else:
        chance.shuffle(dims := list(tensor.dims))
        tensor.dims[:] = dims


def change_data_type(model: onnx.ModelProto, chance: random.Random) -> None:
    _tensor(model, chance).data_type = chance.choice((*DATA_TYPES, 999))


def change_data(model: onnx.ModelProto, chance: random.Random) -> None:
    tensor = _tensor(model, chance)
    raw = bytearray(tensor.raw_data)
    if not raw or chance.random() < 0.2:
        tensor.float_data.append(chance.choice(FLOATS))
    elif chance.random() < 0.3:
        tensor.raw_data = bytes(raw[: chance.randrange(len(raw))])
    else:
        pattern = chance.choice(
            (b"\0\0\0\0", b"\xff" * 4, b"\0\0\x80\x7f", b"\0\0\x80\xff", b"\xff\xff\x7f\x7f", b"\1\0\0\0")
        )
        for index in range(0, len(raw), 4):
            if chance.random() < 0.3:
                raw[index : index + 4] = pattern[: len(raw[index : index + 4])]
        tensor.raw_data = bytes(raw)


def drop_tensor(model: onnx.ModelProto, chance: random.Random) -> None:
    if model.graph.initializer:
        del model.graph.initializer[chance.randrange(len(model.graph.initializer))]


def externalize(model: onnx.ModelProto, chance: random.Random) -> None:
    tensor = _tensor(model, chance)
    tensor.data_location = TensorProto.EXTERNAL
    for key in ("location", "offset", "length"):
        if chance.random() < 0.8:
            value = chance.choice(
                ("model.onnx", "/etc/hostname", "..", "", "0", "-1", "4", "99999999999999999999", "x\0y")
            )
            tensor.external_data.add(key=key, value=value)


def change_declared_shape(model: onnx.ModelProto, chance: random.Random) -> None:
    shape = _value(model, chance).type.tensor_type.shape
    dim = chance.choice(shape.dim) if shape.dim and chance.random() < 0.8 else shape.dim.add()
    if chance.random() < 0.2:
        dim.dim_param = chance.choice(("N", "", "batch"))
    else:
        dim.dim_value = _number(chance)


def change_declared_type(model: onnx.ModelProto, chance: random.Random) -> None:
    value = _value(model, chance)
    if chance.random() < 0.3:
        value.ClearField("type")
    elif chance.random() < 0.3:
        value.type.sequence_type.elem_type.tensor_type.elem_type = TensorProto.FLOAT
    else:
        value.type.tensor_type.elem_type = chance.choice((*DATA_TYPES, 999))


def change_outputs(model: onnx.ModelProto, chance: random.Random) -> None:
    outputs = model.graph.output
    how = chance.randrange(3)
    if how == 0 and outputs:
        del outputs[chance.randrange(len(outputs))]
    elif how == 1 and outputs:
        outputs.append(chance.choice(outputs))
    else:
        outputs.append(helper.make_tensor_value_info(chance.choice([*_names(model), "x"]), TensorProto.FLOAT, None))


def change_inputs(model: onnx.ModelProto, chance: random.Random) -> None:
    inputs = model.graph.input
    if inputs and chance.random() < 0.4:
        del inputs[chance.randrange(len(inputs))]
    else:
        name = chance.choice([*_names(model), "another"])
        inputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, chance.choice((1, 2, 5))]))


def change_versions(model: onnx.ModelProto, chance: random.Random) -> None:
    if model.opset_import and chance.random() < 0.8:
        chance.choice(model.opset_import).version = chance.choice((*range(26), *EDGES))
    else:
        model.ir_version = _number(chance)


def change_graph_name(model: onnx.ModelProto, chance: random.Random) -> None:
    model.graph.name = chance.choice(NAMES)


def add_function(model: onnx.ModelProto, chance: random.Random) -> None:
    """A node becomes the call of a local function, which may call itself."""
    node = _node(model, chance)
    inner = "Wrapped" if chance.random() < 0.3 else node.op_type
    body = helper.make_node(inner, ["i"], ["o"], domain="local" if inner == "Wrapped" else node.domain)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("local", 1)]
    model.functions.append(helper.make_function("local", "Wrapped", ["i"], ["o"], [body], opsets))
    model.opset_import.append(helper.make_opsetid("local", 1))
    node.op_type, node.domain = "Wrapped", "local"


STRUCTURE: tuple[Structure, ...] = (
    drop_node, duplicate_node, swap_nodes, rename_node, rename_node_like_another, rename_value, rewire_input, rewire_output, add_operand,
    drop_operand, change_operator, change_domain, change_number, change_length, change_text, change_attribute_type,
    rename_attribute, drop_attribute, insert_operator, insert_operator, insert_operator, insert_operator, add_output,
    add_output, scale_weights, scale_weights, change_number, change_number, nest_graph, change_extents, change_data_type, change_data, drop_tensor,
    externalize, change_declared_shape, change_declared_type, change_outputs, change_inputs, change_versions,
    change_graph_name, add_function,
)  # fmt: skip

# What often leaves a valid net, though another one.
GENTLE: tuple[Structure, ...] = (
    rename_node, rename_node_like_another, rename_value, change_graph_name, insert_operator, add_output, scale_weights,
    change_number, change_data, change_declared_shape,
)  # fmt: skip
