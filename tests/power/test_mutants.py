"""The harness is worth something: it finds what is wrong with broken runtimes, and nothing with the one we ship."""

import re
from dataclasses import dataclass

import pytest
from power.products import net, patched, write_folder

from freeml.power.host import run_host

PROGRESS, RUN = "runtime/fm_progress.c", "runtime/fm_run.c"
DIRECT, MIRRORED = "msp430", "apollo4"
BOTH = (DIRECT, MIRRORED)
NEAR_THE_WRAP = (PROGRESS, "newest = 0U;", "newest = 0xFFFFFFF5U;")
"""A board that has committed four thousand million times: the number wraps in the inference that is cut."""


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """A runtime with texts of its files replaced; `says` is part of the reason that is given."""

    patches: tuple[tuple[str, str, str], ...]
    boards: tuple[str, ...] = BOTH
    mode: str = "exhaustive"
    says: str = ""


def _of(path, old, new, **rest):
    return Mutant(patches=((path, old, new),), **rest)


MUTANTS = {
    "commits before the region runs": _of(
        RUN,
        "layer->run(first, end);\n    keep_units(layer, first, end);\n    commit(result_bits() | (cursor() + 1U));",
        "commit(result_bits() | (cursor() + 1U));\n    layer->run(first, end);\n    keep_units(layer, first, end);",
    ),
    "commits before the region is kept": _of(
        RUN,
        "keep_units(layer, first, end);\n    commit(result_bits() | (cursor() + 1U));",
        "commit(result_bits() | (cursor() + 1U));\n    keep_units(layer, first, end);",
        boards=(MIRRORED,),
    ),
    "keeps no regions": _of(
        RUN, "    keep(layer->out + from, layer->out + to);", "    (void)from;\n    (void)to;", boards=(MIRRORED,)
    ),
    "keeps no inputs": _of(
        RUN,
        "keep(fm_inputs[i].at, fm_inputs[i].at + fm_inputs[i].size);",
        "(void)arena(fm_inputs[i].at);",
        boards=(MIRRORED,),
    ),
    "forgets to restore": _of(
        RUN,
        "if (fm_pending()) {\n        restore();",
        "if (cursor() > FM_REGION_COUNT + 1U) {\n        restore();",
        boards=(MIRRORED,),
    ),
    "commits in two stores": _of(
        PROGRESS,
        "{\n    put(&kept.word, word);\n}",
        "{\n    put(&kept.word, (uint16_t)((kept.word & 0xC000U) | (word & 0x3FFFU)));\n    put(&kept.word, word);\n}",
        boards=(DIRECT,),
    ),
    "commits in two words": Mutant(
        patches=(
            (
                PROGRESS,
                "{\n    put(&kept.word, word);\n}",
                "{\n    put(&kept.word, word);\n    put(&kept.unused, word);\n}",
            ),
            (PROGRESS, "return kept.word;", "return (uint16_t)((kept.unused & 0xC000U) | (kept.word & 0x3FFFU));"),
        ),
        boards=(DIRECT,),
    ),
    "has one record": Mutant(
        patches=(
            (PROGRESS, "#define RECORDS 8U", "#define RECORDS 1U"),
            (PROGRESS, "taken = (begun | 1U << (newest % RECORDS)) & place;", "taken = begun & place;"),
        ),
        boards=(MIRRORED,),
    ),
    "ignores the check": _of(
        PROGRESS, " || records[i].check != check_of(identity, sequence, stored)", "", boards=(MIRRORED,)
    ),
    "begins a record twice": _of(PROGRESS, "begun |= 1U << place;", "begun |= 0U;", boards=(MIRRORED,), mode="depth2"),
    "compares sequence numbers without their wrap": Mutant(
        patches=(NEAR_THE_WRAP, (PROGRESS, "(int32_t)(sequence - newest) > 0", "sequence > newest")), boards=(MIRRORED,)
    ),
    "does not ask whose state it is": _of(
        PROGRESS,
        "if (kept.identity[0] != low || kept.identity[1] != high) {",
        "if (low == high + 1U) {",
        boards=(DIRECT,),
    ),
    "takes records of others": Mutant(
        patches=(
            (PROGRESS, "records[i].identity != identity || ", ""),
            (PROGRESS, "check_of(identity, sequence, stored)", "check_of(records[i].identity, sequence, stored)"),
        ),
        boards=(MIRRORED,),
    ),
    "says whose the state is before it is": _of(
        PROGRESS,
        "put(&kept.word, 0U);\n        put(&kept.identity[0], low);\n        put(&kept.identity[1], high);",
        "put(&kept.identity[0], low);\n        put(&kept.identity[1], high);\n        put(&kept.word, 0U);",
        boards=(DIRECT,),
    ),
    "starts without a commit": _of(
        RUN, "    commit(result_bits() | 1U);", "    fm_progress_now = (uint16_t)(result_bits() | 1U);"
    ),
    "does not give up an inference": _of(RUN, "        commit(result_bits());\n", "", says="giving up"),
    "gives up in SRAM only": _of(
        RUN,
        "        commit(result_bits());\n",
        "        fm_progress_now = (uint16_t)result_bits();\n",
        says="giving up",
    ),
    "forgets the result at a start": _of(RUN, "    commit(result_bits() | 1U);", "    commit(1U);", says="no result"),
    "forgets that the inference has ended": _of(
        RUN, "    commit(next | FM_PROGRESS_VALID);", "    commit(next | FM_PROGRESS_VALID | cursor());"
    ),
    "skips a region when it resumes": _of(RUN, "unsigned done = cursor() - 1U;", "unsigned done = cursor();"),
    "commits the first number": _of(
        RUN,
        "    commit(result_bits() | (cursor() + 1U));",
        "    fm_progress_store((uint16_t)(result_bits() | 1U));\n"
        "    fm_progress_now = (uint16_t)(fm_progress_now + 1U);",
        mode="linear",
        says="no progress",
    ),
    "has one place for results": _of(
        RUN, "const unsigned next = result_bits() ^ FM_PROGRESS_RESULT;", "const unsigned next = result_bits();"
    ),
    "publishes before it copies": _of(
        RUN,
        "    for (unsigned i = 0; i < FM_OUTPUT_COUNT; ++i) {\n#if",
        "    commit(next | FM_PROGRESS_VALID);\n    for (unsigned i = 0; i < FM_OUTPUT_COUNT; ++i) {\n#if",
    ),
    "leaves the last granule out": _of(RUN, "    to += FM_NV_GRANULE - 1U;\n", "", boards=(MIRRORED,)),
    "writes less than a granule": _of(
        RUN, "    to -= to % FM_NV_GRANULE;\n", "", boards=(MIRRORED,), says="no whole granule"
    ),
    "reads through no pointer": _of(
        RUN,
        "    unsigned done = cursor() - 1U;",
        "    unsigned done = cursor() - 1U;\n    done += *(const volatile unsigned char *)(uintptr_t)(result_bits() & 0U);",
        says="ended its process",
    ),
    "writes elsewhere": _of(
        RUN,
        "    unsigned done = cursor() - 1U;",
        "    unsigned done = cursor() - 1U;\n    *(volatile unsigned char *)((uintptr_t)fm_results - 0x100000U) = 0U;",
        says="outside the product's memory",
    ),
    "writes MRAM by plain stores": _of(
        RUN,
        "    fm_nv_write(&fm_kept[from], arena(from), to - from);",
        "    for (; from < to; ++from) {\n        fm_kept[from] = *arena(from);\n    }",
        boards=(MIRRORED,),
        says="plain store",
    ),
    "shows what SRAM holds": _of(
        RUN,
        "    return result + fm_outputs",
        "    return result - result + arena(0U) + fm_outputs",
        boards=(MIRRORED,),
        says="fm_output gives",
    ),
    "never comes to an end": _of(
        RUN,
        "    commit(result_bits() | (cursor() + 1U));\n    return 1;",
        "    commit(1U);\n    return 1;",
        says="an end",
    ),
}
CASES = [
    pytest.param(name, board, id=f"{name}-{board}", marks=[pytest.mark.nightly] if number else [])
    for name, mutant in MUTANTS.items()
    for number, board in enumerate(mutant.boards)
]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return {board: write_folder(tmp_path_factory.mktemp(board) / "net", net("tiny"), board) for board in BOTH}


