"""The power of a flashed image, cut on the board's simulator: the firmware survives, and broken ones are found out."""

import random
import shutil
from pathlib import Path

import pytest

from freeml.building import build_firmware
from freeml.options import Options
from freeml.pipeline import compile_model
from freeml.power import board_cuts
from freeml.power.board import run_board_cuts
from freeml.power.boots import Cycles, Energy, journey
from freeml.power.prover import Cut, Prover, after, digest, images, spoilt
from freeml.power.result import ReplayError, parse_replay
from freeml.power.rig import PowerError, Rig, open_folder
from freeml.regions.supply import Supply

MODELS = Path(__file__).parents[2] / "examples" / "models"
NETS = sorted(path.stem for path in MODELS.glob("*.onnx"))
BOARDS = ("apollo4", "msp430")
FEW = 120


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """Folders by net and board, each compiled once."""
    known = {}

    def folder(name, board):
        if (name, board) not in known:
            known[name, board] = tmp_path_factory.mktemp(f"{name}-{board}") / "out"
            # On the Apollo4 a charge of the default capacitor pays for all: a smaller one, so that records go around.
            small = 2e-6 if name == "har" else 6e-6
            supply = Supply(farads=small if board == "apollo4" else 100e-6)
            compile_model(
                MODELS / f"{name}.onnx", options=Options(target=board, supply=supply), output=known[name, board]
            )
        return known[name, board]

    return folder


@pytest.fixture(scope="module")
def prover(compiled):
    _, subject = open_folder(compiled("har", "msp430"))
    return Prover(subject, Rig(subject).golden(), 0)


# --- the firmware survives ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("board", BOARDS)
def test_a_cut_at_every_instruction_of_the_watch_net(compiled, board):
    report = run_board_cuts(compiled("har", board), "exhaustive")
    assert (report.failures, report.replay, report.reason) == (0, None, None)
    assert report.instructions > 500_000 and report.boots_max == 2
    _, subject = open_folder(compiled("har", board))
    rig = Rig(subject)
    golden = rig.golden()
    assert report.instructions == golden.instructions + 1 == sum(rig.boundaries(golden))
    plain = len({after(golden.before, golden.writes[:n]) for n in range(len(golden.writes) + 1)})
    assert report.cuts == plain if board == "msp430" else 4 * plain < report.cuts <= 6 * plain


def test_reboots_at_instructions_find_no_other_image(compiled):
    report = run_board_cuts(compiled("har", "msp430"), "exhaustive", every_instruction=True, limit=1000, jobs=2)
    assert (report.failures, report.cuts, report.instructions) == (0, 1000, 1000)


@pytest.mark.parametrize("board", BOARDS)
def test_two_cuts_sampled(compiled, board):
    report = run_board_cuts(compiled("har", board), "depth2", limit=FEW, seed=1)
    assert (report.failures, report.boots_max) == (0, 3)
    assert report.cuts > FEW


@pytest.mark.parametrize("board", BOARDS)
def test_boots_of_the_budget_come_to_the_end(compiled, board):
    report = run_board_cuts(compiled("har", board), "linear")
    assert report.failures == 0 and report.cuts == report.boots_max - 1


def test_small_boots_make_progress_until_one_region_is_too_large(compiled):
    folder = compiled("har", "msp430")
    artifact, _ = open_folder(folder)
    power = artifact.report["power"]
    needed = power["boot_cycles"] + power["largest_region_cycles"]
    # The region planned to be the largest is for another input than the test vector's, so a hundredth more will do.
    enough = run_board_cuts(folder, "linear", budget_cycles=1.01 * needed)
    assert enough.failures == 0 and enough.boots_max > 10
    short = run_board_cuts(folder, "linear", budget_cycles=0.8 * needed)
    assert short.failures == 1 and short.replay is None
    assert power["largest_region"].removeprefix("layer ").split(",")[0] in short.reason
    wanted = int(short.reason.split("wants ")[1].split(" cycles")[0].replace(",", ""))
    assert 0.8 * needed < wanted <= 1.01 * needed


def test_no_boot_for_the_input(compiled):
    report = run_board_cuts(compiled("har", "msp430"), "linear", budget_cycles=5000)
    assert report.failures == 1 and "the capture of the input" in report.reason


# --- replay -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("board", BOARDS)
def test_replay_of_what_is_right(compiled, board):
    report = run_board_cuts(compiled("har", board), "replay", replay="30,7")
    assert (report.failures, report.boots_max) == (0, 3)
    assert report.cuts == (1 if board == "msp430" else 6**2)


