"""What a program does with exits: steps, best answers so far, another rule, energy that runs out; and a reset in between."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from exiting import answering, exits_of_net, middle, net, policy

from freeml.codegen.emit import emit
from freeml.ir.exits import Exits, Policy
from freeml.ir.graph import execute
from freeml.ir.types import Array
from freeml.making import lower_graph
from freeml.ops.answer import decide
from ops.compiled import Workshop

CONFIDENCE, PATIENCE = 1, 3
END, RULE, ENERGY = 0, 1, 2
PRICE = 100
"""Nanojoules of every region."""


class Rule(ctypes.Structure):
    """struct fm_policy of a net with two exits."""

    _fields_ = [(name, ctypes.c_uint16) for name in ("kind", "patience", "first", "last", "energy", "one", "two")]


class Answer(ctypes.Structure):
    """fm_answer."""

    _fields_ = [(name, ctypes.c_uint16) for name in ("answer", "exit", "reason", "confidence")]

    def row(self) -> list[int]:
        return [self.answer, self.exit, self.reason, self.confidence]


LEFT = ctypes.CFUNCTYPE(ctypes.c_uint32)


class Model:
    """The emitted C in this process; its default rule ends nothing."""

    def __init__(self, library: Path) -> None:
        self.c = ctypes.CDLL(str(library))
        self.c.fm_input.restype = ctypes.c_void_p
        self.c.fm_answered.restype = ctypes.POINTER(Answer)
        self.c.fm_next_policy.restype = ctypes.POINTER(Rule)
        self.hook = ctypes.c_void_p.in_dll(self.c, "fm_energy_left")

    def start(self, sample: Array, rule: Policy | None = None, *, kind: int = CONFIDENCE) -> None:
        """An inference of a sample, (shape) int, under a rule or the one compiled."""
        self.c.fm_boot()
        data = np.ascontiguousarray(sample, dtype=np.int8)
        if rule is not None:
            one, two = rule.thresholds
            self.c.fm_next_policy()[0] = Rule(kind, rule.patience, rule.first, rule.last, int(rule.energy), one, two)
        ctypes.memmove(self.c.fm_input(0), data.ctypes.data, data.nbytes)
        self.c.fm_start()

    def answered(self) -> list[int]:
        return self.c.fm_answered()[0].row()


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> tuple[Model, Exits, Array, list[Array], Array]:
    """The model, its exits, inputs, and the reference's scores at the exits and at the end."""
    graph, inputs = net(tmp_path_factory.mktemp("api"))
    _, _, program = lower_graph(answering(graph, policy("none")))
    workshop = Workshop(folder=tmp_path_factory.mktemp("api-c"))
    program = replace(program, region_nj=(PRICE,) * len(program.layers))
    model = Model(workshop.library(emit(program, stamp="test", vectors=[])))
    values = execute(graph, {"x": inputs})
    scores, final = ([values[name].reshape(len(inputs), -1) for name in ("exit1", "exit2")], values["scores"])
    return model, exits_of_net(graph, policy("none")), inputs, scores, final.reshape(len(inputs), -1)


def expected(exits: Exits, scores: list[Array], final: Array, rule: Policy) -> list[list[int]]:
    return decide(exits, scores, final, rule).as_record().tolist()


def test_a_rule_set_at_run_time(found: tuple[Model, Exits, Array, list[Array], Array], tmp_path: Path) -> None:
    model, exits, inputs, scores, final = found
    rules = [(middle(*net(tmp_path), "confidence"), CONFIDENCE), (policy("patience", patience=2), PATIENCE)]
    for rule, kind in rules:
        wanted = expected(exits, scores, final, rule)
        assert len({row[1] for row in wanted}) > 1
        for sample, row in zip(inputs, wanted, strict=True):
            model.start(sample, rule, kind=kind)
            model.c.fm_run()
            assert model.answered() == row


def test_step_by_step_the_best_answer_so_far(found: tuple[Model, Exits, Array, list[Array], Array]) -> None:
    model, _, inputs, scores, final = found
    tops = [values.argmax(axis=1) for values in scores]
    for index, sample in enumerate(inputs[:8]):
        model.start(sample)
        best, seen = Answer(), []
        while model.c.fm_advance():
            if model.c.fm_best(ctypes.byref(best)):
                seen.append((best.exit, best.answer))
        assert list(dict.fromkeys(seen)) == [(0, tops[0][index]), (1, tops[1][index])]
        assert not model.c.fm_best(ctypes.byref(best))  # nothing is under way
        assert model.answered()[:3] == [final[index].argmax(), 2, END]


def test_a_reset_changes_nothing_of_the_rule(
    found: tuple[Model, Exits, Array, list[Array], Array], tmp_path: Path
) -> None:
    """fm_boot sets the next inference's rule to what was compiled; that of the one under way stays."""
    model, exits, inputs, scores, final = found
    rule = middle(*net(tmp_path), "confidence")
    wanted = expected(exits, scores, final, rule)
    for index in range(12):
        for steps in (0, 2, 3, 5):
            model.start(inputs[index], rule)
            for _ in range(steps):
                model.c.fm_advance()
            ctypes.memset(model.c.fm_next_policy(), 0xA5, ctypes.sizeof(Rule))
            model.c.fm_boot()
            model.c.fm_run()
            assert model.answered() == wanted[index]


def test_energy_that_does_not_last(found: tuple[Model, Exits, Array, list[Array], Array]) -> None:
    """From the first exit on, an inference ends where the energy left does not pay for the next region."""
    model, _, inputs, scores, final = found
    rule = Policy(kind="confidence", thresholds=(0xFFFF, 0xFFFF), energy=True)
    tops = [values.argmax(axis=1) for values in scores]
    energy = [0]
    left = LEFT(lambda: energy[0])
    for index, sample in enumerate(inputs[:6]):
        for charge, careful, ends in (
            (PRICE - 1, rule, [tops[0][index], 0, ENERGY]),
            (PRICE, rule, [final[index].argmax(), 2, END]),
            (PRICE - 1, replace(rule, energy=False), [final[index].argmax(), 2, END]),
            (None, rule, [final[index].argmax(), 2, END]),  # a program that does not say has enough
        ):
            energy[0] = charge or 0
            model.hook.value = None if charge is None else ctypes.cast(left, ctypes.c_void_p).value
            model.start(sample, careful)
            model.c.fm_run()
            model.hook.value = None
            assert model.answered()[:3] == ends
        energy[0] = PRICE
        model.hook.value = ctypes.cast(left, ctypes.c_void_p).value
        model.start(sample, rule)
        best = Answer()
        while not (model.c.fm_best(ctypes.byref(best)) and best.exit == 1):
            assert model.c.fm_advance()
        energy[0] = 0  # behind the second exit
        model.c.fm_run()
        model.hook.value = None
        assert model.answered()[:3] == [tops[1][index], 1, ENERGY]


@pytest.fixture(autouse=True)
def settled(found: tuple[Model, Exits, Array, list[Array], Array]) -> Iterator[None]:
    yield
    found[0].c.fm_run()
