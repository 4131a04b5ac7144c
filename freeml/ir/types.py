"""Types of the values that flow through the two graphs: `TensorType` (float) and `QType` (integer)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from numpy.typing import NDArray

# numpy's own types lose the element type in almost every operation, so these aliases document rather than check it.
Array: TypeAlias = NDArray[Any]
FloatArray: TypeAlias = NDArray[Any]  # float32 or float64
IntArray: TypeAlias = NDArray[Any]  # int64, whatever the width of the numbers it stands for
Shape: TypeAlias = tuple[int, ...]
DType: TypeAlias = Literal["float32", "int64", "bool"]
QDType: TypeAlias = Literal["int8", "int16", "int32"]

QRANGE: dict[QDType, tuple[int, int]] = {
    "int8": (-128, 127),
    "int16": (-32768, 32767),
    "int32": (-(2**31), 2**31 - 1),
}
ITEM_BYTES: dict[QDType, int] = {"int8": 1, "int16": 2, "int32": 4}


def element_count(shape: Shape) -> int:
    """Number of elements of a tensor of this shape (1 for a scalar)."""
    count = 1
    for extent in shape:
        count *= extent
    return count


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorType:
    """Type of one value of the float graph. `shape` is static and includes the batch axis, which is 1."""

    shape: Shape
    dtype: DType = "float32"

    @property
    def size(self) -> int:
        """Number of elements."""
        return element_count(self.shape)


@dataclass(frozen=True, slots=True, kw_only=True)
class QType:
    """Type of one value of the integer graph: real value = scale * (q - zero_point).

    `scale` only describes the value (for people, for dequantizing outputs, for the QDQ file): nothing computed past
    quantization depends on it. An int32 value is an index (ArgMax) and has scale 1, zero point 0.
    """

    shape: Shape
    dtype: QDType
    scale: float
    zero_point: int

    @property
    def size(self) -> int:
        """Number of elements."""
        return element_count(self.shape)

    @property
    def size_bytes(self) -> int:
        """Bytes the value takes in memory."""
        return self.size * ITEM_BYTES[self.dtype]

    @property
    def qmin(self) -> int:
        """Smallest integer of the type."""
        return QRANGE[self.dtype][0]

    @property
    def qmax(self) -> int:
        """Largest integer of the type."""
        return QRANGE[self.dtype][1]

    def with_shape(self, shape: Shape) -> QType:
        """The same number format for another shape."""
        return QType(shape=shape, dtype=self.dtype, scale=self.scale, zero_point=self.zero_point)
