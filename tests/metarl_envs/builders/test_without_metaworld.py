"""Meta-World's families where its package is not installed."""

from __future__ import annotations

import sys

import pytest

from metarl_envs import ON_DEMAND, InputError, load_family
from metarl_envs.builders import metaworld as families


def test_without_the_package_one_line_says_how_to_install_it(monkeypatch):
    for module in [name for name in sys.modules if name.partition(".")[0] == "metaworld"]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "metaworld", None)
    monkeypatch.setattr(families, "_ml10", families._ml10.__wrapped__)  # it may be known
    for name in ("metaworld-ml10", "metaworld-ml1:coffee-push-v3"):
        with pytest.raises(InputError, match=r"pip install 'metarl-robotics\[metaworld\]'$"):
            load_family(name)


def test_its_names_are_known_without_the_package():
    assert "metaworld-ml10" in ON_DEMAND[families.BEGINNING].names
