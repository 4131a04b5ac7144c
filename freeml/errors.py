"""Every error a user of freeml can meet.

All of them end a command with exit code 2 and one readable message. An error says what was expected, what was found,
and a way out; where it belongs to a node of the graph it names that node.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence


class FreemlError(Exception):
    """Base of all user-facing errors.

    `exit_code` is the process exit status of the command line tool; `details` are figures (plain JSON values) that go
    into the object that `--json` prints.
    """

    exit_code = 2

    def __init__(self, message: str, details: Mapping[str, object] | None = None) -> None:
        super().__init__(message)
        self.details: Mapping[str, object] = details or {}


class ModelFileError(FreemlError):
    """The model file is missing, truncated, not ONNX, or refers to data that cannot be read."""


class UnsupportedModelError(FreemlError):
    """The model uses something freeml cannot honour. Carries every problem found, not only the first one."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        count = len(self.problems)
        noun = "problem" if count == 1 else "problems"
        super().__init__(
            f"the model cannot be compiled: {count} {noun}\n" + "\n".join(f"  - {p}" for p in self.problems),
            {"problems": list(self.problems)},
        )


class GraphError(FreemlError):
    """A graph is not well formed: a name without a value, a shape that does not fit, two producers of one value."""


class DataError(FreemlError):
    """The data set is empty, of the wrong shape, not finite, or its labels are out of range."""


class QuantizationError(FreemlError):
    """A layer cannot be given integer arithmetic that is proved not to overflow."""


class DoesNotFitError(FreemlError):
    """The net does not fit the board; the message holds the byte table and the largest contributors.

    `details` holds `fits` (false), `bytes` and `limits` as a report has them, None for what only a build tells, and
    `overflow`: by how many bytes which memory of the linker script is too small, where the linker said so.
    """

    def __init__(
        self,
        message: str,
        *,
        bytes_: Mapping[str, int | None],
        limits: Mapping[str, int],
        overflow: Mapping[str, int] | None = None,
    ) -> None:
        self.overflow = dict(overflow or {})
        super().__init__(
            message, {"fits": False, "bytes": dict(bytes_), "limits": dict(limits), "overflow": self.overflow}
        )


class CompressionError(FreemlError):
    """A budget cannot be met within the drop of accuracy that is allowed, or at all.

    `details` hold the `front` that was found, a list of {flash, ram, cycles, validation, built}, what of the budget to
    `relax` {max_drop, flash, ram}, None for what would not help, or the bytes that are `irreducible`.
    """


class CheckpointError(FreemlError):
    """A search cannot be kept on disk, or another process is keeping its own in the same folder."""


class StorageError(FreemlError):
    """The database of a search (`--storage`) cannot be opened, or failed in the middle of it."""


class MissingPackageError(FreemlError):
    """A Python package that only this request needs is not installed."""


class ToolchainError(FreemlError):
    """A compiler is missing or refused the emitted code."""


class OutputFolderError(FreemlError):
    """The output folder is not empty and was not written by freeml, or cannot be written."""


class ArtifactError(FreemlError):
    """A folder given as a compiled artifact is not one, or was changed after it was written."""
