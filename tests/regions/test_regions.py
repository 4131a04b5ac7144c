"""Regions: within the budget, free of write-after-read, whole layers where nothing asks for less, errors that say what
would do."""

from dataclasses import replace
from math import inf, sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples.ledger import MODELS
from freeml.errors import FreemlError
from freeml.frontend.onnx_reader import import_onnx
from freeml.intermittent import _region_name
from freeml.making import lower_graph, quantize_graph
from freeml.options import Options
from freeml.passes.driver import run_passes
from freeml.passes.standard import PASSES
from freeml.pipeline import calibration_inputs, compile_model
from freeml.regions.cutting import (
    WHOLE,
    Budget,
    LayerWork,
    RegionError,
    boots,
    by_element,
    by_layer,
    cut,
    for_budget,
    region_costs,
    smallest_region,
)
from freeml.regions.hazards import HazardError, prove
from freeml.regions.supply import Supply, parse_supply, quantity
from freeml.regions.units import grains
from freeml.targets import BOARDS

BOARD_NAMES = sorted(BOARDS)


@pytest.fixture(scope="module", params=BOARD_NAMES)
def har(request):
    """(integer graph, memory plan, program) of the watch net, each layer in one piece."""
    imported = import_onnx(MODELS / "har.onnx")
    graph = run_passes(imported, PASSES)
    inputs, _ = calibration_inputs(imported, None, 0)
    choice, _ = quantize_graph(graph, inputs, None, Options())
    return lower_graph(choice.qgraph, BOARDS[request.param])


def works(program, each=600_000.0):
    return [LayerWork(cycles=each, repeated=each / 100) for _ in program.layers]


@given(cycles=st.floats(3e4, 1e8), commit=st.floats(10, 1000), data=st.data())
def test_regions_keep_the_budget(har, cycles, commit, data):
    graph, memory, program = har
    costs = [
        LayerWork(cycles=data.draw(st.floats(1e2, 1e6)), repeated=data.draw(st.floats(0, 2e3))) for _ in program.layers
    ]
    budget = Budget(cycles=cycles, boot_cycles=1000, commit_cycles=commit)
    try:
        made = cut(program, costs, for_budget(program, budget))
    except RegionError as error:
        assert smallest_region(program, costs)[1] > budget.region_limit or "regions" in str(error)
        return
    assert max(region_costs(made, costs)) <= budget.region_limit
    assert len(region_costs(made, costs)) == made.regions == prove(graph, memory, made)


def test_a_cheap_layer_stays_whole_and_a_dear_one_is_cut_near_youngs_optimum(har):
    _, _, program = har
    budget = Budget(cycles=1e6, boot_cycles=0, commit_cycles=200)
    costs = [LayerWork(cycles=1e6 if layer.name == "n1_conv" else 100.0) for layer in program.layers]
    made = {layer.name: layer.split for layer in cut(program, costs, for_budget(program, budget)).layers}
    assert all(split == WHOLE for name, split in made.items() if name != "n1_conv")
    size = 1e6 * made["n1_conv"].per_region / made["n1_conv"].units
    optimum = sqrt(2 * 200 * 1e6)
    assert optimum / 3 < size < optimum * 3


def test_regions_are_larger_where_each_unpacks_weights(har):
    """What a region takes each time counts like its commit: larger regions, and fewer cycles in all."""
    _, _, program = har
    budget = Budget(cycles=7e5, boot_cycles=0, commit_cycles=500)
    (layer,) = [layer for layer in program.layers if layer.name == "n1_conv"]
    plain, unpacking = LayerWork(cycles=6e5), LayerWork(cycles=6e5, each_region=2e4)
    choose = for_budget(program, budget)
    before, after = choose(layer, plain), choose(layer, unpacking)
    assert after.regions <= before.regions / 2
    assert unpacking.region(after, layer) <= budget.region_limit
    saved = unpacking.total(before, layer) - unpacking.total(after, layer)
    assert saved == (before.regions - after.regions) * 2e4
    optimum = sqrt(2 * (500 + 2e4) * 7e5)
    assert optimum / 3 < unpacking.region(after, layer) < optimum * 3


def test_a_finer_grain_that_repeats_work_is_only_taken_where_it_pays(har):
    """The last convolution is one pooled pixel: cutting it means to gather its windows again for each block."""
    _, _, program = har
    budget = Budget(cycles=1e6, boot_cycles=0, commit_cycles=200)

    def blocks(repeated):
        costs = [LayerWork(cycles=6e5, repeated=repeated) for _ in program.layers]
        made = cut(program, costs, for_budget(program, budget))
        return next(layer.split for layer in made.layers if layer.name == "n9_conv").units

    assert blocks(0.0) > blocks(5e5) == 1
    if not program.mirrored:  # there, blocks are whole granules: two at most
        assert blocks(0.0) > blocks(2e4) > 1


def test_regions_of_a_mirrored_arena_are_whole_granules(har):
    graph, memory, program = har
    made = cut(program, works(program), for_budget(program, Budget(cycles=7e5, boot_cycles=0, commit_cycles=100)))
    prove(graph, memory, made)
    for layer in made.layers if made.mirrored else ():
        assert layer.value_offset % program.granule_bytes == 0
        assert layer.split.units == 1 or layer.split.per_region * layer.unit_bytes % program.granule_bytes == 0


