"""The power of the emitted C, cut on this machine: nets of every operator survive, and the harness does what it says."""

import ctypes
import random
import shutil
from dataclasses import replace

import pytest
from cgates.gate_nets import NETS
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from power.products import net, opened, patched, write_folder

from freeml.errors import FreemlError
from freeml.ops.clip import Clip
from freeml.power.host import choose_samples, run_host
from freeml.power.host_library import (
    CUT,
    DESCENDING,
    ENDED,
    OLD,
    RANDOM,
    SPOILT,
    WANTED,
    Write,
    spoilt,
)  # fmt: skip
from freeml.power.host_scenarios import Expected, expected_after, expected_at_first
from freeml.power.result import ReplayError, parse_replay
from freeml.toolchains import installed_host
from ops.compiled import compiled
from ops.nets import nets
from ops.sketch import Sketch

BOARDS = ("msp430", "apollo4")
SMALL = ("har", "operators-wide", "tiny")
SAMPLED = 400


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Folders by net and board, each written once."""
    known = {}

    def folder(name, board):
        if (name, board) not in known:
            known[name, board] = write_folder(tmp_path_factory.mktemp("net") / "net", net(name), board)
        return known[name, board]

    return folder


@pytest.fixture(scope="module", params=BOARDS)
def worker(request, folders, tmp_path_factory):
    """The tiny net in this process."""
    return opened(folders("tiny", request.param), tmp_path_factory.mktemp("library"))


def _lines(report):
    return (report.failures, report.replay, report.reason)


# --- nets survive ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("board", BOARDS)
@pytest.mark.parametrize("name", SMALL)
def test_a_cut_everywhere(folders, name, board):
    report = run_host(folders(name, board), "exhaustive", jobs=2)
    assert _lines(report) == (0, None, None)
    assert report.cuts > 500 and report.boots_max == 3


@pytest.mark.parametrize("name", ["lenet5", "twohead-int16"])
def test_a_sample_of_cuts(folders, name):
    report = run_host(folders(name, BOARDS[name != "lenet5"]), "exhaustive", limit=SAMPLED, jobs=2)
    assert _lines(report) == (0, None, None)
    # The first cut of every stretch that is looked into comes along.
    assert report.cuts >= SAMPLED and f"sample of {SAMPLED:,} of " in report.notes[0]


@pytest.mark.nightly
@pytest.mark.parametrize("board", BOARDS)
@pytest.mark.parametrize("name", [name for name in NETS if not name.startswith("far")])
def test_a_cut_everywhere_in_every_net(folders, name, board):
    for mode in ("exhaustive", "linear"):
        assert _lines(run_host(folders(name, board), mode, jobs=2)) == (0, None, None)


@pytest.mark.parametrize("board", BOARDS)
def test_boots_that_grow_come_to_the_end(folders, board):
    report = run_host(folders("tiny", board), "linear")
    assert _lines(report) == (0, None, None)
    assert report.cuts + 1 == report.boots_max > 5


def test_all_pairs_of_cuts(folders):
    report = run_host(folders("tiny", "msp430"), "depth2", jobs=2)
    assert _lines(report) == (0, None, None)
    assert report.cuts > 50_000 and "were not repeated" in report.notes[0]


def test_all_pairs_of_cuts_in_records(folders):
    assert _lines(run_host(folders("tiny", "apollo4"), "depth2", jobs=2)) == (0, None, None)


def test_a_sample_of_pairs(folders):
    report = run_host(folders("har", "msp430"), "depth2", limit=2_000, jobs=2)
    assert _lines(report) == (0, None, None)
    assert 1_000 < report.cuts < 4_000 and "second ones each" in report.notes[0]


@settings(max_examples=3, phases=(Phase.explicit, Phase.generate))  # a failure is told by its seed: no shrinking
@given(made=nets(), board=st.sampled_from(BOARDS), seed=st.integers(0, 2**16), most=st.sampled_from((1, 3, 40)))
def test_random_nets_regions_and_sequences_of_cuts(tmp_path_factory, made, board, seed, most):
    place = tmp_path_factory.mktemp("random")
    graph, samples = made
    worker = opened(write_folder(place / "net", compiled(graph, samples), board, seed=seed, most=most), place, seed)
    assert not worker.hazard()["found"]
    chance = random.Random(seed)
    for number, scenario in enumerate(worker.survey()["scenarios"]):
        last = scenario["stretches"][-1][1]
        whole = {"do": "exhaustive", "scenario": number, "stretches": (0, len(scenario["stretches"])), "picks": None}
        assert worker.cut(whole)["first"] is None
        for length in (2, 3, 3) if number == 0 and board == "msp430" else ():
            places = [chance.randrange(last) for _ in range(length)]
            assert worker.cut({"do": "replay", "scenario": number, "survived": places})["first"] is None


# --- the harness ----------------------------------------------------------------------------------------------------------


def test_a_cut_leaves_the_image_that_is_tried(worker):
    """The images of the proof are put together from the log; here the power really fails, at every granule."""
    cutter, machine = worker.cutter(0), worker.machine
    kinds = set()
    for number in range(len(cutter.golden.ends)):
        for image, n, kind in cutter.first_cuts(number, None):
            tried, kinds = image.raw, kinds | {kind}
            boot = machine.boot(cutter.golden.scenario.image, survive=n, spoil=kind, random=cutter.random, force=True)
            due = ENDED if n == cutter.golden.boot.written else CUT
            assert (boot.outcome, boot.written) == (due, n)
            assert machine.nv() == tried, (n, kind)
    assert kinds == ({OLD, DESCENDING} if machine.granule == 2 else {OLD, *SPOILT})


def test_wide_stores_are_torn(folders, tmp_path):
    """The index of the largest score is an int32: two granules of FRAM."""
    golden = opened(folders("tiny", "msp430"), tmp_path).cutter(0).golden
    parts = [(write.part, write.parts) for write in golden.log[: golden.boot.written]]
    assert (0, 2) in parts and (1, 2) in parts
    assert all((write.at % 2, write.parts <= 2) == (0, True) for write in golden.log[: golden.boot.written])


def test_agreement_is_of_the_whole_state(worker):
    """A run agrees with itself, and no longer when a byte of any part of the recorded state is another."""
    machine, scenario = worker.machine, worker.cutter(0).golden.scenario
    machine.forget_state()
    assert machine.boot(scenario.image, force=True, record=3).outcome == ENDED
    agreed = machine.boot(scenario.image, force=True, compare=True)
    assert (agreed.outcome, agreed.commits) == (2, 3)
    state = machine._state
    for part in (state.nv, state.sram, ctypes.addressof(state.frames), ctypes.addressof(state.registers)):
        place = (ctypes.c_ubyte * 1).from_address(part)
        place[0] ^= 1
        assert machine.boot(scenario.image, force=True, compare=True).outcome == ENDED
        place[0] ^= 1
    assert machine.boot(scenario.image, force=True, compare=True).outcome == 2


def test_volatile_memory_is_rubbish_after_a_cut(worker):
    """Whatever it holds at first, a resumed run does the same."""
    machine, golden = worker.machine, worker.cutter(0).golden
    middle = golden.commits[len(golden.commits) // 2] + 1
    seen = set()
    for poison in (0x00, 0xA5, 0xFF):
        machine.set_poison(poison)
        assert machine.boot(golden.scenario.image, survive=middle, force=True).outcome == CUT
        boot = machine.boot(None)
        # What fills a granule up may come from a volatile arena, and means nothing.
        seen.add((boot, None if machine.mirrored else machine.nv()))
    machine.set_poison(0xA5)
    assert len(seen) == 1 and seen.pop()[0].shows_at_end == WANTED


def test_what_is_left_of_a_granule():
    old, new = bytes(range(16)), bytes(range(100, 116))
    left = {kind: spoilt(kind, 7, old, new) for kind in (OLD, *SPOILT)}
    assert len(set(left.values())) == 6 and all(len(granule) == 16 for granule in left.values())
    assert spoilt(RANDOM, 8, old, new) != left[RANDOM] == spoilt(RANDOM, 7, new, old)


def test_what_a_boot_may_see(worker):
    """Before, in and after the start of an inference."""
    golden = worker.cutter(0).golden
    first, boot = expected_at_first(golden.scenario), golden.boot
    idle, pending, ended = (False, 0), (True, 0), (False, WANTED)
    assert first.seen == {idle}
    assert expected_after(boot, first, boot.at_start, OLD).seen == {idle}
    assert expected_after(boot, first, boot.at_start, RANDOM).seen == {idle, pending}
    assert expected_after(boot, first, boot.at_started, OLD) == Expected(frozenset({pending, ended}), WANTED)
    assert expected_after(boot, first, boot.at_end, OLD).seen == {ended}
    assert expected_after(boot._replace(booted=False), first, 1, OLD) == first


def test_every_compiler_counts_the_same_cuts(folders):
    reports = [run_host(folders("tiny", "msp430"), "exhaustive", toolchain=found.kind) for found in installed_host()]
    assert {(_lines(report), report.cuts) for report in reports} == {((0, None, None), reports[0].cuts)}


def test_as_many_processes_as_wanted_find_the_same(folders, tmp_path):
    broken = patched(
        folders("tiny", "msp430"),
        tmp_path / "m",
        "runtime/fm_run.c",
        "result_bits() ^ FM_PROGRESS_RESULT",
        "result_bits()",
    )
    shares = []
    one = run_host(broken, "exhaustive", jobs=1)
    more = run_host(broken, "exhaustive", jobs=3, progress=lambda text, share: shares.append(share))
    assert replace(one, wall_s=0.0) == replace(more, wall_s=0.0) and one.failures > 1
    assert shares[0] == 0.0 and shares[-1] == 1.0 and all(0.0 <= share <= 1.0 for share in shares)


def test_a_net_with_one_result_only(tmp_path):
    """Nothing tells an earlier result from a new one: said, and the rest is checked."""
    s = Sketch(seed=1)
    graph = s.graph(s.add(Clip(low=0.5, high=0.5), s.input(1, 3)))
    folder = write_folder(tmp_path / "net", compiled(graph, s.samples(4)), "msp430")
    report = run_host(folder, "exhaustive")
    assert _lines(report) == (0, None, None) and "all results are equal" in report.notes[0]


def test_samples_differ_in_their_results():
    samples = choose_samples(net("tiny").planned, seed=5)
    assert len(set(samples.inputs)) == len(set(samples.outputs)) == 3
    assert samples == choose_samples(net("tiny").planned, seed=5) != choose_samples(net("tiny").planned, seed=6)


@pytest.mark.parametrize("text", ["", "1,,2", "a", "-1"])
def test_strings_that_are_none(folders, text):
    with pytest.raises(ReplayError):
        run_host(folders("tiny", "msp430"), "replay", replay=text)
    with pytest.raises(FreemlError, match="expected a string"):
        run_host(folders("tiny", "msp430"), "replay")


def test_a_string_of_cuts_that_harm_nothing(folders):
    report = run_host(folders("tiny", "apollo4"), "replay", replay="3,0,5")
    assert _lines(report) == (0, None, None)
    assert parse_replay("3,0,5") == (3, 0, 5) and report.boots_max >= 4


def test_a_folder_that_is_not_whole(folders, tmp_path):
    shutil.copytree(folders("tiny", "msp430"), tmp_path / "copy")
    (tmp_path / "copy" / "host" / "far.c").unlink()
    with pytest.raises(FreemlError, match=r"far\.c"):
        run_host(tmp_path / "copy", "exhaustive")
    assert ctypes.sizeof(Write) == 24
