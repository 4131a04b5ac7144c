"""Conv: 1-D, 2-D, grouped, depthwise, strided, dilated, padded by hand and by rule; all widths."""

from __future__ import annotations

from ops.harness import ACTIVATIONS, WEIGHTS, Case, checks, node, normal


def conv(name: str, x: tuple[int, ...], w: tuple[int, ...], *, bias: bool = True, **attributes: object) -> Case:
    """One convolution."""
    constants = {"w": normal(*w, seed=1) * 0.4} | ({"b": normal(w[0], seed=2)} if bias else {})
    names = "x w b" if bias else "x w"
    every = attributes.pop("every", False)
    return Case(
        name=name,
        nodes=[node("Conv", names, "y", **attributes)],
        inputs={"x": (1, *x)},
        constants=constants,
        precisions=WEIGHTS if every else ACTIVATIONS,
    )


CASES = (
    conv("plain", (3, 6, 5), (4, 3, 3, 3), every=True),
    conv("no-bias", (2, 5, 5), (3, 2, 3, 3), bias=False),
    conv("pointwise", (5, 4, 3), (6, 5, 1, 1)),
    conv("pointwise-strided", (5, 7, 6), (4, 5, 1, 1), strides=[2, 3]),
    conv("padded", (2, 5, 6), (3, 2, 3, 3), pads=[1, 1, 1, 1]),
    conv("asymmetric-pads", (2, 5, 6), (3, 2, 3, 2), pads=[0, 1, 2, 0]),
    conv("pads-as-wide-as-the-kernel", (1, 3, 3), (2, 1, 3, 3), pads=[2, 2, 2, 2]),
    conv("same-upper", (2, 7, 6), (3, 2, 3, 3), auto_pad="SAME_UPPER", strides=[2, 2]),
    conv("same-lower", (2, 7, 6), (3, 2, 2, 4), auto_pad="SAME_LOWER"),
    conv("dilated", (2, 9, 8), (3, 2, 3, 2), dilations=[2, 3], pads=[2, 1, 2, 2]),
    conv("dilated-beyond-the-map", (1, 4, 4), (2, 1, 3, 3), dilations=[3, 3], pads=[3, 3, 3, 3]),
    conv("strided", (3, 9, 8), (4, 3, 3, 3), strides=[2, 3], pads=[1, 1, 1, 1]),
    conv("grouped", (6, 5, 5), (4, 3, 3, 3), group=2, pads=[1, 0, 1, 0], every=True),
    conv("grouped-pointwise", (6, 4, 4), (9, 2, 1, 1), group=3),
    conv("depthwise", (5, 6, 5), (5, 1, 3, 3), group=5, pads=[1, 1, 1, 1], every=True),
    conv("depthwise-multiplier", (3, 5, 5), (6, 1, 3, 3), group=3),
    conv("depthwise-no-pads", (4, 5, 5), (4, 1, 2, 2), group=4),
    conv("depthwise-pointwise", (4, 3, 3), (4, 1, 1, 1), group=4),
    conv("whole-map", (3, 4, 5), (6, 3, 4, 5)),
    conv("whole-rows", (2, 6, 4), (3, 2, 2, 4)),
    conv("one-channel", (1, 6, 6), (1, 1, 3, 3)),
    conv("1d", (4, 12), (5, 4, 3), pads=[1, 1], every=True),
    conv("1d-dilated-strided", (3, 17), (4, 3, 3), dilations=[3], strides=[2], pads=[3, 2]),
    conv("1d-depthwise", (6, 11), (6, 1, 5), group=6, pads=[2, 2]),
    conv("1d-grouped", (4, 9), (6, 2, 2), group=2),
    conv("wide-row-of-taps", (16, 2, 9), (2, 16, 1, 7), pads=[0, 3, 0, 3]),
)

test_float, test_integer = checks(CASES)
