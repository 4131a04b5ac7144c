"""Curves from careful to bold, as numbers, as a table and as a drawing."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from scored import CYCLES, calibrated, population

from freeml.exits.curves import curve
from freeml.exits.ladders import never, words
from freeml.exits.thresholds import choose
from freeml.ir.exits import KINDS, Policy
from freeml.ops.answer import decide
from freeml.report.exits import plot_curves, print_chosen, print_curves


def found(kind, points=24, exits=None):
    samples = population(600, 9)
    return curve(exits or calibrated(), samples.scores, samples.final, samples.labels, CYCLES, kind, points)


@pytest.mark.parametrize("kind", KINDS)
def test_points_are_what_their_rules_do(kind):
    samples, points = population(600, 9), found(kind)
    assert points[0].policy == never(kind, 3) and points[0].shares == (0, 0, 0, 1)
    assert len(points) <= 24 and len({p.mean_cycles for p in points}) == len(points)
    assert [p.mean_cycles for p in points] == sorted((p.mean_cycles for p in points), reverse=True)
    for point in points:
        answers = decide(calibrated(), samples.scores, samples.final, point.policy)
        assert point.kind == kind and point.threshold == words(point.policy, calibrated())
        assert point.accuracy == pytest.approx((answers.answer == samples.labels).mean())
        assert point.mean_cycles == pytest.approx(np.array(CYCLES)[answers.exit].mean())
        assert point.shares == pytest.approx(np.bincount(answers.exit, minlength=4) / 600)


def test_ends_and_number_of_points():
    assert len(found("none")) == 1
    assert [p.policy.patience for p in found("patience")] == [4, 3, 2, 1]
    for kind in ("confidence", "entropy", "label-free", "reliability"):
        assert found(kind)[-1].shares[0] > 0.95
        few, many = found(kind, 5), found(kind, 10_000)
        assert len(few) == 5 and (few[0], few[-1]) == (many[0], many[-1]) and set(few) <= set(many)
        assert len(found(kind, 1)) == 2


def test_label_free_ends_where_its_rule_may():
    policy = Policy(kind="label-free", thresholds=(100, 100, 100), first=1, last=1)
    exits = calibrated()
    ranged = found("label-free", exits=type(exits)(exits=exits.exits, final=exits.final, policy=policy))
    assert ranged[-1].shares == (0, 1, 0, 0) and ranged[-1].policy.first == 1
    assert found("entropy", exits=type(exits)(exits=exits.exits, final=exits.final, policy=policy))[-1].shares[0] == 1


def test_tables(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "140")
    print_curves("[net] on a board", [found("none"), found("confidence", 4)], ["conv1", "conv2", "fc1"])
    out = capsys.readouterr().out
    assert "[net] on a board" in out and "ended: at conv1, conv2, fc1, and at the end" in out
    assert "never" in out and "nat" in out and "0 0 0 100" in out and "400,000" in out
    samples = population(600, 9)
    rules = [
        choose(calibrated(), samples.scores, samples.final, samples.labels, kind, CYCLES)
        for kind in ("confidence", "patience")
    ]
    print_chosen("rules", [(r, words(r.policy, calibrated())) for r in rules], CYCLES[-1])
    out = capsys.readouterr().out
    assert "promised with confidence 0.95" in out and "note: inference always runs to the end" in out and "1.00" in out


def test_drawing(tmp_path, monkeypatch):
    curves = [found(kind) for kind in KINDS]
    for name, start in (("a.png", b"\x89PNG"), ("a.svg", b"<?xml")):
        assert plot_curves(curves, tmp_path / name, title="net", chosen=[curves[1][3], curves[2][3]]) == ()
        first = (tmp_path / name).read_bytes()
        assert first.startswith(start)
        if name == "a.svg":  # the form that would carry a date
            plot_curves(curves, tmp_path / name, title="net", chosen=[curves[1][3], curves[2][3]])
            assert (tmp_path / name).read_bytes() == first
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    (note,) = plot_curves(curves, tmp_path / "b.png")
    assert "freeml[plot]" in note and not (tmp_path / "b.png").exists()
