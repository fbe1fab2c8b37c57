"""Where channels can be cut: one place in every block.

inner    ResNet with attention at "3x3", or a block without attention: the outputs of the
         bottleneck's 3x3 convolution, of two convolutions the first. The next convolution
         reads them.
outputs  ResNet with attention at "standard": the outputs of the branch's last convolution. The
         shortcut's sum reads them, so they get smaller and the sum does not.
middle   MobileNet: the middle channels of inverted and fused blocks.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import flax.linen as nn

from senet_jax.layers import SEBlock
from senet_jax.layers.channel_attention import ChannelAttention
from senet_jax.models.mobile import MobileNet
from senet_jax.models.mobile_blocks import WIDENING
from senet_jax.models.resnet import ResNet
from senet_jax.models.spec import per_stage

# in a mobile network's block, by its kind: convolutions, norms, and what reads the last
MIDDLE = {
    "inverted": (("expand_conv", "depthwise_conv"), ("bn1", "bn2"), "project_conv"),
    "fused": (("fused_conv",), ("bn1",), "project_conv"),
    "separable": (("depthwise_conv",), ("bn1",), "pointwise_conv"),
}


class Layer(NamedTuple):
    """The modules of a block that the channels go through, by their names in it.

    Attributes:
      field: of the model, which says what is left of the channels.
      convs: they come out of these.
      norms: of these; the last stands before the gates.
      attention: that gates them, "se"; "" if none does.
      gates: whether it multiplies each channel by one gate for the whole image.
      fold: into whose weights a constant gate can go; "": it cannot.
      consumer: the convolution that reads them; "" for the shortcut's sum.
      consumer_norm: the norm after it.
      refusal: why they cannot be cut; "" if they can.
    """

    field: str
    convs: tuple[str, ...]
    norms: tuple[str, ...]
    attention: str
    gates: bool
    fold: str
    consumer: str
    consumer_norm: str
    refusal: str


def layers_of(model: nn.Module) -> dict[str, Layer]:
    """What can be cut, or cannot and why, by block: "stage1/block1", in the network's order.

    Raises:
      ValueError: a network of another family, or one without batch norms.
    """
    if not isinstance(model, ResNet | MobileNet):
        raise ValueError(
            f"{type(model).__name__} cannot be pruned: expected a ResNet or a MobileNet, whose"
            " fields can say what is left of each block."
        )
    if model.norm.folded:
        raise ValueError(
            "The batch norms of this network are folded into its convolutions, and pruning needs"
            " them: cut first, fold_batch_norm last."
        )
    return dict(_of_resnet(model) if isinstance(model, ResNet) else _of_mobile(model))


def cuttable_layers(model: nn.Module) -> dict[str, Layer]:
    """Those that can be cut.

    Raises:
      ValueError: there are none; says why.
    """
    layers = layers_of(model)
    found = {block: layer for block, layer in layers.items() if not layer.refusal}
    if not found:
        reasons = sorted({layer.refusal for layer in layers.values()})
        raise ValueError(f"No channel of this network can be cut: {'; '.join(reasons)}.")
    return found


def channels_of(variables: Mapping[str, Any], block: str, layer: Layer) -> int:
    """The channels of a layer as the variables, arrays or their shapes, have them."""
    stage, name = block.split("/")
    return variables["params"][stage][name][layer.norms[-1]]["scale"].shape[0]


def _of_resnet(model: ResNet) -> Iterator[tuple[str, Layer]]:
    for i, (places, stage) in enumerate(zip(model.places(), model.single_blocks(), strict=True)):
        for j, own in enumerate(stage):
            place = "" if own["attention"] is None else _place(places)
            make = _outputs if place == "standard" else _inner
            name = "se" if len(places) == 1 else f"se_{place}"
            attention = own["attention"] if place else None
            yield f"stage{i + 1}/block{j + 1}", make(model, i, attention, name)


def _place(places: tuple[str, ...]) -> str:
    """Where attention gates channels that can be cut; "" if it stands at other places alone."""
    return next((place for place in ("3x3", "standard") if place in places), "")


def _inner(model: ResNet, stage: int, attention: nn.Module | None, name: str) -> Layer:
    last = 3 if model.bottleneck else 2
    in_place = per_stage("inner", model.inner, len(model.stage_sizes))[stage]
    gates = in_place is None and _gates_channels(attention)
    if in_place is not None:
        refusal = f"{type(in_place).__name__} stands in place of the convolution"
    elif model.bottleneck and model.cardinality > 1:
        refusal = "the channels of grouped convolutions (cardinality) come in equal groups"
    else:
        refusal = _refusal(attention)
    return Layer(
        field="inner_widths",
        convs=(f"conv{last - 1}",),
        norms=(f"bn{last - 1}",),
        attention=name if attention else "",
        gates=gates,
        fold=f"bn{last - 1}" if gates and name == "se" else "",
        consumer=f"conv{last}",
        consumer_norm=f"bn{last}",
        refusal=refusal,
    )


def _outputs(model: ResNet, stage: int, attention: nn.Module | None, name: str) -> Layer:
    last = 3 if model.bottleneck else 2
    return Layer(
        field="kept_outputs",
        convs=(f"conv{last}",),
        norms=(f"bn{last}",),
        attention=name,
        gates=_gates_channels(attention),
        fold=f"bn{last}" if _gates_channels(attention) and name == "se" else "",
        consumer="",
        consumer_norm="",
        refusal=_refusal(attention),
    )


def _of_mobile(model: MobileNet) -> Iterator[tuple[str, Layer]]:
    for i, (rows, stage) in enumerate(zip(model.scaled(), model.single_blocks(), strict=True)):
        flat = [row for row in rows for _ in range(row.repeats)]
        for j, (row, own) in enumerate(zip(flat, stage, strict=True)):
            gated = row.attend and model.placement == "depthwise"
            attention = own["attention"] if gated else None
            if row.kind in MIDDLE:
                yield f"stage{i + 1}/block{j + 1}", _middle(row.kind, attention)


def _middle(kind: str, attention: nn.Module | None) -> Layer:
    convs, norms, consumer = MIDDLE[kind]
    refusal = ""
    if kind not in WIDENING:
        refusal = f"{kind} blocks have no middle channels but their inputs"
    return Layer(
        field="middle_widths",
        convs=convs,
        norms=norms,
        attention="se" if attention else "",
        gates=_gates_channels(attention),
        fold=consumer if _gates_channels(attention) else "",
        consumer=consumer,
        consumer_norm=f"bn{len(norms) + 1}",
        refusal=refusal or _refusal(attention),
    )


def _refusal(attention: nn.Module | None) -> str:
    if attention is None or isinstance(attention, SEBlock):
        return ""
    return (
        f"in {type(attention).__name__} the gates of the channels that stay would change: expected"
        " SEBlock, or no attention"
    )


def _gates_channels(attention: nn.Module | None) -> bool:
    if isinstance(attention, ChannelAttention):
        return attention.combine == "multiply" and attention.shift is None
    return isinstance(attention, SEBlock)
