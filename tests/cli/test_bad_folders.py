"""Folders that must not be written to, failures half-way, and compiled folders that were changed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import Compiled, refusal, run
from onnx import helper
from small_models import model, nodes, save, small, too_large
from small_models import snapshot as files_of

from freeml.artifact import load as load_artifact
from freeml.errors import OutputFolderError


def test_folder_that_is_not_ours(tmp_path: Path, model_file: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.txt").write_text("four years of work")
    message = refusal("compile", model_file, "--out", out, kind="OutputFolderError")
    assert "--out" in message
    assert files_of(out) == {"thesis.txt": b"four years of work"}


@pytest.mark.parametrize("report", ["{}", "[]", "not json", '{"generator": "somebody else 1.0"}'])
def test_report_that_is_not_ours(tmp_path: Path, model_file: Path, report: str) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "report.json").write_text(report)
    refusal("compile", model_file, "--out", out, kind="OutputFolderError")
    assert files_of(out) == {"report.json": report.encode()}


@pytest.mark.parametrize("name", ["notes.txt", "src/main.c", "runtime/mine.h", ".git/config"])
def test_files_of_the_user_in_an_earlier_output(compiled: Compiled, name: str) -> None:
    """A report of ours does not make the folder ours: what freeml did not write is never replaced."""
    path = compiled.folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("four years of work")
    message = earlier_output_survives(compiled, compiled.model, kind="OutputFolderError")
    assert f"found {name}" in message
    assert path.read_text() == "four years of work"
    assert name not in load_artifact(compiled.folder).files


@pytest.mark.parametrize("in_place", [False, True])
def test_project_that_keeps_a_report(
    compiled: Compiled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_place: bool
) -> None:
    """A folder of the user's own into which a report of freeml was copied."""
    project = tmp_path / "project"
    (project / "src").mkdir(parents=True)
    (project / "src" / "app.c").write_text("int main(void);")
    (project / "report.json").write_bytes((compiled.folder / "report.json").read_bytes())
    before = files_of(project)
    if in_place:
        monkeypatch.chdir(project)
    refusal("compile", compiled.model, "--out", "." if in_place else project, kind="OutputFolderError")
    assert files_of(project) == before


