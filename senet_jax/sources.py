"""Where weights can be, and what is known of them before their arrays are read."""

import difflib
import json
import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

from senet_jax import hub
from senet_jax.convert.caffe_file import SUFFIX as CAFFE_SUFFIX
from senet_jax.convert.weights_file import TORCH_SUFFIXES
from senet_jax.models.pretrained import RELEASED, RELEASES, find_pretrained
from senet_jax.models.registry import VARIANTS, create_model
from senet_jax.models.single_blocks import USUAL

SUFFIXES = (".safetensors", *TORCH_SUFFIXES, CAFFE_SUFFIX)


def _as_it_is(field: str, value: Any) -> dict[str, Any]:
    return {field: value}


# timm's arguments (`model_args` of a config.json): what the weights themselves say, and what has a
# counterpart here
READ_OFF = ("in_chans", "num_classes", "stem_width")
ARGUMENTS: dict[str, Callable[[Any], dict[str, Any]]] = {
    "layers": lambda layers: {"stage_sizes": tuple(layers)},
    "channels": lambda channels: {"width": channels[0]},
    "cardinality": lambda groups: {"cardinality": groups},
    "base_width": lambda width: {"base_width": width},
    "drop_rate": lambda rate: {"dropout": rate},
    # of pruned networks, which timm cannot build
    **{field: partial(_as_it_is, field) for field in USUAL},
}
WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")  # of a folder that timm wrote


class Source(NamedTuple):
    """What `load`'s first argument turned out to be.

    Attributes:
      kind: "workdir" of a training run, "file", or "tag" of published weights.
      path: of the directory or file; None for a tag, which is yet to be fetched.
      name: of the model, as far as it is known without reading the weights.
      tag: of published weights that they are said to be.
      config: the config.json beside a file, as timm and `export_timm` write it; {} without.
    """

    kind: Literal["workdir", "file", "tag"]
    path: Path | None
    name: str | None = None
    tag: str | None = None
    config: Mapping[str, Any] = {}

    @property
    def directory(self) -> Path:
        """Of a training run."""
        assert self.kind == "workdir" and self.path is not None
        return self.path


def find_source(source: str | os.PathLike, name: str | None = None) -> Source:
    """What a source is; the forms are those of `senet_jax.load`.

    Raises:
      FileNotFoundError: there is nothing of that name.
      ValueError: a folder of another kind, an unknown model or tag, weights that aren't published,
        or a `name` that contradicts the source.
    """
    text = os.fspath(source)
    if text.startswith("hf-hub:"):
        return _hub_repository(text.removeprefix("hf-hub:"), name)
    path = Path(text.removeprefix("local-dir:"))
    if path.is_dir():
        return _directory(path, name)
    if path.is_file():
        return _file(path, name)
    if text.startswith("local-dir:") or _looks_like_a_path(source):
        raise FileNotFoundError(
            f"There is nothing at {path}: expected the directory of a training run, a file of"
            f" weights ({', '.join(SUFFIXES)}) or a folder with model.safetensors and config.json."
        )
    model, tag = _tagged(text)
    _check_same(name, model, text)
    return Source("tag", None, model, tag)


def fetch_source(source: Source) -> Path:
    """The file of a source, downloaded if need be."""
    if source.path is not None:
        return source.path
    tagged = f"{source.name}.{source.tag}"
    return hub.fetch(f"timm/{tagged}", "model.safetensors", instead=_by_hand(tagged))


def model_options(source: Source) -> dict[str, Any]:
    """The options of `create_model` that a source's config.json asks for beside the name.

    Raises:
      ValueError: it asks for something that has no counterpart here.
    """
    arguments = source.config.get("model_args") or {}
    if not isinstance(arguments, Mapping):
        raise ValueError(
            f"The config.json beside {source.path} has model_args={arguments!r}, expected names and"
            " values."
        )
    told = {k: v for k, v in arguments.items() if k not in READ_OFF}
    unknown = sorted(told.keys() - ARGUMENTS.keys())
    if unknown:
        raise ValueError(
            f"The config.json beside {source.path} asks timm for {', '.join(unknown)} (model_args),"
            f" which has no counterpart here: expected {', '.join(ARGUMENTS)} at most."
        )
    return {k: v for argument, value in told.items() for k, v in ARGUMENTS[argument](value).items()}


