"""What every setting does, in the words beside its definition."""

from __future__ import annotations

import ast
import dataclasses
import functools
import inspect
import textwrap
from collections.abc import Mapping
from typing import Any

from metarl.methods.config import TrainConfig, settings


def setting_texts(config: TrainConfig) -> dict[str, str]:
    """By its dotted name, such as `outer.clip`, what each setting of a configuration does."""
    texts = dict(field_texts(type(config)))
    for part in dataclasses.fields(config):
        value: Any = vars(config)[part.name]
        if dataclasses.is_dataclass(value):
            found = field_texts(type(value))
            texts |= {f"{part.name}.{name}": text for name, text in found.items()}
    return {name: texts[name] for name in settings(config)}


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
