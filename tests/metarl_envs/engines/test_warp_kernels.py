"""Our own Warp kernels compile for GPUs, on a machine without one."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path

import pytest

import metarl_envs

wp = pytest.importorskip("warp")
MODULES = ("warp_contacts", "warp_controls")
ENGINES = Path(metarl_envs.__file__).parent / "engines"
pytestmark = pytest.mark.skipif(
    sys.platform == "darwin", reason="Warp for macOS comes without CUDA's compiler"
)


def entry_points(ptx: str) -> set[str]:
    """Kernels of compiled text, without the hash in their names."""
    names = re.findall(
        r"^\.visible \.entry (\w+)_[0-9a-f]{8}_cuda_kernel_forward", ptx, re.MULTILINE
    )
    return set(names)


def test_all_modules_with_kernels_are_known():
    package = ENGINES.parent
    found = {path for path in package.rglob("*.py") if "@wp.kernel" in path.read_text()}
    assert found == {ENGINES / f"{name}.py" for name in MODULES}


@pytest.mark.parametrize("name", MODULES)
def test_kernels_compile_for_an_a100_and_an_h100(name, tmp_path):
    module = importlib.import_module(f"metarl_envs.engines.{name}")
    wp.init()
    paths = wp.compile_aot_module(module, arch=[80, 90], module_dir=tmp_path, use_ptx=True)
    written = [Path(path).read_text() for path in paths]
    targets = [re.findall(r"^\.target (\w+)", text, re.MULTILINE) for text in written]
    assert targets == [["sm_80"], ["sm_90"]]
    kernels = set(re.findall(r"@wp\.kernel\ndef (\w+)", (ENGINES / f"{name}.py").read_text()))
    assert kernels
    for text in written:
        assert entry_points(text) == kernels
