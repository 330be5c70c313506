"""The fuzzing campaign with a few inputs of each kind; and its own checks."""

from __future__ import annotations

import os
import signal

import pytest
from hypothesis import strategies as st

from experiments.faults.fuzz import KINDS, SIZES, campaign
from experiments.faults.trying import Attempts, WrongOkError, in_child, result_of
from metarl.errors import RunError
from metarl_envs import InputError

FEW = {"MJCF": 16, "family files": 6, "ONNX exports": 2, "checkpoints": 12, "logs": 10}


@pytest.mark.parametrize("kind", KINDS)
def test_inputs_that_nobody_would_write_are_taken_rightly_or_refused(kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = campaign(KINDS[kind], FEW.get(kind, 25), seed=1)
    assert found["faults"] == {}
    assert found["inputs"] == FEW.get(kind, 25)
    assert found.get("ok")  # else nothing behind the first check was tried


def test_the_whole_campaign_is_of_more_than_five_thousand_inputs():
    assert SIZES.keys() == KINDS.keys()
    assert sum(SIZES.values()) >= 5000


def test_the_campaign_tells_what_an_input_comes_to():
    def use(error):
        if error is not None:
            raise error

    def result(error):
        return result_of(Attempts(st.none(), use), error)

    assert result(None) == "ok"
    assert result(InputError("mass = -1: must be positive")) == "refused"
    assert result(RunError("runs/x: damaged")) == "refused"
    assert result(KeyError("x")).startswith("fault: KeyError at test_fuzz.py:")
    assert result(WrongOkError("nan")).startswith("fault: WrongOkError at test_fuzz.py:")


def test_a_child_may_die_or_never_end():
    def spin():
        while True:
            pass

    assert in_child(lambda: "ok") == "ok"
    killed = in_child(lambda: str(os.kill(os.getpid(), signal.SIGKILL)))
    assert killed == "fault: the process ended by SIGKILL"
    assert in_child(lambda: os._exit(3)) == "fault: the process ended with status 3"
    assert in_child(spin, limit_s=1) == "fault: hang"
