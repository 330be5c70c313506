"""Choice of an engine by name, and one clear line where it is not available."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest
import torch

from metarl_envs import BatchEnv, InputError, get_family
from metarl_envs.engines import AnalyticEngine, CpuEngine, choice, chosen_engine, warp_problem

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.fixture(autouse=True)
def ask_anew():
    warp_problem.cache_clear()
    yield
    warp_problem.cache_clear()


@pytest.fixture
def usable(monkeypatch):
    monkeypatch.setattr(choice, "warp_problem", lambda device: "")


@pytest.fixture
def missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "mujoco_warp", None)


@pytest.mark.usefixtures("usable")
def test_auto_is_warp_on_a_gpu_only():
    assert chosen_engine("auto", CPU) == "cpu"
    assert chosen_engine("auto", GPU) == "warp"
    assert chosen_engine("cpu", GPU) == "cpu"
    assert chosen_engine("warp", CPU) == "warp"


@pytest.mark.usefixtures("missing")
def test_without_the_package_auto_is_cpu_and_warp_is_refused():
    assert chosen_engine("auto", GPU) == "cpu"
    with pytest.raises(
        InputError, match=r"engine = 'warp': mujoco-warp is not installed; pip"
    ) as e:
        chosen_engine("warp", CPU)
    assert "[gpu]" in str(e.value)
    assert "--engine cpu" in str(e.value)


def test_another_version_than_mujocos_is_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, "mujoco_warp", SimpleNamespace(__version__="3.14.0"))
    with pytest.raises(
        InputError, match=r"mujoco-warp 3\.14 does not fit mujoco 4\.0; pip install"
    ):
        chosen_engine("warp", CPU)


def test_a_package_that_breaks_on_import_is_one_line(monkeypatch):
    def broken(name):
        raise AttributeError("no such field\nand more")

    monkeypatch.setattr(choice.importlib, "import_module", broken)
    with pytest.raises(
        InputError, match=r"cannot be imported \(AttributeError: no such field\)"
    ) as e:
        chosen_engine("warp", CPU)
    assert "\n" not in str(e.value)


@pytest.fixture
def gpus_of_warp(monkeypatch):
    """Warp's list of GPUs, to put stand-ins into."""
    pytest.importorskip("mujoco_warp")
    import warp

    monkeypatch.setattr(warp.config, "log_level", warp.config.log_level)
    warp.init()
    monkeypatch.setattr(warp._src.context.runtime, "cuda_devices", [])
    return warp._src.context.runtime.cuda_devices


def test_a_gpu_that_warp_does_not_see_is_not_used_and_refused_in_one_line(gpus_of_warp):
    """Below NVIDIA's driver 580, Warp lists no GPU where torch's older CUDA works."""
    assert chosen_engine("auto", GPU) == "cpu"
    assert chosen_engine("warp", CPU) == "warp"
    with pytest.raises(InputError, match=r"^engine = 'warp'.*cuda:0.*driver 580.*--engine cpu$"):
        chosen_engine("warp", GPU)


def test_a_gpu_that_warp_sees_is_used(gpus_of_warp):
    gpus_of_warp.append(SimpleNamespace())
    assert chosen_engine("auto", GPU) == chosen_engine("warp", GPU) == "warp"
    assert chosen_engine("auto", torch.device("cuda", 0)) == "warp"
    assert chosen_engine("auto", torch.device("cuda", 1)) == "cpu"
    with pytest.raises(InputError, match="does not see the GPU cuda:1"):
        chosen_engine("warp", torch.device("cuda", 1))


def test_an_unknown_engine_is_refused_with_those_that_are():
    with pytest.raises(InputError, match="engine = 'brax': allowed are auto, cpu, warp"):
        chosen_engine("brax", CPU)


def test_environments_are_on_the_cpu_by_default():
    env = BatchEnv(get_family("half-cheetah-direction"), 1, 1)
    assert isinstance(env.engine, CpuEngine)
    assert isinstance(
        BatchEnv(get_family("half-cheetah-direction"), 1, 1, engine="auto").engine, CpuEngine
    )


@pytest.mark.usefixtures("missing")
def test_a_robot_without_a_simulator_works_where_the_learner_does():
    family, meta = get_family("navigation"), torch.device("meta")
    for engine in ("auto", "warp"):
        made = BatchEnv(family, 1, 1, engine=engine).engine
        assert isinstance(made, AnalyticEngine)
        assert made.device.type == "cpu"
    env = BatchEnv(family, 1, 1, engine="cpu", device=meta)
    assert env.device.type == "cpu"
