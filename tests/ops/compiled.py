"""A float graph taken down the whole line to C, and the C taken to this machine.

Nets in tests are tiny, so starting the compiler is most of the cost: a net's sources are one translation unit, the
runtime is compiled once per session, and a library is kept for every distinct text.
"""

from __future__ import annotations

import hashlib
import random
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from freeml.codegen.emit import emit
from freeml.codegen.program import CLayer, CProgram, Split
from freeml.ir.graph import Graph, QGraph
from freeml.ir.types import QRANGE, Array
from freeml.making import lower_graph
from freeml.passes.driver import run_passes
from freeml.passes.fuse import fusion_groups
from freeml.passes.standard import PASSES
from freeml.plan.memory import MemoryPlan
from freeml.quant.quantize import Precision, quantize, quantize_input
from freeml.quant.ranges import RangeMethod, observe
from freeml.regions.cutting import LayerWork, cut
from freeml.regions.hazards import prove
from freeml.regions.units import grains
from freeml.resources import resource_dir
from freeml.sim.host import run_host
from freeml.sim.trace import Mismatch, Trace, compare, run_reference
from freeml.toolchains import Toolchain, find_host

Width = Literal["int8", "int16"]
UNIT = "".join(
    f'#include "{name}"\n'
    for name in (
        "weights.c",
        "model.c",
        "host/host_values.c",
        "batch.c",
        "fm_run.c",
        "fm_exits.c",
        "fm_progress.c",
        "nv.c",
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Compiled:
    """Every stage of one compile. `graph` is the float graph after the passes, `qgraph` in the model's own layout."""

    graph: Graph
    qgraph: QGraph
    planned: QGraph
    memory: MemoryPlan
    program: CProgram
    files: Mapping[str, str]

    def probes(self, inputs: Mapping[str, Array], seed: int = 0) -> dict[str, NDArray[np.int64]]:
        """Integer inputs that go everywhere: all lowest, all highest, a mix of both, random, and `inputs` quantized."""
        rng = np.random.default_rng(seed)
        found = {}
        for name in self.qgraph.inputs:
            type_ = self.qgraph.types[name]
            low, high = QRANGE[type_.dtype]
            rows = [
                np.full(type_.shape, low),
                np.full(type_.shape, high),
                rng.choice([low, high], type_.shape),
                *rng.integers(low, high + 1, (3, *type_.shape)),
                *quantize_input(inputs[name], type_),
            ]
            found[name] = np.stack(rows).astype(np.int64)
        return found


def optimised(graph: Graph) -> Graph:
    """The float graph after every pass of the line."""
    return run_passes(graph, PASSES)


def compiled(
    graph: Graph,
    calibration: Mapping[str, Array],
    *,
    width: Width = "int8",
    weight_bits: Literal[8, 16] = 8,
    method: RangeMethod = "minmax",
    fuse: bool = True,
) -> Compiled:
    """Down the line. Without `fuse` the passes still run, but every node keeps a loop nest of its own."""
    passed = optimised(graph)
    qgraph = quantize(
        passed,
        observe(passed, calibration),
        precision=Precision(default=width, weight_bits=weight_bits),
        method=method,
        groups=fusion_groups(passed) if fuse else (),
    )
    return lowered(passed, qgraph)


def lowered(graph: Graph, qgraph: QGraph) -> Compiled:
    """The rest of the line for an integer graph."""
    planned, memory, program = lower_graph(qgraph)
    program = cut_anywhere(program)
    prove(planned, memory, program)
    files = emit(program, stamp="test", vectors=[])
    return Compiled(graph=graph, qgraph=qgraph, planned=planned, memory=memory, program=program, files=files)


def cut_anywhere(program: CProgram) -> CProgram:
    """Each layer cut into regions of some grain and size, or left whole; the same for the same program."""
    chance = random.Random(repr(program.layers))

    def choose(layer: CLayer, _: LayerWork) -> Split:
        grain = chance.choice(grains(layer))
        most = min(grain.units, chance.choice((1, 2, 3, 5, 8, grain.units)))
        return replace(grain, per_region=most)

    return cut(program, [LayerWork(cycles=0.0)] * len(program.layers), choose)


@dataclass(slots=True)
class Workshop:
    """Builds and runs emitted C below `folder`."""

    folder: Path
    toolchain: Toolchain = field(default_factory=find_host)
    runtime: list[Path] = field(default_factory=list)

    def library(self, files: Mapping[str, str]) -> Path:
        """A shared library of the emitted files, compiled with every warning an error."""
        text = "\0".join(f"{name}\0{files[name]}" for name in sorted(files))
        place = self.folder / hashlib.sha256(text.encode()).hexdigest()[:16]
        library = place / "model.so"
        if library.is_file():
            return library
        for name, content in files.items():
            path = place / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, encoding="utf-8")
        (place / "unit.c").write_text(UNIT, encoding="utf-8")
        includes = (place, resource_dir("firmware") / "common", resource_dir("firmware") / "host")
        self._run(self.toolchain.compile_command(place / "unit.c", place / "unit.o", includes, ("-O1", "-fPIC")))
        objects = [place / "unit.o", *self._runtime()]
        self._run(self.toolchain.link_command(objects, place / "linked", flags=("-shared", "-fPIC")))
        return (place / "linked").rename(library)

    def _runtime(self) -> list[Path]:
        if not self.runtime:
            # The rest of the runtime needs the net's own headers, so it is in the net's unit.
            common, host = resource_dir("firmware") / "common", resource_dir("firmware") / "host"
            target = self.folder / "fm_tables.o"
            self._run(self.toolchain.compile_command(common / "fm_tables.c", target, (common, host), ("-O1", "-fPIC")))
            self.runtime.append(target)
        return self.runtime

    @staticmethod
    def _run(command: tuple[str, ...]) -> None:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{' '.join(command)}\n{done.stderr[-4000:]}"

    def run(self, net: Compiled, inputs: Mapping[str, Array]) -> Trace:
        """Every stored value of the C, sample by sample."""
        return run_host(self.library(net.files), net.planned, inputs, every_value=True)

    def disagreements(self, net: Compiled, inputs: Mapping[str, Array]) -> tuple[Mismatch, ...]:
        """Where the C differs from the integer reference, over every stored value and output."""
        return compare(run_reference(net.planned, inputs, every_value=True), self.run(net, inputs))


def layout_disagreements(net: Compiled, inputs: Mapping[str, Array]) -> tuple[Mismatch, ...]:
    """Where the outputs of the channels-last graph differ from those of the graph in the model's own layout."""
    return compare(run_reference(net.qgraph, inputs), run_reference(net.planned, inputs))
