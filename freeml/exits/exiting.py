"""A quantized net with exits: the branch attached and trained, costs told, tables filled, the rule chosen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import accumulate

import numpy as np

from freeml.arranging import arrange
from freeml.codegen.lower import lower
from freeml.codegen.program import CProgram
from freeml.data import Dataset, Part, of_output
from freeml.exits.asked import AskedExits, ExitsError
from freeml.exits.attach import Attached, attach
from freeml.exits.calibrate import reliability
from freeml.exits.ladders import words
from freeml.exits.looking import integers
from freeml.exits.maps import maps_of
from freeml.exits.points import classifier
from freeml.exits.risk import paired
from freeml.exits.rule import AskedRule
from freeml.exits.thresholds import Chosen, Samples, choose
from freeml.ir.exits import Exit, Exits, Policy
from freeml.ir.graph import QGraph
from freeml.ir.types import IntArray
from freeml.ops.answer import decide
from freeml.plan.cost import CostModel
from freeml.plan.exits import with_answer
from freeml.plan.memory import is_view
from freeml.quant.choose import Choice
from freeml.report.figures import BranchFigures, ExitFigures, PolicyFigures
from freeml.targets import Board
from freeml.work import layer_costs, work_by_value

Show = Callable[[str, float], None]

NAMED = 5
"""Classes that a note names, at most."""

LEARNING = 4_000
"""Training inputs that the label-free rule learns its range of exits from, at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exiting:
    """`choice` has the branch, its scores as outputs; `qgraph` the answer in their place. `cycles` are predicted: of an
    inference that ends at each exit, and at the end; `chosen` is None where the rule is "none"."""

    attached: Attached
    qgraph: QGraph
    exits: Exits
    cycles: tuple[int, ...]
    backbone_cycles: int
    backbone_arena_bytes: int
    chosen: Chosen | None
    asked: AskedRule
    unseen: tuple[int, ...]
    """Classes of which the validation part, which certifies the rule, has no sample."""
    backbone: frozenset[str]
    """Names of the nodes that are not of the branch."""

    @property
    def choice(self) -> Choice:
        """The net with its branch, before it has an answer."""
        return self.attached.choice


def exiting(
    choice: Choice,
    dataset: Dataset,
    *,
    board: Board,
    prices: CostModel | None,
    asked: AskedExits,
    rule: AskedRule,
    seed: int,
    show: Show = lambda *_: None,
) -> Exiting:
    """Attach a branch to a quantized net, and choose the rule on validation data.

    The rule is certified on samples that taught it nothing: the branch and its temperatures learn from the training
    part; where the rule reads reliability tables, those are of one half of the validation part, and the other half
    certifies.
    """
    output, classes = classifier(choice.qgraph, asked.output)
    told = partial(of_output, output=output, first=choice.qgraph.outputs[0], classes=classes)
    told(dataset.train, what="y_train")
    told(dataset.test, what="y_test")  # needed at the end
    val = told(dataset.val, what="y_val")
    unseen = tuple(sorted(set(range(classes)) - set(val.y.tolist())))
    if len(unseen) == classes - 1 and rule.kind != "none":
        raise ExitsError(
            f"exits: expected validation samples of two classes at least to certify a rule with, found {len(val.y):,} "
            f"of class {int(val.y[0])} alone; draw the validation part as the training part was drawn"
        )
    attempt = partial(
        _exiting, choice, dataset, val, board=board, prices=prices, rule=rule, unseen=unseen, seed=seed, show=show
    )
    found = attempt(asked=asked, among=None)
    first = found.exits.policy.first
    if first == 0 or asked.names or asked.count is not None or found.chosen is None:
        return found
    # Exits that end nothing cost cycles all the same. Each net of the exits from some one on is certified with the same
    # share of the error as that walk was, so that whichever is taken in the end keeps the promise. (A label-free rule
    # has no walks: which exit is its first was learned from training inputs.)
    names = tuple(exit_.point.value for exit_ in found.attached.exits[first:])
    return attempt(asked=replace(asked, names=names), among=len(found.exits.exits))


