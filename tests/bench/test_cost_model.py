"""How far the cost model is from the simulators, layer by layer, over all example nets: the table that `make bench` prints."""

from pathlib import Path

import pytest

from freeml.options import Options
from freeml.pipeline import compile_model
from freeml.profiling import profile
from freeml.report.terminal import table
from freeml.targets import get
from freeml.toolchains import installed

MODELS = Path(__file__).parents[2] / "examples" / "models"
PROMISED = {"msp430": 0.10, "apollo4": 0.15}
KINDS = ("zig", "gcc")

pytestmark = pytest.mark.bench


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("board", sorted(PROMISED))
def test_every_layer_is_predicted(board, kind, tmp_path, capsys):
    if kind not in {toolchain.kind for toolchain in installed(get(board))}:
        pytest.skip(f"{kind} for {board} is not installed")
    rows, errors = [], {}
    for model in sorted(MODELS.glob("*.onnx")):
        folder = tmp_path / model.stem
        compile_model(model, options=Options(target=board, toolchain=kind), output=folder)
        for layer in profile(folder).layers:
            measured = layer.cycles if layer.cycles is not None else layer.instructions
            assert layer.predicted is not None
            error = layer.predicted / measured - 1
            errors[model.stem, layer.name] = error
            name = f"{model.stem} {layer.name}: {layer.op}"
            rows.append((name, f"{measured:,.0f}", f"{layer.predicted:,}", f"{error:+.1%}"))
    with capsys.disabled():
        print()
        table(f"cost model of {board} with {kind}", ("layer", "measured", "predicted", "error"), rows)
    worst = max(errors, key=lambda key: abs(errors[key]))
    assert abs(errors[worst]) <= PROMISED[board], (worst, errors[worst])
