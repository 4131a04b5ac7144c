"""Real ONNX files, spoiled byte by byte and node by node: any outcome but success or a FreemlError is a bug.

Each model is inspected, imported, quantized, planned and emitted in a worker process (`worker.py`), which may neither
die nor take long. The same examples are tried on every run; `make nightly` tries many more.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import onnx
import pytest
from client import Client
from corpus import corpus
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from mutations import BYTES, GENTLE, STRUCTURE, Bytes, Structure

MODELS = corpus()
NAMES = tuple(MODELS)
SMALL = NAMES[:4]
OFTEN_SMALL = (*SMALL, *SMALL, *SMALL, *NAMES)
BYTE_EXAMPLES, STRUCTURE_EXAMPLES, HOST_EXAMPLES = 150, 400, 40
NIGHTLY_EXAMPLES = 5000

# No shrinking in the usual run: it could take minutes, and a failing example prints as a short list anyway.
QUICK = settings(
    derandomize=True,
    deadline=None,
    database=None,
    phases=(Phase.generate,),
    suppress_health_check=list(HealthCheck),
)


def steps(mutations: tuple[Bytes, ...] | tuple[Structure, ...], most: int) -> st.SearchStrategy[list[tuple[int, int]]]:
    """A few mutations by number, each with a seed of its own."""
    return st.lists(st.tuples(st.integers(0, len(mutations) - 1), st.integers(0, 2**20)), min_size=1, max_size=most)


def spoil_bytes(content: bytes, changes: list[tuple[int, int]]) -> bytes:
    """The file after a few byte mutations."""
    spoiled = bytearray(content)
    for number, seed in changes:
        if spoiled:
            BYTES[number](spoiled, random.Random(f"{number} {seed}"))
    return bytes(spoiled)


def spoil_structure(
    content: bytes, changes: list[tuple[int, int]], mutations: tuple[Structure, ...]
) -> tuple[bytes, list[tuple[str, int]]]:
    """The file after a few mutations of the model in it, and what they were."""
    model = onnx.ModelProto.FromString(content)
    for number, seed in changes:
        mutations[number](model, random.Random(f"{number} {seed}"))
    told = [(mutations[number].__name__, seed) for number, seed in changes]
    return bytes(model.SerializeToString(deterministic=True)), told


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    worker = Client(tmp_path_factory.mktemp("fuzz"))
    yield worker
    worker.close()


def check(client: Client, content: bytes, told: object, *, build: bool = False, precision: str = "int8") -> str:
    """Fail, with what to repeat, unless the model compiles or is refused."""
    found = client.outcome(content, build=build, precision=precision)
    assert found["outcome"] != "fault", f"{told}\n{found['detail']}"
    return found["outcome"]


@pytest.mark.parametrize("name", NAMES)
def test_corpus_compiles(client: Client, name: str) -> None:
    """The fuzzing starts from models that are fine."""
    assert check(client, MODELS[name], name) == "success"


@pytest.mark.parametrize("examples", [BYTE_EXAMPLES, pytest.param(NIGHTLY_EXAMPLES, marks=pytest.mark.nightly)])
def test_bytes(client: Client, examples: int) -> None:
    @settings(QUICK, max_examples=examples)
    @given(name=st.sampled_from(OFTEN_SMALL), changes=steps(BYTES, 3))
    def spoil(name: str, changes: list[tuple[int, int]]) -> None:
        check(client, spoil_bytes(MODELS[name], changes), (name, changes))

    spoil()


@pytest.mark.parametrize("examples", [STRUCTURE_EXAMPLES, pytest.param(NIGHTLY_EXAMPLES, marks=pytest.mark.nightly)])
def test_structure(client: Client, examples: int) -> None:
    @settings(QUICK, max_examples=examples)
    @given(name=st.sampled_from(OFTEN_SMALL), changes=steps(STRUCTURE, 3))
    def spoil(name: str, changes: list[tuple[int, int]]) -> None:
        spoiled, told = spoil_structure(MODELS[name], changes, STRUCTURE)
        check(client, spoiled, (name, told))

    spoil()


@pytest.mark.parametrize("examples", [HOST_EXAMPLES, pytest.param(NIGHTLY_EXAMPLES // 20, marks=pytest.mark.nightly)])
def test_what_still_compiles_still_agrees(client: Client, examples: int) -> None:
    """A small net a little changed; where it compiles, the C is built for this machine and equals the reference."""

    @settings(QUICK, max_examples=examples)
    @given(name=st.sampled_from(SMALL), changes=steps(GENTLE, 2), precision=st.sampled_from(("int8", "int16")))
    def spoil(name: str, changes: list[tuple[int, int]], precision: str) -> None:
        spoiled, told = spoil_structure(MODELS[name], changes, GENTLE)
        check(client, spoiled, (name, precision, told), build=True, precision=precision)

    spoil()


def test_worker_that_dies_is_noticed(tmp_path: Path) -> None:
    """The net under the net: a process that ends without an answer is a fault, and the next model gets a new one."""
    client = Client(tmp_path)
    assert client.outcome(MODELS["moved"])["outcome"] == "success"
    assert client.process is not None
    assert client.process.stdin is not None
    client.process.stdin.write("this is no request\n")
    assert client.outcome(MODELS["moved"]) == {"outcome": "fault", "detail": "the process died (status 1)"}
    assert client.outcome(MODELS["moved"])["outcome"] == "success"
    client.close()


def test_worker_that_hangs_is_noticed(tmp_path: Path) -> None:
    client = Client(tmp_path)
    assert client.outcome(MODELS["moved"])["outcome"] == "success"
    client.limit_seconds = 0.0
    assert client.outcome(MODELS["moved"])["detail"] == "the process took over 0.0 s (SIGKILL)"
    client.close()
