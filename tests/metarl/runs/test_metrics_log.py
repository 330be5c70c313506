"""Logs are read back: JSON lines, and TensorBoard's own event files."""

from __future__ import annotations

import contextlib
import errno
import io
import itertools
import json
import os
import warnings

import pytest
from PIL import Image
from support.tiny_runs import TINY, run_with
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import metadata, plugin_data_pb2

from metarl.errors import RunError
from metarl.runs import event_file
from metarl.runs.metrics_log import MetricsLogger, cut_metrics, flatten, log_images, read_metrics


def metrics(value):
    return {"rollout/return_pre": value, "rollout/return_post": value + 1.5, "train/std": 1.0}


def log(run, first, last, **start):
    run.mkdir(exist_ok=True)
    with MetricsLogger(
        run, TINY, **({"iteration": first - 1, "env_steps": 100 * (first - 1)} | start)
    ) as logger:
        for iteration in range(first, last + 1):
            logger.write(iteration, 100 * iteration, metrics(float(iteration)))


def events(run):
    accumulator = EventAccumulator(str(run / "tensorboard"), size_guidance={"images": 0})
    accumulator.Reload()
    return accumulator


def lines(run):
    """Each without its checksum."""
    found = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert all(len(line.pop("crc32")) == 8 for line in found)
    return found


def test_each_iteration_is_one_json_line_with_the_environment_steps(tmp_path):
    log(tmp_path, 1, 3)
    assert [line["iteration"] for line in lines(tmp_path)] == [1, 2, 3]
    assert lines(tmp_path)[1] == {"iteration": 2, "rollout/env_steps": 200} | metrics(2.0)


def test_a_line_is_on_disk_as_soon_as_it_is_written(tmp_path):
    with MetricsLogger(tmp_path, TINY, iteration=0, env_steps=0) as logger:
        logger.write(1, 100, metrics(1.0))
        assert len(lines(tmp_path)) == 1
        assert events(tmp_path).Tags()["scalars"]


def test_what_is_not_finite_is_null_in_strict_json(tmp_path):
    with MetricsLogger(tmp_path, TINY, iteration=0, env_steps=0) as logger:
        logger.write(1, 100, {"a": float("nan"), "b": float("-inf"), "c": 0.1})
    assert "NaN" not in (tmp_path / "metrics.jsonl").read_text()
    assert lines(tmp_path)[0] == {
        "iteration": 1, "rollout/env_steps": 100, "a": None, "b": None, "c": 0.1,
    }  # fmt: skip


def test_tensorboard_shows_the_same_scalars_over_environment_steps(tmp_path):
    log(tmp_path, 1, 3)
    found = events(tmp_path)
    assert set(found.Tags()["scalars"]) == set(metrics(0))
    scalars = found.Scalars("rollout/return_post")
    assert [(point.step, point.value) for point in scalars] == [(100, 2.5), (200, 3.5), (300, 4.5)]


def test_a_resumed_run_shows_each_iteration_once(tmp_path, monkeypatch):
    # Event files are read in the order of their names, of one second by the files' numbers.
    monkeypatch.setattr("metarl.runs.event_file._numbers", itertools.count(9))
    monkeypatch.setattr("metarl.runs.event_file.time.time", lambda: 1e9)
    log(tmp_path, 1, 5)
    before = (tmp_path / "metrics.jsonl").read_bytes()
    log(tmp_path, 4, 6)  # iterations 4 and 5 were not in the checkpoint
    assert [line["iteration"] for line in lines(tmp_path)] == [1, 2, 3, 4, 5, 6]
    assert (tmp_path / "metrics.jsonl").read_bytes().startswith(before)
    steps = [point.step for point in events(tmp_path).Scalars("rollout/return_pre")]
    assert steps == [100, 200, 300, 400, 500, 600]


def test_a_run_that_died_before_its_first_checkpoint_starts_its_logs_anew(tmp_path):
    log(tmp_path, 1, 3)
    log(tmp_path, 1, 2)
    assert [line["iteration"] for line in lines(tmp_path)] == [1, 2]
    assert [point.step for point in events(tmp_path).Scalars("train/std")] == [100, 200]


