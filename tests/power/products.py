"""Firmware folders to cut the power of: nets lowered for a board, their layers cut into regions at random."""

import hashlib
import random
import shutil
from dataclasses import asdict, replace
from functools import cache
from math import gcd, inf
from pathlib import Path

from cgates.gate_nets import RECIPES

from freeml.artifact import artifact_files, load, write_files
from freeml.codegen.emit import emit
from freeml.ir.serialize import to_json
from freeml.making import lower_graph
from freeml.ops.add import Add
from freeml.ops.argmax import ArgMax
from freeml.ops.clip import Clip
from freeml.ops.maxpool import MaxPool
from freeml.ops.reshape import Reshape
from freeml.power.host import choose_samples
from freeml.power.host_build import build_product
from freeml.power.host_worker import Worker
from freeml.regions.hazards import prove
from freeml.regions.units import grains
from freeml.targets import BOARDS
from ops.compiled import compiled
from ops.sketch import Sketch


def tiny():
    """A few layers of each shape, two inputs, and outputs of one byte and of four: a store of two granules."""
    s = Sketch(seed=3)
    x, y = s.input(1, 2, 5, 4), s.input(1, 3, 5, 4)
    conv = s.add(Clip(low=0.0, high=inf), s.conv(x, 3, (3, 3), pads=((1, 1), (1, 1))))
    total = s.add(Add(), conv, y)
    pool = s.add(MaxPool(kernel=(2, 2), strides=(2, 2), dilations=(1, 1), pads=((0, 0), (0, 0))), total)
    scores = s.dense(s.add(Reshape(shape=(1, 12)), pool), 5)
    return s.graph(scores, s.add(ArgMax(axis=1, keepdims=False), scores)), s.samples(8)


@cache
def net(name, width="int8"):
    """A net of the C gates, or the tiny one, quantized."""
    if name == "tiny":
        return compiled(*tiny(), width=width)
    recipe = RECIPES[name]
    return compiled(*recipe.source(), width=recipe.width, weight_bits=recipe.weight_bits)


def write_folder(folder: Path, quantized, board_name, *, seed=0, most=8) -> Path:
    """A firmware folder; layers cut into regions of up to `most` units, or of a few granules."""
    board, chance = BOARDS[board_name], random.Random(seed)
    planned, memory, program = lower_graph(quantized.qgraph, board)
    layers = tuple(replace(layer, split=_split(layer, program, chance, most)) for layer in program.layers)
    program = replace(program, layers=layers)
    prove(planned, memory, program)
    files = emit(program, stamp="test", vectors=[])
    digest = hashlib.sha256(to_json(planned).encode()).hexdigest()
    report = {"generator": "freeml test", "target": board.name, "graph_sha256": digest}
    write_files(artifact_files(files, planned, board, report, {}), folder)
    return folder


def _split(layer, program, chance, most):
    options = []
    for grain in grains(layer):
        step = 1
        if program.mirrored:
            if grain.lead % program.granule_bytes:
                continue
            step = program.granule_bytes // gcd(max(1, grain.elements), program.granule_bytes)
        units = step * chance.randint(1, most)
        options.append(replace(grain, per_region=min(grain.units, units)))
    return chance.choice(options)


def patched(folder: Path, copy: Path, path: str, old: str, new: str) -> Path:
    """A copy of a folder with a text of one file replaced; the text must be there."""
    shutil.copytree(folder, copy)
    text = (copy / path).read_text()
    assert old in text, f"{path} does not hold {old!r}"
    (copy / path).write_text(text.replace(old, new))
    return copy


def opened(folder: Path, place: Path, seed=0) -> Worker:
    """A folder built and loaded into this process: what `run_host` has processes for."""
    product = build_product(folder, place / "model.so")
    other = shutil.copyfile(product.library, place / "other.so")
    samples = choose_samples(load(folder).graph, seed)
    job = {
        "library": str(product.library),
        "other": str(other),
        "sections": [asdict(section) for section in product.sections],
        "inputs": [sample.hex() for sample in samples.inputs],
        "outputs": [result.hex() for result in samples.outputs],
        "seed": seed,
        "careful": False,
    }
    return Worker(job, print)
