"""The same numbers from every compiler at every level of optimisation: every stored value, byte by byte."""

from __future__ import annotations

import pytest
from cgates.gate_nets import NETS, expected, gate_net

from freeml.errors import ToolchainError
from freeml.sim.host import run_host
from freeml.sim.trace import compare, stored_values
from freeml.toolchains import find_host

pytestmark = pytest.mark.cgates

LEVELS = ("-O0", "-O3")


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("kind", ["gcc", "clang", "zig"])
def test_host_library_equals_the_reference(name, kind, tmp_path):
    """Built with every warning an error."""
    try:
        find_host(kind)
    except ToolchainError as error:
        if kind == "zig":
            raise
        pytest.skip(str(error).splitlines()[-1].strip())
    net = gate_net(name)
    for level in LEVELS:
        library = net.host.build_host(tmp_path / level, toolchain=kind, optimise=level)
        found = run_host(library, net.host.graph, net.probes, every_value=True)
        assert set(found.values) == {*stored_values(net.host.graph), *net.host.graph.outputs}
        assert compare(expected(name), found) == (), level