def test_replay_of_no_cut_at_all(compiled):
    with pytest.raises(ReplayError, match="comes to its verdict after"):
        run_board_cuts(compiled("har", "msp430"), "replay", replay="5,1000000")
    with pytest.raises(ReplayError, match="found none"):
        run_board_cuts(compiled("har", "msp430"), "replay")


# --- broken firmwares are found out ---------------------------------------------------------------------------------------

MUTANTS = {
    "commit before the region ran": (
        "runtime/fm_run.c",
        "    layer->run(first, end);\n    keep_units(layer, first, end);\n    commit(",
        "    commit(",
        "(cursor() + 1U));\n    return 1;",
        "(cursor() + 1U));\n    layer->run(first, end);\n    keep_units(layer, first, end);\n    return 1;",
    ),
    "cursor one too far after a boot": (
        "runtime/fm_run.c",
        "        restore();\n",
        "        fm_progress_now = (uint16_t)(fm_progress_now + (cursor() > 1U));\n        restore();\n",
    ),
    "progress in two stores": (
        "runtime/fm_progress.c",
        "    put(&kept.word, word);\n}",
        "    put(&kept.word, (uint16_t)(kept.word | word));\n    put(&kept.word, word);\n}",
    ),
    "publish before the outputs are there": (
        "runtime/fm_run.c",
        "    for (unsigned i = 0; i < FM_OUTPUT_COUNT; ++i) {\n#if",
        "    commit(next | FM_PROGRESS_VALID);\n    for (unsigned i = 0; i < FM_OUTPUT_COUNT; ++i) {\n#if",
    ),
}
MUTANTS_OF_MRAM = {
    "check of a record ignored": (
        "runtime/fm_progress.c",
        " || records[i].check != check_of(identity, sequence, stored)",
        "",
    ),
    "arena not restored": ("runtime/fm_run.c", "        restore();\n", "        (void)restore;\n"),
    "regions not kept": (
        "runtime/fm_run.c",
        "    keep_units(layer, first, end);\n",
        "    (void)keep_units;\n",
    ),
}

EVERYWHERE = dict.fromkeys(
    ("commit before the region ran", "cursor one too far after a boot", "arena not restored"), FEW
)
"""Wrong after so many cuts that a sample of them does. The others show at a handful of images, and take them all."""


def mutated(folder, target, file, *edits):
    """A copy of a compiled folder, with text of a source replaced, built."""
    shutil.copytree(folder, target)
    path = target / file
    text = path.read_text()
    for old, new in zip(edits[::2], edits[1::2], strict=True):
        assert text.count(old) == 1, f"{file} no longer holds, once:\n{old}"
        text = text.replace(old, new)
    path.write_text(text)
    build_firmware(target)
    return target


def caught(folder, limit):
    """A broken firmware is found out, and its replay string shows it again."""
    report = run_board_cuts(folder, "exhaustive", limit=limit)
    assert report.failures > 0 and report.reason
    again = run_board_cuts(folder, "replay", replay=report.replay)
    assert again.failures > 0 and again.replay == report.replay
    assert len(parse_replay(report.replay)) == 1


@pytest.mark.parametrize("name", sorted(MUTANTS))
def test_broken_firmware_on_fram(compiled, tmp_path, name):
    caught(mutated(compiled("har", "msp430"), tmp_path / "out", *MUTANTS[name]), EVERYWHERE.get(name))


@pytest.mark.parametrize("name", sorted(MUTANTS_OF_MRAM))
def test_broken_firmware_on_mram(compiled, tmp_path, name):
    caught(mutated(compiled("har", "apollo4"), tmp_path / "out", *MUTANTS_OF_MRAM[name]), EVERYWHERE.get(name))


def test_a_write_after_read_that_no_cut_shows(compiled, tmp_path):
    """A region that stores to its own input what it read from there: harmless today, and an error all the same."""
    touch = (
        "    volatile unsigned char *const input = arena(fm_inputs[0].at);\n    *input = *input;\n"
        "    const fm_layer *const layer"
    )
    folder = mutated(
        compiled("har", "msp430"), tmp_path / "out", "runtime/fm_run.c", "    const fm_layer *const layer", touch
    )
    report = run_board_cuts(folder, "exhaustive", limit=FEW)
    assert (report.failures, report.replay) == (1, None)
    assert "which was read since the last commit" in report.reason and "fm_advance" in report.reason


