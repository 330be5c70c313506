"""Every check works on the pretended GPU, and begins without notes."""

from __future__ import annotations

import pytest
from pretended_device import NOTES
from pretended_worlds import use_pretended_gpu


@pytest.fixture(autouse=True)
def on_pretended_gpu(monkeypatch):
    use_pretended_gpu(monkeypatch)
    NOTES.clear()
