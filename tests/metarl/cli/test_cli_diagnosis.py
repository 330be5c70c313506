"""`metarl diagnose`: trains what is missing, reuses what is given."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from support.tiny_runs import TINY, run_with

from metarl.cli import main
from metarl.process import command_line

pytest.importorskip("stable_baselines3")
SIZES = ["--tasks", "3", "--episodes", "3", "--sim-threads", "1"]


def test_trains_measures_and_says_and_the_runs_can_be_used_again(capsys):
    assert main(["diagnose", "navigation", "--env-steps", "1", *SIZES, "--quiet"]) == 0
    shown = capsys.readouterr().out
    assert "test: 3 tasks" in shown and "extrapolation: 3 tasks" in shown
    out = Path("runs/navigation-diagnosis")
    data = json.loads((out / "diagnosis.json").read_text())
    assert data["runs"] == {"robust": [f"{out}/robust-0"], "oracle": [f"{out}/oracle-0"]}
    assert data["episodes"] == 3
    assert data["command"] == command_line()
    assert data["splits"]["test"]["verdict"] in " ".join(shown.split())

    given = ["--robust", f"{out}/robust-0", "--oracle", f"{out}/oracle-0", "--out", "again"]
    assert main(["diagnose", "navigation", *SIZES, *given]) == 0
    assert [path.name for path in Path("again").iterdir()] == ["diagnosis.json"]
    again = json.loads(Path("again/diagnosis.json").read_text())
    assert again["splits"] == data["splits"]

    # Runs that adapt beside them: does their gain survive the control?
    maml = run_with(Path("maml"), 1, config=dataclasses.replace(TINY, horizon=100))
    adapting = ["--run", str(maml), "--out", "adapting"]
    capsys.readouterr()
    assert main(["diagnose", "navigation", *SIZES, *given[:4], *adapting]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    data = json.loads(Path("adapting/diagnosis.json").read_text())
    assert data["adapting_runs"] == ["maml"]
    for split in ("test", "extrapolation"):
        found = data["splits"][split]["adapting"]["maml-trpo"]
        assert len(found["gain_over_another_task"]) == 3
        assert found["gained"] in shown and "over another task's adaptation" in found["gained"]
    assert main(["diagnose", "navigation", "--run", f"{out}/robust-0", *given[:4]]) == 2
    assert "--run runs/navigation-diagnosis/robust-0: robust on" in capsys.readouterr().err

    capsys.readouterr()
    assert main(["diagnose", "navigation", "--robust", f"{out}/oracle-0"]) == 2
    assert "oracle on navigation; needed is robust" in capsys.readouterr().err
    running = ["--robust", f"{out}/robust-0"]
    assert main(["diagnose", "half-cheetah-velocity", *running]) == 2
    assert "needed is robust on half-cheetah-velocity" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--tasks", "--episodes", "--env-steps"])
def test_impossible_sizes_are_refused(capsys, option):
    assert main(["diagnose", "navigation", option, "0"]) == 2
    assert f"{option[2:].replace('-', '_')} = 0: must be at least 1" in capsys.readouterr().err
    assert not Path("runs").exists()
