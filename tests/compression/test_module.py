"""`freeml.compress`: a torch module in, a smaller one and its ONNX file out."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import freeml
from blobs import arrays
from compiling import compiled
from freeml.compression.floats import peak_activation_bytes, weight_bytes
from freeml.compression.module import CompressedModule, GraphModule, collected
from freeml.errors import CompressionError, DataError, FreemlError, OutputFolderError
from freeml.frontend.onnx_reader import import_onnx
from freeml.ir.graph import execute
from freeml.passes.driver import run_passes
from freeml.passes.standard import PASSES
from ops.sketch import Sketch


class Net(nn.Module):
    """A residual block, a batch norm, a functional ReLU: what exporters and tracers stumble over."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 12, 3, padding=1)
        self.norm = nn.BatchNorm2d(12)
        self.block = nn.Conv2d(12, 12, 3, padding=1)
        self.hidden = nn.Linear(192, 24)
        self.last = nn.Linear(24, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.stem(x)))
        x = nn.functional.max_pool2d(torch.relu(x + self.block(x)), 2)
        return self.last(torch.relu(self.hidden(x.flatten(1))))


class Given(NamedTuple):
    net: Net
    weights: dict[str, Tensor]
    result: CompressedModule
    rounds: list


BUDGET = "6KB"


def trained() -> Net:
    torch.manual_seed(0)
    net, data = Net(), arrays()
    x, y = torch.from_numpy(data["x_train"]), torch.from_numpy(data["y_train"])
    optimizer = torch.optim.Adam(net.parameters(), 0.01)
    for _ in range(40):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        optimizer.step()
    return net


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Given:
    net = trained()
    net.block.eval()  # whatever mode it is in, it stays
    weights, rounds = copy.deepcopy(net.state_dict()), []
    result = freeml.compress(
        net, arrays(), BUDGET, max_drop=3.0, on_round=rounds.append, out=tmp_path_factory.mktemp("m") / "net.onnx"
    )
    return Given(net, weights, result, rounds)


def answers(data: bytes, x: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x})[0]


def right(scores: np.ndarray, part: str) -> float:
    return float((scores.argmax(axis=1) == arrays()[f"y_{part}"]).mean())


def test_module_and_file_are_one_net(given: Given) -> None:
    module, content, _ = given.result
    for part in ("val", "test"):
        x = arrays()[f"x_{part}"]
        with torch.no_grad():
            found = module(torch.from_numpy(x)).numpy()
        assert found.shape == (len(x), 4)
        np.testing.assert_allclose(found, answers(content, x), rtol=1e-4, atol=1e-4)


def test_the_budget_is_met_in_the_module_and_in_the_file(given: Given) -> None:
    module, content, report = given.result
    stored = sum(4 * parameter.numel() for parameter in module.parameters())
    assert stored == report.weight_bytes_after <= 6 * 1024
    assert report.weight_bytes_before > 4 * stored
    assert len(content) < 6 * 1024 + 4000
    assert report.activation_bytes_after <= report.activation_bytes_before


def test_the_figures(given: Given) -> None:
    net, _, result, rounds = given
    before, after = net.eval(), result.module
    with torch.no_grad():
        for part, pair in (
            ("val", (result.report.accuracy_before, result.report.accuracy_after)),
            ("test", (result.report.test_before, result.report.test_after)),
        ):
            x = torch.from_numpy(arrays()[f"x_{part}"])
            assert pair == pytest.approx((right(before(x).numpy(), part), right(after(x).numpy(), part)))
    assert 100 * result.report.drop <= 3.0
    assert result.report.interval[0] <= result.report.drop <= result.report.interval[1]
    assert tuple(rounds) == result.report.rounds
    assert len(rounds) > 5
    assert rounds[-1].flash == result.report.weight_bytes_after


def test_the_given_module_stays_as_it_was(given: Given) -> None:
    for name, tensor in given.net.state_dict().items():
        assert torch.equal(tensor, given.weights[name]), name


