"""The configuration of a run: a page of Python, changed by `--config.field=value`."""

import ast
import difflib
import importlib.util
import re
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from ml_collections import ConfigDict

from configs.defaults import defaults
from train.errors import WrongInput

Tree = dict[str, Any]

OPEN_GROUPS = ("model.options",)  # their fields are the library's, which knows the nearest names
HARMLESS = ("log_every", "data.dir", "data.workers", "evaluation.keep")  # change no number of a run


def read_config(page: str, overrides: Sequence[str] = ()) -> ConfigDict:
    """The config of `page`, with the overrides in place and every field known and of its type.

    Args:
      page: path of a file with `get_config(variant="")`; "file.py:variant" names the variant.
      overrides: "--config.data.batch_size=96", ...: numbers, names and tuples as in Python.

    Raises:
      WrongInput: all that is wrong, together.
    """
    config = _call_page(page)
    problems = _misfits(config, defaults())
    if not problems:  # else there may be nothing to override
        for override in overrides:
            problems += _set_field(config, override)
    if problems:
        raise WrongInput(problems)
    return config.lock()


def as_json(config: ConfigDict) -> Tree:
    """The config as JSON holds it: nested dicts, lists for tuples."""
    return _plain(config.to_dict())


def differences(before: Tree, now: Tree) -> list[str]:
    """Fields of two configs (`as_json`) that make two experiments of them: `seed is 1, was 0`.

    A field that `before` does not know yet had its default.
    """
    old = dict(_leaves(as_json(defaults()))) | dict(_leaves(before))
    new = dict(_leaves(now))
    absent = object()
    return [
        f"{field} is {_shown(new, field)}, was {_shown(old, field)}"
        for field in sorted(old | new)
        if field not in HARMLESS and old.get(field, absent) != new.get(field, absent)
    ]


def load_page(file: Path) -> ModuleType:
    """A page of configs as a module.

    Raises:
      WrongInput: there is no such file, or it is not Python.
    """
    if not file.is_file():
        near = [str(p) for p in sorted(file.parent.glob("*.py")) if not p.stem.startswith("_")]
        hint = difflib.get_close_matches(str(file), near, n=1, cutoff=0.8)
        there = (
            f" Did you mean {hint[0]}?"
            if hint
            else f" In {file.parent} are: {', '.join(near) or 'no pages'}."
        )
        raise WrongInput(f"There is no config file {file}.{there}")
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with _told_with_its_line(file):
        spec.loader.exec_module(module)
    return module


def _call_page(page: str) -> ConfigDict:
    path, _, variant = page.partition(".py:")
    file = Path(path if path == page else path + ".py")
    module = load_page(file)
    with _told_with_its_line(file):
        return module.get_config(variant)


@contextmanager
def _told_with_its_line(file: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # whatever a person's page raises is theirs to mend
        frames = traceback.extract_tb(error.__traceback__)
        lines = [f.lineno for f in frames if Path(f.filename).absolute() == file.absolute()]
        place = f"{file}:{lines[-1]}" if lines else str(file)
        raise WrongInput(f"{place}: {_first_sentence(error)}") from error


def _first_sentence(error: Exception) -> str:
    """An error on one line; ConfigDict's of a misspelt field without the list of all fields."""
    text = " ".join(str(error).split())
    if misspelt := re.search(r'Key "(\w+)" does not exist', text):
        near = re.search(r'Did you mean "(\w+)"', text)
        hint = f" Did you mean '{near[1]}'?" if near else " configs/defaults.py has them all."
        return f"There is no field '{misspelt[1]}' in this group.{hint}"
    return text if isinstance(error, ValueError) else f"{type(error).__name__}: {text}"


def _misfits(config: ConfigDict, like: ConfigDict, prefix: str = "") -> list[str]:
    """What keeps a page's config from having just the fields of the defaults."""
    problems = []
    for key in sorted(set(config) | set(like)):
        field = prefix + key
        if key not in like:
            problems.append(_no_field(field, key, like, prefix))
        elif key not in config:
            problems.append(
                f"config.{field} is missing: start the page from configs.defaults.defaults()."
            )
        elif isinstance(like[key], ConfigDict) != isinstance(config[key], ConfigDict):
            problems.append(f"config.{field} is {config[key]!r}, expected {_kind(like[key])}.")
        elif field in OPEN_GROUPS:
            continue
        elif isinstance(like[key], ConfigDict):
            problems += _misfits(config[key], like[key], field + ".")
        elif not _fits(config[key], like[key]):
            problems.append(f"config.{field} is {config[key]!r}, expected {_kind(like[key])}.")
    return problems


def _set_field(config: ConfigDict, override: str) -> list[str]:
    """Carries out one override in place; returns what is wrong with it."""
    name, equals, text = override.removeprefix("--").partition("=")
    path = name.split(".")
    if path[0] != "config" or len(path) < 2 or not equals:
        return [f"{override} is not understood: write --config.field=value."]
    *groups, key = path[1:]
    group: Any = config
    for i, part in enumerate(groups):
        if part not in group or not isinstance(group[part], ConfigDict):
            return [
                _no_field(".".join(path[1:]), part, group, "".join(f"{g}." for g in groups[:i]))
            ]
        group = group[part]
    field = ".".join(path[1:])
    prefix = "".join(f"{g}." for g in groups)
    if ".".join(groups) in OPEN_GROUPS:
        with group.unlocked(), group.ignore_type():
            group[key] = _value(text)
        return []
    if key not in group:
        return [_no_field(field, key, group, prefix)]
    like = group[key]
    if isinstance(like, ConfigDict):
        return [f"config.{field} is a group: set one of its fields, {', '.join(sorted(like))}."]
    value = text if isinstance(like, str) else _value(text)
    if not _fits(value, like):
        return [f"config.{field} is {text}, expected {_kind(like)}."]
    group[key] = float(value) if isinstance(like, float) else value
    return []


def _value(text: str) -> Any:
    """`3`, `0.1`, `true`, `none`, `(1, 2)`; what isn't a Python literal is text."""
    words = {"true": True, "false": False, "none": None}
    if text.lower() in words:
        return words[text.lower()]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _no_field(field: str, key: str, group: ConfigDict, prefix: str) -> str:
    near = difflib.get_close_matches(key, list(group), n=1)
    hint = (
        f"Did you mean config.{prefix}{near[0]}?"
        if near
        else f"There are: {', '.join(sorted(group))}."
    )
    return f"There is no field config.{field}. {hint}"


def _fits(value: Any, like: Any) -> bool:
    if isinstance(like, bool) or isinstance(value, bool):
        return isinstance(like, bool) and isinstance(value, bool)
    if isinstance(like, float):
        return isinstance(value, int | float)
    if isinstance(like, tuple):
        return isinstance(value, tuple | list)
    return isinstance(value, type(like))


def _kind(like: Any) -> str:
    kinds = {
        bool: "true or false",
        int: "a whole number",
        float: "a number",
        str: "text",
        tuple: "a tuple",
    }
    return kinds.get(type(like), "a group of fields")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, tuple | list) else value


def _leaves(tree: Tree, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _shown(fields: Tree, field: str) -> str:
    return repr(fields[field]) if field in fields else "not set"
