"""A compiled net: run it as the integer reference or as the emitted C, write it to a folder, read it back."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from freeml.codegen.emit import firmware_files
from freeml.errors import ArtifactError, OutputFolderError
from freeml.ir.graph import QGraph
from freeml.ir.serialize import from_json, to_json
from freeml.ir.types import Array
from freeml.ops import INTEGER_CLASSES
from freeml.quant.quantize import dequantize, quantize_input
from freeml.sim.host import run_host
from freeml.sim.trace import Trace, run_reference
from freeml.targets import Board
from freeml.targets import get as get_board
from freeml.toolchains import build_host, find_host

REPORT = "report.json"
GRAPH = "model.graph.json"
GENERATOR = "freeml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Results of an executor by value name. `integers` are exact; `real` are the same as real numbers (float32).

    Holds the outputs, or every stored value when intermediates were asked for.
    """

    integers: Mapping[str, Array]
    real: Mapping[str, Array]


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """A compiled net. `files` are the generated files by path; `report` is the content of report.json."""

    graph: QGraph
    board: Board
    files: Mapping[str, bytes]
    report: Mapping[str, Any]

    def quantized_inputs(self, x: Array | Mapping[str, Array]) -> dict[str, Array]:
        """Real inputs (samples, *shape without batch) as integers in the net's input formats, (samples, *shape)."""
        arrays = x if isinstance(x, Mapping) else {self.graph.inputs[0]: x}
        missing = [name for name in self.graph.inputs if name not in arrays]
        if missing:
            raise ArtifactError(f"expected an array for every input, found none for {', '.join(missing)}")
        result = {}
        for name in self.graph.inputs:
            type_ = self.graph.types[name]
            array = np.asarray(arrays[name])
            if array.shape[1:] not in (type_.shape, type_.shape[1:]):
                raise ArtifactError(
                    f"input {name}: expected samples of shape {type_.shape[1:]}, found {array.shape[1:]}"
                )
            result[name] = quantize_input(array.reshape(array.shape[0], *type_.shape), type_)
        return result

    def reference(self, x: Array | Mapping[str, Array], *, intermediates: bool = False) -> Run:
        """The numpy integer reference. x: (samples, *shape), real numbers in the model's own domain."""
        return self._run(run_reference(self.graph, self.quantized_inputs(x), every_value=intermediates))

    def host(self, x: Array | Mapping[str, Array], *, intermediates: bool = False, toolchain: str | None = None) -> Run:
        """The emitted C, compiled for this machine. Raises ToolchainError when there is no compiler."""
        with tempfile.TemporaryDirectory(prefix="freeml-host-") as folder:
            library = self.build_host(Path(folder), toolchain=toolchain)
            return self._run(run_host(library, self.graph, self.quantized_inputs(x), every_value=intermediates))

    def build_host(
        self, folder: Path, *, toolchain: str | None = None, sanitize: bool = False, optimise: str = "-O3"
    ) -> Path:
        """Compile the emitted C for this machine into `folder`: a library, or a program with sanitizers."""
        source = folder / "source"
        write_files(self.files, source)
        return build_host(
            source,
            folder / ("model" if sanitize else "model.so"),
            toolchain=find_host(toolchain, needs_libc=sanitize),
            sanitize=sanitize,
            optimise=optimise,
        )

    def _run(self, trace: Trace) -> Run:
        real = {name: dequantize(values, self.graph.types[name]) for name, values in trace.values.items()}
        return Run(integers=trace.values, real=real)

    def write(self, folder: Path) -> None:
        """Write the artifact to `folder`, in one step: a failure leaves what was there as it was.

        Raises OutputFolderError when the folder is not empty and not one of ours, or cannot be written.
        """
        check_output_folder(folder)
        try:
            in_place = folder.exists() and (folder.resolve() == Path.cwd() or folder.is_mount())
            place = folder if in_place else folder.parent
            place.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".freeml-", dir=place) as staging:
                fresh, old = Path(staging) / "new", Path(staging) / "old"
                write_files(self.files, fresh)
                if in_place:  # a working directory or a mount point is filled anew, since it cannot be replaced
                    old.mkdir()
                    _move_all(
                        [(path, old / path.name) for path in folder.iterdir() if path != Path(staging)]
                        + [(path, folder / path.name) for path in fresh.iterdir()]
                    )
                else:
                    _move_all(([(folder, old)] if folder.exists() else []) + [(fresh, folder)])
        except OSError as error:
            raise OutputFolderError(f"{folder}: cannot be written: {error.strerror}") from error


def _move_all(moves: Sequence[tuple[Path, Path]]) -> None:
    """Rename one after the other; when one fails, take back those before it."""
    done: list[tuple[Path, Path]] = []
    try:
        for source, target in moves:
            source.rename(target)
            done.append((source, target))
    except OSError:
        for source, target in reversed(done):
            target.rename(source)
        raise


def write_files(files: Mapping[str, bytes], folder: Path) -> None:
    """Write files by relative path below `folder`."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def check_output_folder(folder: Path) -> None:
    """Raise OutputFolderError unless `folder` is absent, empty, or an earlier artifact."""
    try:
        if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
            raise OutputFolderError(
                f"{folder}: expected a folder to write to, found a file or a link; choose another --out"
            )
        if not folder.exists() or not any(folder.iterdir()) or _is_artifact(folder):
            return
    except OSError as error:
        raise OutputFolderError(f"{folder}: cannot be looked into: {error.strerror}; choose another --out") from error
    raise OutputFolderError(
        f"{folder}: expected an empty folder or an earlier result of freeml, found other files; choose another --out"
    )


def _is_artifact(folder: Path) -> bool:
    try:
        generator = json.loads((folder / REPORT).read_text(encoding="utf-8"))["generator"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return isinstance(generator, str) and generator.split(" ")[0] == GENERATOR


def load(folder: Path) -> Artifact:
    """Read an artifact back. Raises ArtifactError when the folder is not one, not whole, or has another graph now."""
    if not _is_artifact(folder):
        raise ArtifactError(
            f"{folder}: expected a folder written by freeml compile, found no report.json of freeml there"
        )
    try:
        report = json.loads((folder / REPORT).read_text(encoding="utf-8"))
        stored = (folder / GRAPH).read_bytes()
        if hashlib.sha256(stored).hexdigest() != report["graph_sha256"]:
            raise ArtifactError(f"{folder}: {GRAPH} was changed after it was written; compile the model anew")
        graph = from_json(stored.decode("utf-8"), INTEGER_CLASSES)
        board = get_board(report["target"])
        files = {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.is_file() and path.relative_to(folder).parts[0] != "build"
        }
    except (OSError, ValueError, KeyError) as error:
        raise ArtifactError(f"{folder}: the artifact is not whole ({error}); compile the model anew") from error
    for name in ("model.c", "weights.c", "host/batch.c"):
        if name not in files:
            raise ArtifactError(f"{folder}: the artifact is not whole ({name} is missing); compile the model anew")
    return Artifact(graph=graph, board=board, files=files, report=report)


def artifact_files(
    generated: Mapping[str, str], graph: QGraph, board: Board, report: str, extra: Mapping[str, bytes]
) -> dict[str, bytes]:
    """All files of a firmware folder by path."""
    files = {name: text.encode("utf-8") for name, text in generated.items()}
    files.update(firmware_files(board.name))
    files.update(extra)
    files[GRAPH] = to_json(graph).encode("utf-8")
    files[REPORT] = report.encode("utf-8")
    return dict(sorted(files.items()))