def _lines(report):
    return (report.failures, report.replay, report.reason)


@pytest.mark.parametrize("board", BOTH)
def test_the_runtime_itself_is_right(folders, board):
    report = run_host(folders[board], "exhaustive")
    assert _lines(report) == (0, None, None)
    assert report.cuts > 500 and report.boots_max == 3


def test_a_wrap_of_the_sequence_is_survived(folders, tmp_path):
    report = run_host(patched(folders[MIRRORED], tmp_path / "m", *NEAR_THE_WRAP), "exhaustive")
    assert _lines(report) == (0, None, None)


@pytest.mark.parametrize(("name", "board"), CASES)
def test_a_mutant_is_caught(folders, tmp_path, name, board):
    mutant, folder = MUTANTS[name], folders[board]
    for number, patch in enumerate(mutant.patches):
        folder = patched(folder, tmp_path / f"m{number}", *patch)
    report = run_host(folder, mutant.mode)
    assert report.failures > 0 and report.reason is not None
    assert mutant.says in report.reason


@pytest.mark.parametrize("name", ["commits in two stores", "ignores the check"])
def test_a_replay_fails_in_the_same_way(folders, tmp_path, name):
    mutant = MUTANTS[name]
    sound = folders[mutant.boards[0]]
    folder = patched(sound, tmp_path / "m", *mutant.patches[0])
    found = run_host(folder, "exhaustive")
    again = run_host(folder, "replay", replay=found.replay)
    assert again.failures > 0 and again.replay == found.replay and found.reason.startswith(again.reason)
    assert _lines(run_host(sound, "replay", replay=found.replay)) == (0, None, None)