def test_a_boot_that_hangs_is_a_failure_with_a_place(prover):
    assert prover.boot(prover.golden.before) is None
    assert "hangs in" in (Hasty(prover).boot(prover.golden.before) or "")


def test_a_fault_is_a_failure_and_the_next_boot_starts_anew(prover):
    """Code that was overwritten: the machine that it ran on is flashed anew."""
    broken = Prover(prover.rig.subject, prover.golden, 0)
    infer = broken.rig.image.symbol("fm_infer")
    broken.rig.machine.write(infer, b"\x00\x00\x00\x00")
    reason = broken.boot(prover.golden.before)
    assert reason is not None and "fm_infer" in reason
    assert broken.boot(prover.golden.before) is None


class Hasty(Prover):
    """Takes any boot to hang after a thousand instructions."""

    def __init__(self, other):
        super().__init__(other.rig.subject, other.golden, 0)
        self._limit = 1000


# --- what the proof rests on ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("board", BOARDS)
def test_fingerprints_tell_states_apart(compiled, board):
    _, subject = open_folder(compiled("har", board))
    rig = Rig(subject)
    machine = rig.machine
    rig.start()
    machine.run(max_instructions=5000)
    here, print_here = machine.snapshot(), machine.fingerprint()
    machine.run(max_instructions=1)
    assert machine.fingerprint() != print_here
    for address in (rig.nv_start, rig.nv_start + rig.nv_bytes - 1, machine.sp, rig.image.symbol("fm_stack_limit")):
        machine.restore(here)
        assert machine.fingerprint() == print_here
        machine.write(address, bytes([machine.read(address, 1)[0] ^ 0x10]))
        assert machine.fingerprint() != print_here
    machine.restore(here)
    for poison in (0, 1):
        rig.start(poison=poison)
        machine.run(max_instructions=5000)
        assert machine.fingerprint() != print_here
    rig.start()
    machine.run(max_instructions=5000)
    assert machine.fingerprint() == print_here


def test_a_watched_machine_does_the_same(prover):
    machine, arena = prover.rig.machine, prover.rig.image.symbol("fm_arena")

    def run(size):
        prover.rig.start()
        machine.watch(arena, size)
        machine.run(max_instructions=300_000)
        return machine.counts(), machine.fingerprint()

    watched, plain = run(prover.rig.subject.arena_bytes), run(0)
    assert watched == plain


def test_a_watch_sees_reads_before_writes_only(prover):
    rig, machine, image = prover.rig, prover.rig.machine, prover.rig.image
    arena, size = image.symbol("fm_arena"), rig.subject.arena_bytes
    rig.start()
    machine.watch(arena, size)
    machine.run(stops={rig.halt})
    assert machine.hazard is None  # every byte was written before it was read
    rig.start()
    machine.watch(0, 0)
    machine.run(stops=prover.golden.returns)
    machine.watch(arena, size)  # with the input there; later layers write over it, which the commits allow
    machine.run(stops={rig.halt})
    number, address, pc = machine.hazard
    assert number > 0 and arena <= address < arena + size and image.function_at(pc)
    assert rig.hazards(prover.golden) is None and machine.hazard is None


def test_same_fingerprint_same_future(prover):
    """Two boots that agree at a commit go on alike, whatever they did before it."""
    golden, rig = prover.golden, prover.rig
    stops = {*golden.returns, rig.halt}
    region = golden.commits[4]

    def at_commit(survived):
        rig.start(after(golden.before, golden.writes[:survived]))
        rig.machine.run(stops=stops)
        rig.forget_stack()
        return rig.machine.fingerprint()

    def rest():
        rig.machine.log_nv(True)
        rig.machine.run(stops={rig.halt})
        return [(write.address, write.data) for write in rig.machine.nv_log()], rig.machine.fingerprint()

    assert golden.commits[5] > region + 1
    first = at_commit(region)
    first_rest = rest()
    assert at_commit(golden.commits[5] - 1) == first
    assert rest() == first_rest
    assert at_commit(region - 1) != first


def test_boundaries_are_those_of_a_stepped_run(prover):
    golden = prover.golden
    boundaries = prover.rig.boundaries(golden)
    stepper = Rig(prover.rig.subject)
    stepper.start()
    seen = [0] * len(boundaries)
    for _ in range(8000):
        seen[stepper.machine.counts().nv_writes] += 1
        stepper.machine.run(max_instructions=1)
    whole = stepper.machine.counts().nv_writes
    assert whole > 20 and seen[:whole] == boundaries[:whole]


