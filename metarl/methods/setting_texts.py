"""The settings of a configuration with what each does, in the words beside its definition."""

from __future__ import annotations

import ast
import functools
import inspect
import textwrap
from collections.abc import Mapping
from typing import Any, NamedTuple, get_type_hints

from metarl.methods.config import PARTS, TrainConfig, settings


class Setting(NamedTuple):
    """One setting of a configuration, with the type and the text beside its definition."""

    value: Any
    type: Any
    text: str


def described(config: TrainConfig) -> dict[str, Setting]:
    """Every setting of a configuration by its dotted name, such as `outer.clip`."""
    found = {}
    for part in ("", *PARTS):
        cls = type(getattr(config, part) if part else config)
        texts, types = field_texts(cls), get_type_hints(cls)
        found |= {f"{part}.{name}".lstrip("."): (types[name], texts[name]) for name in texts}
    return {name: Setting(value, *found[name]) for name, value in settings(config).items()}


@functools.cache
def field_texts(cls: type) -> Mapping[str, str]:
    """The texts below the fields of a dataclass, each in one line; inherited ones too."""
    texts: dict[str, str] = {}
    for owner in reversed(cls.__mro__[:-1]):  # object has none
        tree = ast.parse(textwrap.dedent(inspect.getsource(owner)))
        (definition,) = tree.body
        assert isinstance(definition, ast.ClassDef)
        for field, below in zip(definition.body, definition.body[1:], strict=False):
            match field, below:
                case (
                    ast.AnnAssign(target=ast.Name(id=name)),
                    ast.Expr(value=ast.Constant(value=str(text))),
                ):
                    texts[name] = " ".join(text.split())
                case _:
                    pass
    return texts
