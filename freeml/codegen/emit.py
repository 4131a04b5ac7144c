"""CProgram -> C sources, through the Jinja2 templates. Same program in, same bytes out."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import jinja2
import numpy as np

from freeml.codegen.program import CLayer, CProgram
from freeml.ir.text import type_text
from freeml.ir.types import IntArray
from freeml.ops.base import Kernel
from freeml.ops.binary import BinaryView
from freeml.resources import resource_dir

LINE_WIDTH = 120
MODEL_ID_DIGITS = 8
IDENTITY_DIGITS = 8
FIRMWARE_FOLDERS = {"common": "runtime", "host": "host", "device": "device"}


@lru_cache(maxsize=1)
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(resource_dir("codegen_templates")),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - C, not HTML
    )
    environment.filters["comment"] = _comment
    return environment


def _comment(text: object) -> str:
    """Text that cannot end the C comment it is put in, start another, splice lines (`??/` does) or leave ASCII."""
    plain = "".join(ch if " " <= ch <= "~" and ch != "\\" else "_" for ch in str(text))
    return plain.replace("*/", "* /").replace("/*", "/ *").replace("??", "? ?")


def emit(
    program: CProgram,
    *,
    stamp: str,
    vectors: Sequence[tuple[Mapping[int, IntArray], Mapping[int, IntArray]]],
    graph_sha256: str = "",
) -> dict[str, str]:
    """The generated files of a firmware folder by path. `vectors` holds (inputs, expected outputs) by tensor index.

    `graph_sha256` is the hash by which a device tells which model it runs; without one it says zeros.
    """
    stamp = _comment(stamp)

    def render(template: str, **values: Any) -> str:  # noqa: ANN401 - Jinja2 takes anything
        text = _environment().get_template(template).render(program=program, stamp=stamp, text=type_text, **values)
        return _tidy(text)

    layers = [_layer_text(layer) for layer in program.layers]
    model = render("model.c.j2", layers=layers, numbers=_numbers)
    memory, weights = render("fm_memory.h.j2"), render("weights.c.j2", numbers=_numbers)
    digest = hashlib.sha256("\0".join((model, memory, weights)).encode()).hexdigest()
    groups = (
        ("input", program.inputs, {t.index: [_row(v[0][t.index]) for v in vectors] for t in program.inputs}),
        ("output", program.outputs, {t.index: [_row(v[1][t.index]) for v in vectors] for t in program.outputs}),
    )
    return {
        "model.c": model,
        "model.h": render("model.h.j2", identity=f"0x{digest[:IDENTITY_DIGITS].upper()}UL"),
        "fm_memory.h": memory,
        "fm_target.h": render("fm_target.h.j2"),
        "weights.c": weights,
        "weights.h": render("weights.h.j2"),
        "vectors.h": render("vectors.h.j2", count=len(vectors), model_id=model_id(graph_sha256)),
        "vectors.c": render("vectors.c.j2", count=len(vectors), groups=groups),
        "host/host_values.c": render("host_values.c.j2"),
    }


def model_id(graph_sha256: str) -> str:
    """What a device says of its model: the first eight hex digits of the graph's hash."""
    return graph_sha256[:MODEL_ID_DIGITS].ljust(MODEL_ID_DIGITS, "0")


def _layer_text(layer: CLayer) -> str:
    """One layer function. Pointers that the body never names are left out, those it moves are not const."""
    body = _indent(_body(layer))
    used = {p.name for p in layer.pointers if re.search(rf"\b{p.name}\b", body)}
    moved = {p.name for p in layer.pointers if re.search(rf"\b{p.name}(\+\+| \+=)|(\+\+){p.name}\b", body)}
    template = _environment().get_template("layer.c.j2")
    return template.render(layer=layer, body=body, used=used, moved=moved).rstrip("\n")


def _body(layer: CLayer) -> str:
    head = layer.head
    if head.elementwise:
        view = head.view
        broadcast = isinstance(view, BinaryView) and not view.aligned
        other = f"(int32_t){head.inputs[1].expr}[i]" if len(head.inputs) == 2 else ""
        template = "_broadcast" if broadcast else "_map"
        values: dict[str, Any] = {"other": other}
    else:
        template = head.template
        values = {}
    values["stages"] = "".join(_apply(kernel, other) for kernel, other in layer.elementwise).rstrip("\n")
    inputs = (*head.inputs, None, None, None)
    return (
        _environment()
        .get_template(f"ops/{template}.c.j2")
        .render(
            k=head,
            x=inputs[0],
            w=inputs[1],
            b=inputs[2],
            out=layer.out,
            pool=layer.pool,
            pool_accumulators=layer.pool_accumulators,
            needs_index=layer.needs_index,
            split=layer.split if layer.split.units > 1 else None,
            **values,
        )  # fmt: skip
    )


def _apply(kernel: Kernel, other: str) -> str:
    """The statements of an elementwise stage."""
    module: Any = _environment().get_template(f"ops/{kernel.template}.c.j2").module
    return str(module.apply(kernel, other)).strip("\n") + "\n"


def _indent(body: str) -> str:
    lines = [line for line in body.split("\n") if line.strip()]
    return "\n".join("    " + line for line in lines)


def _tidy(text: str) -> str:
    """No trailing blanks, no more than one empty line, one newline at the end."""
    text = re.sub(r"[ \t]+\n", "\n", text)
    return re.sub(r"\n{3,}", "\n\n", text).strip("\n") + "\n"


def _wrapped(values: Sequence[int], indent: str) -> str:
    lines, line = [], indent
    for value in values:
        item = f"{value},"
        if len(line) + len(item) + 1 > LINE_WIDTH:
            lines.append(line.rstrip())
            line = indent
        line += item + " "
    return "\n".join([*lines, line.rstrip()])


def _numbers(values: Sequence[int]) -> str:
    return _wrapped(values, "    ")


def _row(values: IntArray) -> str:
    return _wrapped([int(v) for v in np.ravel(values)], "        ")


def firmware_files(board_folder: str) -> dict[str, bytes]:
    """The hand-written sources that go beside the generated ones: runtime, host program, device support, board."""
    root = resource_dir("firmware")
    files = {"Makefile": (root / "Makefile").read_bytes()}
    for source, target in {**FIRMWARE_FOLDERS, board_folder: "board"}.items():
        for path in sorted((root / source).iterdir()):
            if path.is_file():
                files[f"{target}/{path.name}"] = path.read_bytes()
    return files
