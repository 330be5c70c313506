"""The guide to many processes runs as printed: one machine, and two on loopback."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

from metarl.runs.checkpoint import load_checkpoint

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_one_machine_and_two_nodes_train_the_same(tmp_path):
    command = tmp_path / "bin" / "torchrun"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m torch.distributed.run "$@"\n')
    command.chmod(0o755)
    environment = os.environ | {
        "PATH": f"{command.parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'envs'}",
        "OMP_NUM_THREADS": "1",
    }
    page = (ROOT / "experiments/guides/many_machines.md").read_text()
    printed = re.findall(r"^```sh\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    assert len(printed) == 2
    for block in printed:
        done = subprocess.run(
            ["bash", "-e"],
            input=block,
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"
        assert done.stdout.count("next:") == 1  # one process prints
    first, second = tmp_path / "runs/first", tmp_path / "runs/second"
    assert load_checkpoint(first)[1].iteration == 2
    weights = [load_file(run / "checkpoints/000002/model.safetensors") for run in (first, second)]
    assert all(value.equal(weights[1][name]) for name, value in weights[0].items())
    (began,) = json.loads((first / "config.json").read_text())["commands"]
    assert began[:3] == ["metarl", "train", "navigation"]