def test_grains_are_units_of_the_whole_output(har):
    _, _, program = har
    for layer in program.layers:
        units = [grain.units for grain in grains(layer)]
        assert units == sorted(set(units))
        for grain in grains(layer)[1:]:
            assert grain.lead + grain.units * grain.elements + grain.tail == layer.out.type.size


def test_every_element_and_every_layer(har):
    _, _, program = har
    assert all(layer.split == WHOLE for layer in cut(program, works(program), by_layer(program)).layers)
    if not program.mirrored:
        made = cut(program, works(program), by_element(program))
        assert made.regions == sum(layer.out.type.size for layer in program.layers)


def test_overlapping_buffers_are_found(har):
    graph, memory, program = har
    made = cut(program, works(program), by_layer(program))
    first = made.layers[0]
    reads = memory.offset(graph.inputs[0])
    spoiled = replace(made, layers=(replace(first, value_offset=reads), *made.layers[1:]))
    with pytest.raises(HazardError, match=f"layer {first.name}, region 0.*writes nothing it reads"):
        prove(graph, memory, spoiled)


def test_regions_that_leave_a_gap_are_found(har):
    graph, memory, program = har
    layer = next(layer for layer in program.layers if layer.name == "n1_conv")
    grain = grains(layer)[1]
    short = replace(layer, split=replace(grain, elements=grain.elements - 1))
    spoiled = replace(program, layers=tuple(short if other is layer else other for other in program.layers))
    with pytest.raises(HazardError, match="layer n1_conv: expected 400 elements in its units, found 375"):
        prove(graph, memory, spoiled)


def test_a_region_that_cannot_be_cut_enough_names_the_capacitor_that_would_do():
    def compiled(capacitor):
        supply = Supply(farads=capacitor * 1e-6)
        return compile_model(MODELS / "har.onnx", options=Options(supply=supply)).report["power"]

    with pytest.raises(
        RegionError, match=r"layer n\d+_\w+: expected a region of at most .* it takes a capacitor of"
    ) as found:
        compiled(1.0)
    needed = float(str(found.value).split("a capacitor of ")[1].split(" uF")[0])
    minimum = compiled(100.0)["min_capacitor_uf"]
    assert needed == pytest.approx(minimum, rel=0.1)
    assert compiled(minimum)["boots_per_inference"] > 1
    with pytest.raises(RegionError):
        compiled(0.8 * minimum)


def test_boots_of_an_inference():
    assert boots([10, 10, 10], 30) == 1
    assert boots([10, 10, 10], 29) == 2
    assert boots([10, 25, 10], 30) == 3
    assert boots([10, 31], 30) == inf


@pytest.mark.parametrize("board", BOARD_NAMES)
def test_wear(board):
    report = compile_model(MODELS / "har.onnx", options=Options(target=board)).report["power"]
    assert report["measured"]
    if board == "msp430":
        assert report["writes_per_granule_max"] == report["regions"] + 1  # the input's commit besides
    else:
        assert 1 <= report["writes_per_granule_max"] < 6


def test_region_names(har):
    _, _, program = har
    made = cut(program, works(program), for_budget(program, Budget(cycles=7e5, boot_cycles=0, commit_cycles=100)))
    names = [_region_name(made, number) for number in range(made.regions + 1)]
    assert len(set(names)) == made.regions + 1
    assert names[-1] == "the publishing of the outputs"


@pytest.mark.parametrize(
    ("text", "value"), [("100uF", 1e-4), ("4.7 mF", 4.7e-3), ("1F", 1.0), ("47 µF", 4.7e-5), ("330nF", 3.3e-7)]
)
def test_quantities(text, value):
    assert quantity(text, "F", "--capacitor") == pytest.approx(value)


@pytest.mark.parametrize("text", ["", "100", "uF", "-1uF", "0uF", "1e9uF", "100uJ", "100xF", "1,5uF", "nan"])
def test_quantities_that_are_none(text):
    with pytest.raises(FreemlError, match=r"--capacitor: expected a positive number with its unit, as in 100uF"):
        quantity(text, "F", "--capacitor")


def test_supplies():
    supply = parse_supply("100uF", v_on=3.0, v_off=1.9, energy=None, cycles=None)
    assert supply.nanojoules == pytest.approx(269_500)
    board = BOARDS["msp430"]
    assert supply.microfarads_for(supply.budget_cycles(board), board) == pytest.approx(100)
    with pytest.raises(FreemlError, match="--capacitor and --budget-cycles: expected one of them"):
        parse_supply("100uF", v_on=3.0, v_off=1.9, energy=None, cycles=5)
    with pytest.raises(FreemlError, match="--v-on, --v-off"):
        parse_supply(None, v_on=1.9, v_off=1.9, energy=None, cycles=None)
    assert parse_supply(None, v_on=3.0, v_off=1.9, energy="5mJ", cycles=None).nanojoules == pytest.approx(5e6)
