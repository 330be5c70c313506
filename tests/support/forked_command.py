"""The command `metarl` for the shells of tests: a fork of a process that has imported everything.

    python forked_command.py SOCKET SERVE           # the server, until its standard input ends
    python forked_command.py SOCKET RUN WORD...     # metarl WORD..., in a fork of the server

Each has a process of its own, with the folder, environment and files of the shell, and without the
seconds in which Python imports torch.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path


@contextlib.contextmanager
def forked_metarl(environment: Mapping[str, str]) -> Iterator[Path]:
    """A folder with the program `metarl`, which works while the context is open."""
    with tempfile.TemporaryDirectory() as folder:  # the path of a socket must be short
        place, command = Path(folder) / "socket", Path(folder) / "metarl"
        start = f'exec "{sys.executable}" -SE "{__file__}" "{place}" RUN "$@"'
        command.write_text(f"#!/bin/sh\n{start}\n")
        command.chmod(0o755)
        with subprocess.Popen(
            [sys.executable, __file__, str(place), "SERVE"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
        ) as server:
            assert server.stdout is not None and server.stdout.readline() == b"ready\n"
            yield command.parent


def run(place: str, words: list[str]) -> int:
    """The exit code of a command that has run with the files of this process."""
    asked = {"words": words, "folder": os.getcwd(), "environment": dict(os.environ)}
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(place)
        socket.send_fds(server, [b"."], [0, 1, 2])
        server.sendall(json.dumps(asked).encode())
        server.shutdown(socket.SHUT_WR)
        return int(server.recv(16))


def serve(place: str) -> None:
    """Run each command that is asked for in a fork, one after another."""
    from experiments.faults import children

    children.import_all()
    sys.path[0] = str(Path(sys.executable).parent)  # as for an installed command
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(place)
        listener.listen()
        print("ready", flush=True)
        while sys.stdin not in select.select([listener, sys.stdin], [], [])[0]:
            client, _ = listener.accept()
            with client:
                _, files, _, _ = socket.recv_fds(client, 1, 3)
                with client.makefile("rb") as message:
                    asked = json.load(message)
                enter = partial(_enter, files, asked["folder"], asked["environment"])
                ended = children.run(asked["words"], Path(os.devnull), enter)
                client.sendall(str(ended.code).encode())
            for file in files:
                os.close(file)


def _enter(files: Sequence[int], folder: str, environment: Mapping[str, str]) -> None:
    """Take the place of the shell's command in this fork."""
    for own, file in enumerate(files):
        os.dup2(file, own)
        os.close(file)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)


if __name__ == "__main__":
    _, place, work, *words = sys.argv
    if work == "SERVE":
        serve(place)
    else:
        sys.exit(run(place, words))