def test_a_product_that_takes_its_process_with_it_is_told_where(folders, tmp_path):
    """Only where one region is done, which no scenario begins with."""
    resume = "        restore();\n"
    crash = "        if (cursor() == 2U) {\n            (void)*(const volatile char *)(uintptr_t)result_bits();\n        }\n"
    folder = patched(folders[DIRECT], tmp_path / "m", RUN, resume, resume + crash)
    found = run_host(folder, "exhaustive", jobs=2)
    assert found.failures > 0 and found.replay is not None and "ended its process (status -11)" in found.reason
    assert _lines(run_host(folder, "replay", replay=found.replay))[1] == found.replay


@pytest.mark.parametrize("board", BOTH)
def test_a_region_that_writes_what_it_reads_is_named(folders, tmp_path, board):
    """A sum is put where its first operand is: right without a cut, and no planner would."""
    text = (folders[board] / "model.c").read_text()
    add = re.search(
        r"void fm_layer_(\w+)\([^{]*{[^{]*in0 = &fm_arena\.s8\[(\d+)\];[^{]*in1 = [^{]*out = &fm_arena\.s8\[(\d+)\];",
        text,
    )
    name, source, target = add.groups()
    assert source != target
    moved = add.group(0).replace(f"out = &fm_arena.s8[{target}]", f"out = &fm_arena.s8[{source}]")
    rest = text[add.end() :].replace(f"in0 = &fm_arena.s8[{target}]", f"in0 = &fm_arena.s8[{source}]", 1)
    entry = re.search(rf"fm_layer_{name},\n.*\n +\.out = {target}U", rest)
    rest = rest.replace(entry.group(0), entry.group(0).removesuffix(f"{target}U") + f"{source}U")
    folder = patched(folders[board], tmp_path / "m", "model.c", text, text[: add.start()] + moved + rest)
    report = run_host(folder, "exhaustive")
    assert report.failures > 0 and report.replay is not None
    assert re.search(
        rf"at the end: .*; write-after-read in layer {name}, region 0, at byte {source} of the", report.reason
    )