@pytest.mark.parametrize("tail", ['{"iteration": 4, "rollout/ret', '{"iteration": 4}', "\0\0\0"])
def test_a_half_written_last_line_is_dropped(tmp_path, tail):
    log(tmp_path, 1, 3)
    path = tmp_path / "metrics.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole + tail.encode())
    assert [line["iteration"] for line in read_metrics(tmp_path)] == [1, 2, 3]
    cut_metrics(path, 9)
    assert path.read_bytes() == whole
    log(tmp_path, 4, 4)
    assert len(lines(tmp_path)) == 4


DEEP = "[" * 100_000 + "\n"
LONG = f'{{"iteration": {"9" * 999}}}\n'


@pytest.mark.parametrize(
    "tail",
    ["\0\0\0\n", "null\n", '{"iteration": 4}x', '{"iteration": 1e999}\n', '{"iteration": 0}\n',
     '{"iteration": "4"}\n', '{"iteration": 4, "a": true}\n', DEEP, LONG],
)  # fmt: skip
def test_a_damaged_line_is_left_out_with_a_warning(tmp_path, tail):
    log(tmp_path, 1, 3)
    path = tmp_path / "metrics.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole + tail.encode())
    with pytest.warns(UserWarning, match=r"metrics\.jsonl: line 4 is damaged and left out"):
        assert [line["iteration"] for line in read_metrics(tmp_path)] == [1, 2, 3]
    with pytest.warns(UserWarning, match="line 4 is damaged"):
        cut_metrics(path, 9)
    assert path.read_bytes() == whole


def test_a_changed_value_is_seen_unless_its_checksum_is_deleted(tmp_path):
    log(tmp_path, 1, 2)
    path = tmp_path / "metrics.jsonl"
    first, second = path.read_text().splitlines()
    path.write_text(f"{first}\n{second.replace('3.5', '4.5')}\n")
    with pytest.warns(UserWarning, match=r'line 2 .* if you changed .* delete the entry "crc32"'):
        assert [line["rollout/return_post"] for line in read_metrics(tmp_path)] == [2.5]
    values = json.loads(second) | {"rollout/return_post": 4.5}
    del values["crc32"]
    path.write_text(f"{first}\n{json.dumps(values)}\n")
    assert [line["rollout/return_post"] for line in read_metrics(tmp_path)] == [2.5, 4.5]


def test_a_log_that_lacks_iterations_of_the_checkpoints_is_warned_of(tmp_path):
    run = run_with(tmp_path / "run", 3)
    log(run, 1, 3)
    path = run / "metrics.jsonl"
    whole = path.read_text().splitlines(keepends=True)
    for kept, missing in (
        ([0], "2 .* 2 to 3 have"),
        ([0, 2], "iteration 2 has"),
        ([], "3 .* 1 to 3 have"),
    ):
        path.write_text("".join(whole[i] for i in kept))
        with pytest.warns(UserWarning, match=rf"metrics\.jsonl: {missing}"):
            assert [line["iteration"] for line in read_metrics(run)] == [i + 1 for i in kept]
    path.unlink()  # on purpose
    assert read_metrics(run) == []


