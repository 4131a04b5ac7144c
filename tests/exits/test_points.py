"""Where exits can be, how they are asked for, and which are chosen."""

from __future__ import annotations

import pytest
from nets import CLASSES, dense_net, heads_net, net

from freeml.exits.asked import AskedExits, ExitsError, asked_exits
from freeml.exits.features import Scored, choose_slices, slices_of
from freeml.exits.points import Point, candidates, check_places, choose_points, classifier, named_points
from freeml.quant.choose import Choice
from freeml.work import work_by_value


def places(choice: Choice) -> tuple[Point, ...]:
    return candidates(choice.graph, choice.qgraph, work_by_value(choice.graph, choice.qgraph))


@pytest.mark.parametrize(
    ("text", "kind", "count", "names"),
    [
        ("none", "none", None, ()),
        ("shared", "shared", None, ()),
        ("shared:3", "shared", 3, ()),
        ("linear:2", "linear", 2, ()),
        ("separate:conv1, /2/pool", "separate", None, ("conv1", "/2/pool")),
    ],
)
def test_what_a_text_asks(text, kind, count, names):
    asked = asked_exits(text, budget_bytes=700)
    assert (asked.kind, asked.count, asked.names, asked.budget_bytes) == (kind, count, names, 700)


@pytest.mark.parametrize("text", ["", "share", "shared:", "shared:a,", "none:2", "shared:0", "shared:a,a"])
def test_texts_that_ask_nothing(text):
    with pytest.raises(ExitsError, match="expected"):
        asked_exits(text)


def test_asked_in_other_words():
    for wrong in (
        {"kind": "many"},
        {"training": "late"},
        {"count": 0},
        {"count": 2, "names": ("a",)},
        {"budget_bytes": 0},
    ):
        with pytest.raises(ExitsError, match="expected"):
            AskedExits(**{"kind": "shared", **wrong})


def test_places_are_stored_before_the_end():
    for end in ("", "Softmax", "ArgMax"):
        choice = net(end)
        found = places(choice)
        assert [point.source for point in found] == ["first", "second", "hidden"]
        shares = [point.share for point in found]
        assert 0 < shares[0] < shares[1] < shares[2] < 1
        stored = {value for node in choice.qgraph.nodes for value in node.outputs}
        assert all(point.value in stored for point in found)


def test_a_place_has_many_names():
    choice = net()
    found = places(choice)
    flat = next(v for v in choice.graph.types if choice.graph.types[v].shape == (1, 128))
    for index, names in enumerate((["first", found[0].value], ["second", flat, "flatten"], ["hidden", found[2].value])):
        for name in names:
            assert named_points(choice.graph, choice.qgraph, found, [name]) == (found[index],)
    assert named_points(choice.graph, choice.qgraph, found, ["hidden", "first"]) == (found[0], found[2])


def test_names_of_no_place():
    choice = net()
    found = places(choice)
    for name in ("third", "logits", "x"):
        with pytest.raises(ExitsError, match=rf"'{name}'; there are first.*second.*hidden"):
            named_points(choice.graph, choice.qgraph, found, [name])
    with pytest.raises(ExitsError, match="found second and flatten, which are one value"):
        named_points(choice.graph, choice.qgraph, found, ["second", "flatten"])


def test_a_net_without_a_place():
    with pytest.raises(ExitsError, match="always runs to the end"):
        check_places(places(dense_net()))


def test_which_output_tells_classes():
    assert classifier(net("Softmax").qgraph, None) == ("answer", CLASSES)
    heads = heads_net().qgraph
    assert classifier(heads, "scores") == ("scores", CLASSES)
    with pytest.raises(ExitsError, match=r"two classes or more, found number of shape \(1, 1\); choose another of"):
        classifier(heads, None)
    with pytest.raises(ExitsError, match="outputs number, scores, found height"):
        classifier(heads, "height")
    with pytest.raises(ExitsError, match="found the index answer"):
        classifier(net("ArgMax").qgraph, None)
    with pytest.raises(ExitsError, match="at most 256 classes, found 257"):
        classifier(net("", 257).qgraph, None)


def made_up(shares: list[float]) -> list[Point]:
    return [Point(value=f"v{i}", node=f"n{i}", source="", index=i, share=s) for i, s in enumerate(shares)]


def test_places_that_add_most():
    points = made_up([0.1, 0.2, 0.5, 0.9])
    right = [0.6, 0.55, 0.8, 0.79]
    # alone, half way at 0.8 is worth 0.40, the first tenth 0.54; the second and the last add nothing to these two
    assert [p.index for p in choose_points(points, right, 1)] == [0]
    assert [p.index for p in choose_points(points, right, 2)] == [0, 2]
    assert [p.index for p in choose_points(points, right, None)] == [0, 2]
    assert [p.index for p in choose_points(points, right, 4)] == [0, 1, 2, 3]
    assert [p.index for p in choose_points(points, right, 9)] == [0, 1, 2, 3]


def test_slices_of_a_map():
    words = {tuple(part.text for part in s.parts): s.words for s in slices_of((1, 8, 9, 9))}
    assert words["whole",] == 648
    assert words["max 9x9",] == words["average 9x9",] == 8
    assert words["max 5x5", "average 5x5"] == 64
    assert words["max 3x3",] == 72
    assert [p.text for s in slices_of((1, 6, 1, 1)) for p in s.parts] == ["whole"]
    texts = {part.text for s in slices_of((1, 20)) for part in s.parts}
    assert texts == {"whole", "max 2", "average 2", "max 4", "average 4"}
    assert {part.text for s in slices_of((1, 3, 2, 2)) for part in s.parts} == {"whole", "max 2x2", "average 2x2"}


def test_slices_within_a_budget():
    options = [Scored(slice=s, accuracy=0.5 + 0.001 * s.words) for s in slices_of((1, 8, 9, 9)) if s.words < 200]
    most = choose_slices([options] * 2, classes=4, budget_bytes=10_000, most_macs=1e6, tolerance=0.0)
    assert most is not None
    assert [s.words for s in most] == [144, 144]
    bounded = choose_slices([options] * 2, classes=4, budget_bytes=700, most_macs=1e6, tolerance=0.0)
    assert bounded is not None
    assert 500 < sum(s.constant_bytes(4) for s in bounded) <= 700
    cheap = choose_slices([options] * 2, classes=4, budget_bytes=10_000, most_macs=6_000, tolerance=0.0)
    assert cheap is not None
    assert sum(s.macs(4) for s in cheap) <= 6_000
    near = choose_slices([options] * 2, classes=4, budget_bytes=10_000, most_macs=1e6, tolerance=0.05)
    assert near is not None
    assert 0 < 288 - sum(s.words for s in near) <= 100
    assert choose_slices([options] * 2, classes=4, budget_bytes=60, most_macs=1e6, tolerance=0.0) is None
