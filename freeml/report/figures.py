"""The figures of a compiled net, as frozen objects that print as JSON and as tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

Share: TypeAlias = float
"""0..1"""

Real: TypeAlias = float


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """Share of right answers (0..1) of the float and of the integer net; None where there was no labelled data.

    `threshold` is the score above which an output of one real number means class 1; None for any other output.
    """

    float: Share | None
    quantized: Share | None
    samples: int
    split: str
    threshold: Real | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Bytes:
    """Bytes on the board. `weights`: constant arrays of the net. `code`: everything else in the image but test
    vectors. `vectors`: the test vectors of the self-test program. `flash`: the image, but for persistent data that it
    loads. `sram`: variables and the estimated stack. `nv`: persistent data that no image fills (activations on FRAM
    boards)."""

    weights: int
    code: int
    vectors: int
    flash: int
    sram: int
    stack: int
    scratch: int
    nv: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the board has, bytes. `flash` holds image and persistent data together."""

    flash: int
    sram: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Arena:
    """The activations' memory plan: its size, the liveness lower bound, and the layer where the bound is met.

    `unfused_bytes` is the arena of the net as it came, neither fused nor compressed, with the same widths: the output
    of every operator stored, in the order of the file.
    """

    bytes: int
    lower_bound_bytes: int
    peak_layer: str
    unfused_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A form of weights that is not the plain one: bytes of flash that it saves, and what it is predicted to cost, less
    than nothing where it saves time too; None where no prices of the board and compiler are known."""

    form: str
    bytes_saved: int
    cost_added: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One emitted function. `predicted_cost` is the cost model's, in the report's `cost_unit`; None where no prices of
    the board and compiler are known. `stored` is None where weights are plain, or there are none."""

    name: str
    op: str
    shape: tuple[int, ...]
    dtype: str
    macs: int
    weight_bytes: int
    predicted_cost: int | None
    stored: Stored | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantization:
    """How the net became integers: the precision asked for, what was chosen, each way tried and its error."""

    precision: str
    weight_bits: int
    widened: tuple[str, ...]
    chosen: str
    trials: tuple[tuple[str, float], ...]
    calibration: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerRegions:
    """How a layer is cut: `units` of its output, `per_region` of them between two commits; `block` channels of a pixel
    are a unit where that is less than a pixel, else 0."""

    name: str
    units: int
    per_region: int
    regions: int
    block: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Power:
    """What an inference asks of the supply.

    A boot pays for `budget_cycles` (`budget_uj`, when the budget is an energy), `boot_cycles` of which go before the
    first region; `capture_cycles` are from reset to the commit of an input, as the self-test program gets one. Regions
    are from commit to commit, the publishing of the outputs included; the largest must fit a boot. `inference_cycles`
    and `inference_uj` are their sum: an inference from the commit of its input to that of its outputs, as it is cut,
    without boots and what failures throw away. `boots_per_inference` counts boots when nothing is harvested meanwhile,
    None when the inference never ends.
    `min_capacitor_uf` is the smallest with which this net can be compiled, between these voltages. Cycles and
    energy of regions and boot are `measured` on the board's simulator, else predicted; energy is always an estimate.

    `writes_per_granule_max`: writes of one inference to the granule of non-volatile memory that is written most.
    """

    capacitor_uf: float | None
    v_on: float
    v_off: float
    budget_uj: float | None
    budget_cycles: int
    boot_cycles: int
    capture_cycles: int
    largest_region: str
    largest_region_cycles: int
    largest_region_uj: float
    regions: int
    inference_cycles: int
    inference_uj: float
    boots_per_inference: int | None
    min_capacitor_uf: float
    measured: bool
    nv_progress_bytes: int
    nv_results_bytes: int
    nv_kept_bytes: int
    writes_per_granule_max: float
    layers: tuple[LayerRegions, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CompressionRound:
    """A net on the way to a budget: bytes of flash (image and persistent data) and RAM, predicted cycles, and the share
    of right answers on validation data: of the integer net in a firmware that was `built`, else of the float net, with
    bytes that are estimated. `energy_uj` is `Power.inference_uj`, for a net that was not built by the cycles and what a
    cycle took in the last build; None before the first, and where no board is known."""

    flash: int
    ram: int
    cycles: int
    validation: Share
    built: bool
    energy_uj: Real | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Compression:
    """What a budget made of the net. Bytes are those of its weights: float32 before, in the ELF file after.

    `accuracy_before` is that of the float net as it came, `accuracy_after` that of the integer net, `drop` their
    difference and `interval` its 95 % interval, all shares (0..1) of the test part. `rounds` are in order.
    """

    method: str
    bytes_before: int
    bytes_after: int
    ratio: Real
    accuracy_before: Share
    accuracy_after: Share
    drop: Real
    interval: tuple[Real, Real]
    rounds: tuple[CompressionRound, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExitFigures:
    """One exit: its scores are ready after `after_layer`, `accuracy` is that of the test part were all inferences to
    end there, `bytes` are its constants', `cycles` (in the report's `cost_unit`, predicted) what an inference takes
    that does."""

    name: str
    after_layer: str
    accuracy: Share
    bytes: int
    cycles: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BranchFigures:
    """What the exits of an `output` take together: parameters, bytes of constants, bytes of the arena alive at
    once for them alone and those by which the arena grows, predicted cycles, and these as a share of the backbone's."""

    kind: str
    output: str
    parameters: int
    bytes: int
    arena_bytes: int
    arena_added_bytes: int
    cycles: int
    share: Real


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyFigures:
    """The rule, its threshold for people, and what it does. Drops are shares (0..1) of right answers against inferences
    that run to the end: promised with `confidence` (None where nothing is promised), found on `val_samples` of the
    validation part, and achieved on the test part with its 95 % interval. `mean_cycles` and `shares` (of inferences
    that end at each exit, and at the end) are those of the test part, predicted; `full_cycles` is an inference that
    runs to the end, `backbone_cycles` one of the net without exits."""

    name: str
    threshold: str
    energy: bool
    promised_drop: Real | None
    confidence: Real
    val_drop: Real
    val_samples: int
    achieved_drop: Real
    achieved_interval: tuple[Real, Real]
    accuracy: Share
    mean_cycles: Real
    full_cycles: int
    backbone_cycles: int
    shares: tuple[Share, ...]
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything `freeml compile` reports; `report.json` holds the same.

    The hashes are those of the ONNX file and of model.graph.json, the integer graph that the reference runs; `seed` is
    what all that was drawn by chance follows from, a validation part among it where the data had none. `far` are
    the addresses that the code reads far constants from, by C name.
    """

    generator: str
    model: str
    model_sha256: str
    graph_sha256: str
    seed: int
    target: str
    toolchain: str
    params: int
    macs: int
    accuracy: Accuracy
    bytes: Bytes
    limits: Limits
    fits: bool
    far: Mapping[str, int]
    arena: Arena
    quantization: Quantization
    layers: tuple[Layer, ...]
    cost_unit: str | None
    power: Power
    compression: Compression | None
    exits: tuple[ExitFigures, ...]
    branch: BranchFigures | None
    policy: PolicyFigures | None
    notes: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)
