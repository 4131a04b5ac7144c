"""Searches of several trials, and searches that share a database."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import optuna
import pytest

from blobs import arrays, save_model
from compiling import contents, quarter
from freeml.artifact import Artifact
from freeml.compression.budget import Budget, parse_budget
from freeml.compression.recipe import PLANS, first_recipe, knobs, suggested
from freeml.compression.study import _sampler
from freeml.errors import CompressionError, FreemlError, StorageError
from freeml.options import Options
from freeml.pipeline import compile_model
from freeml.searching import search_folder


def studies(url: str) -> list[optuna.Study]:
    return [optuna.load_study(study_name=name, storage=url) for name in optuna.get_all_study_names(url)]


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'study.db'}"


@pytest.fixture(scope="session")
def tight(model: Path) -> Budget:
    """A budget that costs more than it may with weights of 16 bits, which channels alone make smaller."""
    options = Options(budget=Budget(flash_bytes=1024), weights="int16")
    with pytest.raises(CompressionError) as below:
        compile_model(model, options=options, data=arrays())
    least = below.value.details["irreducible"]["flash"]  # type: ignore[index]
    return Budget(flash_bytes=least + 150, max_drop_points=0.5)


def test_recipes_stay_within_their_ranges_and_the_first_is_the_default() -> None:
    both, one = Budget(flash_bytes=9000, ram_bytes=900), Budget(flash_bytes=9000)
    for budget in (both, one):
        study = optuna.create_study()
        study.enqueue_trial(knobs(first_recipe("quick"), budget))
        recipes = []
        for number in range(12):
            study.sampler = _sampler(0, number)
            trial = study.ask()
            recipes.append(suggested(trial, budget))
            study.tell(trial, 0.5)
        assert recipes[0] == first_recipe("quick")
        assert recipes[0].rounds == PLANS["quick"].rounds
        assert len(set(recipes)) == 12
        assert len({recipe.digest() for recipe in recipes}) == 12
        for recipe in recipes:
            assert 4 <= recipe.rounds <= 16
            assert 0.02 <= recipe.step <= 0.2
            assert 0.5 <= recipe.distilled <= 1.0
            assert 0.25 <= recipe.ram_weight <= 4.0
        assert len({recipe.ram_weight for recipe in recipes}) == (12 if budget is both else 1)


@pytest.mark.nightly
def test_a_shared_study(model: Path, tight: Budget, url: str) -> None:
    """Trials of an earlier process count; another net's never mix with them."""
    one = Budget(flash_bytes=tight.flash_bytes, max_drop_points=0.5, trials=1)
    with pytest.raises(CompressionError) as first:
        compile_model(model, options=Options(budget=one, weights="int16"), data=arrays(), storage=url)
    seen: list[object] = []
    two = Budget(flash_bytes=tight.flash_bytes, max_drop_points=0.5, trials=2)
    with pytest.raises(CompressionError, match="the best of 2 trials") as second:
        compile_model(
            model, options=Options(budget=two, weights="int16"), data=arrays(), storage=url, on_round=seen.append
        )
    (study,) = studies(url)
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "COMPLETE"]
    assert study.trials[0].params == knobs(first_recipe("quick"), two)
    assert study.trials[1].params != study.trials[0].params
    assert study.best_value == second.value.details["validation"]
    assert study.best_value >= study.trials[0].value == first.value.details["validation"]
    with pytest.raises(CompressionError) as alone:
        compile_model(model, options=Options(budget=two, weights="int16"), data=arrays())
    assert str(alone.value) == str(second.value), "one process in memory finds what two in a row find in a database"
    assert len(seen) <= study.trials[1].params["rounds"] + 4, "the first trial was not made again"
    with pytest.raises(CompressionError):
        compile_model(model, options=Options(budget=two, weights="int16", seed=1), data=arrays(), storage=url)
    assert len(studies(url)) == 2


