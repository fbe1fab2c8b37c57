"""timm's side of the comparisons; images and features are NHWC at this door."""

import importlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from tests.convert import seeded
from tests.parity import torchvision_stand_in

torchvision_stand_in.install()

import timm  # noqa: E402
from timm.models._features import FeatureListNet  # noqa: E402


def make(name: str, seed: int = 0, *, stages: int = 4, **arguments: Any) -> torch.nn.Module:
    """timm's network with seeded weights and statistics.

    Args:
      name: timm's name of the network.
      seed: of the weights.
      stages: of residual networks, the last ones are cut off.
      **arguments: timm's own; or `small`, the name of a family whose `tests.parity.small_<family>`
        makes the network of the other arguments.
    """
    if "small" in arguments:
        family = importlib.import_module(f"tests.parity.small_{arguments.pop('small')}")
        return load_seeded(family.make(**arguments), seed)
    model = timm.create_model(name, drop_rate=0.0, **arguments)
    if stages < 4:
        classes = model.num_classes
        model.prune_intermediate_layers(list(range(stages + 1)))
        model.reset_classifier(classes, "avg")
    return load_seeded(model, seed)


def load_seeded(model: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    weights = seeded.state_dict(shapes, seed)
    model.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()})
    return model.eval()


def state_dict(model: torch.nn.Module) -> dict[str, np.ndarray]:
    return {name: value.detach().numpy() for name, value in model.state_dict().items()}


def nchw(images: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))


def nhwc(features: torch.Tensor) -> np.ndarray:
    return features.detach().numpy().transpose(0, 2, 3, 1)


def evaluate(model: torch.nn.Module, images: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    """Logits and every level of the pyramid."""
    with torch.no_grad():
        logits = model(nchw(images)).numpy()
        return logits, [nhwc(level) for level in pyramid(model, nchw(images))]


def gates(model: torch.nn.Module, images: np.ndarray) -> list[np.ndarray]:
    """What every squeeze-and-excitation module multiplies its features by, `[N, C]`, in the order
    in which they run: caught by hooks on their last activation.
    """
    found: list[np.ndarray] = []

    def catch(module: torch.nn.Module, inputs: Sequence[torch.Tensor], out: torch.Tensor) -> None:
        found.append(out.numpy()[..., 0, 0])

    last = [
        m for name, m in model.named_modules() if name.endswith(("se.gate", "se_module.sigmoid"))
    ]
    hooks = [module.register_forward_hook(catch) for module in last]
    with torch.no_grad():
        model(nchw(images))
    for hook in hooks:
        hook.remove()
    return found


def pyramid(model: torch.nn.Module, images: torch.Tensor) -> list[torch.Tensor]:
    if hasattr(model, "pyramid"):  # of moskomule's networks
        return model.pyramid(images)
    if not hasattr(model, "layer1"):
        return model.forward_intermediates(images, intermediates_only=True)
    stages = [getattr(model, f"layer{i}") for i in (1, 2, 3, 4)]
    levels = 1 + sum(1 for stage in stages if list(stage.parameters()))
    return FeatureListNet(model, out_indices=tuple(range(levels))).eval()(images)


def train_step(model: torch.nn.Module, images: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """Mean cross-entropy in training mode: the loss, its gradients, the new running statistics, and
    how many values each norm took them over.
    """
    counts: dict[str, int] = {}

    def count(name: str):
        def hook(module: torch.nn.Module, inputs: Sequence[torch.Tensor]) -> None:
            counts[name] = inputs[0].numel() // inputs[0].shape[1]

        return hook

    for name, module in model.named_modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.register_forward_pre_hook(count(name))
    model.train()
    x = nchw(images).requires_grad_()
    loss = torch.nn.functional.cross_entropy(model(x), torch.from_numpy(labels))
    loss.backward()
    return dict(
        loss=loss.item(),
        images=nhwc(x.grad),
        gradients={name: p.grad.numpy() for name, p in model.named_parameters()},
        statistics={k: v.numpy() for k, v in model.named_buffers() if "running" in k},
        counts=counts,
    )


def torch_dtype(name: str) -> torch.dtype:
    return {"float32": torch.float32, "float64": torch.float64}[name]
