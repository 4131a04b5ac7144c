"""The torch twin of a float graph: the same function with weights that can be trained, and the way back.

Arrays are as everywhere (a leading sample axis, constants with one sample), so each operator has a short torch form.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import inf, isfinite
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from freeml.compression.book import LARGEST_LEVEL, whole_levels
from freeml.compression.coarse import NO_ROUNDING, Rounding, coarse_bits, largest_number, on_grid, weight_axes
from freeml.compression.norms import Norm, normed_layers
from freeml.errors import UnsupportedModelError
from freeml.ir.graph import Graph, Op, Stage
from freeml.ir.types import Array
from freeml.ops.add import Add
from freeml.ops.argmax import ArgMax
from freeml.ops.averagepool import AveragePool
from freeml.ops.base import NO_CLAMP, Clamp
from freeml.ops.batchnorm import BatchNorm
from freeml.ops.clip import Clip
from freeml.ops.concat import Concat
from freeml.ops.conv import Conv
from freeml.ops.copying import FILL
from freeml.ops.dense import Dense
from freeml.ops.hardsigmoid import HardSigmoid
from freeml.ops.hardswish import HardSwish
from freeml.ops.logsoftmax import LogSoftmax
from freeml.ops.maxpool import MaxPool
from freeml.ops.mul import Mul
from freeml.ops.pad import Pad, pad_table
from freeml.ops.pool import window_counts
from freeml.ops.prelu import PRelu
from freeml.ops.reducemean import ReduceMean
from freeml.ops.reshape import Reshape
from freeml.ops.resize import Resize
from freeml.ops.sigmoid import Sigmoid
from freeml.ops.slice import Slice
from freeml.ops.softmax import Softmax
from freeml.ops.storage import PackedBits
from freeml.ops.sub import Sub
from freeml.ops.tanh import Tanh
from freeml.ops.transpose import Transpose
from freeml.ops.windows import Window

Inputs = tuple[Tensor, ...]


class Twin:
    """A graph as a differentiable function.

    `parameters` are the weights and biases of convolutions and dense layers by constant name, float32 leaves. Coarse
    weights are trained through their grid: they count as the next number on it, the slope passes as if they were not
    rounded (Bengio et al., 2013), and the logarithm of each channel's step is a parameter too, under `step_name`
    (Esser et al., 2020). So are the levels of a layer's book, under `levels_name`: the slope of one is the sum of those
    of its weights (Han et al., 2016). What `rounding` names is rounded in the same way. Layers may have batch norms for
    as long as they are trained: `normalise`.
    """

    def __init__(self, graph: Graph, rounding: Rounding = NO_ROUNDING) -> None:
        """Raises UnsupportedModelError naming every node whose operator has no torch form."""
        problems = [
            f"node {node.name}: {stage.op.kind} cannot be trained; compile it without --flash and --ram"
            for node in graph.nodes
            for stage in node.stages
            if type(stage.op) not in FORMS
        ]
        if problems:
            raise UnsupportedModelError(problems)
        self.graph, self._formats = graph, rounding.values
        trained = {v for s in graph.stages() if isinstance(s.op, (Conv, Dense)) for v in s.inputs[1:]}
        self._constants = {name: torch.from_numpy(np.array(array)[None]) for name, array in graph.constants.items()}
        self.parameters = {
            name: self._constants[name].requires_grad_()
            for name in graph.constants
            if name in trained and graph.constants[name].dtype == np.float32
        }
        self._coarse = coarse_bits(graph)
        plain = {name: axis for name, axis in weight_axes(graph).items() if name not in self._coarse}
        self._plain = plain if rounding.weights else {}
        for name in self._coarse:
            steps = np.log(graph.brought[name].scale).astype(np.float32)
            along = [1] * self._constants[name].ndim
            along[1 + weight_axes(graph)[name]] = len(steps)
            self.parameters[step_name(name)] = torch.from_numpy(steps.reshape(along)).requires_grad_()
            if graph.brought[name].levels:
                levels = torch.tensor(graph.brought[name].levels, dtype=torch.float32)
                self.parameters[levels_name(name)] = levels.requires_grad_()
        self._biases: dict[str, str] = {}
        self._norms: dict[str, Norm] = {}
        self._parts = 1

    def normalise(self, inputs: Mapping[str, Tensor], parts: int = 1) -> None:
        """Put a batch norm behind every layer that can have one, which for these inputs changes nothing. The logarithms
        of their gains are parameters under `gains_name`. Each of the `parts` of a batch has its statistics."""
        self._biases, self._parts = normed_layers(self.graph), parts
        with torch.no_grad():
            self(inputs)
        self.parameters |= {gains_name(weights): norm.gains for weights, norm in self._norms.items()}

    def __call__(
        self, inputs: Mapping[str, Tensor], gates: Mapping[str, Tensor] | None = None, part: int = 0
    ) -> dict[str, Tensor]:
        """Every value by name, constants left out; for batch norms the inputs are this `part` of a batch.

        A gate is multiplied into the first input of the stage whose first output it is named after.
        """
        values: dict[str, Tensor] = {name: self._seen(name, inputs[name]) for name in self.graph.inputs}
        constants = {**self._constants, **{name: self._rounded(name, bits) for name, bits in self._coarse.items()}}
        constants |= {name: _in_8_bits(self._constants[name], axis) for name, axis in self._plain.items()}
        for stage in self.graph.stages():
            arguments = [values[v] if v in values else constants[v] for v in stage.inputs]
            gate = None if gates is None else gates.get(stage.outputs[0])
            if gate is not None:
                arguments[0] = arguments[0] * gate
            if len(stage.inputs) > 2 and stage.inputs[1] in self._biases:
                value = self._normed(stage, arguments, part)
            else:
                value = FORMS[type(stage.op)](stage.op, tuple(arguments))
            values[stage.outputs[0]] = self._seen(stage.outputs[0], value)
        return values

    def _normed(self, stage: Stage[Op], arguments: Sequence[Tensor], part: int) -> Tensor:
        """The output of a layer that has a batch norm, or gets one."""
        op, bias = stage.op, arguments[2]
        assert isinstance(op, (Conv, Dense))
        raw = FORMS[type(op)](replace(op, clamp=NO_CLAMP), tuple(arguments[:2]))
        flat = raw.flatten(0, 1) if isinstance(op, Conv) else raw.flatten(0, -2)
        if stage.inputs[1] not in self._norms:
            self._norms[stage.inputs[1]] = Norm(flat, bias, self._parts)
        return _clamped(self._norms[stage.inputs[1]](flat, bias, part).reshape(raw.shape), op.clamp)

    def _seen(self, name: str, value: Tensor) -> Tensor:
        """A value as those see it who read it."""
        found = self._formats.get(name)
        if found is None:
            return value
        number = functional.hardtanh(value / found.scale, found.qmin - found.zero_point, found.qmax - found.zero_point)
        return _straight_through(number) * found.scale

    def constant(self, name: str) -> Tensor:
        """A constant with its sample axis, as it counts."""
        return self._rounded(name, self._coarse[name]) if name in self._coarse else self._constants[name]

    def to_graph(self) -> Graph:
        """The graph with the parameters as they are now."""
        constants = dict(self.graph.constants)
        constants |= {
            name: tensor.detach().numpy()[0].copy() for name, tensor in self.parameters.items() if name in constants
        }
        scales: dict[str, Array] = {}
        axes = weight_axes(self.graph)
        for weights, norm in self._norms.items():
            scale, bias = norm.folded(self._constants[self._biases[weights]])
            along = [1] * constants[weights].ndim
            along[axes[weights]] = len(scale)
            scales[weights] = scale.double().numpy()
            constants[weights] = constants[weights] * scale.numpy().reshape(along)
            constants[self._biases[weights]] = bias[0].numpy().copy()
        graph = replace(self.graph, constants=constants)
        for name, bits in self._coarse.items():
            steps = self.parameters[step_name(name)].detach().double().exp().flatten().numpy() * scales.get(name, 1.0)
            levels = self.parameters.get(levels_name(name))
            book = () if levels is None else whole_levels(levels.detach().numpy())
            graph = on_grid(graph, name, steps, bits, book)
        return graph

    def _rounded(self, name: str, bits: PackedBits) -> Tensor:
        """Coarse weights as they count."""
        step, q = self.parameters[step_name(name)].exp(), largest_number(bits)
        multiples, levels = self._constants[name] / step, self.parameters.get(levels_name(name))
        if levels is None:
            return _straight_through(torch.clamp(multiples, -q, q)) * step
        return _on_book(multiples, levels) * step


def _straight_through(number: Tensor) -> Tensor:
    """The next whole number, with the slope of the number itself."""
    return number + (number.round() - number).detach()


def _on_book(numbers: Tensor, levels: Tensor) -> Tensor:
    """The nearest whole level to each number (any shape), with the slope of the number and that of the level."""
    whole = levels + (levels.round().clamp(-LARGEST_LEVEL, LARGEST_LEVEL) - levels).detach()
    book = whole.sort().values
    known = book.detach()
    within = torch.clamp(numbers, known[0] - 0.5, known[-1] + 0.5)  # what lies on an end is not beyond it
    places = torch.bucketize(within.detach(), (known[1:] + known[:-1]) / 2)
    return within - within.detach() + book[places]


def _in_8_bits(weights: Tensor, axis: int) -> Tensor:
    """Weights (1, ...) as the quantizer rounds them: symmetric, a step for each index of `axis` behind the 1."""
    others = [a for a in range(weights.ndim) if a != axis + 1]
    step = weights.detach().abs().amax(dim=others, keepdim=True).clamp_min(1e-30) / 127
    return _straight_through(weights / step) * step


def step_name(weights: str) -> str:
    """Name of the parameter that holds the logarithms of the steps of coarse weights."""
    return f"{weights} steps"


def levels_name(weights: str) -> str:
    """Name of the parameter that holds the levels of the book of coarse weights."""
    return f"{weights} levels"


def gains_name(weights: str) -> str:
    """Name of the parameter that holds the logarithms of the gains of a layer's batch norm."""
    return f"{weights} gains"


