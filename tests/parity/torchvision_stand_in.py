"""timm without torchvision.

timm imports torchvision for data sets, transforms and detection layers, and its networks use none
of them. Where torchvision is missing, or doesn't fit the installed torch, empty stand-ins let timm
import; torch and timm are then all that the parity tests need.
"""

import enum
import sys
import types
from typing import Any

MODULES = (
    "torchvision",
    "torchvision.datasets",
    "torchvision.models",
    "torchvision.models.feature_extraction",
    "torchvision.ops",
    "torchvision.ops.misc",
    "torchvision.transforms",
    "torchvision.transforms.functional",
    "torchvision.utils",
)


class _StandIn(types.ModuleType):
    """A module in which every name is an empty class."""

    __path__ = ()
    __version__ = "0"

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        import torch

        if name == "InterpolationMode":
            modes = ("NEAREST", "BILINEAR", "BICUBIC", "BOX", "HAMMING", "LANCZOS")
            made: Any = enum.Enum(name, {mode: mode.lower() for mode in modes})
        else:
            made = type(name, (torch.nn.Module,), {})
        setattr(self, name, made)
        return made


def install() -> None:
    try:
        import torchvision  # noqa: F401
    except Exception:  # missing, or a RuntimeError about its operators
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        for name in MODULES:
            sys.modules[name] = _StandIn(name)
            parent, _, child = name.rpartition(".")
            if parent:
                setattr(sys.modules[parent], child, sys.modules[name])
