"""`freeml device` over a pseudo-terminal, the simulator standing in for the board: the firmware is the real one."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
import threading
import time
import tty

import numpy as np
import pytest
from bridge import board_on_a_port

from cli.command_line import refusal, run
from freeml.building import build_firmware
from freeml.codegen.emit import model_id
from freeml.device import TALKATIVE
from freeml.running import read_inputs
from freeml.sim.board import open_machine
from freeml.sim.image import read_image
from freeml.targets import get


def answer(net, port, *arguments, status=0):
    result = run("device", net.folder, "--port", port, *arguments, "--json")
    assert result.exit_code == status, result.output
    return json.loads(result.stdout)


def reference(net):
    return net.artifact.reference(read_inputs(net.samples, net.artifact)).real


def console_text(net):
    """What the firmware says after a reset, until it waits or sleeps."""
    board = net.artifact.board
    image = read_image(net.elf, board)
    machine = open_machine(board, image)
    machine.run(stops={image.symbol("fm_board_halt")}, max_instructions=20_000_000)
    return machine.take_output()


@pytest.fixture
def silent_port():
    """A serial port with nobody at the other end."""
    master, slave = pty.openpty()
    tty.setraw(slave)
    yield os.ttyname(slave)
    os.close(master)
    os.close(slave)


TALKS_S = 30.0
"""How long the talkative port talks: far longer than anybody should listen, and yet a test that listens ends."""


@pytest.fixture
def talkative_port():
    """A serial port at whose other end somebody says a line every hundredth of a second, but never an answer."""
    master, slave = pty.openpty()
    tty.setraw(slave)
    os.set_blocking(master, False)
    quiet = threading.Event()

    def talk():
        until = time.monotonic() + TALKS_S
        while time.monotonic() < until and not quiet.wait(0.01):
            try:
                os.write(master, b"tick\n")
            except BlockingIOError:  # nobody reads yet
                continue

    talker = threading.Thread(target=talk, daemon=True)
    talker.start()
    yield os.ttyname(slave)
    quiet.set()
    talker.join()
    os.close(master)
    os.close(slave)


@pytest.mark.parametrize("name", ["original", "two_inputs"])
def test_vectors_and_samples(name, request):
    net = request.getfixturevalue(name)
    with board_on_a_port(net.artifact.board, net.elf) as bridge:
        found = answer(net, bridge.port, "--input", net.samples)
        again = answer(net, bridge.port)
    expected = reference(net)
    assert found["equal"] is True
    assert (found["vectors"], found["wrong_bytes"], found["wrong_vectors"], found["mismatches"]) == (1, 0, [], 0)
    assert found["model"] == model_id(net.artifact.report["graph_sha256"])
    assert set(found["outputs"]) == set(net.artifact.graph.outputs)
    for output, values in expected.items():
        assert np.array_equal(np.array(found["outputs"][output], dtype=np.float32), values[:, 0])
    assert found["samples"] == len(values)
    assert again == {**found, "samples": 0, "outputs": {}}


def test_in_words(original):
    with board_on_a_port(original.artifact.board, original.elf) as bridge:
        result = run("device", original.folder, "--port", bridge.port, "--input", original.samples)
    assert result.exit_code == 0
    assert "1 test vector and 5 samples: every byte of the outputs equals the reference's" in result.stdout


def test_a_board_that_has_long_been_on(original):
    with board_on_a_port(original.artifact.board, original.elf) as bridge:
        time.sleep(0.5)  # its first report goes by unheard
        assert answer(original, bridge.port)["equal"] is True


def test_the_firmware_of_the_last_build(net):
    built = build_firmware(net.folder, "zig")
    with board_on_a_port(net.artifact.board, built.elf) as bridge:
        assert answer(net, bridge.port, "--input", net.samples)["equal"] is True


def test_a_firmware_without_vectors(net):
    """What a compile makes of a net that leaves no room for any."""
    for name, pattern in (("vectors.h", r"^extern const .*$"), ("vectors.c", r"(?s)^const .*")):
        path = net.folder / name
        path.write_text(re.sub(pattern, "", path.read_text(), flags=re.MULTILINE).replace("COUNT 1U", "COUNT 0U"))
    with board_on_a_port(net.artifact.board, build_firmware(net.folder).elf) as bridge:
        found = answer(net, bridge.port, "--input", net.samples)
    assert (found["vectors"], found["wrong_bytes"], found["equal"], found["samples"]) == (0, 0, True, 5)


def test_one_wrong_expected_byte_is_counted_by_the_board(net):
    vectors = net.folder / "vectors.c"
    head, outputs = vectors.read_text().split("fm_vector_output_0[", 1)
    number = re.search(r"-?\d+(?=,)", outputs)
    spoiled = outputs[: number.start()] + str(-int(number[0]) or 1) + outputs[number.end() :]
    vectors.write_text(f"{head}fm_vector_output_0[{spoiled}")
    with board_on_a_port(net.artifact.board, build_firmware(net.folder).elf) as bridge:
        found = answer(net, bridge.port, "--input", net.samples, status=1)
    assert (found["wrong_bytes"], found["wrong_vectors"], found["mismatches"]) == (1, [], 0)
    assert found["equal"] is False


def test_one_wrong_weight_is_noticed_by_the_host(net, tmp_path):
    """The board cannot know: its vectors are right as far as its own count goes, only if they are wrong alike."""
    weights = net.folder / "weights.c"
    text = weights.read_text()
    start = text.index("{", text.index("fm_dense_bias"))
    number = re.compile(r"-?\d+").search(text, start)
    weights.write_text(text[: number.start()] + str(int(number[0]) + 9999) + text[number.end() :])
    with board_on_a_port(net.artifact.board, build_firmware(net.folder).elf) as bridge:
        found = answer(net, bridge.port, "--input", net.samples, status=1)
        shown = run("device", net.folder, "--port", bridge.port, "--input", net.samples)
    assert found["wrong_bytes"] > 0
    assert found["wrong_vectors"] == [0]
    assert found["mismatches"] >= 1
    assert shown.exit_code == 1
    assert re.search(r"mismatch: value \S+, sample \d, element 0: expected -?\d+, found -?\d+", shown.stdout)
    assert "test vector 0" in shown.stdout


def test_another_model_on_the_board(original, two_inputs):
    with board_on_a_port(original.artifact.board, two_inputs.elf) as bridge:
        message = refusal("device", original.folder, "--port", bridge.port, kind="DeviceError")
    ids = [model_id(net.artifact.report["graph_sha256"]) for net in (original, two_inputs)]
    assert f"expected model {ids[0]} on the board, found {ids[1]}: flash this folder" in message


def test_nobody_there(original, silent_port):
    message = refusal("device", original.folder, "--port", silent_port, "--timeout", "0.2", kind="DeviceError")
    assert "the board said nothing" in message
    assert "/dev/ttyACM1" in message
    assert "reset button" in message


def test_a_board_that_talks_of_other_things_is_not_listened_to_for_ever(original, talkative_port):
    """Twice it is asked and heard out for a while: a silence, which ends a greeting otherwise, never comes."""
    began = time.monotonic()
    arguments = ("--port", talkative_port, "--timeout", "0.2")
    message = refusal("device", original.folder, *arguments, kind="DeviceError")
    took_s = time.monotonic() - began
    assert "expected an answer of the self-test program, found b'" in message
    assert "tick" in message
    assert 2 * TALKATIVE * 0.2 <= took_s < TALKS_S / 2


def test_the_wrong_speed(original):
    """At another speed every byte is another one."""
    scrambled = {"from_board": lambda data: bytes(byte ^ 0xA5 for byte in data)}
    with board_on_a_port(original.artifact.board, original.elf, **scrambled) as bridge:
        message = refusal("device", original.folder, "--port", bridge.port, "--timeout", "0.5", kind="DeviceError")
    assert "expected an answer of the self-test program, found b'" in message
    assert "is the speed right" in message


class Once:
    """Spoils the first piece that is long enough to be a sample or its answer."""

    def __init__(self, change, times=1):
        self._change, self._times = change, times
        self.calls = 0

    def __call__(self, data):
        if len(data) < 20 or self.calls >= self._times:
            return data
        self.calls += 1
        return self._change(data)


def flip(data):
    return data[:10] + bytes([data[10] ^ 1]) + data[11:]


def test_a_byte_spoiled_on_the_way_is_sent_again(original):
    spoil = Once(flip)
    with board_on_a_port(original.artifact.board, original.elf, to_board=spoil) as bridge:
        assert answer(original, bridge.port, "--input", original.samples)["equal"] is True
    assert spoil.calls == 1


def test_a_line_that_spoils_every_sample(original):
    with board_on_a_port(original.artifact.board, original.elf, to_board=Once(flip, times=99)) as bridge:
        arguments = ("--port", bridge.port, "--input", original.samples)
        message = refusal("device", original.folder, *arguments, kind="DeviceError")
        assert "sent 3 times, found 'crc error'" in message
        assert answer(original, bridge.port)["equal"] is True


def test_a_lost_byte_leaves_a_board_that_can_be_asked_again(original):
    lossy = Once(lambda data: data[:-1])
    with board_on_a_port(original.artifact.board, original.elf, to_board=lossy) as bridge:
        arguments = ("--port", bridge.port, "--input", original.samples, "--timeout", "0.5")
        refusal("device", original.folder, *arguments, kind="DeviceError")
        assert answer(original, bridge.port, "--input", original.samples, "--timeout", "0.5")["equal"] is True


def test_an_answer_that_is_none(original):
    def change(data):
        return data.replace(b"sample", b"simple").replace(b"vector ", b"victor ")

    with board_on_a_port(original.artifact.board, original.elf, from_board=change) as bridge:
        message = refusal("device", original.folder, "--port", bridge.port, kind="DeviceError")
    assert "expected a report on the test vectors, found 'victor 0" in message


def test_a_reset_in_the_middle(original):
    with board_on_a_port(original.artifact.board, original.elf) as bridge:

        def reset(data):
            bridge.reset.set()
            return data

        bridge._to_board = Once(reset)
        arguments = ("--port", bridge.port, "--input", original.samples)
        message = refusal("device", original.folder, *arguments, kind="DeviceError")
    assert "started anew" in message


def test_ports_that_cannot_be_opened(original, tmp_path):
    message = refusal("device", original.folder, "--port", tmp_path / "ttyACM9", kind="DeviceError")
    assert "ttyACM9: cannot be opened: No such file or directory" in message
    (tmp_path / "file").write_text("")
    assert "cannot be opened" in refusal("device", original.folder, "--port", tmp_path / "file", kind="DeviceError")


def test_without_pyserial(original, monkeypatch):
    monkeypatch.setitem(sys.modules, "serial", None)
    message = refusal("device", original.folder, "--port", "/dev/ttyACM1", kind="DeviceError")
    assert "pip install pyserial" in message


@pytest.mark.parametrize("name", ["original", "apollo4"])
def test_the_simulator_as_a_port(name, request):
    net = request.getfixturevalue(name)
    more = ("--input", net.samples) if net.artifact.board.console.hears else ()
    found = answer(net, "sim", *more)
    assert found["equal"] is True
    assert found["samples"] == (5 if more else 0)


def listen(net, text, *arguments):
    command = [sys.executable, "-m", "freeml", "device", str(net.folder), "--port", "-", *arguments, "--json"]
    return subprocess.run(command, input=text, capture_output=True, timeout=60, check=False)


@pytest.mark.parametrize("name", ["original", "apollo4"])
def test_the_console_on_standard_input(name, request):
    net = request.getfixturevalue(name)
    text = console_text(net)
    assert text.startswith(b"model ")
    for said in (text, b"Receiving SWO data @ 1000 kHz.\r\nShowing data from stimulus port(s): 0\n" + text):
        done = listen(net, said)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["equal"] is True
    wrong = re.sub(rb"crc ....", b"crc 0000", text)
    done = listen(net, wrong)
    assert done.returncode == 1
    assert json.loads(done.stdout)["wrong_vectors"] == [0]


def test_a_console_that_ends_too_early(apollo4):
    for text in (b"", b"something else\n", console_text(apollo4)[:-4]):
        done = listen(apollo4, text)
        assert done.returncode == 2
        assert "standard input ended before the board's report did" in json.loads(done.stdout)["error"]


def test_a_console_that_only_speaks_cannot_be_asked(original, apollo4):
    for net, port in ((original, "-"), (apollo4, "sim"), (apollo4, "/dev/ttyACM0")):
        arguments = ("--port", port, "--input", net.samples)
        assert "only listened to" in refusal("device", net.folder, *arguments, kind="DeviceError")
    message = refusal("device", apollo4.folder, "--port", "/dev/ttyACM0", kind="DeviceError")
    assert "no serial port; pipe the trace console" in message
    assert get("apollo4").console.hears is False


def test_input_of_another_shape(original, tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((2, 3)))
    arguments = ("--port", "sim", "--input", tmp_path / "x.npy")
    assert "expected samples of shape" in refusal("device", original.folder, *arguments, kind="DataError")
