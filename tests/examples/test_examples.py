"""The promises about the example nets: int8 within 1.0 point of float on the test split, int16 within 0.2, the emitted C
equal to the reference in every stored value of every test sample, the arena within 1.10 of its lower bound.
"""

import pytest

from examples.data import MODEL_DATA, DataError, ensure_npz
from examples.ledger import BOARDS, DATA, MODELS, compiled
from freeml.pipeline import Options, compile_model
from freeml.verification import verify

LOST_POINTS = {"int8": 1.0, "int16": 0.2}
SMALL = [name for name in sorted(MODEL_DATA) if MODEL_DATA[name] != "fashion"]
LARGE = [name for name in sorted(MODEL_DATA) if MODEL_DATA[name] == "fashion"]
CASES = [(name, precision) for name in SMALL for precision in LOST_POINTS] + [
    pytest.param(name, precision, marks=() if precision == "int8" else pytest.mark.nightly)
    for name in LARGE
    for precision in LOST_POINTS
]


@pytest.mark.parametrize(("name", "precision"), CASES)
def test_accuracy_and_every_byte(name, precision, tmp_path):
    try:
        data, _ = ensure_npz(MODEL_DATA[name], DATA)
    except DataError as error:
        pytest.skip(f"the data set is not on this machine: {error}")
    artifact = compile_model(
        MODELS / f"{name}.onnx", options=Options(precision=precision), data=data, output=tmp_path / "out"
    )
    accuracy = artifact.report["accuracy"]
    assert accuracy["split"] == "test"
    assert 100 * (accuracy["float"] - accuracy["quantized"]) <= LOST_POINTS[precision]
    found = verify(tmp_path / "out", data=data)
    assert found.mismatches == 0, found.first_mismatches
    assert found.samples == accuracy["samples"]
    assert found.accuracy["host"] == pytest.approx(accuracy["quantized"], abs=1e-12)


@pytest.mark.parametrize("target", BOARDS)
@pytest.mark.parametrize("name", sorted(MODEL_DATA))
def test_arena_and_fit(name, target):
    report = compiled(name, target=target, precision="int8", with_data=False).report
    arena = report["arena"]
    assert arena["bytes"] <= 1.10 * arena["lower_bound_bytes"]
    assert report["fits"]
    assert report["bytes"]["flash"] + report["bytes"]["nv"] <= report["limits"]["flash"]
    assert report["bytes"]["sram"] <= report["limits"]["sram"]
    assert any("unverified" in note for note in report["notes"])


def test_flash_beyond_the_weights_of_lenet_on_cortex_m4():
    report = compiled("lenet5", target="apollo4", precision="int8", with_data=False).report
    assert report["bytes"]["code"] <= 4096
