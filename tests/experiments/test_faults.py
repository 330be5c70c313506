"""The campaigns of faults, short: kills, full disks, and what else happens to processes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.faults.subjects import COMMON, SIZES, result_of
from metarl.cli import main

ROOT = Path(__file__).resolve().parents[2]


def campaign(tmp_path, name, *options):
    """The result file of a campaign in a process of its own, which forks and must have no threads.

    A campaign ends with 1 where it finds a fault.
    """
    out = tmp_path / "found.json"
    ended = subprocess.run(
        [sys.executable, "-m", f"experiments.faults.{name}", "--out", str(out), *options],
        cwd=ROOT,
        env=os.environ
        | {
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "envs")]),
            "OMP_NUM_THREADS": "1",
        },
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return json.loads(out.read_bytes())


@pytest.mark.slow
def test_killed_commands_end_with_the_undisturbed_bits(tmp_path):
    commands = ("reptile", "scratch", "adapt", "export")
    found = campaign(tmp_path, "kills", "--kills", "16", "--only", *commands)
    assert found["kills"] == 16
    assert found["faults"] == 0
    assert found["at_moments_of_writing"] > 0
    assert [(row["command"], row["kills"]) for row in found["rows"]] == [
        (command, 4) for command in commands
    ]


@pytest.mark.slow
def test_a_full_disk_costs_no_work_and_is_said_in_one_line(tmp_path):
    found = campaign(tmp_path, "disks", "--moments", "9", "--only", "promp", "export")
    assert found["full_disk"]["moments"] == 9
    assert found["faults"] == []


@pytest.mark.slow
def test_storms_doubles_clocks_and_moves_cost_no_work(tmp_path):
    found = campaign(tmp_path, "processes", "--times", "1")
    assert found["faults"] == 0
    assert set(found["kinds"]) == {"memory", "storms", "twice", "clocks", "moved"}


def test_a_result_does_not_depend_on_where_a_signal_stopped_the_run(tmp_path):
    run = tmp_path / "run"
    words = ("train", "navigation", "--method", "promp", *SIZES, *COMMON, "--iterations", "4")
    assert main([*words, "--run", str(run)]) == 0
    whole, checkpoints = result_of(run), run / "checkpoints"
    assert whole["checkpoints"] == ["000004", "000002"]
    shutil.copytree(checkpoints / "000004", checkpoints / "000003")  # saved as it was stopped
    assert result_of(run) == whole
    shutil.rmtree(checkpoints / "000002")
    assert result_of(run) != whole
