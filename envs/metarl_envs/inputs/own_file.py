"""Python files of a person's own, run where they are named, and again in worker processes."""

from __future__ import annotations

import importlib.abc
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from metarl_envs.errors import InputError
from metarl_envs.inputs.user_functions import described, where


@dataclass(frozen=True)
class OwnFile:
    """A file as it was read: running it again runs the same text."""

    path: Path
    """Absolute."""
    source: bytes

    @property
    def module_name(self) -> str:
        """The module's name."""
        return f"metarl_family_{self.path.stem}"

    def has_run(self) -> bool:
        """True if exactly this text was the last to run under its name in this process."""
        return file_of(sys.modules.get(self.module_name)) == self

    def run(self) -> ModuleType:
        """The module that the file defines.

        Raises:
            InputError: in one line, for whatever it raises.
        """
        path, name = self.path, self.module_name
        spec = importlib.util.spec_from_loader(name, _Source(self), origin=str(path))
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        module.__file__ = str(path)
        sys.modules[name] = module  # dataclasses and the like look their module up
        outer = _running.set(self)
        try:
            with _importable(path.parent):
                spec.loader.exec_module(module)
        except InputError as error:
            raise InputError(f"{_place(path, error)}: {error}") from error
        except SyntaxError as error:
            raise InputError(
                f"{path.name}, line {error.lineno}: SyntaxError: {error.msg}"
            ) from error
        except (Exception, SystemExit) as error:  # a person's file may raise anything
            raise InputError(f"{_place(path, error)}: {described(error)}") from error
        finally:
            _running.reset(outer)
        return module


@dataclass(frozen=True)
class RunOnArrival:
    """A file on its way to a worker, where it runs before what is sent after it is unpacked."""

    file: OwnFile

    def __reduce__(self) -> tuple[Any, ...]:
        return _run_here, (self.file,)


def _run_here(file: OwnFile) -> OwnFile:
    if not file.has_run():
        with suppress(InputError):  # reported where the environment is made
            file.run()
    return file


def _place(path: Path, error: BaseException) -> str:
    """The line of the file, or of one that it imported, that an error came from."""
    line = where(error).strip(" ()")
    return line if line.startswith(path.name) else ", ".join(filter(None, [path.name, line]))


def running_file() -> OwnFile | None:
    """The file that is being run; None outside of one."""
    return _running.get()


def file_of(module: ModuleType | None) -> OwnFile | None:
    """The own file that a module was made from; None of any other module."""
    loader = None if module is None or module.__spec__ is None else module.__spec__.loader
    return loader.file if isinstance(loader, _Source) else None


_running: ContextVar[OwnFile | None] = ContextVar("running own file", default=None)


class _Source(importlib.abc.InspectLoader):
    """Runs the very text that its digest is of, and leaves no compiled file beside it."""

    def __init__(self, file: OwnFile) -> None:
        self.file = file

    def get_source(self, fullname: str) -> str:
        return importlib.util.decode_source(self.file.source)

    def get_code(self, fullname: str) -> CodeType:
        return self.source_to_code(self.file.source, str(self.file.path))


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Let a file import those beside it, while it runs; nothing that Python has is hidden."""
    sys.path.append(str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