def _exiting(
    choice: Choice,
    dataset: Dataset,
    val: Part,
    *,
    board: Board,
    prices: CostModel | None,
    asked: AskedExits,
    rule: AskedRule,
    among: int | None,
    unseen: tuple[int, ...],
    seed: int,
    show: Show,
) -> Exiting:
    """See `exiting`, of which this is one attempt; `val` has the labels of the output, `among` is for `choose`."""
    plain = _program(choice.qgraph, board)
    costs = dict(zip((layer.value for layer in plain.layers), _costs(plain, prices, choice), strict=True))
    attached = attach(choice, dataset, asked, costs=costs, seed=seed, show=show)
    qgraph = attached.choice.qgraph
    scores, final = scores_on(qgraph, val, attached)
    labels = val.y
    order = order_of(len(labels), seed)
    learn = certify = np.arange(len(labels))
    if rule.kind == "reliability":
        learn, certify = np.sort(order[: len(order) // 2]), np.sort(order[len(order) // 2 :])
    draft = Exits(
        exits=tuple(
            Exit(
                name=exit_.name,
                value=exit_.value,
                point=exit_.point.value,
                steps=exit_.steps,
                reliability=reliability(values[learn], labels[learn]),
            )
            for exit_, values in zip(attached.exits, scores, strict=True)
        ),  # fmt: skip
        final=reliability(final[learn], labels[learn]),
        policy=Policy(kind="none", thresholds=(0,) * len(scores), energy=rule.energy),
    )
    program = _program(with_answer(qgraph, draft, attached.output), board)
    cycles = _cycles(program, prices, attached.choice)
    chosen = None
    if rule.kind != "none":
        learning = None
        if rule.kind == "label-free":  # which exits' entropy tells something: from many inputs, without their labels
            rows = np.sort(order_of(len(dataset.train), seed)[:LEARNING])
            taught = Part(x=dataset.train.x[rows], y=dataset.train.y[rows], labels={})
            seen, end = scores_on(qgraph, taught, attached)
            learning = Samples(scores=tuple(seen), final=end, labels=taught.y)
        chosen = choose(
            draft, [values[certify] for values in scores], final[certify], labels[certify], rule.kind, cycles,
            max_drop_points=rule.max_drop_points, confidence=rule.confidence, seed=seed, among=among,
            picking=learning,
        )  # fmt: skip
        draft = replace(draft, policy=replace(chosen.policy, energy=rule.energy))
    return Exiting(
        attached=attached, qgraph=with_answer(qgraph, draft, attached.output), exits=draft, cycles=cycles,
        backbone_cycles=round(sum(costs.values())), backbone_arena_bytes=plain.arena_bytes, chosen=chosen, asked=rule,
        unseen=unseen, backbone=frozenset(node.name for node in choice.qgraph.nodes),
    )  # fmt: skip


def order_of(count: int, seed: int) -> IntArray:
    """Samples in an order by chance."""
    return np.random.default_rng(seed).permutation(count)


def _program(qgraph: QGraph, board: Board) -> CProgram:
    arranged = arrange(qgraph, board)
    return lower(arranged.graph, arranged.memory, board=board)


def _costs(program: CProgram, prices: CostModel | None, choice: Choice) -> list[float]:
    """What each layer is predicted to cost, in one piece; its multiply-accumulates and elements where no prices are
    known."""
    work = work_by_value(choice.graph, choice.qgraph)
    found = layer_costs(program, prices)
    return [
        work.get(layer.value, 0.0) if cost is None else cost for layer, cost in zip(program.layers, found, strict=True)
    ]


def _cycles(program: CProgram, prices: CostModel | None, choice: Choice) -> tuple[int, ...]:
    """Of an inference that ends at each exit, and at the end."""
    assert program.exits is not None
    sums = list(accumulate(_costs(program, prices, choice)))
    return (*(round(sums[entry.layer]) for entry in program.exits.entries[:-1]), round(sums[-1]))


def scores_on(qgraph: QGraph, part: Part, attached: Attached) -> tuple[list[IntArray], IntArray]:
    """The integer scores of all exits and of the end, (samples, classes) each."""
    wanted = (*(exit_.value for exit_ in attached.exits), attached.output)
    chunks = [
        [values[name].numpy().reshape(len(values[name]), -1).astype(np.int64) for name in wanted]
        for values in maps_of(qgraph, integers(qgraph, part.x), wanted)
    ]
    *scores, final = (np.concatenate(parts) for parts in zip(*chunks, strict=True))
    return scores, final


def figures_of(
    found: Exiting, program: CProgram, part: Part
) -> tuple[tuple[ExitFigures, ...], BranchFigures, PolicyFigures]:
    """What a report says of exits; `part` is the test part, `program` what was built."""
    attached, exits = found.attached, found.exits
    part = of_output(part, attached.output, found.choice.qgraph.outputs[0], "y_test", attached.classes)
    scores, final = scores_on(found.choice.qgraph, part, attached)
    right = [values.argmax(axis=1) == part.y for values in (*scores, final)]
    answers = decide(exits, scores, final)
    after = answers.answer == part.y
    lost = paired(right[-1], after)
    cycles = np.array(found.cycles)
    names = {layer.value: layer.name for layer in program.layers}
    constants, arena_bytes = _branch_bytes(found, program)
    rows = tuple(
        ExitFigures(
            name=exit_.name, after_layer=names.get(exit_.point, exit_.point), accuracy=float(hits.mean()),
            bytes=size, cycles=taken,
        )
        for exit_, hits, size, taken in zip(exits.exits, right, constants, found.cycles, strict=False)
    )  # fmt: skip
    extra = found.cycles[-1] - found.backbone_cycles
    branch = BranchFigures(
        kind=attached.kind, output=attached.output, parameters=sum(exit_.params for exit_ in attached.exits),
        bytes=sum(constants), arena_bytes=arena_bytes,
        arena_added_bytes=program.arena_bytes - found.backbone_arena_bytes,
        cycles=extra, share=extra / max(1, found.backbone_cycles),
    )  # fmt: skip
    chosen, mean_cycles = found.chosen, float(cycles[answers.exit].mean())
    said = [chosen.note] if chosen is not None and chosen.note else []
    if chosen is not None and chosen.promised_drop > 0 and found.unseen:
        unseen = ", ".join(str(label) for label in found.unseen[:NAMED]) + (" ..." if found.unseen[NAMED:] else "")
        said.append(f"nothing is promised of class {unseen}, of which the validation part has no sample")
    if chosen is not None and mean_cycles > found.backbone_cycles:
        said.append("the exits cost more than ending early saves; without them, --exits none, the net is faster")
    policy = PolicyFigures(
        name=exits.policy.kind, threshold=words(exits.policy, exits), energy=exits.policy.energy,
        promised_drop=None if chosen is None else chosen.promised_drop, confidence=found.asked.confidence,
        val_drop=0.0 if chosen is None else chosen.val_drop, val_samples=0 if chosen is None else chosen.samples,
        achieved_drop=lost.drop, achieved_interval=(lost.low, lost.high), accuracy=float(after.mean()),
        mean_cycles=mean_cycles, full_cycles=found.cycles[-1],
        backbone_cycles=found.backbone_cycles,
        shares=tuple((np.bincount(answers.exit, minlength=len(cycles)) / len(after)).tolist()),
        note="; ".join(said),
    )  # fmt: skip
    return rows, branch, policy


def _branch_bytes(found: Exiting, program: CProgram) -> tuple[Sequence[int], int]:
    """Bytes of the constants of each exit's layers; and those of the arena that the branch's own values need at most,
    the scores of all exits among them."""
    names = {layer.value: layer.name for layer in program.layers}
    sizes: dict[str, int] = {}
    for data in program.data:
        sizes[data.layer] = sizes.get(data.layer, 0) + data.size_bytes
    attached = found.attached
    scores = [exit_.value for exit_ in attached.exits]
    qgraph, constants, peak = attached.choice.qgraph, [0] * len(scores), 0
    kept, made, number = sum(qgraph.types[value].size_bytes for value in scores), set[str](), 0
    for node in qgraph.nodes:
        if node.name in found.backbone:
            continue
        value = node.outputs[0]
        constants[number] += sizes.get(names.get(value, ""), 0)
        if not is_view(node.op):
            made.update(node.outputs)
        own = [v for v in (*node.inputs, value) if v in made and v not in scores]
        peak = max(peak, sum(qgraph.types[v].size_bytes for v in own))
        number += number + 1 < len(scores) and value == scores[number]
    return constants, kept + peak