def test_what_one_process_found_others_take(
    model: Path, plain: Artifact, half: Artifact, url: str, tmp_path: Path
) -> None:
    options = Options(budget=quarter(plain))
    first = compile_model(model, options=options, data=arrays(), storage=url)
    assert first.files == half.files
    seen: list[object] = []
    second = compile_model(model, options=options, data=arrays(), storage=url, on_round=seen.append)
    assert second.files == half.files
    assert not seen, "nothing was searched"


@pytest.mark.nightly
def test_two_processes_at_once(model: Path, plain: Artifact, url: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", **arrays())
    budget = quarter(plain)
    line = [
        sys.executable, "-m", "freeml.cli", "compile", str(model), "--data", str(tmp_path / "d.npz"),
        "--flash", str(budget.flash_bytes), "--ram", str(budget.ram_bytes), "--storage", url,
    ]  # fmt: skip
    both = [
        subprocess.Popen([*line, "--out", str(tmp_path / name)], stderr=subprocess.PIPE, text=True) for name in "ab"
    ]
    said = [process.communicate(timeout=300)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    (study,) = studies(url)
    assert {trial.state.name for trial in study.trials} == {"COMPLETE"}
    assert len(study.trials) <= 2
    for name in "ab":
        assert contents(tmp_path / name)


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("study.db", r"'study\.db': expected the URL of a database"),
        ("sqlite:////no/such/folder/study.db", "unable to open database file"),
        ("nosuch://host/name", "nosuch"),
        ("postgresql://me:secret@nowhere.invalid/name", "found: No module named 'psycopg"),
    ],
)
def test_a_wrong_storage(model: Path, plain: Artifact, tmp_path: Path, url: str, found: str) -> None:
    with pytest.raises(StorageError, match=found) as caught:
        compile_model(
            model, options=Options(budget=quarter(plain)), data=arrays(), output=tmp_path / "out", storage=url
        )  # fmt: skip
    assert caught.value.exit_code == 2
    assert "secret" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_storage_that_fails_in_the_middle(
    model: Path, plain: Artifact, half: Artifact, url: str, tmp_path: Path
) -> None:
    """The file is spoilt after a few rounds; with a new one the search goes on where it was."""
    database, seen, out = tmp_path / "study.db", [], tmp_path / "out"

    def spoil(row: object) -> None:
        seen.append(row)
        if len(seen) == 5:
            database.write_bytes(b"no database" * 1000)

    options = Options(budget=quarter(plain))
    with pytest.raises(StorageError, match=r"the database failed: .*not a database.* run the same command again"):
        compile_model(model, options=options, data=arrays(), output=out, storage=url, on_round=spoil)
    assert not out.exists()
    assert len(list(search_folder(out).glob("*.trial.json"))) == 1
    database.unlink()
    before = len(seen)
    again = compile_model(model, options=options, data=arrays(), output=out, storage=url, on_round=seen.append)
    assert again.files == half.files
    assert len(seen) - before == 1, "only the last build was made again"


def test_storage_and_trials_want_a_budget(model: Path) -> None:
    with pytest.raises(FreemlError, match="--storage: expected a budget to search for, found none"):
        compile_model(model, options=Options(), data=arrays(), storage="sqlite:///s.db")
    with pytest.raises(FreemlError, match="--trials: expected a budget to go with, found none"):
        parse_budget(None, None, None, None, trials=3)
    with pytest.raises(FreemlError, match="trials: expected a whole number of 1 or more, found 0"):
        Budget(flash_bytes=9000, trials=0)


def test_optuna_says_nothing_of_its_own(tmp_path: Path) -> None:
    model = save_model(tmp_path / "blobs.onnx")
    np.savez(tmp_path / "d.npz", **arrays())
    line = [
        sys.executable, "-m", "freeml.cli", "compile", str(model), "--data", str(tmp_path / "d.npz"),
        "--flash", "1024", "--storage", f"sqlite:///{tmp_path / 's.db'}", "--out", str(tmp_path / "o"),
    ]  # fmt: skip
    done = subprocess.run(line, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert done.stderr.startswith("error: the budget --flash 1,024 B is below")
    assert not search_folder(tmp_path / "o").exists()
