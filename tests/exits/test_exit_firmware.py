"""The firmware of a net with exits: which exit is taken and why, on every executor, under every rule, through every cut."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from exiting import CLASSES, answering, middle, net, policy
from power.products import write_folder

from freeml.artifact import load
from freeml.codegen.emit import emit
from freeml.ir.exits import KINDS, Policy, PolicyKind
from freeml.ir.graph import QGraph, single
from freeml.ir.types import Array
from freeml.making import lower_graph
from freeml.ops.reshape import QReshape
from freeml.power.host import run_host as cut_power
from freeml.sim.board import BoardRunner, run_board
from freeml.sim.host import run_host
from freeml.sim.trace import compare, run_reference
from freeml.targets import BOARDS
from freeml.toolchains import build, find
from ops.compiled import Workshop

Net = tuple[QGraph, Array]


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Net:
    return net(tmp_path_factory.mktemp("exiting"))


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    return Workshop(folder=tmp_path_factory.mktemp("exits-c"))


def rule_of(plain: Net, kind: PolicyKind) -> Policy:
    return policy(kind) if kind in ("none", "patience") else middle(*plain, kind)


@pytest.mark.parametrize("kind", KINDS)
def test_host_equals_reference(plain: Net, workshop: Workshop, kind: PolicyKind) -> None:
    graph, inputs = plain
    planned, _, program = lower_graph(answering(graph, rule_of(plain, kind)))
    library = workshop.library(emit(program, stamp="test", vectors=[]))
    samples = {"x": inputs}
    expected = run_reference(planned, samples)
    assert not compare(expected, run_host(library, planned, samples))
    assert not compare(
        run_reference(planned, samples, every_value=True), run_host(library, planned, samples, every_value=True)
    )
    taken = set(expected.values["answer"][:, 1].tolist())
    assert taken == {"none": {2}, "patience": {1, 2}}.get(kind, {0, 1, 2})
    early = expected.values["answer"][:, 1] < 2
    assert not expected.values["scores"][early].any()  # what an inference did not come to
    assert expected.values["scores"][~early].any()
    assert set(expected.values["answer"][:, 2].tolist()) <= {0, 1}


def test_an_output_that_views_an_early_value(plain: Net, workshop: Workshop) -> None:
    """It is there as soon as what it views is, though the view itself comes behind the exit."""
    graph, inputs = plain
    view = single("early", QReshape(shape=(CLASSES, 1)), ("exit1",), ("early",))
    graph = replace(
        graph, outputs=("scores", "early", "exit1", "exit2"), nodes=(*graph.nodes, view),
        types={**graph.types, "early": graph.types["exit1"].with_shape((CLASSES, 1))},
    )  # fmt: skip
    planned, _, program = lower_graph(answering(graph, middle(*plain, "confidence")))
    expected = run_reference(planned, {"x": inputs})
    assert 0 in expected.values["answer"][:, 1]
    assert not compare(
        expected, run_host(workshop.library(emit(program, stamp="test", vectors=[])), planned, {"x": inputs})
    )
    assert expected.values["early"].any(axis=(1, 2)).all()


@pytest.fixture(scope="session")
def folders(plain: Net, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A firmware folder for each board, its layers cut into regions."""
    graph, _ = plain
    made = Answering(qgraph=answering(graph, middle(*plain, "confidence")))
    return {board: write_folder(tmp_path_factory.mktemp(board) / "net", made, board, most=3) for board in BOARDS}


@dataclass(frozen=True)
class Answering:
    """What `write_folder` wants of a net."""

    qgraph: QGraph


@pytest.mark.parametrize("board", BOARDS)
def test_every_cut_on_the_host(folders: dict[str, Path], board: str) -> None:
    found = cut_power(folders[board], "exhaustive")
    assert found.failures == 0, found.reason
    assert found.cuts > 500


@pytest.mark.parametrize("board", BOARDS)
def test_board_equals_reference(plain: Net, folders: dict[str, Path], board: str) -> None:
    folder, inputs = folders[board], {"x": plain[1][:12]}
    build(find(BOARDS[board], None), BOARDS[board], folder, folder / "firmware.elf")
    graph = load(folder).graph
    runner = BoardRunner(graph, BOARDS[board], folder / "firmware.elf")
    expected = run_reference(graph, inputs)
    assert set(expected.values["answer"][:, 1].tolist()) == {0, 1, 2}
    assert not compare(expected, run_board(runner, inputs))
    assert not compare(run_reference(graph, inputs, every_value=True), run_board(runner, inputs, every_value=True))
