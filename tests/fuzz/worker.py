"""Takes models through everything but the board's compiler, in a process of its own: whatever happens, pytest survives.

Reads one path per line from standard input and answers each with one JSON object: `outcome` is success, refused (a
FreemlError, with its kind and message) or fault (anything else, with the traceback).
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import traceback
import warnings
from pathlib import Path
from typing import Literal

from freeml.artifact import Artifact, artifact_files
from freeml.codegen.emit import emit
from freeml.errors import FreemlError
from freeml.frontend.onnx_reader import import_onnx
from freeml.frontend.problems import survey
from freeml.frontend.qdq import to_qdq
from freeml.inspection import inspect_model
from freeml.making import lower_graph, quantize_graph, stamp, test_vectors
from freeml.options import Options
from freeml.passes.driver import run_passes
from freeml.passes.standard import PASSES
from freeml.pipeline import calibration_inputs, macs_by_value
from freeml.sim.host import run_host
from freeml.sim.trace import compare, run_reference
from freeml.targets import get as get_board

MEMORY_BYTES = 4 * 2**30
PROBES = 4


def take(path: Path, *, build: bool, precision: Literal["int8", "int16"] = "int8") -> None:
    """Inspect and compile one model; with `build` also run its C. Raises whatever goes wrong."""
    json.dumps(inspect_model(path).as_dict())
    found = survey(path)
    imported = import_onnx(path)
    assert found.supported, f"compiled although the survey says: {found.problems}"
    options = Options(precision=precision)
    graph = run_passes(imported, PASSES)
    made, _ = calibration_inputs(imported, None, 0)
    inputs = {name: array[:PROBES] for name, array in made.items()}
    choice, _ = quantize_graph(graph, inputs, None, options)
    qgraph, memory, program = lower_graph(choice.qgraph, get_board("msp430"))
    assert memory.arena_bytes >= memory.lower_bound_bytes
    assert all(count >= 0 for count in macs_by_value(graph).values())
    vectors = test_vectors(qgraph, inputs)
    generated = emit(program, stamp=stamp(path, options), vectors=vectors)
    json.dumps([trial.error for trial in choice.trials], allow_nan=False)
    files = artifact_files(generated, qgraph, get_board("msp430"), {}, {"model.qdq.onnx": to_qdq(choice.qgraph)})
    if build:
        artifact = Artifact(graph=qgraph, board=get_board("msp430"), files=files, report={})
        integers = artifact.quantized_inputs(inputs)
        with tempfile.TemporaryDirectory() as folder:
            library = artifact.build_host(Path(folder), optimise="-O0")
            found_trace = run_host(library, qgraph, integers, every_value=True)
        assert not compare(run_reference(qgraph, integers, every_value=True), found_trace)


def answer(path: Path, *, build: bool, precision: Literal["int8", "int16"]) -> dict[str, str]:
    """What became of a model."""
    try:
        take(path, build=build, precision=precision)
    except FreemlError as error:
        # A compiler that refuses the emitted C is no clean refusal of the model.
        if type(error).__name__ in ("ToolchainError", "ArtifactError", "GraphError"):
            return {"outcome": "fault", "detail": traceback.format_exc()}
        return {"outcome": "refused", "kind": type(error).__name__, "detail": str(error)}
    except BaseException:
        return {"outcome": "fault", "detail": traceback.format_exc()}
    return {"outcome": "success"}


def main() -> None:
    """Answer until there is no more to read."""
    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    answers = sys.stdout
    sys.stdout = sys.stderr  # nothing but answers goes where answers are expected
    for line in sys.stdin:
        request = json.loads(line)
        found = answer(Path(request["path"]), build=request["build"], precision=request["precision"])
        print(json.dumps(found), file=answers, flush=True)


if __name__ == "__main__":
    main()
