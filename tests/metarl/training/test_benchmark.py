"""The benchmark: rates that agree with each other, and sizes that cannot be refused first."""

from __future__ import annotations

import dataclasses
import json

import pytest

from metarl.cli import main
from metarl.methods.families import recipe
from metarl.training.benchmark import HEADER, Row, benchmark, cells, report
from metarl_envs import InputError

CONFIG = dataclasses.replace(
    recipe("half-cheetah-dynamics"), meta_batch_size=2, horizon=4, device="cpu", engine="cpu"
)


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return list(benchmark(CONFIG, (4, 8), rounds=1))


def test_rates_of_a_row_agree_with_each_other(rows):
    for row, worlds in zip(rows, (4, 8), strict=True):
        assert (row.worlds, row.tasks) == (worlds, 2)
        assert row.physics_steps_per_s == pytest.approx(5 * row.raw_env_steps_per_s)
        ratio = row.raw_env_steps_per_s / row.policy_env_steps_per_s
        assert row.collect_over_physics == pytest.approx(ratio)
        # One round: the phases are those of the very iteration.
        phases = row.tasks_s + row.collect_s + row.adapt_s + row.update_s
        assert row.iteration_s == pytest.approx(phases)
        assert min(row.tasks_s, row.collect_s, row.adapt_s, row.update_s) > 0
        assert row.train_env_steps_per_s == pytest.approx(2 * worlds * 4 / row.iteration_s)
        assert row.memory_gb > 0.01


def test_every_column_of_the_table_is_filled(rows):
    assert len(cells(rows[0])) == len(HEADER)
    assert cells(rows[1])[0] == "8"


def test_the_report_says_what_was_measured_on_what(rows):
    data = json.loads(json.dumps(report(CONFIG, rows)))
    assert (data["engine"], data["device"], data["horizon"]) == ("cpu", "cpu", 4)
    assert data["versions"]["mujoco"].startswith("4.0.")
    assert [row["worlds"] for row in data["rows"]] == [4, 8]


@pytest.mark.parametrize(
    ("worlds", "rounds", "complaint"),
    [
        ((4, 5), 1, r"--worlds 5: must be a multiple of the 2 tasks"),
        ((0,), 1, r"--worlds 0: must be"),
        ((4,), 0, r"--rounds = 0: must be at least 1"),
    ],
)
def test_sizes_that_cannot_be_are_refused_before_anything_runs(worlds, rounds, complaint):
    with pytest.raises(InputError, match=complaint):
        benchmark(CONFIG, worlds, rounds)


def test_the_command_prints_a_line_per_count_and_writes_json(tmp_path, capsys):
    out = tmp_path / "figures.json"
    flags = "--worlds 3 6 --meta-batch-size 3 --horizon 4 --rounds 1 --device cpu --json"
    assert main(["benchmark", "navigation", *flags.split(), str(out)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("navigation | maml-trpo | engine cpu on cpu | 3 tasks | horizon 4")
    assert lines[1].split()[0] == "worlds"
    assert [line.split()[0] for line in lines[2:]] == ["3", "6"]
    assert [row["worlds"] for row in json.loads(out.read_text())["rows"]] == [3, 6]


def test_an_engine_that_is_not_there_is_one_line(capsys, monkeypatch):
    problem = "mujoco-warp is not installed; pip ..."
    monkeypatch.setattr("metarl_envs.engines.choice.warp_problem", lambda device: problem)
    for command in ("train half-cheetah-velocity", "benchmark"):
        assert main([*command.split(), "--engine", "warp", "--device", "cpu"]) == 2
        error = capsys.readouterr().err
        assert error.startswith("metarl: error: engine = 'warp': mujoco-warp is not installed")
        assert error.count("\n") == 1
