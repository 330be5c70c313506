"""The benchmark: rates that agree with each other, and sizes that cannot be refused first."""

from __future__ import annotations

import dataclasses
import itertools
import json

import pytest

from metarl.cli import main
from metarl.methods.families import recipe
from metarl.rollouts.collect import Collector
from metarl.training.benchmark import HEADER, Row, benchmark, cells, report
from metarl_envs import InputError

CONFIG = dataclasses.replace(
    recipe("half-cheetah-dynamics"), meta_batch_size=2, horizon=4, device="cpu", engine="cpu"
)


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return list(benchmark(CONFIG, (4, 8), rounds=1))


def test_a_row_is_made_of_the_times_that_were_measured(monkeypatch):
    # A clock that moves by one second at every look: each span is as long as the looks inside it.
    ticks = itertools.count()
    monkeypatch.setattr("metarl.training.benchmark.time.perf_counter", lambda: float(next(ticks)))
    collect = Collector.collect

    def three_seconds_longer(*arguments, **options):
        for _ in range(3):
            next(ticks)
        return collect(*arguments, **options)

    monkeypatch.setattr(Collector, "collect", three_seconds_longer)
    (row,) = benchmark(CONFIG, (8,), rounds=3)
    assert (row.worlds, row.tasks) == (8, 2)
    # 8 worlds x 4 steps: 1 s of physics of 5 substeps each, 1 + 3 s of collection.
    assert (row.physics_steps_per_s, row.raw_env_steps_per_s) == (160, 32)
    assert (row.policy_env_steps_per_s, row.collect_over_physics) == (8, 4)
    assert (row.tasks_s, row.update_s) == (1, 1)
    assert row.iteration_s == 2 + row.collect_s + row.adapt_s
    assert row.train_env_steps_per_s == pytest.approx(64 / row.iteration_s)


@pytest.mark.parametrize(("method", "collections"), [("teacher-student", 1), ("rl2", 2)])
def test_steps_of_a_trial_are_counted(method, collections):
    config = dataclasses.replace(
        recipe("half-cheetah-dynamics", method), meta_batch_size=2, horizon=4, device="cpu"
    )
    (row,) = benchmark(dataclasses.replace(config, engine="cpu"), (4,), rounds=1)
    steps = row.train_env_steps_per_s * row.iteration_s
    assert steps == pytest.approx(collections * 4 * 4)


def test_the_table_shows_every_figure_in_its_column():
    figures = {field.name: float(number) for number, field in enumerate(dataclasses.fields(Row), 1)}
    row = Row(**(figures | {"worlds": 4096, "tasks": 2, "update_kernels": 12, "update_waits": 13}))
    shown = dict(zip(HEADER, cells(row), strict=True))
    assert (shown["worlds"], shown["physics steps/s"], shown["ratio"]) == ("4,096", "3", "6.00")
    assert (shown["iteration s"], shown["GB"]) == ("7.000", "16.00")
    assert (shown["kernels"], shown["waits"]) == ("12", "13")


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
