"""`freeml device`: the self-test program on a real board, asked over its console and compared byte for byte.

What the program says and hears is in firmware/device/main.c. A console that cannot be asked is only listened to.
"""

from __future__ import annotations

import re
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from freeml.artifact import Artifact, flashed_image, load
from freeml.codegen.emit import model_id
from freeml.errors import ArtifactError
from freeml.ir.types import Array, IntArray
from freeml.ports import DeviceError, Link, open_link
from freeml.quant.quantize import dequantize
from freeml.running import plain, read_inputs
from freeml.sim.host import DTYPE
from freeml.sim.image import Image, read_image
from freeml.sim.trace import Mismatch, Trace, compare, run_reference

MODEL = re.compile(r"model ([0-9a-f]{8})( ready)?")
VECTOR = re.compile(r"vector (\d+) crc ([0-9a-f]{8})")
VERDICT = re.compile(r"vectors (\d+) wrong bytes (\d+)")
SAMPLE = re.compile(r"sample ((?:[0-9a-f]{2})*) crc ([0-9a-f]{8})")
CRC_ERROR = "crc error"

TRIES = 3
"""How often one sample is sent when the line spoils it."""

PATIENCE_CYCLES_PER_MAC = 500
"""Time allowed for an inference; the slowest layers take about a tenth of it."""

RESET_PATIENCE_S = 60.0
"""Time for somebody who listens to a console to reach the reset button."""

SIMULATOR = "sim"
"""Named instead of a port, it stands for the board's simulator."""


