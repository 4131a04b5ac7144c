"""The answer of a net with exits: at which an inference ends, why, and with which class.

The reference of firmware/common/fm_exits.c: pure integers, all samples at once. What the rule says at exit e depends on
the scores of exits 0..e alone, so that a board that lost its power there comes to the same end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from freeml.fixedpoint.confidence import entropies, margins
from freeml.ir.exits import BINS, NEVER, Exits, Policy, Reliability
from freeml.ir.types import Array, IntArray, QType
from freeml.ops.base import Kernel, LoweredOp, Lowering

REASONS = ("end", "rule", "energy")
"""Why an inference ended: it ran to its end, the rule said so, or the energy did not last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """One entry per sample: the class, the exit that gave it (as many as there are exits: the end), why (an index of
    REASONS), and how often answers as sure as this were right on validation samples (0..255)."""

    answer: IntArray
    exit: IntArray
    reason: IntArray
    confidence: IntArray

    def as_record(self) -> IntArray:
        """(samples, 4): answer, exit, reason, confidence, as firmware/common/fm_exits.h has them."""
        return np.stack([self.answer, self.exit, self.reason, self.confidence], axis=1)


def confidence(scores: IntArray, table: Reliability) -> IntArray:
    """0..255 for each sample, looked up by its margin."""
    index = np.minimum(margins(scores) >> table.bin_shift, BINS - 1)
    found: IntArray = np.array(table.right, dtype=np.int64)[index]
    return found


def stops(exits: Exits, scores: Sequence[IntArray], policy: Policy | None = None) -> Array:
    """Whether the rule would end an inference at each exit, were it reached: bool (exits, samples).

    `scores` are those of all exits in order, each (samples, classes). `policy` None means the one of the exits.
    """
    rule = policy or exits.policy
    found = np.zeros((len(scores), scores[0].shape[0]), dtype=bool)
    streak = np.zeros(scores[0].shape[0], dtype=np.int64)
    before = np.full(scores[0].shape[0], -1, dtype=np.int64)
    for index, (exit_, values) in enumerate(zip(exits.exits, scores, strict=True)):
        answer = values.argmax(axis=1)
        streak = np.where(answer == before, streak + 1, 1)
        before = answer
        if not rule.first <= index <= rule.last:
            continue
        if rule.kind == "patience":
            found[index] = streak >= rule.patience
        elif rule.kind != "none":
            threshold = rule.thresholds[index]
            if rule.kind in ("entropy", "label-free"):
                found[index] = entropies(values, exit_.steps) < threshold
            elif threshold != NEVER:
                sure = margins(values) if rule.kind == "confidence" else confidence(values, exit_.reliability)
                found[index] = sure >= threshold
    return found


def decide(exits: Exits, scores: Sequence[IntArray], final: IntArray, policy: Policy | None = None) -> Answers:
    """Where inferences end that never lack energy. `final` are the scores of the net's own output."""
    stop = stops(exits, scores, policy)
    count, samples = stop.shape
    reached = np.where(stop.any(axis=0), stop.argmax(axis=0), count)
    answers = np.stack([*(values.argmax(axis=1) for values in scores), final.argmax(axis=1)])
    tables = [*(exit_.reliability for exit_ in exits.exits), exits.final]
    sure = np.stack([confidence(v, table) for v, table in zip((*scores, final), tables, strict=True)])
    column = np.arange(samples)
    return Answers(
        answer=answers[reached, column], exit=reached, reason=np.where(reached < count, 1, 0),
        confidence=sure[reached, column],
    )  # fmt: skip


ANSWER = "answer"
"""Name of the output that holds the answer, unless the model uses it."""

ANSWER_TYPE = QType(shape=(4,), dtype="int16", scale=1.0, zero_point=0)
"""Class, exit, reason, confidence: `fm_answer` in firmware/common/fm_model.h."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QAnswer(LoweredOp):
    """The answer of an inference. Inputs: the net's own scores, then those of every exit, (1, classes) each.

    As a layer it is the last one, and says what an inference that came to its end says; where the rule ends one before,
    the runtime says the same of the exit. The reference gives the answer that comes out.
    """

    exits: Exits

    def run(self, inputs: tuple[IntArray, ...]) -> tuple[IntArray, ...]:
        """(samples, 4)."""
        final, *scores = (x.reshape(x.shape[0], -1) for x in inputs)
        return (decide(self.exits, scores, final).as_record(),)

    def lower(self, c: Lowering) -> Kernel:
        """Template answer.c.j2."""
        return Kernel(template="answer", inputs=c.inputs, outputs=c.outputs, view=AnswerView())


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerView:
    """codegen_templates/ops/answer.c.j2 calls the runtime, which has tables of all exits: no values."""
