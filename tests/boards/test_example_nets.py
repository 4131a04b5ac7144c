"""Three executors, one answer: the example nets on both boards' simulators, every stored value of every layer."""

import os

import numpy as np
import pytest

from examples.data import MODEL_DATA, DataError, ensure_npz
from examples.ledger import DATA, MODELS
from freeml import verification
from freeml.options import Options
from freeml.pipeline import compile_model
from freeml.sim.board import BoardRunner, run_board
from freeml.sim.trace import compare, run_reference
from freeml.targets import BOARDS, get
from freeml.toolchains import installed
from freeml.verification import random_samples

SMALLEST = "har"
FEW, MANY = 2, 100
CHUNK = 50


def inputs_of(graph, name, count):
    """Test samples where the data set is at hand, random ones otherwise; None for all of them."""
    try:
        data, _ = ensure_npz(MODEL_DATA[name], DATA)
    except DataError:
        return random_samples(graph, count or MANY, 0).integers
    return verification.test_samples(graph, data, count).integers


def disagreements(name, board, toolchain, count, tmp_path):
    """Compile, build with `toolchain`, run the image on its board: what differs, and how many samples ran."""
    options = Options(target=board, toolchain=toolchain)
    artifact = compile_model(MODELS / f"{name}.onnx", options=options, output=tmp_path / "out")
    runner = BoardRunner(artifact.graph, get(board), tmp_path / "out" / "firmware.elf")
    inputs = inputs_of(artifact.graph, name, count)
    total = len(next(iter(inputs.values())))
    wrong = []
    for start in range(0, total, CHUNK):
        chunk = {key: values[start : start + CHUNK] for key, values in inputs.items()}
        found = run_board(runner, chunk, every_value=True)
        wrong += compare(run_reference(artifact.graph, chunk, every_value=True), found)
    return wrong, total


@pytest.mark.parametrize("board", sorted(BOARDS))
@pytest.mark.parametrize("name", sorted(MODEL_DATA))
def test_every_byte_of_a_few_samples(name, board, tmp_path):
    assert disagreements(name, board, None, FEW, tmp_path) == ([], FEW)


@pytest.mark.nightly
@pytest.mark.parametrize("kind", ["zig", "gcc", "clang"])
@pytest.mark.parametrize("board", sorted(BOARDS))
@pytest.mark.parametrize("name", sorted(MODEL_DATA))
def test_every_byte_of_many_samples(name, board, kind, tmp_path):
    if kind not in {toolchain.kind for toolchain in installed(get(board))}:
        variable = next(c.environment_variable for c in get(board).compilers if c.kind == kind)
        pytest.skip(f"{kind} for {board} is not installed ({variable}={os.environ.get(variable or '', '')!r})")
    wrong, samples = disagreements(name, board, kind, None if name == SMALLEST else MANY, tmp_path)
    assert wrong == []
    assert samples >= MANY


@pytest.mark.parametrize("board", sorted(BOARDS))
def test_one_wrong_byte_is_found(board, tmp_path):
    """A weight changed in the image alone: the check above has to fail."""
    artifact = compile_model(MODELS / "lenet5.onnx", options=Options(target=board), output=tmp_path / "out")
    elf = tmp_path / "out" / "firmware.elf"
    weights = next(values for values in artifact.graph.constants.values() if values.size == 10 * 84)
    pattern = weights.ravel()[:64].astype(np.int8).tobytes()
    image = bytearray(elf.read_bytes())
    assert image.count(pattern) == 1
    image[image.index(pattern)] ^= 0x80
    elf.write_bytes(image)
    inputs = random_samples(artifact.graph, 3, 0).integers
    found = run_board(BoardRunner(artifact.graph, get(board), elf), inputs, every_value=True)
    wrong = compare(run_reference(artifact.graph, inputs, every_value=True), found)
    assert [mismatch.value for mismatch in wrong] == ["logits"]


@pytest.mark.parametrize("board", sorted(BOARDS))
def test_costs_repeat(board, tmp_path):
    """Counts are a function of image and input: the same from run to run, whatever ran before."""
    artifact = compile_model(MODELS / "har.onnx", options=Options(target=board), output=tmp_path / "out")
    inputs = random_samples(artifact.graph, 2, 0).integers
    first = {name: values[:1] for name, values in inputs.items()}
    elf = tmp_path / "out" / "firmware.elf"
    runner, other = (BoardRunner(artifact.graph, get(board), elf) for _ in range(2))
    runs = [run for runner in (runner, other) for run in (*runner.each(inputs), runner.infer(first))]
    assert runs[0].layers == runs[2].layers == runs[3].layers == runs[5].layers
    assert runs[0].total == runs[2].total == runs[3].total
    assert runs[0].total.instructions > 100_000
