"""Searches that are killed, interrupted or run out of disk, and begun again."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Timer
from typing import TypeAlias

import numpy as np
import pytest
from filelock import FileLock

from blobs import arrays
from compiling import compiled, contents, quarter
from freeml.artifact import Artifact
from freeml.compression.allocate import Need
from freeml.compression.budget import Budget
from freeml.compression.checkpoint import Checkpoints, Kept, State
from freeml.compression.graphtext import from_text, to_text
from freeml.compression.recipe import first_recipe
from freeml.errors import CheckpointError, CompressionError, FreemlError
from freeml.frontend.onnx_reader import import_onnx
from freeml.options import Options
from freeml.pipeline import compile_model
from freeml.searching import search_folder

# Command lines, each in a process that kills itself, as a power failure would, right after checkpoint number kill_at. They
# are forked from one that has imported torch and nothing else, which takes as long as a search for the blobs net.
KILLED = """
import json, os, signal, sys
import freeml.compression.study
from freeml.compression.checkpoint import Checkpoints
from freeml.cli import main

save, count = Checkpoints.save, 0

def counted(self, *arguments, **named):
    global count
    save(self, *arguments, **named)
    count += 1
    if count == kill_at:
        os.kill(os.getpid(), signal.SIGKILL)

Checkpoints.save = counted
for line in sys.stdin:
    kill_at, arguments, said = json.loads(line)
    process = os.fork()
    if not process:
        for handle, name in enumerate((os.devnull, said + ".out", said + ".err")):
            os.dup2(os.open(name, os.O_RDWR | os.O_CREAT | os.O_TRUNC), handle)
        main(arguments)
    print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), flush=True)
