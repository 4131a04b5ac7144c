"""The MSP430 simulator's promises: instructions a second on a real firmware, and how long a snapshot takes."""

from pathlib import Path

import pytest

from freeml.options import Options
from freeml.pipeline import compile_model
from freeml.sim.image import read_image
from freeml.sim.msp430 import Msp430Machine
from freeml.targets import get

LENET = Path(__file__).parents[2] / "examples" / "models" / "lenet5.onnx"

pytestmark = pytest.mark.bench


@pytest.fixture(scope="module")
def machine(tmp_path_factory) -> Msp430Machine:
    out = tmp_path_factory.mktemp("lenet") / "out"
    compile_model(LENET, options=Options(target="msp430"), output=out)
    return Msp430Machine(read_image(out / "firmware.elf", get("msp430")))


def test_instructions_a_second(benchmark, machine):
    """From reset to the verdict of the test vectors: more than a million instructions."""

    def run() -> None:
        machine.power_on()
        assert machine.run(max_instructions=100_000_000) == "input"

    benchmark.pedantic(run, rounds=7, warmup_rounds=1)
    assert machine.take_output().endswith(b"wrong bytes 0\r\n")
    rate = machine.counts().instructions / benchmark.stats.stats.median
    benchmark.extra_info["million_instructions_per_second"] = round(rate / 1e6, 1)
    assert rate >= 20e6


def test_snapshot_and_restore(benchmark, machine):
    """As power failures need them: 272 KB each way."""
    machine.power_on()
    machine.run(max_instructions=100_000)

    def there_and_back() -> None:
        machine.restore(machine.snapshot())

    benchmark.pedantic(there_and_back, rounds=20, iterations=50)
    assert benchmark.stats.stats.median < 500e-6
