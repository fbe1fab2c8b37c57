"""The networks of moskomule/senet.pytorch, written anew with its names.

Linear SE layers without biases, ReLU after the sum, projections by 1x1 convolutions; a 7x7 stem as
torchvision's for ImageNet, a 3x3 stem for CIFAR.
"""

from collections.abc import Sequence

import torch
from torch import nn


class SELayer(nn.Module):
    def __init__(self, channels: int, reduction: int):
        super().__init__()
        hidden = channels // reduction
        self.fc = nn.Sequential(
            nn.Linear(channels, hidden, bias=False),
            nn.ReLU(),
            nn.Linear(hidden, channels, bias=False),
            nn.Sigmoid(),
        )

    def forward(self, x):
        return x * self.fc(x.mean((2, 3)))[:, :, None, None]


class Block(nn.Module):
    """Basic (two 3x3 convolutions) or bottleneck, whose 3x3 convolution has the stride."""

    def __init__(self, inputs: int, width: int, stride: int, bottleneck: bool, reduction: int):
        super().__init__()
        outputs = 4 * width if bottleneck else width
        layers = [(inputs, width, 3, stride), (width, width, 3, 1)]
        if bottleneck:
            layers = [(inputs, width, 1, 1), (width, width, 3, stride), (width, outputs, 1, 1)]
        self.depth = len(layers)
        for i, (a, b, kernel, step) in enumerate(layers, 1):
            conv = nn.Conv2d(a, b, kernel, step, padding=kernel // 2, bias=False)
            self.add_module(f"conv{i}", conv)
            self.add_module(f"bn{i}", nn.BatchNorm2d(b))
        self.se = SELayer(outputs, reduction)
        self.downsample = nn.Sequential()
        if stride != 1 or inputs != outputs:
            conv = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.downsample = nn.Sequential(conv, nn.BatchNorm2d(outputs))

    def forward(self, x):
        y = x
        for i in range(1, self.depth + 1):
            y = getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(y))
            y = torch.relu(y) if i < self.depth else self.se(y)
        return torch.relu(y + self.downsample(x))


class Network(nn.Module):
    """SE-ResNet; `cifar` has a 3x3 stem of 16 channels and no pool."""

    def __init__(
        self,
        sizes: Sequence[int],
        *,
        cifar: bool,
        bottleneck: bool = False,
        reduction: int = 16,
        num_classes: int = 10,
    ):
        super().__init__()
        width = channels = 16 if cifar else 64
        self.conv1 = nn.Conv2d(3, width, *((3, 1, 1) if cifar else (7, 2, 3)), bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.pool = nn.Identity() if cifar else nn.MaxPool2d(3, 2, 1)
        self.stages = len(sizes)
        for stage, size in enumerate(sizes):
            blocks = []
            for i in range(size):
                stride = 2 if stage > 0 and i == 0 else 1
                blocks.append(Block(channels, width * 2**stage, stride, bottleneck, reduction))
                channels = width * 2**stage * (4 if bottleneck else 1)
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
        self.fc = nn.Linear(channels, num_classes)

    def pyramid(self, x):
        levels = [torch.relu(self.bn1(self.conv1(x)))]
        x = self.pool(levels[0])
        for stage in range(1, self.stages + 1):
            x = getattr(self, f"layer{stage}")(x)
            levels.append(x)
        return levels

    def forward(self, x):
        return self.fc(self.pyramid(x)[-1].mean((2, 3)))