def run(graph: Graph, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """What `execute` gives, by the twin."""
    with torch.no_grad():
        values = Twin(graph)({name: torch.from_numpy(np.array(array)) for name, array in inputs.items()})
    return {name: tensor.numpy() for name, tensor in values.items()}


# --- the operators
# -----------------------


def _clamped(y: Tensor, clamp: Clamp) -> Tensor:
    """As torch.clamp, whose slopes go over the map several times; at a limit they are zero here."""
    low, high = clamp
    if (low, high) == (0.0, inf):
        return functional.relu(y)
    if isfinite(low) and isfinite(high):
        return functional.hardtanh(y, low, high)
    return torch.clamp(y, *clamp) if clamp != NO_CLAMP else y


def _aligned(inputs: Inputs) -> Inputs:
    rank = max(t.ndim for t in inputs)
    return tuple(t.reshape(t.shape[0], *(1,) * (rank - t.ndim), *t.shape[1:]) for t in inputs)


def _conv(op: Conv, inputs: Inputs) -> Tensor:
    x, w = inputs[0], inputs[1][0]
    bias = inputs[2][0] if len(inputs) > 2 else None
    flat, kernel = x.reshape(-1, *x.shape[2:]), w.shape[2:]
    pads = [n for pair in reversed(op.pads) for n in pair]
    if any(pads):
        flat = functional.pad(flat, pads)
    strides = op.strides
    if set(kernel) == {1} and max(strides) > 1:
        # What no window reads is left out first: oneDNN's slopes of pointwise convolutions with strides are wrong, and
        # overrun its memory, for few channels (github.com/uxlfoundation/oneDNN/issues/6035).
        flat = flat[(slice(None),) * 2 + tuple(slice(None, None, stride) for stride in strides)]
        strides = (1,) * len(kernel)
    if len(kernel) == 2:
        y = functional.conv2d(
            flat.contiguous(memory_format=torch.channels_last), w, bias, strides, 0, op.dilations, op.group
        )
    elif len(kernel) == 1:
        y = functional.conv1d(flat, w, bias, strides, 0, op.dilations, op.group)
    else:  # no spatial axis: a map of one position
        y = functional.conv1d(flat[..., None], w[..., None], bias, 1, 0, 1, op.group)[..., 0]
    return _clamped(y.reshape(*x.shape[:2], *y.shape[1:]), op.clamp)


def _dense(op: Dense, inputs: Inputs) -> Tensor:
    y = inputs[0] @ inputs[1][0]
    return _clamped(y + inputs[2][0] if len(inputs) > 2 else y, op.clamp)


def _padded(window: Window, x: Tensor, fill: float) -> tuple[Tensor, tuple[int, ...]]:
    """x (samples, batch, channels, *spatial) with all that any window reads, and how many windows there are."""
    extents = tuple(x.shape[3:])
    out, pads = window.out_extents(extents), []
    for extent, count, reach, stride, (before, _) in zip(
        extents, out, window.reach, window.strides, window.pads, strict=True
    ):
        pads += [(before, max(0, (count - 1) * stride + reach - extent - before))]
    flat = [n for pair in reversed(pads) for n in pair]
    return functional.pad(x, flat, value=fill) if any(flat) else x, out


def _windows(window: Window, x: Tensor, fill: float) -> Tensor:
    """x (samples, batch, channels, *spatial) as (..., channels, *out, *kernel)."""
    x, out = _padded(window, x, fill)
    for axis, (reach, stride) in enumerate(zip(window.reach, window.strides, strict=True), start=3):
        x = x.unfold(axis, reach, stride)
    keep = tuple(slice(0, n) for n in out) + tuple(slice(None, None, d) for d in window.dilations)
    return x[(slice(None),) * 3 + keep]


def _kernel_axes(window: Window) -> tuple[int, ...]:
    return tuple(range(-len(window.kernel), 0))


def _max_pool(op: MaxPool, inputs: Inputs) -> Tensor:
    x, out = _padded(op.window, inputs[0], -float("inf"))
    pool = functional.max_pool2d if len(op.kernel) == 2 else functional.max_pool1d
    y = pool(x.flatten(0, 1), op.kernel, op.strides, 0, op.dilations)
    return y.reshape(*x.shape[:2], *y.shape[1:])[(slice(None),) * 3 + tuple(slice(0, n) for n in out)]


def _average_pool(op: AveragePool, inputs: Inputs) -> Tensor:
    x = inputs[0]
    counts = window_counts(op.window, tuple(x.shape[3:]), op.count_include_pad)
    sums = _windows(op.window, x, 0.0).sum(dim=_kernel_axes(op.window))
    return _clamped(sums / torch.from_numpy(counts.astype(np.float32)), op.clamp)


def _batch_norm(op: BatchNorm, inputs: Inputs) -> Tensor:
    scale, bias, mean, variance = (t[0] for t in inputs[1:])
    factor = scale / torch.sqrt(variance + op.epsilon)
    along = (slice(None), *(None,) * (inputs[0].ndim - 3))
    return inputs[0] * factor[along] + (bias - mean * factor)[along]


def _binary(function: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Any, Inputs], Tensor]:
    def form(op: Add | Sub | Mul, inputs: Inputs) -> Tensor:
        one, two = _aligned(inputs)
        return _clamped(function(one, two), op.clamp)

    return form


