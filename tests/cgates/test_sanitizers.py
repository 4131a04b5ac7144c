"""Host programs under the address and undefined-behaviour sanitizers: silent, and equal to the reference throughout."""

from __future__ import annotations

import pytest
from cgates.gate_nets import NETS, expected, gate_net

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
    assert compare(expected(name), found) == ()


BUGS = {
    "global-buffer-overflow": "static int8_t bug[2]; static int8_t *volatile at = bug; at[2] = 1;",
    "signed integer overflow": "static volatile int32_t bug = INT32_MAX; bug = bug + 1;",
    "shift exponent": "static volatile int bug = 40; bug = (int)(1U << bug);",
}
"""What a sanitizer calls a bug, and a statement that has it."""


@pytest.mark.parametrize(("message", "statement"), BUGS.items(), ids=list(BUGS))
def test_a_planted_bug_is_reported(message, statement, compiler, tmp_path):
    net = gate_net("har")
    folder = net.write("msp430", tmp_path / "fw")
    source = folder / "model.c"
    layer, rest = source.read_text(encoding="utf-8").split("\n}\n", 1)
    assert "FM_LAYER static void fm_layer_" in layer
    source.write_text(f"{layer}\n    {statement}\n}}\n{rest}", encoding="utf-8")
    program = build_host(folder, tmp_path / "model", toolchain=find_host(compiler), sanitize=True, optimise=OPTIMISE)
    with pytest.raises(ArtifactError, match=message):
        run_host(program, net.host.graph, net.probes, every_value=True)
