"""AveragePool and GlobalAveragePool: strides, pads counted and not, dilations, ceil mode; 1-D and 2-D."""

from __future__ import annotations

from ops.harness import Case, checks, node


def pool(name: str, x: tuple[int, ...], *, opset: int = 19, **attributes: object) -> Case:
    """One pool."""
    kind = "AveragePool" if attributes else "GlobalAveragePool"
    return Case(name=name, nodes=[node(kind, "x", "y", **attributes)], inputs={"x": (1, *x)}, opset=opset)


CASES = (
    pool("plain", (3, 6, 4), kernel_shape=[2, 2], strides=[2, 2]),
    pool("overlapping", (2, 6, 5), kernel_shape=[3, 3], strides=[1, 2]),
    pool("padded", (2, 5, 5), kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
    pool("padded-counted", (2, 5, 5), kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1], count_include_pad=1),
    pool("asymmetric-pads", (2, 5, 4), kernel_shape=[3, 2], pads=[2, 0, 0, 1]),
    pool("ceil", (2, 6, 5), kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1),
    pool("ceil-padded", (1, 7, 7), kernel_shape=[3, 3], strides=[2, 3], pads=[1, 1, 1, 1], ceil_mode=1),
    pool(
        "ceil-padded-counted",
        (2, 6, 6),
        kernel_shape=[3, 3],
        strides=[2, 2],
        pads=[0, 1, 1, 0],
        ceil_mode=1,
        count_include_pad=1,
    ),
    pool("ceil-into-the-padding", (2, 4, 8), kernel_shape=[2, 2], strides=[4, 4], pads=[0, 0, 1, 1], ceil_mode=1),
    pool("dilated", (2, 8, 7), kernel_shape=[3, 2], dilations=[2, 3]),
    pool("dilated-padded", (2, 7, 6), kernel_shape=[2, 3], dilations=[3, 2], pads=[1, 1, 1, 2], strides=[2, 1]),
    pool(
        "dilated-padded-counted",
        (2, 7, 6),
        kernel_shape=[2, 3],
        dilations=[3, 2],
        pads=[1, 1, 1, 2],
        count_include_pad=1,
    ),
    pool("same-lower", (2, 6, 5), kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_LOWER"),
    pool("gaps", (2, 8, 8), kernel_shape=[2, 2], strides=[3, 3]),
    pool("1d", (4, 9), kernel_shape=[3], strides=[3]),
    pool("1d-padded-ceil", (3, 10), kernel_shape=[4], strides=[3], pads=[1, 2], ceil_mode=1),
    pool("global", (3, 4, 5)),
    pool("global-1d", (5, 7)),
    pool("global-large", (2, 24, 24)),
)

test_float, test_integer = checks(CASES)