def test_images_with_spoilt_granules():
    writes = [(0, b"ab"), (2, b"cd"), (0, b"ab")]
    plain = [image for _, image in images(b"....", writes, spoils=False, seed=0)]
    assert plain == [b"....", b"ab..", b"abcd", b"abcd"]
    assert plain[2] is plain[3]
    every = dict(images(b"....", writes, spoils=True, seed=0))
    assert len(every) == 4 + 3 * 5
    assert every[Cut(1, 0)] == b"ab\0\0" and every[Cut(2, 1)] == b"\xff\xffcd" and every[Cut(1, 3)] == b"abc."
    old, new, mixed = (int.from_bytes(image[:2], "big") for image in (plain[0], plain[1], every[Cut(0, 4)]))
    assert not (mixed ^ old) & (mixed ^ new) and mixed not in (old, new)
    assert every[Cut(0, 2)][:2] == every[Cut(2, 2)][:2] == spoilt(b"....", writes[0], 2, 0)[:2]


def test_classes_stand_for_every_cut(prover):
    """Each image of the run is a class, and the class says the first cut that leaves it."""
    for cut, image in images(prover.golden.before, prover.golden.writes, spoils=False, seed=0):
        assert prover.classes[digest(image)].survived <= cut.survived
    chosen = random.Random(0).sample(sorted(prover.classes.values(), key=lambda cut: cut.order), 20)
    chosen.sort(key=lambda cut: cut.order)
    for cut, image in prover.left_by(chosen):
        assert image == after(prover.golden.before, prover.golden.writes[: cut.survived])
        assert board_cuts.cut_image(prover, prover.golden.before, cut) == image


def test_energy_and_cycles_are_spent_alike(prover):
    """A boot with an energy spends that and not an instruction more than one beyond."""
    rig, golden = prover.rig, prover.golden
    trip = journey(rig, golden, Energy(nanojoules=150_000.0))
    energy = rig.board.energy
    spent = (
        (trip.total.cycles or 0) * energy.nj_per_cycle
        + (trip.total.nv_reads or 0) * energy.nj_per_nv_read
        + trip.total.nv_writes * energy.nj_per_nv_write
    )
    assert trip.stuck is None and trip.boots > 2
    assert 150_000.0 * (trip.boots - 1) < spent < 150_000.0 * trip.boots + 100 * trip.boots
    by_cycles = journey(rig, golden, Cycles(cycles=400_000))
    assert by_cycles.stuck is None
    assert 400_000 * (by_cycles.boots - 1) < (by_cycles.total.cycles or 0) < 400_100 * by_cycles.boots


def test_same_seed_same_report(compiled):
    first, second = (run_board_cuts(compiled("har", "apollo4"), "exhaustive", limit=40, seed=3) for _ in range(2))
    assert (first.cuts, first.instructions, first.notes) == (second.cuts, second.instructions, second.notes)


def test_what_cannot_be_asked_for(compiled):
    with pytest.raises(PowerError, match="every-instruction"):
        run_board_cuts(compiled("har", "msp430"), "depth2", every_instruction=True)


# --- long proofs ----------------------------------------------------------------------------------------------------------


@pytest.mark.nightly
@pytest.mark.parametrize("board", BOARDS)
@pytest.mark.parametrize("name", NETS)
def test_a_cut_at_every_instruction(compiled, name, board):
    report = run_board_cuts(compiled(name, board), "exhaustive")
    assert (report.failures, report.reason) == (0, None)
    print(f"\n{name} on {board}: {report.cuts:,} images, {report.instructions:,} instructions, {report.wall_s:.1f} s")


@pytest.mark.nightly
def test_a_reboot_at_every_instruction_of_the_watch_net(compiled):
    report = run_board_cuts(compiled("har", "msp430"), "exhaustive", every_instruction=True, jobs=2)
    assert (report.failures, report.reason) == (0, None)
    assert report.cuts == report.instructions > 500_000


@pytest.mark.nightly
@pytest.mark.parametrize("name", ["har", "lenet5"])
def test_any_number_of_cuts(compiled, name):
    report = run_board_cuts(compiled(name, "msp430"), "depth2")
    assert report.failures == 0
    assert "any number of cuts" in report.notes[-1]
