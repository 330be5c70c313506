"""The example of a robot that changes in mid-life and back."""

import json
from pathlib import Path

import pytest
import tyro

from experiments.continual import Options, main
from metarl_envs import InputError


def test_the_stream_recovers_where_a_policy_that_adapted_once_does_not(tmp_path, capsys):
    main(Options(episodes=12, out=tmp_path))
    numbers = json.loads((tmp_path / "continual.json").read_text())
    assert (tmp_path / "continual.png").stat().st_size > 10_000
    first, changed, back = numbers["phases"]
    assert [row["task"]["direction"] for row in numbers["phases"]] == [1, -1, 1]
    # Two bad episodes in a row make a change.
    assert [row["episodes_until_adapted"] for row in numbers["phases"]] == [5, 7, 7]
    assert min(first["return_adapted"], changed["return_adapted"], back["return_adapted"]) > 250
    assert changed["return_adapted_once"] < -250
    worth = numbers["adapted_episodes"]
    assert worth["share_of_probes"] == pytest.approx(1, abs=1e-4)
    assert worth["share_of_adapted_episodes"] < 0.005
    assert worth["return_after_step_on_probes"] > 250
    assert worth["return_after_corrected_step_on_adapted_episodes"] < 100
    shown = capsys.readouterr().out
    assert "direction = -1" in shown
    assert shown.count("was usual") + shown.count("before adapting") == 2


def test_tasks_are_typed_as_for_metarl_adapt(tmp_path):
    typed = ["runs/x", "--normal", "dead_actuator=-1", "--changed", "dead_actuator=0"]
    options = tyro.cli(Options, args=typed)
    assert options.policy == Path("runs/x")
    assert (options.normal, options.changed) == (("dead_actuator=-1",), ("dead_actuator=0",))
    with pytest.raises(InputError, match="direction = 3"):
        main(Options(changed=("direction=3",), out=tmp_path))
