"""Choice of the engine by name, by the installed packages, and by the learner's device."""

from __future__ import annotations

import functools
import importlib
from typing import Literal, get_args

import torch

from metarl_envs.errors import InputError

EngineName = Literal["auto", "cpu", "warp"]
ENGINES: tuple[EngineName, ...] = get_args(EngineName)


def chosen_engine(name: EngineName, device: torch.device) -> Literal["cpu", "warp"]:
    """The engine that `name` means for a learner on `device`.

    `auto` is warp for a learner on a GPU, where mujoco-warp can be used, and cpu otherwise. Asked
    for by name, warp runs on a CPU too, though far slower than the engine cpu: that is for tests.

    Raises:
        InputError: for an unknown name, or warp where it cannot be used.
    """
    if name not in ENGINES:
        raise InputError(f"engine = '{name}': allowed are {', '.join(ENGINES)}")
    if name == "auto":
        return "warp" if device.type == "cuda" and not warp_problem(device) else "cpu"
    if name == "warp" and (problem := warp_problem(device)):
        raise InputError(f"engine = 'warp': {problem}; or use --engine cpu")
    return name


@functools.cache
def warp_problem(device: torch.device) -> str:
    """The reason that the engine warp cannot be used on `device`, and the fix; "" if it can."""
    return package_problem() or (gpu_problem(device.index or 0) if device.type == "cuda" else "")


def package_problem() -> str:
    """The problem with the installed package, and the fix; "" if there is none."""
    import mujoco

    try:
        mujoco_warp = importlib.import_module("mujoco_warp")
    except ModuleNotFoundError:
        return "mujoco-warp is not installed; pip install 'metarl-robotics[gpu]'"
    except Exception as error:  # a package of another version may raise anything
        first = str(error).strip().partition("\n")[0]
        return (
            f"mujoco_warp cannot be imported ({type(error).__name__}: {first}); "
            "pip install --force-reinstall 'metarl-robotics[gpu]'"
        )
    ours, theirs = (_release(module.__version__) for module in (mujoco, mujoco_warp))
    if ours != theirs:
        return (
            f"mujoco-warp {theirs} does not fit mujoco {ours}; pip install 'mujoco-warp=={ours}.*'"
        )
    return ""


def gpu_problem(index: int) -> str:
    """The reason that Warp cannot use this GPU, though torch can, and the fix; "" if it can.

    Either brings a CUDA of its own, and Warp's on PyPI needs a newer driver than some of torch's.
    """
    import warp as wp

    wp.config.log_level = wp.LOG_ERROR  # the message below replaces its own about the driver
    if index < wp.get_cuda_device_count():
        return ""
    return (
        f"Warp does not see the GPU cuda:{index} that torch sees; install NVIDIA driver 580 or "
        "newer, or a +cu12 build of Warp from https://github.com/NVIDIA/warp/releases"
    )


def _release(version: str) -> str:
    """Major and minor version, such as "4.0"."""
    return ".".join(version.split(".")[:2])
