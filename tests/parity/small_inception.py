"""timm's Inceptions as small twins: few modules, a sixteenth of the channels."""

from typing import Any

import torch

from tests.parity.reference import timm

CLASSES, DIVISOR = 10, 16  # divides every width
KEPT_V4 = (0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 18, 19)  # of its features


def make(network: str = "inception_v3", **options: Any) -> torch.nn.Module:
    """10 classes; other options are timm's own.

    The network's attribute `pyramid` maps images, 75x75 or larger, to the levels of
    `features_only`.
    """
    model = timm.create_model(network, num_classes=CLASSES, **options)
    nothing = torch.nn.Identity()
    match network:
        case "inception_v3":
            for module in ("5d", "6c", "6d", "6e", "7c"):
                setattr(model, f"Mixed_{module}", nothing)
        case "inception_v4":
            model.features = torch.nn.Sequential(*(model.features[i] for i in KEPT_V4))
            model.stage_ends = [2, 3, 7, 9, 11]
        case "inception_resnet_v2":
            for sequence in ("repeat", "repeat_1", "repeat_2"):
                setattr(model, sequence, getattr(model, sequence)[:1])
    for module in model.modules():
        _narrow(module)
    model.pyramid = lambda images: model.forward_intermediates(images, intermediates_only=True)
    return model


def _narrow(module: torch.nn.Module) -> None:
    """Cuts a layer's channels, but for those of images and classes."""

    def part(n: int) -> int:
        return n if n in (3, CLASSES) else n // DIVISOR

    own = (module.named_parameters(recurse=False), module.named_buffers(recurse=False))
    for key, value in [pair for pairs in own for pair in pairs]:
        cut = value.detach()[tuple(slice(part(n)) for n in value.shape[:2])].clone()
        setattr(module, key, torch.nn.Parameter(cut) if key in ("weight", "bias") else cut)
