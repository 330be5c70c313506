"""Settings of the whole process, made by programs and never by library code.

Imports nothing heavy: some settings are read when MuJoCo and torch are first imported.
"""

from __future__ import annotations

import ctypes
import os
import shlex
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of malloc.h
LIBRARIES = {"egl": ("libEGL.so.1",), "osmesa": ("libOSMesa.so.8", "libOSMesa.so.6")}
"""MuJoCo's Linux backend -> shared libraries, of which it loads one."""


def prepare_process() -> None:
    """Settings of a program of ours, before it imports torch or MuJoCo."""
    use_headless_gl()
    # Torch's idle threads spin before they sleep. 10,000 turns instead of libgomp's 300,000 cost
    # nothing on an idle machine and halve an update's time where other processes want the cores.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    # NumPy's BLAS: with more threads, the eigenvectors of CMA-ES's covariance (114 x 114) differ
    # in their last bits.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # Torch writes its own stack traces where a process of a training is lost; we say it in a line.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    keep_freed_memory()


def keep_freed_memory() -> None:
    """Let glibc keep large blocks that are freed, instead of returning them to the system.

    An update allocates and frees hundreds of tensors of some megabytes, and the system clears each
    page again. `metarl train half-cheetah-direction --iterations 5 --sim-threads 1` took 23.6 s of
    processor time, 2.1 s of them in the kernel; with this, 0.6 s. Other C libraries are unchanged.
    """
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "gnu_get_libc_version"):
        libc.mallopt(M_MMAP_THRESHOLD, 2**30)
        libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def available_cores() -> int:
    """Processors that this process may use: its share, where a launcher started several here."""
    linux = sys.platform == "linux"
    cores = len(os.sched_getaffinity(0)) if linux else os.cpu_count() or 1
    return max(1, cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def launched_processes() -> int:
    """Number of processes that a launcher such as torchrun started for one training."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def launched_rank() -> int:
    """Index of this process among them, 0 for the one that writes and prints."""
    return int(os.environ.get("RANK", "0")) if launched_processes() > 1 else 0


def local_rank() -> int:
    """Index of this process among those of this machine."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def restarts() -> int:
    """Number of times that torchrun has started this launch again after one process had failed."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))


def typed(*words: object) -> str:
    """A command line with quotes where a shell needs them."""
    return shlex.join(map(str, words))


def counted(count: int, noun: str) -> str:
    """A number with its noun: 1 task, 2 tasks."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def command_line() -> list[str]:
    """The command of this process, such as ["metarl", "train", ...] or ["my_script.py"]."""
    program = os.path.basename(sys.argv[0])
    name = "metarl" if program in ("metarl", "__main__.py") else program or "python"
    return [name, *sys.argv[1:]]


def use_headless_gl() -> None:
    """Let MuJoCo render through EGL on Linux without a display, unless MUJOCO_GL says otherwise.

    If the backend's library is missing, rendering is switched off: otherwise importing MuJoCo
    fails. A command that renders then ends with an error that names the packages to install.

    MuJoCo reads the variable on its first import, so programs call this before. Library code never
    does: it is a setting of the whole process.
    """
    if sys.platform != "linux":
        return
    has_display = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if not has_display:
        os.environ.setdefault("MUJOCO_GL", "egl")
    libraries = LIBRARIES.get(os.environ.get("MUJOCO_GL", "").strip().lower(), ())
    if libraries and not any(_can_load(name) for name in libraries):
        os.environ["MUJOCO_GL"] = "disable"


def _can_load(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True
