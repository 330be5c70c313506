"""The command as a process: Ctrl-C again and again, and output that nobody reads."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from metarl import cli
from metarl.cli import program

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def own_handler():
    """The test process keeps its own."""
    before = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, before)


def test_the_first_ctrl_c_raises_and_the_next_ends_the_process(monkeypatch, capfd):
    ended = []
    monkeypatch.setattr(os, "_exit", ended.append)
    pressed = program.CtrlC()
    for expected in ([], [130], [130, 130]):
        with pytest.raises(KeyboardInterrupt):
            pressed(signal.SIGINT, None)
        assert ended == expected
    assert capfd.readouterr().err == "\nmetarl: stopped at once\n" * 2


def test_ctrl_c_outside_of_the_commands_own_work_has_its_exit_code(monkeypatch):
    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "main", interrupted)
    assert program.main() == 130
    assert signal.getsignal(signal.SIGINT) == signal.SIG_DFL


def test_a_command_whose_errors_nobody_can_read_keeps_its_exit_code():
    with open("/dev/full", "w") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "metarl", "adapt", "nowhere", "--task", "x=1"],
            env=os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "envs")])},
            stdout=full,
            stderr=full,
            timeout=600,
        )
    assert ended.returncode == 1
