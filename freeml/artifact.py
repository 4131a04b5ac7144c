"""A compiled net: run it as the integer reference or as the emitted C, write it to a folder, read it back."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from freeml.codegen.emit import firmware_files
from freeml.data import check_samples
from freeml.errors import ArtifactError, DataError, OutputFolderError
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
MADE_THERE = ("build", "firmware.elf", "host_model")
"""What `freeml build` and the emitted Makefile put into the folder."""


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
        """Real inputs (samples, *shape without batch) as integers in the net's input formats, (samples, *shape).

        Raises DataError for what is no array of finite numbers of that shape, or not as many samples for every input.
        """
        arrays = x if isinstance(x, Mapping) else {self.graph.inputs[0]: x}
        missing = [name for name in self.graph.inputs if name not in arrays]
        if missing:
            raise DataError(f"expected an array for every input, found none for {', '.join(missing)}")
        types = {name: self.graph.types[name] for name in self.graph.inputs}
        real = {name: check_samples(arrays[name], type_.shape, f"input {name}") for name, type_ in types.items()}
        counts = {name: len(array) for name, array in real.items()}
        if len(set(counts.values())) > 1:
            found = ", ".join(f"{count} for {name}" for name, count in counts.items())
            raise DataError(f"expected as many samples for every input, found {found}")
        return {name: quantize_input(array, types[name]) for name, array in real.items()}

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

        Raises OutputFolderError when the folder holds anything that freeml did not write, or cannot be written.
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
    """Raise OutputFolderError unless `folder` is absent, empty, or holds an earlier artifact and nothing else."""
    try:
        if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
            raise OutputFolderError(
                f"{folder}: expected a folder to write to, found a file or a link; choose another --out"
            )
        if not folder.exists():
            return
        stranger = next(_strangers(folder, set(_written(folder) or ())), None)
    except OSError as error:
        raise OutputFolderError(f"{folder}: cannot be looked into: {error.strerror}; choose another --out") from error
    if stranger is not None:
        raise OutputFolderError(
            f"{folder}: expected an empty folder or an earlier result of freeml and nothing else, found {stranger}; "
            "choose another --out"
        )


def _written(folder: Path) -> list[str] | None:
    """The files of the artifact in a folder, as its report lists them; None when there is no report of ours."""
    try:
        report = json.loads((folder / REPORT).read_text(encoding="utf-8"))
        generator, files = report["generator"], report["files"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if not isinstance(generator, str) or generator.split(" ")[0] != GENERATOR or not isinstance(files, list):
        return None
    paths = [PurePosixPath(str(name)) for name in files]
    inside = not any(path.is_absolute() or ".." in path.parts for path in paths)
    return [path.as_posix() for path in paths] if inside else None


def _strangers(folder: Path, written: Set[str]) -> Iterator[str]:
    """Paths below a folder, files and links, that freeml did not write. Folders alone hold nothing to lose."""
    for path in folder.rglob("*"):
        name = path.relative_to(folder)
        if path.is_dir() and not path.is_symlink():
            continue
        if name.as_posix() not in written and not (written and name.parts[0] in MADE_THERE):
            yield name.as_posix()


def load(folder: Path) -> Artifact:
    """Read an artifact back. Raises ArtifactError when the folder is not one, not whole, or has another graph now."""
    written = _written(folder)
    if written is None:
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
        files = {name: (folder / name).read_bytes() for name in sorted(written) if (folder / name).is_file()}
    except (OSError, ValueError, KeyError) as error:
        raise ArtifactError(f"{folder}: the artifact is not whole ({error}); compile the model anew") from error
    for name in ("model.c", "weights.c", "host/batch.c"):
        if name not in files:
            raise ArtifactError(f"{folder}: the artifact is not whole ({name} is missing); compile the model anew")
    return Artifact(graph=graph, board=board, files=files, report=report)


def artifact_files(
    generated: Mapping[str, str], graph: QGraph, board: Board, report: Mapping[str, Any], extra: Mapping[str, bytes]
) -> dict[str, bytes]:
    """All files of a firmware folder by path. The report also lists them, so that freeml knows its own later."""
    files = {name: text.encode("utf-8") for name, text in generated.items()}
    files.update(firmware_files(board.name))
    files.update(extra)
    files[GRAPH] = to_json(graph).encode("utf-8")
    document = {**report, "files": sorted((*files, REPORT))}
    files[REPORT] = (json.dumps(document, indent=2) + "\n").encode("utf-8")
    return dict(sorted(files.items()))


def flashed_image(folder: Path) -> Path:
    """The ELF file that goes to the board: that of the last `freeml build`, else the one that the compile made.

    Raises ArtifactError when there is neither.
    """
    for name in ("build/firmware.elf", "firmware.elf"):
        if (folder / name).is_file():
            return folder / name
    raise ArtifactError(f"{folder}: expected an image firmware.elf, found none; run freeml build {folder}")
