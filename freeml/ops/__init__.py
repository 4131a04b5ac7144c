"""The operators, one file each: attributes, shapes, float and integer reference, and what their C template needs."""

from __future__ import annotations

from freeml.fixedpoint.rounding import Requant
from freeml.ir.exits import Exit, Exits, Policy, Reliability
from freeml.ops.answer import QAnswer
from freeml.ops.argmax import QArgMax
from freeml.ops.averagepool import QAveragePool
from freeml.ops.binary import QSum
from freeml.ops.clip import QClip
from freeml.ops.concat import QConcat
from freeml.ops.conv import QConv
from freeml.ops.copying import AxisMap, QCopy, Rescale
from freeml.ops.dense import QDense
from freeml.ops.hardsigmoid import QHardSigmoid
from freeml.ops.hardswish import QHardSwish
from freeml.ops.logsoftmax import QLogSoftmax
from freeml.ops.lut import QInterpolated, QTable
from freeml.ops.maxpool import QMaxPool
from freeml.ops.mul import QMul
from freeml.ops.prelu import QPRelu
from freeml.ops.reducemean import QReduceMean
from freeml.ops.reshape import QReshape
from freeml.ops.softmax import Exponential, QSoftmax
from freeml.ops.storage import Packed, Sparse
from freeml.ops.transpose import QTranspose
from freeml.ops.windows import Window

_OPERATORS = (
    *(
        QAnswer,
        QArgMax,
        QAveragePool,
        QClip,
        QConcat,
        QConv,
        QCopy,
        QDense,
        QHardSigmoid,
        QHardSwish,
        QInterpolated,
        QLogSoftmax,
    ),
    *(QMaxPool, QMul, QPRelu, QReduceMean, QReshape, QSoftmax, QSum, QTable, QTranspose),
)
_PARTS = (AxisMap, Exit, Exits, Exponential, Packed, Policy, Reliability, Requant, Rescale, Sparse, Window)

INTEGER_CLASSES: dict[str, type] = {kind.__name__: kind for kind in (*_OPERATORS, *_PARTS)}
"""Every dataclass an integer operator is made of, by name: the vocabulary of a stored graph."""
