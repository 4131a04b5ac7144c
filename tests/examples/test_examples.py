"""The promises about the example nets: int8 within 1.0 point of float on the test split, int16 within 0.2, the emitted C
equal to the reference in every stored value of every test sample, the arena within 1.10 of its lower bound.

Of the 10,000 test samples of the two large nets all count for accuracy; the stored values of the first 1,000 are looked at,
those of all in the nightly run.
"""

import pytest

from examples.data import MODEL_DATA, DataError, ensure_npz
from examples.ledger import BOARDS, DATA, MODELS, compiled
from freeml.options import Options
from freeml.pipeline import compile_model
from freeml.verification import BOARD_SAMPLES, verify

LOST_POINTS = {"int8": 1.0, "int16": 0.2}
SMALL = [name for name in sorted(MODEL_DATA) if MODEL_DATA[name] != "fashion"]
LARGE = [name for name in sorted(MODEL_DATA) if MODEL_DATA[name] == "fashion"]
FIRST = 1000
CASES = [
    *((name, precision, None) for name in SMALL for precision in LOST_POINTS),
    *((name, "int8", FIRST) for name in LARGE),
    *(pytest.param(name, precision, None, marks=pytest.mark.nightly) for name in LARGE for precision in LOST_POINTS),
]


@pytest.mark.parametrize(("name", "precision", "first"), CASES)
def test_accuracy_and_every_byte(name, precision, first, tmp_path):
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
    board_samples = 1 if name in LARGE else BOARD_SAMPLES  # tests/boards has more of them
    found = verify(tmp_path / "out", data=data, samples=first, board_samples=board_samples)
    assert found.mismatches == 0, found.first_mismatches
    assert found.samples == (first or accuracy["samples"])
    expected = found.accuracy["reference"] if first else accuracy["quantized"]
    assert found.accuracy["host"] == pytest.approx(expected, abs=1e-12)


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
