"""The example networks as torch modules.

All are small enough for the MSP430FR5994 in int8: weights and activations fit 256 KB of FRAM with room to spare, and
no tensor has 32,767 elements or more. Batch norm stays a layer of its own, as it does in most exported nets, so that
folding it is the compiler's work.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn


def har() -> nn.Module:
    """Watch HAR, ``(n, 6, 100) -> (n, 7)``: three 1-D convolutions. The first batch norm takes raw sensor units."""

    def block(fan_in: int, fan_out: int) -> tuple[nn.Module, ...]:
        return nn.Conv1d(fan_in, fan_out, 5, padding=2), nn.BatchNorm1d(fan_out), nn.ReLU()

    return nn.Sequential(
        nn.BatchNorm1d(6),
        *block(6, 16),
        nn.MaxPool1d(4),
        *block(16, 32),
        nn.MaxPool1d(2),
        *block(32, 32),
        nn.AdaptiveAvgPool1d(1),
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Linear(32, 7),
    )


def lenet5() -> nn.Module:
    """LeNet-5 with ReLU and max pooling, ``(n, 1, 28, 28) -> (n, 10)``: 44,426 parameters, 281,640 MACs.

    LeCun et al., "Gradient-based learning applied to document recognition", 1998.
    """
    return nn.Sequential(
        nn.Conv2d(1, 6, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(256, 120),
        nn.ReLU(),
        nn.Linear(120, 84),
        nn.ReLU(),
        nn.Linear(84, 10),
    )


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut: the identity, or a strided 1x1 convolution where the shape changes.

    He et al., "Deep residual learning for image recognition", 2016.
    """

    def __init__(self, fan_in: int, fan_out: int, stride: int = 1) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(fan_in, fan_out, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(fan_out),
            nn.ReLU(),
            nn.Conv2d(fan_out, fan_out, 3, padding=1, bias=False),
            nn.BatchNorm2d(fan_out),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or fan_in != fan_out:
            self.shortcut = nn.Sequential(nn.Conv2d(fan_in, fan_out, 1, stride, bias=False), nn.BatchNorm2d(fan_out))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(n, fan_in, height, width) -> (n, fan_out, height / stride, width / stride)``."""
        return torch.relu(self.body(x) + self.shortcut(x))


def resnet() -> nn.Module:
    """A small residual net, ``(n, 1, 28, 28) -> (n, 10)``: an identity, a projected and an identity shortcut."""
    return nn.Sequential(
        nn.Conv2d(1, 12, 3, padding=1, bias=False),
        nn.BatchNorm2d(12),
        nn.ReLU(),
        nn.MaxPool2d(2),
        ResidualBlock(12, 12),
        ResidualBlock(12, 28, stride=2),
        ResidualBlock(28, 28),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(28, 10),
    )


def dscnn() -> nn.Module:
    """A depthwise-separable net, ``(n, 1, 28, 28) -> (n, 10)``, with ReLU6 after depthwise, hard swish after pointwise.

    After Howard et al., "MobileNets", 2017, and "Searching for MobileNetV3", 2019.
    """

    def separable(fan_in: int, fan_out: int, stride: int) -> tuple[nn.Module, ...]:
        return (
            nn.Conv2d(fan_in, fan_in, 3, stride, padding=1, groups=fan_in, bias=False),
            nn.BatchNorm2d(fan_in),
            nn.ReLU6(),
            nn.Conv2d(fan_in, fan_out, 1, bias=False),
            nn.BatchNorm2d(fan_out),
            nn.Hardswish(),
        )

    return nn.Sequential(
        nn.Conv2d(1, 16, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(16),
        nn.Hardswish(),
        *separable(16, 32, 1),
        *separable(32, 64, 2),
        *separable(64, 96, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(96, 10),
    )


class TwoHeads(nn.Module):
    """One trunk, two linear heads: which digit (10 logits) and whether it is even or odd (2 logits)."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.LeakyReLU(0.1),
            nn.AvgPool2d(2),
            nn.Conv2d(8, 16, 3, padding=1),
            nn.BatchNorm2d(16),
            nn.LeakyReLU(0.1),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(784, 32),
            nn.ReLU(),
        )
        self.digit = nn.Linear(32, 10)
        self.parity = nn.Linear(32, 2)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """``(n, 1, 28, 28) -> (n, 10), (n, 2)``."""
        features = self.trunk(x)
        return self.digit(features), self.parity(features)


def twohead() -> nn.Module:
    """Digits with two outputs, ``(n, 1, 28, 28) -> (n, 10), (n, 2)``."""
    return TwoHeads()


NETS: dict[str, Callable[[], nn.Module]] = {
    "har": har,
    "lenet5": lenet5,
    "resnet": resnet,
    "dscnn": dscnn,
    "twohead": twohead,
}
