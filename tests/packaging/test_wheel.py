"""The wheel: built, installed into an empty environment, used from an empty folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
MODEL = PROJECT / "examples" / "models" / "har.onnx"


def run(*command: object, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """A command that must succeed; nothing of this test run's Python settings reaches it."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=folder,
        capture_output=True,
        text=True,
        env={**inherited, **environment},
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from the checkout with the backend that is installed, without the network."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, PROJECT, folder=folder)
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment that holds the wheel, and nothing else of its own.

    The dependencies come from this environment by a path file: the wheel is on trial here, not the index, and no
    network is needed. The path stands behind the wheel's, so the checkout installed here cannot take its place.
    """
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False, symlinks=True)
    (site,) = folder.glob("lib/python*/site-packages")
    run(sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--target", site, wheel, folder=folder)
    here = Path(pytest.__file__).resolve().parents[1]
    (site / "dependencies.pth").write_text(f"{here}\n")  # a path alone: the .pth files in it are not read again
    return folder / "bin" / "python"


def test_resources_are_in_the_wheel(wheel: Path) -> None:
    """Every template and every firmware file of the checkout, byte for byte; no tests, no examples."""
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        for folder in ("codegen_templates", "firmware"):
            files = [p for p in (PROJECT / folder).rglob("*") if p.is_file() and "__pycache__" not in p.parts]
            assert files
            for path in files:
                inside = f"freeml/_resources/{path.relative_to(PROJECT).as_posix()}"
                assert inside in names
                assert archive.read(inside) == path.read_bytes()
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"freeml"}
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


def test_metadata_names_what_a_compile_needs(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (metadata,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        text = archive.read(metadata).decode()
        (entry,) = [name for name in archive.namelist() if name.endswith(".dist-info/entry_points.txt")]
        assert "freeml = freeml.cli:main" in archive.read(entry).decode()
    required = {
        line.split(":", 1)[1].strip().split(">")[0]
        for line in text.splitlines()
        if line.startswith("Requires-Dist:") and "extra ==" not in line
    }
    assert required == {"click", "intelhex", "jinja2", "numpy", "onnx", "pyelftools", "rich", "ziglang"}
    assert "Requires-Python: >=3.10" in text


def test_compile_and_verify_from_an_empty_folder(python: Path, tmp_path: Path) -> None:
    """With the installed wheel alone: compile a net, build its C, hold it against the reference."""
    where = run(python, "-c", "import freeml; print(freeml.__file__)", folder=tmp_path).stdout.strip()
    assert Path(where).is_relative_to(python.parents[1])
    done = run(python, "-m", "freeml", "compile", MODEL, "--target", "msp430", "--json", folder=tmp_path)
    report = json.loads(done.stdout)
    assert report["fits"] is True
    assert [path.name for path in tmp_path.iterdir()] == ["har-msp430"]
    for name in ("model.c", "Makefile", "firmware.elf", "board/msp430fr5994.ld", "runtime/fm_math.h", "model.qdq.onnx"):
        assert (tmp_path / "har-msp430" / name).is_file()
    verified = json.loads(run(python, "-m", "freeml", "verify", "har-msp430", "--json", folder=tmp_path).stdout)
    assert (verified["mismatches"], verified["samples"]) == (0, 100)


def test_the_board_runs_from_the_wheel(python: Path, tmp_path: Path) -> None:
    """The simulator's C and the cost model's prices are in the wheel: a profile in an empty folder, with an empty cache."""
    environment = {"FREEML_CACHE": str(tmp_path / "cache")}
    run(python, "-m", "freeml", "compile", MODEL, folder=tmp_path, **environment)
    done = run(python, "-m", "freeml", "profile", "har-msp430", "--json", folder=tmp_path, **environment)
    layers = json.loads(done.stdout)["layers"]
    assert layers
    assert all(layer["cycles"] > 0 and layer["predicted"] > 0 for layer in layers)
    assert list((tmp_path / "cache").glob("msp430-*.so"))
