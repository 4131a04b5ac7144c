"""Power failures: cut the power of a firmware anywhere, and compare what it answers with an uninterrupted run."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from freeml.errors import FreemlError
from freeml.power.result import Mode, PowerReport, Progress, parse_replay

MODES = ("linear", "exhaustive", "depth2")


def run(
    folder: Path,
    *,
    mode: str,
    on: str,
    limit: int | None = None,
    every_instruction: bool = False,
    jobs: int = 1,
    seed: int = 0,
    progress: Progress | None = None,
) -> PowerReport:
    """Run the harness on a compiled folder: `mode` is linear, exhaustive, depth2 or replay=STRING, `on` host or board.

    Raises FreemlError for another mode, ReplayError for a string that no failure printed, and what loading, building
    and simulating raise.
    """
    name, _, replay = mode.partition("=")
    if mode not in MODES and not (name == "replay" and replay):
        raise FreemlError(f"--mode: expected {', '.join(MODES)} or replay=STRING, found {mode!r}")
    if name == "replay":
        parse_replay(replay)
    if every_instruction and (on, name) != ("board", "exhaustive"):
        raise FreemlError("--every-instruction: expected --mode exhaustive --on board with it")
    wanted = cast(Mode, name)
    if on == "host":
        from freeml.power.host import run_host

        return run_host(
            folder, wanted, replay=replay or None, seed=seed, jobs=jobs, limit=limit, progress=progress
        )  # fmt: skip
    from freeml.power.board import run_board_cuts

    return run_board_cuts(
        folder, wanted, replay=replay or None, seed=seed, jobs=jobs, limit=limit,
        every_instruction=every_instruction, progress=progress,
    )  # fmt: skip