def _prelu(op: PRelu, inputs: Inputs) -> Tensor:
    x, slope = _aligned(inputs)
    return torch.where(x >= 0, x, slope * x)


def _concat(op: Concat, inputs: Inputs) -> Tensor:
    samples = max(t.shape[0] for t in inputs)
    return torch.cat([t.expand(samples, *t.shape[1:]) for t in inputs], dim=op.axis + 1)


def _taken(x: Tensor, tables: tuple[tuple[int, ...], ...]) -> Tensor:
    for axis, table in enumerate(tables, start=1):
        if table != tuple(range(x.shape[axis])):
            x = x.index_select(axis, torch.tensor(table))
    return x


def _slice(op: Slice, inputs: Inputs) -> Tensor:
    bounds = zip(op.starts, op.steps, op.sizes, strict=True)
    return _taken(inputs[0], tuple(tuple(start + i * step for i in range(size)) for start, step, size in bounds))


def _pad(op: Pad, inputs: Inputs) -> Tensor:
    x = inputs[0]
    if op.mode == "constant":
        return functional.pad(x, [n for pair in reversed(op.pads) for n in pair], value=op.value)
    tables = tuple(pad_table(n, *pair, op.mode) for n, pair in zip(x.shape[1:], op.pads, strict=True))
    assert not any(FILL in table for table in tables)
    return _taken(x, tables)


