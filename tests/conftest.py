import pytest

from metarl.process import prepare_process

prepare_process()  # before any test imports numpy, torch or mujoco


def known_families_again():
    """Afterwards, the families that were known before: tests register some of their own."""
    from metarl_envs import FAMILIES

    known = dict(FAMILIES)
    yield
    FAMILIES.clear()
    FAMILIES.update(known)


families_of_a_module = pytest.fixture(autouse=True, scope="module")(known_families_again)
families_of_a_test = pytest.fixture(autouse=True)(known_families_again)


def pytest_collection_modifyitems(items):
    gpu_items = [item for item in items if item.get_closest_marker("gpu")]
    if not gpu_items:
        return
    import torch

    if not torch.cuda.is_available():
        for item in gpu_items:
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))
