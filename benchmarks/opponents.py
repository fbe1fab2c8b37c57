"""timm's side of the measurements, at the settings that are fastest there; see tests/parity."""

import os
from collections.abc import Callable, Iterator

import torch
from torch.fx.experimental.optimization import fuse

from senet_jax.bench import LEARNING_RATE, MOMENTUM, Run
from tests.parity import torchvision_stand_in

torchvision_stand_in.install()

import timm  # noqa: E402

VERSIONS = {"torch": torch.__version__, "timm": timm.__version__}


def use_all_threads() -> None:
    torch.set_num_threads(os.cpu_count() or 1)


def plain_name(name: str) -> str | None:
    """timm's name of an SE network without its attention, if it has that."""
    plain = name.removeprefix("se")
    return plain if plain != name and timm.is_model(plain) else None


def evaluations(
    name: str, batch: int, size: int, device: str, half: bool, ways: tuple[str, ...]
) -> Iterator[tuple[str, Run]]:
    """Inference in channels_last, by way: "eager", "folded" (batch norm into convolutions),
    "compiled" (max-autotune; on a CPU with frozen weights, which folds as well).
    """
    dtype = torch.bfloat16 if half else torch.float32
    images = _images(batch, size, device).to(dtype)
    for way in ways:
        model = timm.create_model(name).eval().to(device, dtype, memory_format=torch.channels_last)
        if way == "folded":  # torch knows plain batch norms alone: not those of the mobile networks
            model = fuse(model).to(memory_format=torch.channels_last)
        if way == "compiled":
            model = _compiled(model, device)
        yield way, _evaluation(model, images, device)


def trainings(
    name: str, batch: int, size: int, device: str, half: bool, ways: tuple[str, ...]
) -> Iterator[tuple[str, Run]]:
    """Steps of SGD with momentum in channels_last, under autocast in half precision; by way:
    "eager", "compiled" (max-autotune).
    """
    images = _images(batch, size, device)
    labels = torch.arange(batch, device=device) % 1000
    for way in ways:
        model = timm.create_model(name).train().to(device, memory_format=torch.channels_last)
        forward = _compiled(model, device) if way == "compiled" else model
        optimizer = torch.optim.SGD(
            model.parameters(), LEARNING_RATE, MOMENTUM, fused=device == "cuda"
        )

        def step(forward=forward, optimizer=optimizer):
            with torch.autocast(device, torch.bfloat16, enabled=half):
                loss = torch.nn.functional.cross_entropy(forward(images), labels)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()

        yield way, _repeated(step, device)


def peak_gib(run: Run, device: str) -> float | None:
    """Of the GPU's memory, in two steps, with what was allocated before."""
    if device != "cuda":
        return None
    torch.cuda.reset_peak_memory_stats()
    run(2)
    return torch.cuda.max_memory_allocated() / 2**30


def _images(batch: int, size: int, device: str) -> torch.Tensor:
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True
    images = torch.randn(batch, 3, size, size, device=device)
    return images.contiguous(memory_format=torch.channels_last)


def _evaluation(model: Callable, images: torch.Tensor, device: str) -> Run:
    def step():
        with torch.inference_mode():
            model(images)

    return _repeated(step, device)


def _repeated(step: Callable[[], None], device: str) -> Run:
    def run(steps):
        for _ in range(steps):
            step()
        if device == "cuda":
            torch.cuda.synchronize()

    return run


def _compiled(model: torch.nn.Module, device: str) -> Callable:
    if device == "cpu":
        torch._inductor.config.freezing = not model.training
    return torch.compile(model, mode="max-autotune" if device == "cuda" else "default")