def _arg_max(op: ArgMax, inputs: Inputs) -> Tensor:
    """No gradient passes; which of several maxima counts is the reference's to say."""
    return torch.from_numpy(op.run((inputs[0].detach().numpy(),))[0])


FORMS: dict[type[Op], Callable[[Any, Inputs], Tensor]] = {
    Add: _binary(torch.add),
    ArgMax: _arg_max,
    AveragePool: _average_pool,
    BatchNorm: _batch_norm,
    Clip: lambda op, v: torch.clamp_max(torch.clamp_min(v[0], op.low), op.high),
    Concat: _concat,
    Conv: _conv,
    Dense: _dense,
    HardSigmoid: lambda op, v: torch.clamp(op.alpha * v[0] + op.beta, 0.0, 1.0),
    HardSwish: lambda op, v: functional.hardswish(v[0]),
    LogSoftmax: lambda op, v: torch.log_softmax(v[0], dim=op.axis + 1),
    MaxPool: _max_pool,
    Mul: _binary(torch.mul),
    PRelu: _prelu,
    Pad: _pad,
    ReduceMean: lambda op, v: v[0].mean(dim=[a + 1 for a in op.axes], keepdim=op.keepdims),
    Reshape: lambda op, v: v[0].reshape(v[0].shape[0], *op.shape),
    Resize: lambda op, v: _taken(v[0], op.indices),
    Sigmoid: lambda op, v: torch.sigmoid(v[0]),
    Slice: _slice,
    Softmax: lambda op, v: torch.softmax(v[0], dim=op.axis + 1),
    Sub: _binary(torch.sub),
    Tanh: lambda op, v: torch.tanh(v[0]),
    Transpose: lambda op, v: v[0].permute(0, *(a + 1 for a in op.perm)),
}
"""The torch form of every float operator: (operator, inputs with a leading sample axis) -> output."""
