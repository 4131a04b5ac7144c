"""Whole compiles with a budget, on nets small enough to train in seconds."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blobs import arrays, save_model
from compiling import compiled, flash, quarter
from freeml.artifact import Artifact
from freeml.compression.budget import Budget
from freeml.errors import CompressionError, DataError, FreemlError
from freeml.options import Options
from freeml.pipeline import compile_model


def test_the_budget_is_met_in_the_image(half: Artifact, plain: Artifact) -> None:
    report = half.report
    assert flash(half) <= flash(plain) - 3 * plain.report["bytes"]["weights"] // 4
    assert report["bytes"]["sram"] <= plain.report["bytes"]["sram"] - 16
    assert report["params"] < plain.report["params"] / 2
    found = report["compression"]
    assert found["method"] == "joint"
    assert found["bytes_before"] == 4 * plain.report["params"]
    assert found["bytes_after"] == report["bytes"]["weights"]
    assert found["ratio"] == pytest.approx(found["bytes_before"] / found["bytes_after"])
    assert found["accuracy_before"] == plain.report["accuracy"]["float"]
    assert found["accuracy_after"] == report["accuracy"]["quantized"]
    assert found["drop"] == pytest.approx(found["accuracy_before"] - found["accuracy_after"])
    assert found["interval"][0] <= found["drop"] <= found["interval"][1]
    assert found["accuracy_before"] > 0.9, "a net worth compressing"
    assert found["drop"] <= 0.05
    first, *_, last = found["rounds"]
    assert first["built"]
    assert last["built"]
    assert last["flash"] == flash(half)
    assert 100 * (first["validation"] - last["validation"]) <= 2.0


def test_the_c_of_the_smaller_net_is_exact(half: Artifact) -> None:
    x = arrays()["x_test"][:20]
    reference, host = half.reference(x, intermediates=True), half.host(x, intermediates=True)
    for name, values in host.integers.items():
        np.testing.assert_array_equal(values, reference.integers[name])


def test_same_input_same_bytes(model: Path, half: Artifact, plain: Artifact) -> None:
    """The whole artifact, byte for byte."""
    assert compiled(model, quarter(plain)).files == half.files


def test_a_budget_that_is_met_already_changes_nothing(model: Path, plain: Artifact) -> None:
    found = compiled(model, Budget(flash_bytes=flash(plain)))
    assert found.files["model.graph.json"] == plain.files["model.graph.json"]
    assert len(found.report["compression"]["rounds"]) == 1
    assert plain.report["compression"] is None


def test_activation_bits_are_chosen_for_every_net_that_is_built(tmp_path: Path) -> None:
    """A pixel that is masked out is so large that 8 bits of its image hold little else: with `auto` it gets 16."""
    path, data = save_model(tmp_path / "masked.onnx"), arrays()
    model = onnx.load(path)
    mask = np.ones((1, 1, 8, 8), np.float32)
    mask[0, 0, 0, 0] = 0
    model.graph.initializer.append(onnx.numpy_helper.from_array(mask, "mask"))
    model.graph.node.insert(0, onnx.helper.make_node("Mul", ["image", "mask"], ["seen"], name="mask"))
    model.graph.node[1].input[0] = "seen"
    onnx.save(model, path)
    for part in ("train", "val", "test"):
        data[f"x_{part}"][:, 0, 0, 0] = 2000.0
        data[f"x_{part}"][::2, 0, 0, 0] = -2000.0
    plain = compiled(path, None, data, precision="auto", ranges="minmax")
    assert plain.report["quantization"]["widened"] == ["image"]
    budget = Budget(flash_bytes=flash(plain) - plain.report["bytes"]["weights"] // 2)
    found = compiled(path, budget, data, precision="auto", ranges="minmax")
    assert found.report["quantization"]["widened"] == ["image"]
    assert flash(found) <= budget.flash_bytes
    assert found.report["compression"]["drop"] <= 0.05


@pytest.mark.nightly
def test_ram(model: Path) -> None:
    """On the Apollo4 activations are in SRAM: fewer channels, a smaller arena."""
    before = compiled(model, None, target="apollo4").report["bytes"]["sram"]
    after = compiled(model, Budget(ram_bytes=before - 150), target="apollo4").report["bytes"]["sram"]
    assert after <= before - 150


def test_below_what_no_channel_helps(model: Path) -> None:
    with pytest.raises(
        CompressionError, match=r"--flash 1,024 B is below what this net takes with one channel"
    ) as caught:
        compiled(model, Budget(flash_bytes=1024))
    irreducible = caught.value.details["irreducible"]
    assert isinstance(irreducible, dict)
    assert f"{irreducible['flash']:,} B" in str(caught.value)
    assert irreducible["flash"] > 1024


def test_the_front_is_shown_when_accuracy_is_lost(model: Path) -> None:
    with pytest.raises(CompressionError) as below:
        compiled(model, Budget(flash_bytes=1024), weights="int16")  # channels alone: the least net is one of no use
    least = below.value.details["irreducible"]["flash"]  # type: ignore[index]
    with pytest.raises(
        CompressionError, match=r"points of accuracy on 200 validation samples \(95% interval"
    ) as caught:
        compiled(model, Budget(flash_bytes=least + 150, max_drop_points=0.5), weights="int16")
    relax = caught.value.details["relax"]
    assert isinstance(relax, dict)
    assert f"--max-drop {relax['max_drop']:g} or --flash {relax['flash']} (estimated) would do" in str(caught.value)
    assert 100 * (front_loss := caught.value.details["accuracy_before"] - caught.value.details["validation"]) > 0.5  # type: ignore[operator]
    assert 0 <= relax["max_drop"] - 100 * front_loss < 0.1 + 1e-9
    assert relax["flash"] > least + 150
    front = caught.value.details["front"]
    assert isinstance(front, list)
    assert len(front) > 3
    assert f"{front[-1]['flash']:,}" in str(caught.value)
    assert front[-1]["flash"] <= least + 150
    assert front[-1]["validation"] < front[0]["validation"]


def test_a_validation_part_that_cannot_tell(model: Path, plain: Artifact) -> None:
    data = arrays()
    data["x_val"], data["y_val"] = data["x_val"][:20], data["y_val"][:20]
    notes = compiled(model, Budget(flash_bytes=flash(plain)), data).report["notes"]
    assert any("20 validation samples are too few to be certain of --max-drop 1" in note for note in notes)


def test_no_data(model: Path, plain: Artifact, tmp_path: Path) -> None:
    """What needs no training is offered, and nothing else."""
    with pytest.raises(FreemlError, match="--flash 5,000 B: expected labelled data to retrain the net with") as caught:
        compile_model(model, options=Options(budget=Budget(flash_bytes=5000)), output=tmp_path / "out")
    assert "without it only what needs no training is offered, and that takes flash" in str(caught.value)
    assert caught.value.exit_code == 2
    assert not (tmp_path / "out").exists()
    found = compile_model(model, options=Options(budget=Budget(flash_bytes=flash(plain) + 64)))
    assert flash(found) <= flash(plain) + 64
    assert any("is met by what needs no training" in note for note in found.report["notes"])


@pytest.mark.parametrize(("name", "what"), [("y_train", "train with"), ("y_val", "tell a drop by")])
def test_one_class(model: Path, name: str, what: str) -> None:
    data = arrays()
    data[name] = np.full_like(data[name], 2)
    with pytest.raises(
        DataError, match=f"{name}: expected labels of at least two classes to {what}, found class 2 alone"
    ):
        compiled(model, Budget(flash_bytes=9000), data)


@pytest.mark.parametrize("how", ["other pictures", "other numbering", "other scale"])
def test_data_of_another_task(model: Path, how: str) -> None:
    """Of the right shape and with classes that exist, but nothing that the net was trained for."""
    data = arrays()
    for part in ("train", "val", "test"):
        if how == "other pictures":
            data[f"x_{part}"] = np.random.default_rng(5).normal(size=data[f"x_{part}"].shape).astype(np.float32)
        elif how == "other numbering":
            data[f"y_{part}"] = (data[f"y_{part}"] + 1) % 4
        else:
            data[f"x_{part}"] = np.zeros_like(data[f"x_{part}"])
    with pytest.raises(DataError, match=r"of 200 validation samples right.* cannot be told from guessing"):
        compiled(model, Budget(flash_bytes=9000), data)


def test_labels_and_samples_that_do_not_belong_to_the_net(model: Path) -> None:
    data = arrays()
    data["y_train"] = data["y_train"] + 7
    with pytest.raises(DataError, match=r"y_train: expected labels 0\.\.3"):
        compiled(model, Budget(flash_bytes=9000), data)
    data = arrays()
    data["x_val"] = data["x_val"][:, :, :7]
    with pytest.raises(DataError, match=r"x_val: expected samples of shape \(1, 8, 8\)"):
        compiled(model, Budget(flash_bytes=9000), data)


WITHOUT_TORCH = """
import sys
sys.modules["torch"] = None
from freeml.cli import main
main(sys.argv[1:])
"""


def test_without_torch(model: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", **arrays())
    arguments = [
        "compile",
        str(model),
        "--data",
        str(tmp_path / "d.npz"),
        "--flash",
        "8KB",
        "--out",
        str(tmp_path / "o"),
    ]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, *arguments], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 2, done.stderr
    assert "pip install 'freeml[train]'" in done.stderr
    assert not (tmp_path / "o").exists()


@pytest.mark.nightly
@settings(max_examples=15)
@given(
    st.integers(3, 14), st.integers(4, 30), st.integers(0, 9), st.floats(0.1, 0.95),
    st.sampled_from(("", "Softmax", "LogSoftmax", "ArgMax")), st.sampled_from(("msp430", "apollo4")),
    st.sampled_from(("flash ram", "energy", "flash energy", "flash ram energy")), st.floats(0.2, 1.0),
)  # fmt: skip
def test_budgets_are_hard(
    tmp_path_factory: pytest.TempPathFactory,
    channels: int, hidden: int, seed: int, share: float, end: str, target: str, limited: str, joules: float,
) -> None:  # fmt: skip
    """Random nets and budgets: the image and the report's figures meet the budget, or the compile fails with figures."""
    folder = tmp_path_factory.mktemp("hard")
    path = save_model(folder / "net.onnx", channels, hidden, seed=seed, end=end)
    data, whole = arrays(train=150), compiled(path, None, target=target)
    budget = Budget(
        flash_bytes=round(flash(whole) - share * whole.report["bytes"]["weights"]) if "flash" in limited else None,
        ram_bytes=round(whole.report["bytes"]["sram"] * (1 - 0.2 * share)) if "ram" in limited else None,
        energy_joules=joules * whole.report["power"]["inference_uj"] * 1e-6 if "energy" in limited else None,
        max_drop_points=30.0,
    )
    try:
        found = compiled(path, budget, data, target=target)
    except CompressionError as error:
        assert set(error.details) & {"front", "irreducible"}
    else:
        last, spent = found.report["compression"]["rounds"][-1], found.report["power"]["inference_uj"]
        assert (last["flash"], last["energy_uj"]) == (flash(found), spent)
        assert budget.flash_bytes is None or flash(found) <= budget.flash_bytes
        assert budget.ram_bytes is None or found.report["bytes"]["sram"] <= budget.ram_bytes
        assert budget.energy_joules is None or spent <= 1e6 * budget.energy_joules * (1 + 1e-9)
