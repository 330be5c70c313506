"""Stop signals ask, and only a second Ctrl-C insists."""

from __future__ import annotations

import os
import signal
import sys
import threading

import pytest

from metarl.training.signals import STOP_SIGNALS, StopSignals


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_signal_is_a_request_with_its_name(number, capfd, monkeypatch):
    monkeypatch.setattr(signal, "getsignal", lambda _: signal.SIG_DFL)  # also under nohup
    with StopSignals() as stop:
        assert stop.requested == ""
        os.kill(os.getpid(), number)
        assert stop.requested == number.name
    assert f"{number.name}: stopping after this iteration" in capfd.readouterr().err


def test_a_second_ctrl_c_stops_at_once():
    with pytest.raises(KeyboardInterrupt), StopSignals() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.requested == "SIGINT"
        os.kill(os.getpid(), signal.SIGINT)


def test_ctrl_c_after_another_signal_stops_at_once():
    with pytest.raises(KeyboardInterrupt), StopSignals():
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)


def test_the_first_signal_is_the_reason_and_others_are_ignored():
    with StopSignals() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGUSR1)
        assert stop.requested == "SIGTERM"


def test_old_handlers_come_back_also_after_an_error():
    before = [signal.getsignal(number) for number in STOP_SIGNALS]
    with StopSignals():
        assert [signal.getsignal(number) for number in STOP_SIGNALS] != before
    with pytest.raises(ValueError, match="inside"), StopSignals():
        raise ValueError("inside")
    assert [signal.getsignal(number) for number in STOP_SIGNALS] == before


def test_outside_the_main_thread_nothing_is_changed():
    before = [signal.getsignal(number) for number in STOP_SIGNALS]
    seen = []

    def work():
        with StopSignals() as stop:
            seen.append(([signal.getsignal(number) for number in STOP_SIGNALS], stop.requested))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(before, "")]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGHUP")
def test_a_closed_terminal_is_ignored_after_nohup():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopSignals() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert stop.requested == ""
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_request_counts_where_its_answer_cannot_be_written(monkeypatch):
    def gone(*_):
        raise OSError("Input/output error")

    with StopSignals() as stop:
        monkeypatch.setattr(os, "write", gone)
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.requested == "SIGTERM"


def test_a_second_ctrl_c_is_the_business_of_the_handler_before():
    pressed = []
    before = signal.signal(signal.SIGINT, lambda number, frame: pressed.append(number))
    try:
        with pytest.raises(KeyboardInterrupt), StopSignals():
            os.kill(os.getpid(), signal.SIGINT)
            assert pressed == []
            os.kill(os.getpid(), signal.SIGINT)
        assert pressed == [signal.SIGINT]
    finally:
        signal.signal(signal.SIGINT, before)