def test_a_run_writes_into_no_file_outside_of_it(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    run = tmp_path / "run"
    run.mkdir()
    (run / "metrics.jsonl").symlink_to(tmp_path / "thesis.txt")
    with pytest.raises(RunError, match=r"metrics\.jsonl: is a link to .*thesis\.txt"):
        log(run, 1, 1)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_an_untouched_log_is_not_rewritten(tmp_path):
    log(tmp_path, 1, 3)
    inode = (tmp_path / "metrics.jsonl").stat().st_ino
    cut_metrics(tmp_path / "metrics.jsonl", 3)
    assert (tmp_path / "metrics.jsonl").stat().st_ino == inode


def test_hyperparameters_are_written_once_into_the_runs_own_folder(tmp_path):
    log(tmp_path, 1, 2)
    log(tmp_path, 3, 4)
    folders = {path.parent for path in tmp_path.rglob("*tfevents*")}
    assert folders == {tmp_path / "tensorboard"}
    found = events(tmp_path)
    contents = found.SummaryMetadata(metadata.SESSION_START_INFO_TAG).plugin_data.content
    session = plugin_data_pb2.HParamsPluginData.FromString(contents).session_start_info
    assert session.hparams["meta_batch_size"].number_value == 3
    assert session.hparams["family"].string_value == "navigation"
    assert session.hparams["inner.inner_lr"].number_value == pytest.approx(0.1)
    (table,) = found.Tensors("config/text_summary")
    text = table.tensor_proto.string_val[0].decode()
    assert "|policy.hidden_sizes|(4,)|" in text


def test_the_experiment_names_the_metrics_to_compare_runs_by(tmp_path):
    log(tmp_path, 1, 1)
    contents = events(tmp_path).SummaryMetadata(metadata.EXPERIMENT_TAG).plugin_data.content
    experiment = plugin_data_pb2.HParamsPluginData.FromString(contents).experiment
    assert "rollout/return_post" in {info.name.tag for info in experiment.metric_infos}


@pytest.mark.parametrize("suffix", ["png", "gif"])
def test_a_picture_arrives_in_tensorboard_as_it_was_encoded(tmp_path, suffix):
    path = tmp_path / f"picture.{suffix}"
    frames = [Image.new("RGB", (12, 8), color) for color in ("red", "blue")]
    frames[0].save(path, save_all=suffix == "gif", append_images=frames[1:], duration=40)
    log_images(tmp_path, {"eval/adaptation_curve": path}, 700)
    (image,) = events(tmp_path).Images("eval/adaptation_curve")
    assert (image.step, image.width, image.height) == (700, 12, 8)
    assert image.encoded_image_string == path.read_bytes()
    assert Image.open(io.BytesIO(image.encoded_image_string)).n_frames == (
        2 if suffix == "gif" else 1
    )


def test_nested_values_get_dotted_names():
    nested = {"a": 1, "b": {"c": 2.5, "d": {"e": True}}, "f": (1, 2)}
    assert flatten(nested) == {"a": 1, "b.c": 2.5, "b.d.e": "True", "f": "(1, 2)"}


class FullDisk(io.BytesIO):
    """A file on a disk that is full."""

    def write(self, content):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_events_that_cannot_be_written_are_one_warning_and_the_log_goes_on(tmp_path, capfd):
    with MetricsLogger(tmp_path, TINY, iteration=0, env_steps=0) as logger:
        logger.write(1, 100, metrics(1.0))
        logger._events._records._writer = FullDisk()
        with pytest.warns(UserWarning, match="cannot be written .No space left on device.; train"):
            logger.write(2, 200, metrics(2.0))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            logger.write(3, 300, metrics(3.0))
    assert capfd.readouterr() == ("", "")  # of no thread either
    assert [line["iteration"] for line in lines(tmp_path)] == [1, 2, 3]
    assert [point.step for point in events(tmp_path).Scalars("train/std")] == [100]


def test_a_disk_that_is_full_from_the_first_is_one_warning(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("metarl.runs.event_file.RecordWriter.write", full)
    with pytest.warns(UserWarning, match="No space left") as caught:
        log(tmp_path, 1, 2)
    assert [str(one.message)[:12] for one in caught] == ["TensorBoard'"]
    assert len(lines(tmp_path)) == 2


def test_events_stay_in_order_when_the_clock_is_set_back(tmp_path, monkeypatch):
    log(tmp_path, 1, 2)
    for now, first in ((1e9, 3), (5e8, 5)):
        monkeypatch.setattr(event_file.time, "time", lambda now=now: now)
        log(tmp_path, first, first + 1)
    seen = events(tmp_path).Scalars("rollout/return_pre")
    assert [(event.step, event.value) for event in seen] == [(100 * i, i) for i in range(1, 7)]


def test_figures_for_a_run_that_cannot_be_written_are_left_out_with_a_warning(
    tmp_path, monkeypatch
):
    def read_only(*_):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr("metarl.runs.metrics_log.EventFile", read_only)
    with pytest.warns(UserWarning, match=r"get no figures \(Read-only file system\)"):
        log_images(tmp_path, {"report/a": tmp_path / "a.png"}, 0)


def test_an_error_of_the_log_names_its_file(tmp_path):
    with MetricsLogger(tmp_path, TINY, iteration=0, env_steps=0) as logger:
        logger._file.close()
        logger._file = open("/dev/full", "w")  # noqa: SIM115
        with pytest.raises(OSError, match="No space") as caught:
            logger.write(1, 100, metrics(1.0))
        with contextlib.suppress(OSError):
            logger._file.close()
    assert caught.value.filename == str(tmp_path / "metrics.jsonl")