class SilenceError(Exception):
    """Nothing came in time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceRun:
    """What a board answered, and how that compares with the integer reference.

    `wrong_bytes` is the board's own count over its test vectors; `wrong_vectors` are those whose CRC is not that of the
    reference's outputs. `outputs` are those of the user's samples, by name, (samples, *shape), as real numbers.
    """

    target: str
    port: str
    model: str
    vectors: int
    wrong_bytes: int
    wrong_vectors: tuple[int, ...]
    samples: int
    outputs: Mapping[str, Array]
    mismatches: tuple[Mismatch, ...]

    @property
    def equal(self) -> bool:
        """Whether every byte is the reference's."""
        return not (self.wrong_bytes or self.wrong_vectors or self.mismatches)

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values; the batch axis of 1 of a sample is left out."""
        return {
            "target": self.target,
            "port": self.port,
            "model": self.model,
            "vectors": self.vectors,
            "wrong_bytes": self.wrong_bytes,
            "wrong_vectors": list(self.wrong_vectors),
            "samples": self.samples,
            "outputs": {name: plain(values) for name, values in self.outputs.items()},
            "mismatches": sum(wrong.count for wrong in self.mismatches),
            "equal": self.equal,
        }


def run_device(
    folder: Path, *, port: str, inputs: Path | None = None, baud: int | None = None, timeout_s: float = 5.0
) -> DeviceRun:
    """Run the test vectors, and the samples of a file where one is given, on the board behind `port`.

    `timeout_s` is how long the board may stay silent beyond the time of an inference. Raises DeviceError where the
    board does not answer as this folder's firmware would, ArtifactError and DataError for bad input.
    """
    artifact = load(folder)
    console = artifact.board.console
    can_ask = console.hears and port != "-"
    if inputs is not None and not can_ask:
        raise DeviceError(
            f"--input needs a console that hears, found one of {artifact.board.title} that is only listened to; "
            "its test vectors can be read without it"
        )
    samples = artifact.quantized_inputs(read_inputs(inputs, artifact)) if inputs is not None else None
    image = read_image(flashed_image(folder), artifact.board)
    link = _simulated(artifact, image) if port == SIMULATOR else open_link(port, baud, console)
    session = Session(link, artifact, port=port, timeout_s=timeout_s)
    if can_ask:
        session.greet()
        session.ask(b"r")
    wrong_bytes, found = session.vectors()
    expected = reference_crcs(artifact, image)
    if len(found) != len(expected):
        raise DeviceError(f"expected {len(expected)} test vectors, found {len(found)}; flash {folder} to the board")
    outputs, mismatches = _samples(artifact, session, samples) if samples is not None else ({}, ())
    return DeviceRun(
        target=artifact.board.name,
        port=port,
        model=session.model,
        vectors=len(found),
        wrong_bytes=wrong_bytes,
        wrong_vectors=tuple(i for i, (have, want) in enumerate(zip(found, expected, strict=True)) if have != want),
        samples=0 if samples is None else len(next(iter(samples.values()))),
        outputs=outputs,
        mismatches=mismatches,
    )


def _simulated(artifact: Artifact, image: Image) -> Link:
    from freeml.sim.board import open_machine
    from freeml.sim.serial_port import SimulatedLink

    return SimulatedLink(open_machine(artifact.board, image))


def reference_crcs(artifact: Artifact, image: Image) -> list[int]:
    """CRC-32 of the outputs that the reference gives for each test vector of a flashed image."""
    count = _vector_count(artifact)
    if count == 0:  # a net that leaves no room for any
        return []
    graph = artifact.graph
    inputs = {}
    for index, name in enumerate(graph.inputs):
        type_ = graph.types[name]
        dtype = np.dtype(DTYPE[type_.dtype])
        data = _loaded(image, f"fm_vector_input_{index}", count * type_.size * dtype.itemsize)
        inputs[name] = np.frombuffer(data, dtype=dtype).astype(np.int64).reshape(count, *type_.shape)
    found = run_reference(graph, inputs).values
    return [zlib.crc32(_output_bytes(artifact, found, sample)) for sample in range(count)]


def _vector_count(artifact: Artifact) -> int:
    found = re.search(rb"#define FM_VECTOR_COUNT (\d+)U", artifact.files.get("vectors.h", b""))
    if found is None:
        raise ArtifactError("expected the number of test vectors in vectors.h, found none; compile the model anew")
    return int(found[1])


def _loaded(image: Image, symbol: str, size: int) -> bytes:
    """The flashed bytes of a constant."""
    start = image.symbol(symbol)
    for segment in image.segments:
        offset = start - segment.address
        if offset >= 0 and offset + size <= len(segment.data):
            return segment.data[offset : offset + size]
    raise ArtifactError(f"{image.path}: expected {size:,} bytes of {symbol} in the image; build the folder anew")


def _output_bytes(artifact: Artifact, values: Mapping[str, Array], sample: int) -> bytes:
    return b"".join(
        np.ascontiguousarray(values[name][sample]).astype(DTYPE[artifact.graph.types[name].dtype]).tobytes()
        for name in artifact.graph.outputs
    )


def _samples(
    artifact: Artifact, session: Session, inputs: Mapping[str, Array]
) -> tuple[dict[str, Array], tuple[Mismatch, ...]]:
    """Real outputs by name, (samples, *shape), and where they are not the reference's."""
    graph = artifact.graph
    found: dict[str, list[IntArray]] = {name: [] for name in graph.outputs}
    for sample in range(len(next(iter(inputs.values())))):
        sent = b"".join(
            np.ascontiguousarray(inputs[name][sample]).astype(DTYPE[graph.types[name].dtype]).tobytes()
            for name in graph.inputs
        )
        answer = session.sample(sent)
        for name in graph.outputs:
            type_ = graph.types[name]
            dtype = np.dtype(DTYPE[type_.dtype])
            size = type_.size * dtype.itemsize
            found[name].append(np.frombuffer(answer[:size], dtype=dtype).astype(np.int64).reshape(type_.shape))
            answer = answer[size:]
    values = {name: np.stack(arrays) for name, arrays in found.items()}
    mismatches = compare(run_reference(graph, inputs), Trace(values=values))
    return {name: dequantize(array, graph.types[name]) for name, array in values.items()}, mismatches


TALKATIVE = 4
"""Times its patience that a greeting waits for a board that talks of other things."""

LONGEST_LINE = 4096
"""Bytes without an end of line, beyond those of an answer, after which it is not the self-test program that talks."""