def _by_hand(tagged: str) -> str:
    text = f"give the file itself: senet_jax.load('model.safetensors', '{tagged}')."
    if tagged in RELEASED:
        text += f" {RELEASES}{RELEASED[tagged]} has the same weights, as .pth."
    return text


def _hub_repository(repository: str, name: str | None) -> Source:
    instead = "put config.json and model.safetensors into a folder and give that."
    config = _read_config(hub.fetch(repository, "config.json", instead=instead))
    weights = hub.fetch(repository, "model.safetensors", instead=instead)
    return _with_config(weights, name, config, repository)


def _directory(path: Path, name: str | None) -> Source:
    if (path / "checkpoints").is_dir():
        return Source("workdir", path, name)
    config, weights = path / "config.json", [path / file for file in WEIGHT_FILES]
    there = [file for file in weights if file.is_file()]
    if config.is_file() and there:
        return _with_config(there[0], name, _read_config(config), str(path))
    raise FileNotFoundError(
        f"There are no checkpoints in {path}, and no weights: expected {path}/checkpoints, as"
        f" `python -m train --workdir={path}` writes them, or model.safetensors and config.json."
    )


def _file(path: Path, name: str | None) -> Source:
    beside = path.parent / "config.json"
    config = _read_config(beside) if beside.is_file() else {}
    if name is None:
        if not config:
            example = "sebn_inception" if path.suffix == CAFFE_SUFFIX else "seresnet50"
            raise ValueError(
                f"{path} does not say what network it is for: give its name, for example"
                f" senet_jax.load({path.name!r}, {example!r})."
            )
        return _with_config(path, None, config, str(path))
    model, tag = _named(name)
    if config and (path.name in WEIGHT_FILES or _architecture(config)[0] == model):
        return _with_config(path, name, config, str(path))
    return Source("file", path, model, tag)


def _with_config(path: Path, name: str | None, config: Mapping[str, Any], what: str) -> Source:
    if not config:
        raise ValueError(
            f"The config.json of {what} names no architecture: give model.safetensors and the"
            " network's name."
        )
    model, tag = _architecture(config)
    if name is not None:
        _check_same(name, model, what)
    if model not in VARIANTS:
        create_model(model)  # says which names are near
    return Source("file", path, model, tag, config)


def _architecture(config: Mapping[str, Any]) -> tuple[str, str | None]:
    model, _, tag = str(config["architecture"]).partition(".")
    return model, tag or None


def _read_config(path: Path) -> Mapping[str, Any]:
    """timm's config.json; {} if it is somebody else's."""
    try:
        config = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path} is no JSON ({error}): write or fetch it again.") from error
    return config if isinstance(config, dict) and "architecture" in config else {}


def _named(name: str) -> tuple[str, str | None]:
    """A model's name with or without a tag; the tag of ours or of nobody."""
    model, _, tag = name.partition(".")
    if model not in VARIANTS:
        create_model(model)  # says which names are near
    return (model, find_pretrained(name)[1]) if tag else (model, None)


def _tagged(text: str) -> tuple[str, str]:
    model = text.partition(".")[0]
    if model not in VARIANTS:
        near = difflib.get_close_matches(model, VARIANTS, n=3)
        hint = f" Did you mean {', '.join(map(repr, near))}?" if near else ""
        raise FileNotFoundError(
            f"{text!r} is neither a file or directory that is there nor the name of a model.{hint}"
        )
    return find_pretrained(text)


def _check_same(name: str | None, model: str, source: str) -> None:
    if name is not None and name.partition(".")[0] != model:
        raise ValueError(
            f"{source} holds {model}, not {name}: leave the name out, or give another source."
        )


def _looks_like_a_path(source: str | os.PathLike) -> bool:
    text = os.fspath(source)
    return (
        not isinstance(source, str)
        or text.endswith(SUFFIXES)
        or any(separator in text for separator in "/\\")
        or text.startswith((".", "~"))
    )
