"""Host programs under the address and undefined-behaviour sanitizers: silent, and equal to the reference throughout."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from cgates.gate_nets import NETS, GateNet, gate_net

from freeml.errors import ArtifactError, ToolchainError
from freeml.sim.host import run_host
from freeml.sim.trace import compare, stored_values
from freeml.toolchains import build_host, find_host

pytestmark = pytest.mark.cgates

OPTIMISE = "-O1"


@pytest.fixture(scope="module")
def compiler() -> str:
    """gcc or clang, whichever is installed."""
    try:
        return find_host(needs_libc=True).kind
    except ToolchainError as error:
        pytest.skip(f"the sanitizers need gcc or clang: {str(error).splitlines()[-1].strip()}")


@pytest.mark.parametrize("name", NETS)
def test_silent_and_equal(name, compiler, tmp_path):
    net = gate_net(name)
    program = net.host.build_host(tmp_path, toolchain=compiler, sanitize=True, optimise=OPTIMISE)
    found = run_host(program, net.host.graph, net.probes, every_value=True)
    assert set(found.values) == {*stored_values(net.host.graph), *net.host.graph.outputs}
    assert compare(net.expected, found) == ()


BUGS = {
    "global-buffer-overflow": lambda text: _first_layer(
        text, "static volatile int8_t bug[2]; static volatile int at = 2; bug[at] = 1;"
    ),
    "signed integer overflow": lambda text: _first_layer(
        text, "static volatile int32_t bug = INT32_MAX; bug = bug + 1;"
    ),
    "shift exponent": lambda text: _first_layer(text, "static volatile int bug = 40; bug = (int)(1U << bug);"),
}
"""What a sanitizer calls a bug, and how it gets into model.c."""


def _first_layer(text: str, statement: str) -> str:
    """The text with a statement at the end of the first layer function."""
    start = text.index("FM_LAYER static void fm_layer_")
    end = text.index("\n}\n", start)
    return f"{text[:end]}\n    {statement}{text[end:]}"


@pytest.mark.parametrize(("message", "plant"), BUGS.items(), ids=list(BUGS))
def test_a_planted_bug_is_reported(
    message: str, plant: Callable[[str], str], compiler: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(os.environ, "ASAN_OPTIONS", "detect_leaks=0")
    net: GateNet = gate_net("har")
    folder = net.write("msp430", tmp_path / "fw")
    source = folder / "model.c"
    source.write_text(plant(source.read_text(encoding="utf-8")), encoding="utf-8")
    program = build_host(folder, tmp_path / "model", toolchain=find_host(compiler), sanitize=True, optimise=OPTIMISE)
    one = {name: np.asarray(values[:1]) for name, values in net.probes.items()}
    with pytest.raises(ArtifactError, match=message):
        run_host(program, net.host.graph, one, every_value=True)