class Session:
    """A conversation with the self-test program."""

    def __init__(self, link: Link, artifact: Artifact, *, port: str, timeout_s: float) -> None:
        self._link = link
        self._port = port
        self._board = artifact.board
        self._expected = model_id(str(artifact.report["graph_sha256"]))
        self._timeout_s = timeout_s
        inference_cycles = PATIENCE_CYCLES_PER_MAC * int(artifact.report["macs"])
        self._patience_s = timeout_s + inference_cycles / artifact.board.energy.clock_hz
        types = artifact.graph.types
        self._input_bytes = sum(types[name].size_bytes for name in artifact.graph.inputs)
        self._output_bytes = sum(types[name].size_bytes for name in artifact.graph.outputs)
        self._heard = b""
        self._unread = b""
        self.model = ""

    def greet(self) -> None:
        """Wait until the board is ready. Whatever it was in the middle of saying, or of being told, is passed over."""
        # A board that was left waiting for a sample takes spaces for one, and ignores those it does not need.
        for words in (b"?", b" " * (self._input_bytes + 4) + b"?"):
            self.ask(words)
            until = time.monotonic() + TALKATIVE * self._patience_s
            try:
                while time.monotonic() < until:
                    said = MODEL.fullmatch(self._line(self._patience_s))
                    if said is not None:
                        self._check_model(said[1])
                        if said[2]:
                            return
            except SilenceError:
                continue
        raise self._no_answer()

    def ask(self, request: bytes) -> None:
        """Send a request."""
        self._link.write(request)

    def vectors(self) -> tuple[int, list[int]]:
        """Listen to a report: wrong bytes in all, and the CRC-32 of every vector's outputs."""
        crcs: list[int] = []
        while True:
            try:
                reset_s = RESET_PATIENCE_S if self._port == "-" and not self.model else 0.0
                text = self._line(self._patience_s + reset_s)
            except SilenceError as error:
                raise self._no_answer() from error
            if said := MODEL.fullmatch(text):
                self._check_model(said[1])
                crcs = []
            elif not self.model:
                continue  # the end of something that was said before anybody listened
            elif said := VECTOR.fullmatch(text):
                if int(said[1]) != len(crcs):
                    raise self._garbled(f"vector {len(crcs)}", text)
                crcs.append(int(said[2], 16))
            elif said := VERDICT.fullmatch(text):
                if int(said[1]) != len(crcs):
                    raise self._garbled(f"the end of a report on {len(crcs)} vectors", text)
                return int(said[2]), crcs
            else:
                raise self._garbled("a report on the test vectors", text)

    def sample(self, data: bytes) -> bytes:
        """The outputs' bytes for the inputs' bytes of one sample."""
        request = b"x" + data + zlib.crc32(data).to_bytes(4, "little")
        text = ""
        for _ in range(TRIES):
            self.ask(request)
            try:
                text = self._line(self._patience_s)
            except SilenceError as error:
                raise self._no_answer() from error
            said = SAMPLE.fullmatch(text)
            if said is not None:
                answer = bytes.fromhex(said[1])
                if zlib.crc32(answer) == int(said[2], 16) and len(answer) == self._output_bytes:
                    return answer
            elif MODEL.fullmatch(text):
                raise DeviceError(f"{self._port}: the board started anew while it ran a sample; check its supply")
            elif text != CRC_ERROR:
                raise self._garbled("the outputs of a sample", text)
        raise self._garbled(f"the outputs of a sample, which was sent {TRIES} times", text)

    def _check_model(self, found: str) -> None:
        if found != self._expected:
            raise DeviceError(
                f"{self._port}: expected model {self._expected} on the board, found {found}: "
                "flash this folder to it (freeml flash), or name the folder it runs"
            )
        self.model = found

    def _line(self, patience_s: float) -> str:
        """The next line, without its end. Raises SilenceError when the board says nothing new for `patience_s`."""
        while b"\n" not in self._unread:
            started = time.monotonic()
            found = self._link.read(patience_s)
            if not found and time.monotonic() - started < patience_s and self._port == "-":
                raise DeviceError("standard input ended before the board's report did; reset the board while listening")
            if not found:
                raise SilenceError
            self._heard = (self._heard + found)[-80:]
            self._unread += found
            if len(self._unread) > 4 * self._output_bytes + LONGEST_LINE:
                raise self._garbled("lines of text", self._heard.decode("ascii", errors="backslashreplace"))
        text, self._unread = self._unread.split(b"\n", 1)
        return text.strip(b"\r\0 ").decode("ascii", errors="backslashreplace")

    def _no_answer(self) -> DeviceError:
        advice = self._board.console.where
        if self._heard:
            return DeviceError(
                f"{self._port}: expected an answer of the self-test program, found {self._heard!r} at the end; "
                f"is the speed right, is this folder flashed? {advice}"
            )
        return DeviceError(
            f"{self._port}: the board said nothing for {self._patience_s:.0f} seconds; is it flashed? {advice}"
        )

    def _garbled(self, expected: str, found: str) -> DeviceError:
        shown = found if len(found) <= 80 else found[:80] + "..."
        return DeviceError(
            f"{self._port}: expected {expected}, found {shown!r}: the line is disturbed, or another program talks there"
        )