"""

Run: TypeAlias = Callable[..., "subprocess.CompletedProcess[str]"]


def command(model: Path, data: Path, out: Path, budget: Budget, *more: str) -> list[str]:
    ram = [] if budget.ram_bytes is None else ["--ram", str(budget.ram_bytes)]
    given = ["compile", str(model), "--data", str(data), "--flash", str(budget.flash_bytes), *ram]
    return [*given, "--out", str(out), *more]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """Runs command lines, each in a process of its own."""
    start = subprocess.Popen(
        [sys.executable, "-c", KILLED], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert start.stdin is not None
    assert start.stdout is not None
    stdin, stdout, said = start.stdin, start.stdout, str(tmp_path / "said")

    def one(arguments: list[str], kill_at: int = 0) -> subprocess.CompletedProcess[str]:
        late = Timer(240, os.killpg, (start.pid, signal.SIGKILL))
        late.start()
        print(json.dumps([kill_at, arguments, said]), file=stdin, flush=True)
        answer = stdout.readline()
        late.cancel()
        assert answer, "the process ended, or took 240 s"
        found = (Path(f"{said}.{end}").read_text() for end in ("out", "err"))
        return subprocess.CompletedProcess(arguments, int(answer), *found)

    yield one
    stdin.close()
    assert start.wait(timeout=60) == 0


@pytest.fixture
def data(tmp_path: Path) -> Path:
    np.savez(tmp_path / "d.npz", **arrays())
    return tmp_path / "d.npz"


def test_killed_anywhere_it_ends_the_same(
    run: Run, model: Path, data: Path, plain: Artifact, half: Artifact, tmp_path: Path
) -> None:
    """Killed at the begin, between rounds, and after the last retraining, one after the other."""
    out, line = tmp_path / "out", command(model, data, tmp_path / "out", quarter(plain))
    kept = search_folder(out)
    for kill_at in (1, 4, 5):  # it has begun; rounds 1 to 4; rounds 5 to 8 and the last retraining
        done = run(line, kill_at)
        assert done.returncode == -signal.SIGKILL, done.stderr
        assert not out.exists()
        assert len(list(kept.glob("*.trial.json"))) == 1
    done = run(line)
    assert done.returncode == 0, done.stderr
    assert contents(out) == half.files
    assert not kept.exists(), "nothing is left of a search that is done"


def test_what_was_done_is_not_done_again(model: Path, plain: Artifact, tmp_path: Path) -> None:
    """The second run looks only at the nets that the first did not come to."""
    seen: list[object] = []
    budget = quarter(plain)

    def stop(row: object) -> None:
        seen.append(row)
        if len(seen) == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match=r"the same command goes on from there"):
        compile_model(
            model, options=Options(budget=budget), data=arrays(), output=tmp_path / "out", on_round=stop
        )  # fmt: skip
    first = list(seen)
    again = compile_model(
        model, options=Options(budget=budget), data=arrays(), output=tmp_path / "out", on_round=seen.append
    )  # fmt: skip
    rounds = again.report["compression"]["rounds"]
    assert len(rounds) == len(seen) - 1, "one round was lost with the interruption and made again"
    assert seen[4] == first[4] == seen[5]


@pytest.mark.nightly
def test_a_trial_that_ended_is_not_made_again(run: Run, model: Path, data: Path, tmp_path: Path) -> None:
    """Two trials that fail, killed in the second: the answer is that of a run that nobody killed."""
    with pytest.raises(CompressionError) as below:
        compiled(model, Budget(flash_bytes=1024), weights="int16")
    tight = Budget(flash_bytes=below.value.details["irreducible"]["flash"] + 150)  # type: ignore[index]
    tail = ("--weights", "int16", "--max-drop", "0.5", "--trials", "2", "--json")
    whole = run(command(model, data, tmp_path / "whole", tight, *tail))
    assert whole.returncode == 2, whole.stderr
    found = json.loads(whole.stdout)
    assert found["trials"] == 2
    assert "the best of 2 trials" in found["error"]
    line = command(model, data, tmp_path / "out", tight, *tail)
    assert run(line, 15).returncode == -signal.SIGKILL
    files = [from_text(path.read_text()) for path in search_folder(tmp_path / "out").glob("*.trial.json")]
    assert sorted(kept.outcome is None for kept in files) == [False, True]
    again = run(line)
    assert again.returncode == 2
    assert json.loads(again.stdout) == found
    assert not search_folder(tmp_path / "out").exists()


def test_interrupting_says_how_to_go_on(model: Path, data: Path, plain: Artifact, tmp_path: Path) -> None:
    out = tmp_path / "out"
    line = [sys.executable, "-m", "freeml.cli", *command(model, data, out, quarter(plain))]
    process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not list(search_folder(out).glob("*.trial.json")) and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130, said
    assert f"interrupted: the search is kept in {search_folder(out)}; the same command goes on from there" in said
    assert "Traceback" not in said
    assert search_folder(out).is_dir()
    assert not out.exists()


def test_a_full_disk(
    model: Path, plain: Artifact, half: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, calls, sync = tmp_path / "out", [0], os.fsync

    def full(handle: int) -> None:
        calls[0] += 1
        if calls[0] == 4:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(handle)

    monkeypatch.setattr(os, "fsync", full)
    options = Options(budget=quarter(plain))
    with pytest.raises(CheckpointError, match="cannot be kept: No space left on device; make room") as caught:
        compile_model(model, options=options, data=arrays(), output=out)
    assert caught.value.exit_code == 2
    (path,) = search_folder(out).glob("*.trial.json")
    assert not list(search_folder(out).glob(".new-*"))
    kept = from_text(path.read_text())
    assert isinstance(kept, Kept)
    assert kept.state is not None
    assert kept.state.steps == 2, "what was written before is whole"
    assert compile_model(model, options=options, data=arrays(), output=out).files == half.files


def test_a_folder_that_cannot_be_made(model: Path, plain: Artifact, tmp_path: Path) -> None:
    (tmp_path / "out.search").write_text("a file")
    with pytest.raises(CheckpointError, match=r"out\.search: cannot be made to keep the search in"):
        compile_model(model, options=Options(budget=quarter(plain)), data=arrays(), output=tmp_path / "out")


def test_two_searches_in_one_folder(model: Path, plain: Artifact, tmp_path: Path) -> None:
    out = tmp_path / "out"
    search_folder(out).mkdir()
    with (
        FileLock(search_folder(out) / "lock"),
        pytest.raises(CheckpointError, match="another freeml is searching there"),
    ):
        compile_model(model, options=Options(budget=quarter(plain)), data=arrays(), output=out)


def test_a_checkpoint_of_another_search_is_left_alone(tmp_path: Path) -> None:
    mine, other = (Checkpoints(folder=tmp_path, search=letter * 64) for letter in "ab")
    recipe = first_recipe("quick")
    mine.save(recipe)
    assert mine.load(recipe) is not None
    assert other.load(recipe) is None
    other.save(recipe)
    other.clear()
    assert mine.load(recipe) is not None
    (path,) = tmp_path.glob("*.trial.json")
    path.write_text(path.read_text()[:-20])
    assert mine.load(recipe) is None, "a file that was damaged counts as none"
    mine.clear()
    assert not tmp_path.exists()


def test_a_net_is_stored_exactly(model: Path) -> None:
    graph = import_onnx(model)
    state = State(
        steps=1, graph=graph, start=Need(flash=2, ram=3, cycles=6, macs=7, joules=8e-4), flash_offset=-4, ram_offset=5,
        joules_per_cycle=2e-10, rounds=(), done=0.5
    )  # fmt: skip
    again = from_text(to_text(state))
    assert again.graph.nodes == graph.nodes
    assert dict(again.graph.types) == dict(graph.types)
    assert (again.steps, again.flash_offset, again.done) == (1, -4, 0.5)
    assert (again.start, again.joules_per_cycle) == (state.start, 2e-10)
    for name, array in graph.constants.items():
        found = again.graph.constants[name]
        assert found.dtype == array.dtype
        np.testing.assert_array_equal(found, array)


@pytest.mark.parametrize("text", ['{"class": "subprocess:Popen", "fields": {"args": "true"}}', "{", "[1]x"])
def test_only_what_freeml_stores_is_read(text: str) -> None:
    with pytest.raises(FreemlError, match="expected what freeml stored"):
        from_text(text)