def test_it_is_a_module_like_others(given: Given) -> None:
    """Copied, pickled, loaded, trained further."""
    module, x = given.result.module, torch.from_numpy(arrays()["x_test"][:9])
    assert isinstance(module, nn.Module)
    with torch.no_grad():
        expected = module(x)
        for twin in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
            assert torch.equal(twin(x), expected)
        fresh = copy.deepcopy(module)
        for parameter in fresh.parameters():
            parameter.zero_()
        assert not torch.equal(fresh(x), expected)
        fresh.load_state_dict(module.state_dict())
        assert torch.equal(fresh(x), expected)
        assert copy.deepcopy(module).double()(x.double()).dtype == torch.float64
    trained_on = copy.deepcopy(module)
    trained_on(x).square().sum().backward()
    assert all(parameter.grad is not None for parameter in trained_on.parameters())


def test_the_file_can_be_compiled(given: Given, tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(given.result.onnx)
    artifact = compiled(tmp_path / "net.onnx", None)
    assert artifact.report["params"] * 4 == given.result.report.weight_bytes_after
    assert artifact.report["accuracy"]["float"] == pytest.approx(given.result.report.test_after)


@pytest.mark.nightly
def test_same_input_same_bytes(given: Given) -> None:
    again = freeml.compress(trained(), arrays(), BUDGET, max_drop=3.0)
    assert again.onnx == given.result.onnx


def test_activations_are_a_budget_too() -> None:
    net = trained()
    whole = freeml.compress(net, arrays(), "1000KB", max_drop=50).report
    half = whole.activation_bytes_before // 2
    found = freeml.compress(net, arrays(), "1000KB", activations=half, max_drop=50)
    assert found.report.activation_bytes_after <= half < whole.activation_bytes_after
    assert whole.weight_bytes_after == whole.weight_bytes_before, "nothing had to change"


def test_peak_of_activations() -> None:
    """Counted by hand: a residual sum keeps its input alive; a reshape takes nothing."""
    sketch = Sketch()
    x = sketch.input(1, 2, 4, 4)  # 32 numbers
    one = sketch.conv(x, 3, (3, 3), pads=((1, 1), (1, 1)))  # 48
    two = sketch.conv(one, 3, (3, 3), pads=((1, 1), (1, 1)))  # 48, and one stays for the sum
    sketch.dense(sketch.add(_reshape(48), sketch.add(_add(), one, two)), 4)
    graph = sketch.graph()
    assert peak_activation_bytes(graph) == 4 * (48 + 48 + 48)
    assert weight_bytes(graph) == 4 * sum(array.size for array in graph.constants.values())


def _reshape(count: int) -> object:
    from freeml.ops.reshape import Reshape

    return Reshape(shape=(1, count))


def _add() -> object:
    from freeml.ops.add import Add

    return Add()


def test_example_nets_as_modules() -> None:
    for path in sorted((Path(__file__).parents[2] / "examples" / "models").glob("*.onnx")):
        graph = run_passes(import_onnx(path), PASSES)
        x = np.random.default_rng(0).normal(size=(3, *graph.types[graph.inputs[0]].shape)).astype(np.float32)
        expected = execute(graph, {graph.inputs[0]: x})
        with torch.no_grad():
            found = GraphModule(graph)(torch.from_numpy(x[:, 0]))
        for name, tensor in zip(graph.outputs, found if isinstance(found, tuple) else (found,), strict=True):
            np.testing.assert_allclose(tensor.numpy(), expected[name][:, 0], rtol=1e-4, atol=1e-4)


def test_data_in_every_form(tmp_path: Path) -> None:
    data = arrays()
    tensors = {name: torch.from_numpy(array) for name, array in data.items()}
    np.savez(tmp_path / "d.npz", **data)
    loaders = {
        part: DataLoader(TensorDataset(tensors[f"x_{part}"], tensors[f"y_{part}"]), batch_size=50)
        for part in ("train", "val", "test")
    }
    for form in (data, tensors, tmp_path / "d.npz", str(tmp_path / "d.npz"), loaders):
        found = collected(form)
        assert set(found) == set(data)
        for name, array in data.items():
            np.testing.assert_array_equal(found[name], array)
    assert set(collected(loaders["train"])) == {"x_train", "y_train"}


def test_without_a_test_part_none_is_reported() -> None:
    data = arrays()
    loader = DataLoader(TensorDataset(torch.from_numpy(data["x_train"]), torch.from_numpy(data["y_train"])), 64)
    report = freeml.compress(trained(), loader, "1000KB", max_drop=50).report
    assert (report.test_before, report.test_after) == (None, None)
    assert report.accuracy_before > 0.8


@pytest.mark.parametrize(
    ("change", "error", "what"),
    [
        (
            {"budget": "tiny"},
            FreemlError,
            r"budget: expected a number of bytes above 0, as in 32KB or 4096, found 'tiny'",
        ),
        ({"budget": 0}, FreemlError, "whole numbers of bytes above 0"),
        ({"max_drop": -1}, FreemlError, "max_drop: expected 0 to 100 points"),
        ({"module": "net"}, FreemlError, r"expected a torch.nn.Module, found str"),
        ({"data": 5}, DataError, "expected arrays, a .npz file or loaders, found int"),
        ({"data": {}}, DataError, "expected samples to train with, x_train, found nothing"),
        ({"data": {"train": [], "rest": []}}, DataError, "expected loaders called train, val, test, found rest"),
        ({"data": [torch.zeros(1)]}, DataError, r"expected batches \(samples, labels\) for train, found Tensor"),
        ({"data": []}, DataError, "expected at least one batch for train, found none"),
        ({"out": "no/such/folder/net.onnx"}, OutputFolderError, "expected the name of a file in a folder that exists"),
        ({"budget": 40}, CompressionError, r"the budget of 40 B of weights is below what this net takes"),
    ],
)
def test_bad_input(change: dict, error: type[FreemlError], what: str) -> None:
    asked = {"module": trained(), "data": arrays(), "budget": "6KB", **change}
    with pytest.raises(error, match=what):
        freeml.compress(asked.pop("module"), asked.pop("data"), asked.pop("budget"), **asked)


def test_a_module_that_torch_cannot_export() -> None:
    class Moody(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.flatten(1)[:, :4] if float(x.detach().sum()) > 0 else 2 * x.flatten(1)[:, :4]

    with pytest.raises(FreemlError, match=r"Moody: torch cannot export it for samples of shape \(1, 8, 8\)"):
        freeml.compress(Moody(), arrays(), "6KB")


def test_interrupted_it_goes_on(given: Given, tmp_path: Path) -> None:
    seen: list[object] = []

    def stop(row: object) -> None:
        seen.append(row)
        if len(seen) == 5:
            raise KeyboardInterrupt

    out = tmp_path / "net.onnx"
    with pytest.raises(KeyboardInterrupt, match="goes on from there"):
        freeml.compress(trained(), arrays(), BUDGET, max_drop=3.0, out=out, on_round=stop)
    again = freeml.compress(trained(), arrays(), BUDGET, max_drop=3.0, out=out, on_round=seen.append)
    assert again.onnx == out.read_bytes() == given.result.onnx
    assert len(seen) == len(given.rounds) + 1
    assert not (tmp_path / "net.onnx.search").exists()


def test_callbacks_of_compile(model: Path) -> None:
    rounds: list = []
    steps: list[tuple[str, float]] = []
    artifact = freeml.compile(
        model, data=arrays(), flash="7KB", max_drop=5, effort="quick", on_round=rounds.append,
        progress=lambda step, share: steps.append((step, share)),
    )  # fmt: skip
    assert [row.flash for row in rounds] == [row["flash"] for row in artifact.report["compression"]["rounds"]]
    sizes = artifact.report["bytes"]
    assert sizes["flash"] + sizes["nv"] <= 7 * 1024
    shares = [share for _, share in steps]
    assert shares == sorted(shares)
    assert 0.0 <= shares[0] < shares[-1] <= 1.0


def test_importing_freeml_stays_light() -> None:
    code = "import sys, freeml; freeml.compress; sys.exit('torch' in sys.modules or 'optuna' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
