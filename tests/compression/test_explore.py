"""`freeml explore`: the front, its artifacts, its files."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from click.testing import CliRunner, Result

from blobs import arrays
from compiling import compiled, contents
from freeml import exploring
from freeml.artifact import Artifact, load
from freeml.cli import main
from freeml.compression.budget import Budget
from freeml.errors import FreemlError, OutputFolderError
from freeml.exploring import Point, _dominator, budgets, explore
from freeml.options import Options
from freeml.searching import search_folder


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, list(map(str, arguments)))


@pytest.fixture(scope="module")
def searches() -> dict[int, tuple]:
    """What was searched for the exploration, by the budget of flash."""
    return {}


@pytest.fixture(scope="module")
def folder(model: Path, searches: dict[int, tuple], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exploration of three points."""
    place, search = tmp_path_factory.mktemp("explore"), exploring.search
    np.savez(place / "d.npz", **arrays())

    def noted(asked: object, budget: Budget, **more: object) -> tuple:
        searches[budget.flash_bytes] = search(asked, budget, **more)
        return searches[budget.flash_bytes]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exploring, "search", noted)
        done = run("explore", model, "--data", place / "d.npz", "--points", 3, "--out", place / "front", "--json")
    assert done.exit_code == 0, done.output
    (place / "printed.json").write_text(done.stdout)
    return place / "front"


@pytest.fixture(scope="module")
def front(folder: Path) -> dict:
    return json.loads((folder / "front.json").read_text())


def test_every_point_is_what_compile_gives(folder: Path, front: dict, model: Path, plain: Artifact) -> None:
    assert [point["name"] for point in front["points"]] == ["point-01", "point-02", "point-03"]
    assert contents(folder / "point-01") == plain.files
    largest = front["points"][0]["flash"]
    sizes = budgets(largest, front["least"], 3)
    for size, point in zip(sizes, front["points"][1:], strict=True):
        assert point["flash"] <= size
    again = compiled(model, Budget(flash_bytes=sizes[0], max_drop_points=100.0))
    assert contents(folder / "point-02") == again.files


def test_the_figures_are_those_of_the_artifacts(folder: Path, front: dict) -> None:
    data = arrays()
    for point in front["points"]:
        artifact = load(folder / point["name"])
        sizes = artifact.report["bytes"]
        assert point["flash"] == sizes["flash"] + sizes["nv"]
        assert point["ram"] == sizes["sram"]
        assert point["weights"] == sizes["weights"]
        assert point["cycles"] == sum(layer["predicted_cost"] for layer in artifact.report["layers"])
        assert point["energy_uj"] == artifact.report["power"]["inference_uj"] > 0
        assert point["test"] == artifact.report["accuracy"]["quantized"]
        scores = artifact.reference(data["x_val"]).real["logits"].reshape(200, -1)
        assert point["validation"] == pytest.approx(float((scores.argmax(axis=1) == data["y_val"]).mean()))
        low, high = point["validation_interval"]
        assert low < point["validation"] < high
    flashes = [point["flash"] for point in front["points"]]
    assert flashes == sorted(flashes, reverse=True)
    assert front["least"] < flashes[-1]


def test_what_is_printed_and_drawn(folder: Path, front: dict, model: Path) -> None:
    assert json.loads((folder.parent / "printed.json").read_text()) == {**front, "folder": str(folder)}
    assert sorted(path.name for path in folder.iterdir()) == [
        "front.json", "front.png", "front.svg", "point-01", "point-02", "point-03",
    ]  # fmt: skip
    assert ElementTree.fromstring((folder / "front.svg").read_text()).tag.endswith("svg")
    assert (folder / "front.png").read_bytes()[:4] == b"\x89PNG"
    assert not search_folder(folder).exists()


@pytest.mark.nightly
def test_again_it_is_the_same(folder: Path, model: Path) -> None:
    before = contents(folder)
    done = run("explore", model, "--data", folder.parent / "d.npz", "--points", 3, "--out", folder)
    assert done.exit_code == 0, done.output
    assert contents(folder) == before


def test_a_table_without_matplotlib(
    model: Path, folder: Path, searches: dict[int, tuple], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The searches are those of the exploration above; all that follows them is done again."""
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    monkeypatch.setattr(exploring, "search", lambda _, budget, **__: searches[budget.flash_bytes])
    out = tmp_path / "front"
    done = run("explore", model, "--data", folder.parent / "d.npz", "--points", 3, "--out", out)
    assert done.exit_code == 0, done.output
    for text in ("│ 02 ", "validation", "uJ", f"written to {out}", "pip install 'freeml[plot]'"):
        assert text in done.stdout
    assert sorted(path.name for path in out.iterdir()) == ["front.json", "point-01", "point-02", "point-03"]
    drawn = {"front.png", "front.svg"}
    assert contents(out) == {name: found for name, found in contents(folder).items() if name not in drawn}


def test_dominated_points_are_said_to_be_so() -> None:
    def point(name: str, flash: int, validation: float, cycles: int | None = 5) -> Point:
        return Point(
            name=name, flash=flash, ram=1, weights=1, cycles=cycles, energy_uj=1.0, validation=validation,
            validation_interval=(0.0, 1.0), test=0.0,
        )  # fmt: skip

    points = [point("a", 10, 0.9), point("b", 8, 0.95), point("c", 5, 0.5), point("d", 8, 0.95)]
    assert [_dominator(one, points) for one in points] == ["b", None, None, None]
    slow = [point("a", 10, 0.9, 1), point("b", 8, 0.95, 2)]
    assert [_dominator(one, slow) for one in slow] == [None, None], "larger, but faster"


def test_budgets_are_at_equal_ratios() -> None:
    sizes = budgets(64_000, 4_000, 4)
    assert sizes == (32_000, 16_000, 8_000)


def test_bad_input(model: Path, tmp_path: Path) -> None:
    done = run("explore", model, "--out", tmp_path / "front")
    assert done.exit_code == 2
    assert "explore: expected labelled data to retrain the net with, found none; give --data" in done.stderr
    assert not (tmp_path / "front").exists()
    with pytest.raises(FreemlError, match="--points: expected 2 or more, found 1"):
        explore(model, options=Options(), data=arrays(), points=1, output=tmp_path / "front")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("")
    with pytest.raises(OutputFolderError, match=r"found thesis\.tex; choose another --out"):
        explore(model, options=Options(), data=arrays(), output=tmp_path / "mine")
