"""What a model consists of, what stands in its way, and what it would take of a board: `freeml inspect`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from freeml.codegen.program import CProgram
from freeml.errors import FreemlError, UnsupportedModelError
from freeml.fit import board_limits, estimated_excess
from freeml.frontend.onnx_reader import import_onnx
from freeml.frontend.problems import Survey, survey
from freeml.ir.graph import Graph, QGraph
from freeml.making import lower_graph
from freeml.passes.driver import run_passes
from freeml.passes.fuse import fusion_groups
from freeml.passes.standard import PASSES
from freeml.quant.quantize import Precision, quantize
from freeml.quant.ranges import observe
from freeml.report.figures import Limits
from freeml.targets import BOARDS, Board
from freeml.targets import get as get_board
from freeml.work import macs_by_value

PROBES = 2
"""Samples that the estimate is quantized with. Its bytes depend on formats' widths, not on the ranges."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What the int8 net would take of a board: bytes of its plan, without code and stack, which only a build tells.

    `nv` and `sram` are the bytes of weights, arena and scratch in each memory. `reason` says why the net cannot fit.
    """

    title: str
    weights: int
    arena: int
    scratch: int
    nv: int
    sram: int
    limits: Limits
    fits: bool
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """A model at a glance. `params` and `macs` are those of the net as it would be compiled, None when it cannot be.

    `model` is the file's name; `problems` is everything that keeps it from being compiled; `estimates` are by board.
    """

    model: str
    survey: Survey
    params: int | None
    macs: int | None
    problems: tuple[str, ...]
    estimates: Mapping[str, Estimate]

    @property
    def supported(self) -> bool:
        """Whether the model can be compiled, sizes aside."""
        return not self.problems

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "model": self.model,
            "name": self.survey.name,
            "producer": self.survey.producer,
            "ir_version": self.survey.ir_version,
            "opset": self.survey.opset,
            "inputs": [asdict(port) for port in self.survey.inputs],
            "outputs": [asdict(port) for port in self.survey.outputs],
            "operators": self.survey.operators(),
            "nodes": [asdict(node) for node in self.survey.nodes],
            "params": self.params,
            "macs": self.macs,
            "supported": self.supported,
            "problems": list(self.problems),
            "estimates": {name: asdict(estimate) for name, estimate in self.estimates.items()},
        }


def inspect_model(model: Path, target: str | None = None) -> Inspection:
    """Look at a model file; the estimates are for `target`, or for every board.

    Raises ModelFileError for a file that cannot be read; everything else that stands against it is in the result.
    """
    boards = tuple(BOARDS.values()) if target is None else (get_board(target),)
    found = survey(model)
    if found.problems:
        return Inspection(model=model.name, survey=found, params=None, macs=None, problems=found.problems, estimates={})
    try:
        graph = run_passes(import_onnx(model), PASSES)
        qgraph = _quantized(graph)
        estimates = {board.name: estimate(lower_graph(qgraph, board)[2], board) for board in boards}
    except FreemlError as error:
        problems = error.problems if isinstance(error, UnsupportedModelError) else (str(error),)
        return Inspection(model=model.name, survey=found, params=None, macs=None, problems=problems, estimates={})
    return Inspection(
        model=model.name,
        survey=found,
        params=sum(array.size for array in graph.constants.values()),
        macs=sum(macs_by_value(graph).values()),
        problems=(),
        estimates=estimates,
    )


def _quantized(graph: Graph) -> QGraph:
    """The int8 net, quantized with made-up inputs."""
    chance = np.random.default_rng(0)
    inputs = {name: chance.normal(size=(PROBES, *graph.types[name].shape)).astype(np.float32) for name in graph.inputs}
    return quantize(graph, observe(graph, inputs), precision=Precision(), method="minmax", groups=fusion_groups(graph))


def estimate(program: CProgram, board: Board) -> Estimate:
    """What a program's constants, arena and scratch take of a board."""
    limits = board_limits(board)
    in_nv = board.activations == "nv"
    excess = estimated_excess(program, board)
    return Estimate(
        title=board.title,
        weights=program.weight_bytes,
        arena=program.arena_bytes,
        scratch=program.scratch_bytes,
        nv=program.weight_bytes + program.nv_bytes,
        sram=program.scratch_bytes + (0 if in_nv else program.arena_bytes),
        limits=limits,
        fits=excess is None,
        reason=excess or "",
    )
