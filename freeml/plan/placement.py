"""Which constants go beyond the reach of plain pointers, on boards that have such memory.

A far row of weights is copied to SRAM before each use, so only what does not fit near goes far, the largest first; and
what is larger than a compiler of the board takes in one piece, since far arrays are declared in parts.
"""

from __future__ import annotations

from freeml.ir.graph import QGraph
from freeml.ops.conv import QConv
from freeml.ops.dense import QDense
from freeml.targets import Board

CODE_RESERVE_BYTES = 10 * 1024
"""Room kept near for code, tables and test vectors, before their size is known."""


def far_addresses(
    graph: QGraph,
    board: Board,
    near_bytes: int,
    *,
    reserve_bytes: int = CODE_RESERVE_BYTES,
    everything: bool = False,
) -> dict[str, int]:
    """Addresses of the weights that go far, by name. `near_bytes`: what would be near if nothing went far.

    `reserve_bytes` of near memory are kept free. With `everything`, all weights that can go far do, whether or not they
    fit near.
    """
    if board.far_nv is None:
        return {}
    excess = near_bytes + reserve_bytes - board.near_nv.size_bytes
    largest = min((c.max_object_bytes for c in board.compilers if c.max_object_bytes), default=board.near_nv.size_bytes)
    candidates = sorted(
        (stage.inputs[1] for stage in graph.stages() if _has_rows(stage.op)),
        key=lambda name: (-graph.types[name].size_bytes, name),
    )
    addresses: dict[str, int] = {}
    address = board.far_nv.start
    for name in candidates:
        size = graph.types[name].size_bytes
        wanted = excess > 0 or size > largest or everything
        if not wanted or name in addresses or address + size > board.far_nv.end:
            continue
        addresses[name] = address
        address += size + size % 2
        excess -= size
    return addresses


def _has_rows(op: object) -> bool:
    """Packed weights stay near: what they save is more than a far row costs."""
    return (isinstance(op, QDense) or (isinstance(op, QConv) and not op.depthwise)) and op.packed is None
