"""The C that people read: no line of the firmware's sources or of an emitted file is longer than a page is wide."""

from pathlib import Path

import pytest

from freeml.options import Options
from freeml.pipeline import compile_model
from freeml.resources import resource_dir

WIDTH = 120
LENET = Path(__file__).parents[2] / "examples" / "models" / "lenet5.onnx"


def too_long(texts):
    return [
        f"{name}:{number}"
        for name, text in texts.items()
        for number, line in enumerate(text.splitlines(), start=1)
        if len(line) > WIDTH
    ]


def test_firmware_sources():
    root = resource_dir("firmware")
    paths = [p for p in sorted(root.rglob("*")) if p.suffix in (".c", ".h", ".S", ".mk", ".ld")]
    assert len(paths) > 30
    assert too_long({str(p.relative_to(root)): p.read_text(encoding="utf-8") for p in paths}) == []


@pytest.mark.parametrize("target", ["msp430", "apollo4"])
def test_emitted_headers_and_weights(target):
    """Layers are excepted: their expressions are as long as the numbers in them."""
    files = compile_model(LENET, options=Options(target=target)).files
    names = ("model.h", "weights.h", "weights.c", "vectors.h", "fm_memory.h", "host/host_values.c")
    assert too_long({name: files[name].decode() for name in names}) == []
