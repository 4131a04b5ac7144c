"""A net with branches down the whole line: less memory than in the order of the file, and every executor follows."""

from math import inf

import pytest
from plan.branchy import branches, saved

from freeml import power
from freeml.artifact import load
from freeml.ops.clip import Clip
from freeml.ops.maxpool import MaxPool
from freeml.ops.reshape import Reshape
from freeml.options import Options
from freeml.pipeline import calibration_inputs, compile_model
from freeml.plan.layout import to_channels_last
from freeml.plan.memory import arena_alignment, plan_memory, unfused_bytes
from freeml.targets import BOARDS
from freeml.verification import verify
from ops.compiled import compiled
from ops.sketch import Sketch


@pytest.fixture(scope="module", params=sorted(BOARDS))
def folder(request, tmp_path_factory):
    """The net with branches, compiled for a board."""
    place = tmp_path_factory.mktemp("branches")
    model = saved(branches(), place / "net.onnx")
    compile_model(model, options=Options(target=request.param), output=place / "out")
    return place / "out"


def test_all_executors_follow_an_order_that_takes_less_memory(folder):
    artifact = load(folder)
    found = verify(folder, samples=5, board_samples=2)
    assert (found.mismatches, found.board_samples) == (0, 2)
    report = power.run(folder, mode="exhaustive", on="host", limit=200)
    assert (report.failures, report.replay) == (0, None)
    graph = branches()
    given = to_channels_last(compiled(graph, calibration_inputs(graph, None, 0)[0]).qgraph)
    before = plan_memory(given, arena_alignment(artifact.board)).arena_bytes
    assert artifact.report["arena"]["bytes"] < 0.6 * before
    assert artifact.report["arena"]["unfused_bytes"] == 64 * (6 + 7 + 8 + 9 + 9)  # the last clip reads its convolution


def test_a_net_of_the_shape_of_s_takes_a_third_at_most_of_its_unfused_plan():
    s = Sketch()
    x = s.input(1, 3, 32, 32)
    pool = MaxPool(kernel=(2, 2), strides=(2, 2), dilations=(1, 1), pads=((0, 0), (0, 0)))
    for channels in (64, 128, 64):
        x = s.add(pool, s.add(Clip(low=0.0, high=inf), s.conv(x, channels, (3, 3))))
    x = s.add(Reshape(shape=(1, 256)), x)
    for outputs in (256, 64, 10):
        x = s.dense(x, outputs)
    graph = s.graph(x)
    assert unfused_bytes(graph, lambda _: 1) == 2 * 57_600
    assert compiled(graph, s.samples(2)).memory.arena_bytes == 19_008


def test_the_arena_of_a_net_as_it_came():
    """Counted by hand: the clip and the sum are stored each for itself, and a reshape takes nothing."""
    s = Sketch()
    x = s.input(1, 2, 4, 4)
    conv = s.conv(x, 4, (1, 1))
    clip = s.add(Clip(low=0.0, high=1.0), conv)
    graph = s.graph(s.dense(s.add(Reshape(shape=(1, 64)), clip), 3))
    assert unfused_bytes(graph, lambda _: 1) == 64 + 64
    assert unfused_bytes(graph, lambda _: 2) == 2 * (64 + 64)
    assert unfused_bytes(graph, lambda name: 4 if name == clip else 1) == 64 + 4 * 64
    assert plan_memory(compiled(graph, s.samples()).planned).arena_bytes == 32 + 64
