"""Budgets of energy: what the report estimates is the limit; and what forms of weights cost in time."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from test_limits import packed_conv, perceptron, samples

import blobs
import freeml
from blobs import arrays
from compiling import compiled, flash
from freeml.artifact import Artifact
from freeml.cli import main
from freeml.codegen.lower import lower
from freeml.compression.allocate import Estimator, Need, allocate, fewer_bits, follows, refined
from freeml.compression.budget import Budget
from freeml.compression.channels import find_channels
from freeml.compression.coarse import coarse_bits, coarsen, weight_axes
from freeml.compression.floats import ModuleBudget
from freeml.compression.front import advice, front_table, relaxed
from freeml.errors import CompressionError, FreemlError
from freeml.making import Made
from freeml.ops.conv import QConv
from freeml.ops.dense import QDense
from freeml.ops.storage import Packed
from freeml.options import Options
from freeml.passes.fuse import fusion_groups
from freeml.pipeline import compile_model, prepare
from freeml.plan.cost import load_cost_model
from freeml.plan.layout import to_channels_last
from freeml.plan.memory import arena_alignment, plan_memory
from freeml.plan.storage import pack_weights
from freeml.quant.quantize import Precision, quantize
from freeml.quant.ranges import observe
from freeml.report import terminal
from freeml.report.figures import CompressionRound
from freeml.targets import get
from freeml.work import layer_table

BOARD = get("msp430")


def spent(artifact: Artifact) -> float:
    """Joules of an inference, as the report says."""
    return float(artifact.report["power"]["inference_uj"]) * 1e-6


@pytest.fixture(scope="module")
def frugal(model: Path, plain: Artifact) -> Artifact:
    """Compressed to two thirds of the energy; neither flash nor RAM is limited."""
    return compiled(model, Budget(energy_joules=2 * spent(plain) / 3, max_drop_points=2.0))


def test_the_budget_is_met_by_the_figure_that_is_printed(
    frugal: Artifact, plain: Artifact, capsys: pytest.CaptureFixture[str]
) -> None:
    assert spent(frugal) <= 2 * spent(plain) / 3
    assert frugal.report["power"]["inference_cycles"] < 0.75 * plain.report["power"]["inference_cycles"]
    first, *_, last = frugal.report["compression"]["rounds"]
    assert first["energy_uj"] == plain.report["power"]["inference_uj"]
    assert last["energy_uj"] == frugal.report["power"]["inference_uj"]
    assert all(layer["stored"] is None for layer in frugal.report["layers"]), "without --flash weights stay plain"
    terminal.print_report(frugal.report, Path("out"))
    printed = capsys.readouterr().out
    assert f"{last['energy_uj']:,.1f} uJ" in printed
    assert "an inference, without boots" in printed
    assert "estimates" in printed


def test_the_figure_is_what_the_simulator_counts(plain: Artifact, tmp_path: Path) -> None:
    """Regions and commits of one inference: about what running it counts; and no less than its layers take."""
    plain.write(tmp_path / "out")
    x = arrays()["x_test"][:3]
    np.save(tmp_path / "x.npy", x)
    done = CliRunner().invoke(
        main, ["run", str(tmp_path / "out"), "--on", "board", "--input", str(tmp_path / "x.npy"), "--json"]
    )
    assert done.exit_code == 0, done.output
    counted = json.loads(done.stdout)
    assert counted["energy_nj"] / 3 / 1e3 == pytest.approx(plain.report["power"]["inference_uj"], rel=0.05)
    assert counted["cycles"] / 3 == pytest.approx(plain.report["power"]["inference_cycles"], rel=0.05)


@pytest.mark.nightly
def test_an_interrupted_search_goes_on_to_the_same_bytes(
    model: Path, plain: Artifact, frugal: Artifact, tmp_path: Path
) -> None:
    seen: list[object] = []

    def stop(row: object) -> None:
        seen.append(row)
        if len(seen) == 5:
            raise KeyboardInterrupt

    options = Options(budget=Budget(energy_joules=2 * spent(plain) / 3, max_drop_points=2.0))
    with pytest.raises(KeyboardInterrupt, match="the same command goes on from there"):
        compile_model(model, options=options, data=arrays(), output=tmp_path / "out", on_round=stop)
    again = compile_model(model, options=options, data=arrays(), output=tmp_path / "out")
    assert again.files == frugal.files


def test_below_what_no_channel_helps(model: Path) -> None:
    with pytest.raises(
        CompressionError, match=r"--energy 1 uJ is below what this net takes with one channel"
    ) as caught:
        compiled(model, Budget(energy_joules=1e-6))
    irreducible = caught.value.details["irreducible"]
    assert isinstance(irreducible, dict)
    assert irreducible["energy_uj"] > 1
    assert f", energy {irreducible['energy_uj']:,.1f} uJ (estimated)" in str(caught.value)
    assert "2 bits a weight" not in str(caught.value)


def test_no_data(model: Path, plain: Artifact) -> None:
    with pytest.raises(
        FreemlError, match=r"--energy 3 uJ: expected labelled data .* energy [0-9.]+ uJ \(estimated\); give --data"
    ):
        compile_model(model, options=Options(budget=Budget(energy_joules=3e-6)))
    # Calibrated on inputs that are made up, it is another integer net: hardly, but not exactly, as costly.
    found = freeml.compile(str(model), energy=1.1 * spent(plain))
    assert spent(found) <= 1.1 * spent(plain)
    assert found.report["layers"][0]["stored"] is None


@pytest.mark.parametrize("text", ["5", "5mV", "-1mJ", "0uJ"])
def test_what_is_no_energy(model: Path, text: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["compile", str(model), "--energy", text, "--out", str(tmp_path / "o")])
    assert done.exit_code == 2
    assert not (tmp_path / "o").exists()
    with pytest.raises(FreemlError, match="--energy: expected an energy above 0 with its unit"):
        freeml.compile(str(model), energy=text)
    with pytest.raises(FreemlError, match="--energy: expected an energy above 0"):
        freeml.compile(str(model), energy=-1.0)


def test_torch_modules_take_no_energy() -> None:
    with pytest.raises(FreemlError, match="energy: expected a board to go with"):
        ModuleBudget(flash_bytes=1000, energy_joules=1e-3)


def test_sparsecomp_lowers_no_energy(model: Path, plain: Artifact) -> None:
    """The flash is met, the energy is not: said at once, not after further training."""
    budget = Budget(flash_bytes=flash(plain), energy_joules=spent(plain) / 2, method="sparsecomp")
    with pytest.raises(CompressionError, match="SparseComp lowers the bytes of weights only") as caught:
        compiled(model, budget)
    assert f"an inference is estimated to take {1e6 * spent(plain):,.1f} uJ" in str(caught.value)


ROUNDS = (
    CompressionRound(flash=900, ram=90, cycles=5000, validation=0.95, built=True, energy_uj=1234.56),
    CompressionRound(flash=700, ram=80, cycles=3000, validation=0.945, built=True, energy_uj=800.04),
    CompressionRound(flash=600, ram=70, cycles=2000, validation=0.7, built=True, energy_uj=500.0),
)


def test_the_front_shows_energy_and_what_to_allow() -> None:
    budget = Budget(energy_joules=600e-6)
    text = front_table(ROUNDS, budget, 0.95)
    assert "energy uJ" in text
    assert all(figure in text for figure in ("1,234.6", "800.0", "500.0"))
    found = relaxed(ROUNDS, budget, before=0.95, drop=25.0)
    assert (found.max_drop, found.energy_uj, found.flash, found.ram) == (25.0, 800.04, None, None)
    assert advice(found, budget) == "--max-drop 25 or --energy 800.1uJ would do"
    both = Budget(flash_bytes=650, energy_joules=600e-6)
    assert advice(relaxed(ROUNDS, both, before=0.95, drop=None), both) == "--flash 700 --energy 800.1uJ would do"
    assert not budget.misses(900, 90, 500e-6)
    silent = Budget(flash_bytes=650)
    assert "energy" not in front_table(ROUNDS, silent, 0.95)
    assert relaxed(ROUNDS, silent, before=0.95, drop=25.0).energy_uj is None


# --- the choice -------------------------------------------------------------------------------------------------------


def judge(graph, **more) -> Estimator:
    return Estimator(
        board=BOARD, precision=Precision(), prices=load_cost_model("msp430", "zig"), inputs=samples(graph),
        joules_per_cycle=2e-10, whole_bytes=128, **more,
    )  # fmt: skip


def test_what_lacks_is_energy_alone() -> None:
    """Channels go until the estimate is within the budget; bits, which cost time, stay."""
    graph = perceptron(64, 64, 32, 10)
    channels, estimator = find_channels(graph), judge(graph)
    before = estimator.need(graph)
    assert before.joules == pytest.approx(2e-10 * before.cycles, rel=1e-3)
    scores, coarse = dict.fromkeys(channels.units, 1.0), dict.fromkeys(fewer_bits(graph), 1e-9)
    limit = 0.6 * before.joules
    cuts = allocate(graph, channels, scores, coarse, {}, estimator, flash=1e9, ram=1e9, energy=limit)
    assert cuts.units
    assert not cuts.bits
    after = estimator.need(cuts.apply(graph, channels))
    assert 0.5 * before.joules < after.joules <= limit


def test_bits_that_would_break_the_energy_are_not_taken() -> None:
    graph = perceptron(64, 64, 32, 10)
    channels, estimator = find_channels(graph), judge(graph)
    before = estimator.need(graph)
    scores, coarse = dict.fromkeys(channels.units, 1.0), dict.fromkeys(fewer_bits(graph), 1e-9)
    limits = {"flash": before.flash - 50.0, "ram": 1e9}
    assert allocate(graph, channels, scores, coarse, {}, estimator, **limits).bits
    cuts = allocate(graph, channels, scores, coarse, {}, estimator, energy=before.joules, **limits)
    after = estimator.need(cuts.apply(graph, channels))
    assert not cuts.bits
    assert after.flash <= limits["flash"]
    assert after.joules <= before.joules


def test_time_follows_what_is_removed() -> None:
    """Rows of dense layers are unpacked before each use: free bits are taken only when channels have paid for them."""
    graph = perceptron(64, 64, 32, 10)
    channels, estimator = find_channels(graph), judge(graph)
    start = estimator.need(graph)
    scores, coarse = dict.fromkeys(channels.units, 1.0), dict.fromkeys(fewer_bits(graph), 1e-9)
    limits = {"flash": start.flash - 0.6 * 6_500, "ram": 1e9}
    slow = estimator.need(allocate(graph, channels, scores, coarse, {}, estimator, **limits).apply(graph, channels))
    cuts = allocate(graph, channels, scores, coarse, {}, estimator, start=start, **limits)
    found = estimator.need(cuts.apply(graph, channels))
    assert slow.flash <= limits["flash"]
    assert found.flash <= limits["flash"]
    assert not follows(slow, start)
    assert follows(found, start)
    assert found.cycles / start.cycles <= 1 - 0.5 * (1 - found.macs / start.macs)


def test_bits_all_the_same_where_no_channel_can_go() -> None:
    """Speed is worth less than a budget."""
    graph = perceptron(784, 10)
    channels, estimator = find_channels(graph), judge(graph)
    start = estimator.need(graph)
    assert not channels.families
    cuts = allocate(
        graph, channels, {}, dict.fromkeys(fewer_bits(graph), 1.0), {}, estimator,
        flash=start.flash - 3000, ram=1e9, start=start,
    )  # fmt: skip
    assert cuts.bits


def test_follows() -> None:
    start = Need(flash=0, ram=0, cycles=1000, macs=100)
    assert follows(start, start)
    assert follows(replace(start, cycles=740, macs=50), start)
    assert not follows(replace(start, cycles=741, macs=50), start)
    assert not follows(replace(start, cycles=750, macs=50), start), "half and a margin"
    assert not follows(replace(start, cycles=1001), start)


def test_bits_that_saved_too_much_are_given_back() -> None:
    """The largest layer that fits first, from 2 bits to 4 where 8 are too many, and never more than there is."""
    graph = perceptron(40, 30, 20, 10)  # 1200, 600 and 200 weights
    first, second, third = weight_axes(graph)
    for name, bits in ((first, 4), (second, 2), (third, 4)):
        graph = coarsen(graph, name, bits)
    assert refined(graph, 99) is graph
    found = {spare: coarse_bits(refined(graph, spare)) for spare in (100, 200, 300, 450, 600, 1150)}
    assert found[100] == {first: 4, second: 2}
    assert found[200] == {first: 4, second: 4, third: 4}
    assert found[300] == {first: 4, second: 4}
    assert found[450] == {first: 4, third: 4}
    assert found[600] == {second: 2, third: 4}
    assert found[1150] == {}
    for spare, bits in found.items():
        assert sum(graph.constants[n].size * (bits.get(n, 8) - b) / 8 for n, b in coarse_bits(graph).items()) <= spare


def test_cycles_count_commits_and_what_regions_unpack() -> None:
    """The estimate is of the net as it is cut."""
    graph = packed_conv()
    cut, whole = (judge(graph, regions=regions).need(graph).cycles for regions in ("element", "layer"))
    assert cut > whole + 64 * BOARD.commit_cycles


# --- the table --------------------------------------------------------------------------------------------------------


def test_the_table_says_what_a_form_saves_and_costs(capsys: pytest.CaptureFixture[str]) -> None:
    """The figures of a packed layer are the difference of two compiles, with it and without."""
    coarse = packed_conv()
    seen = observe(coarse, samples(coarse, 4))
    qgraph = to_channels_last(
        quantize(coarse, seen, precision=Precision(), method="minmax", groups=fusion_groups(coarse))
    )
    prices = load_cost_model("msp430", "zig")
    rows = []
    for graph in (qgraph, pack_weights(qgraph, 2048)):
        program = lower(graph, plan_memory(graph, arena_alignment(BOARD)), board=BOARD)
        (row,) = [row for row in layer_table(coarse, graph, program, prices) if "Conv" in row.op]
        rows.append(row)
    plain, packed = rows
    assert plain.stored is None
    assert plain.predicted_cost is not None
    assert packed.predicted_cost is not None
    assert packed.stored is not None
    assert packed.stored.form == "4 bits, unpacked at once"
    assert packed.stored.bytes_saved == 16 * 12 * 9 // 2 == plain.weight_bytes - packed.weight_bytes
    assert packed.stored.cost_added == packed.predicted_cost - plain.predicted_cost > 0
    layers = [{"name": r.name, "predicted_cost": r.predicted_cost, "stored": None} for r in rows]
    terminal.print_stored(layers, "cycles")
    assert not capsys.readouterr().out
    stored = {"form": "delta", "bytes_saved": 864, "cost_added": -5}
    terminal.print_stored([{**layers[0], "stored": stored}], "cycles")
    assert not capsys.readouterr().out, "a form that saves time needs no excuse"
    terminal.print_stored([{**layers[0], "stored": {**stored, "cost_added": 23_456}}], "cycles")
    printed = capsys.readouterr().out
    assert all(text in printed for text in ("slower than with plain weights", "delta", "864 B", "23,456"))


def test_flash_that_is_left_buys_time(tmp_path: Path) -> None:
    """Under a tight budget a net of 4 bits is packed; where some is left, as many layers whose rows are unpacked before
    each use are plain as it pays for."""
    path, data = blobs.save_model(tmp_path / "net.onnx"), arrays()
    prepared = prepare(path, Options(budget=Budget(flash_bytes=1)), data)
    graph = prepared.graph
    for name in weight_axes(graph):
        graph = coarsen(graph, name, 4)
    tight = prepared.made(graph)
    built = {
        spare: replace(prepared, options=Options(budget=Budget(flash_bytes=tight.flash_bytes + spare))).made(graph)
        for spare in (80, 100_000)
    }
    names = {spare: [form is not None for form in forms(made)] for spare, made in built.items()}
    assert forms(tight) == [Packed(bits=4, whole=whole) for whole in (True, False, False)]
    assert names == {80: [True, True, False], 100_000: [True, False, False]}
    assert built[100_000].energy_joules < built[80].energy_joules < tight.energy_joules
    for spare, made in built.items():
        assert made.flash_bytes <= tight.flash_bytes + spare
        x = data["x_val"][:20]
        np.testing.assert_array_equal(made.predictions(x, None), tight.predictions(x, None))


def forms(made: Made) -> list[object]:
    return [stage.op.packed for stage in made.qgraph.stages() if isinstance(stage.op, (QConv, QDense))]