def test_link_of_the_user_in_an_earlier_output(compiled: Compiled, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (compiled.folder / "link").symlink_to(tmp_path / "elsewhere")
    refusal("compile", compiled.model, "--out", compiled.folder, kind="OutputFolderError")
    assert (compiled.folder / "link").is_symlink()


def test_what_was_built_there_may_go(compiled: Compiled) -> None:
    """build/ and what the emitted Makefile makes are no reason to refuse; neither is a file that is missing or changed."""
    for name in ("build/zig/model.c.o", "host_model"):
        (compiled.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (compiled.folder / name).write_text("made")
    (compiled.folder / "firmware.elf").unlink()
    (compiled.folder / "model.c").write_text("changed")
    result = run("compile", compiled.model, "--data", compiled.data, "--out", compiled.folder)
    assert result.exit_code == 0, result.output
    assert not (compiled.folder / "host_model").exists()
    assert files_of(compiled.folder) == load_artifact(compiled.folder).files


@pytest.mark.parametrize("name", ["/etc/passwd", "../outside"])
def test_report_that_lists_files_elsewhere(compiled: Compiled, name: str) -> None:
    path = compiled.folder / "report.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "files": [name]}))
    refusal("verify", compiled.folder, kind="ArtifactError")


def test_file_or_link_in_place_of_the_folder(tmp_path: Path, model_file: Path) -> None:
    (tmp_path / "file").write_text("a file")
    refusal("compile", model_file, "--out", tmp_path / "file", kind="OutputFolderError")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    refusal("compile", model_file, "--out", tmp_path / "link", kind="OutputFolderError")
    assert (tmp_path / "file").read_text() == "a file"
    assert not any((tmp_path / "elsewhere").iterdir())


def test_parent_that_is_a_file(compiled: Compiled, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a file")
    with pytest.raises(OutputFolderError, match="cannot be"):
        load_artifact(compiled.folder).write(tmp_path / "file" / "out")


def test_name_too_long(tmp_path: Path, model_file: Path) -> None:
    refusal("compile", model_file, "--out", tmp_path / ("x" * 300), kind="OutputFolderError")


def earlier_output_survives(compiled: Compiled, *arguments: object, kind: str) -> str:
    """A compile into the compiled folder that fails: every file there is as it was, and nothing is beside it."""
    before, beside = files_of(compiled.folder), sorted(compiled.folder.parent.iterdir())
    message = refusal("compile", *arguments, "--out", compiled.folder, kind=kind)
    assert files_of(compiled.folder) == before
    assert sorted(compiled.folder.parent.iterdir()) == beside
    return message


def test_net_that_does_not_fit(compiled: Compiled, tmp_path: Path) -> None:
    """The byte table, the largest contributors, and the earlier output untouched."""
    path = save(too_large(), tmp_path / "large.onnx")
    message = earlier_output_survives(compiled, path, kind="DoesNotFitError")
    assert "MSP430FR5994" in message
    table, largest = message.split("largest contributors:")
    for row in ("weights", "activations", "scratch"):
        assert row in table
    assert largest.splitlines()[1].split()[:3] == ["weights", "of", "wide"]


def test_missing_compiler(compiled: Compiled, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    for variable in ("FREEML_MSP430_GCC", "FREEML_ARM_GCC"):
        monkeypatch.delenv(variable, raising=False)
    message = earlier_output_survives(compiled, compiled.model, "--toolchain", "gcc", kind="ToolchainError")
    assert "msp430-elf-gcc" in message
    assert "msp430-elf-gcc" in refusal("build", compiled.folder, "--toolchain", "gcc", kind="ToolchainError")
    assert "gcc" in refusal("verify", compiled.folder, "--toolchain", "gcc", kind="ToolchainError")


def test_unknown_compiler_and_target(compiled: Compiled) -> None:
    earlier_output_survives(compiled, compiled.model, "--toolchain", "borland", kind="ToolchainError")
    message = earlier_output_survives(compiled, compiled.model, "--target", "z80", kind="FreemlError")
    assert "msp430" in message
    assert "z80" in refusal("inspect", compiled.model, "--target", "z80", kind="FreemlError")


def test_model_that_breaks_late(compiled: Compiled, tmp_path: Path) -> None:
    chain = nodes()
    chain[4] = helper.make_node("Erf", ["f"], ["logits"], name="erf")
    earlier_output_survives(compiled, save(model(chain, {}), tmp_path / "m.onnx"), kind="ModelFileError")


def test_disk_that_refuses_the_last_step(compiled: Compiled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rename that would put the new folder in place fails: the earlier one is put back, nothing is left over."""
    artifact = load_artifact(compiled.folder)
    before, beside = files_of(compiled.folder), sorted(tmp_path.iterdir())
    rename = Path.rename

    def refuse_new(self: Path, target: Path) -> Path:
        if self.name == "new":
            raise OSError(28, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refuse_new)
    with pytest.raises(OutputFolderError, match="No space left"):
        artifact.write(compiled.folder)
    assert files_of(compiled.folder) == before
    assert sorted(tmp_path.iterdir()) == beside


def test_disk_that_fills_up(compiled: Compiled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    artifact = load_artifact(compiled.folder)
    before, beside = files_of(compiled.folder), sorted(tmp_path.iterdir())
    write_bytes = Path.write_bytes

    def refuse_weights(self: Path, content: bytes) -> int:
        if self.name == "weights.c":
            raise OSError(28, "No space left on device")
        return write_bytes(self, content)

    monkeypatch.setattr(Path, "write_bytes", refuse_weights)
    with pytest.raises(OutputFolderError, match="No space left"):
        artifact.write(compiled.folder)
    assert files_of(compiled.folder) == before
    assert sorted(tmp_path.iterdir()) == beside


def test_working_directory_as_output(compiled: Compiled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shell stays in its folder: the files change, the folder does not. A failure puts the old files back."""
    artifact = load_artifact(compiled.folder)
    out = tmp_path / "here"
    out.mkdir()
    inode = out.stat().st_ino
    monkeypatch.chdir(out)
    artifact.write(Path())
    assert files_of(out) == artifact.files
    (out / "model.c").write_text("changed")
    artifact.write(out)
    assert files_of(out) == artifact.files
    assert out.stat().st_ino == inode
    rename = Path.rename

    def refuse_weights(self: Path, target: Path) -> Path:
        if self.name == "weights.c" and self.parent.name == "new":
            raise OSError(28, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refuse_weights)
    with pytest.raises(OutputFolderError):
        artifact.write(Path())
    assert files_of(out) == artifact.files
    assert sorted(p.name for p in tmp_path.iterdir()) == ["compiled", "here"]


@pytest.mark.parametrize("command", ["build", "verify"])
def test_folder_that_is_no_artifact(tmp_path: Path, command: str) -> None:
    assert "freeml compile" in refusal(command, tmp_path / "absent", kind="ArtifactError")
    assert "freeml compile" in refusal(command, tmp_path, kind="ArtifactError")
    (tmp_path / "report.json").write_text("{")
    assert "freeml compile" in refusal(command, tmp_path, kind="ArtifactError")


@pytest.mark.parametrize("name", ["model.c", "weights.c", "model.graph.json", "model.qdq.onnx"])
def test_artifact_with_a_file_missing(compiled: Compiled, name: str) -> None:
    (compiled.folder / name).unlink()
    assert name in refusal("verify", compiled.folder, "--samples", "2", kind="ArtifactError")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text[: len(text) // 2],
        lambda text: "[]",
        lambda text: text.replace('"QConv"', '"QNothing"'),
        lambda text: text.replace('"zero_point"', '"zero"'),
        lambda text: text.replace('"format": 1', '"format": 999'),
        lambda text: text.replace('"int8"', '"int7"'),
    ],
)
def test_artifact_whose_graph_was_changed(compiled: Compiled, spoil: Callable[[str], str]) -> None:
    """The hash in the report tells; with a hash to match, reading the graph does."""
    path = compiled.folder / "model.graph.json"
    before, changed = path.read_text(), spoil(path.read_text())
    assert changed != before
    path.write_text(changed)
    message = refusal("verify", compiled.folder, "--samples", "2", kind="ArtifactError")
    assert "model.graph.json was changed" in message
    report = compiled.folder / "report.json"
    old, new = (hashlib.sha256(text.encode()).hexdigest() for text in (before, changed))
    report.write_text(report.read_text().replace(old, new))
    message = refusal("verify", compiled.folder, "--samples", "2", kind="ArtifactError")
    assert "was changed" not in message
    assert "anew" in message


@pytest.mark.parametrize("report", ['{"generator": "freeml 0"}', '{"generator": "freeml 0", "target": "msp430"}'])
def test_artifact_whose_report_was_changed(compiled: Compiled, report: str) -> None:
    (compiled.folder / "report.json").write_text(report)
    refusal("build", compiled.folder, kind="ArtifactError")


def test_c_that_does_not_compile(compiled: Compiled) -> None:
    with (compiled.folder / "model.c").open("a") as file:
        file.write("int broken(void) { return }\n")
    for command in (("verify",), ("build",), ("build", "--host")):
        message = refusal(command[0], compiled.folder, *command[1:], kind="ToolchainError")
        assert "model.c" in message
        assert "broken" in message or "expected" in message
    assert not (compiled.folder / "build" / "firmware.elf").exists()


def test_c_that_crashes(compiled: Compiled) -> None:
    """Run in a process of its own: freeml survives and says what happened."""
    path = compiled.folder / "host" / "batch.c"
    path.write_text(
        path.read_text().replace("    for (; samples", "    *(volatile int *)samples = 0;\n    for (; samples")
    )
    assert "ended with status" in refusal("verify", compiled.folder, "--samples", "2", kind="ArtifactError")


def test_float_model_of_another_net(compiled: Compiled, tmp_path: Path) -> None:
    other = save(small(outputs=("r",)), tmp_path / "other.onnx")
    result = run("verify", compiled.folder, "--data", compiled.data, "--model", other, "--json")
    assert result.exit_code == 2
    assert "logits" in json.loads(result.stdout)["error"]
