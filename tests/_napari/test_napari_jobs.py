"""The bridge to worker threads: what is emitted, and that nothing blocks or is left behind."""

from __future__ import annotations

import gc
import sys
import threading
import time

import pytest
from qtpy.QtCore import QObject, QTimer
from qtpy.QtWidgets import QApplication, QProgressDialog, QPushButton

from tomochrome._napari import jobs
from tomochrome._napari.jobs import Job
from tomochrome._napari.throttle import Throttle
from tomochrome._napari.waiting import run_waiting
from tomochrome.errors import Cancelled, InputError
from tomochrome.runtime import check

pytestmark = pytest.mark.gui


class Ear:
    """Writes down what a job emits, and in which thread it arrives."""

    def __init__(self, job):
        self.heard = []
        self.threads = set()
        for name in ("progressed", "returned", "failed", "cancelled", "ended"):
            getattr(job, name).connect(self._listener(name))

    def _listener(self, name):
        def listen(*values):
            self.threads.add(threading.current_thread())
            self.heard.append((name, *values))

        return listen

    @property
    def names(self):
        return [name for name, *_ in self.heard if name != "progressed"]


def finish(qtbot, job):
    with qtbot.waitSignal(job.ended, timeout=5000):
        job.start()
    assert job.wait(60)


def test_a_result_arrives_in_the_gui_thread(qtbot):
    job = Job(lambda progress, cancel: threading.current_thread())
    ear = Ear(job)
    finish(qtbot, job)
    assert ear.names == ["returned", "ended"]
    assert ear.heard[0][1] is not threading.main_thread()
    assert ear.threads == {threading.main_thread()}


def test_an_error_arrives_instead_of_a_result(qtbot):
    def work(progress, cancel):
        raise InputError("no such thing")

    job = Job(work)
    ear = Ear(job)
    finish(qtbot, job)
    assert ear.names == ["failed", "ended"]
    assert str(ear.heard[0][1]) == "no such thing"


def test_cancel_stops_at_the_next_check(qtbot):
    checks = []

    def work(progress, cancel):
        while True:
            checks.append(cancel.cancelled)
            check(cancel)
            time.sleep(0.005)

    job = Job(work)
    ear = Ear(job)
    QTimer.singleShot(30, job.cancel)
    finish(qtbot, job)
    assert checks.count(True) <= 1
    assert ear.names == ["cancelled", "ended"]


def test_a_result_after_the_cancel_is_not_wanted(qtbot):
    def work(progress, cancel):
        while not cancel.cancelled:
            time.sleep(0.005)
        return 7

    job = Job(work)
    ear = Ear(job)
    QTimer.singleShot(30, job.cancel)
    finish(qtbot, job)
    assert ear.names == ["cancelled", "ended"]


def test_a_flood_of_progress_is_thinned_but_its_end_is_told(qtbot, monkeypatch):
    monkeypatch.setattr(jobs, "_SECONDS_BETWEEN_REPORTS", 3600.0)

    def work(progress, cancel):
        for done in range(20001):
            progress(done, 20000, "slices")

    job = Job(work)
    ear = Ear(job)
    finish(qtbot, job)
    reports = [values for name, *values in ear.heard if name == "progressed"]
    assert reports == [[0, 20000, "slices"], [20000, 20000, "slices"]]


def test_waiting_keeps_the_event_loop_alive_and_returns_the_result(qtbot):
    alive = threading.Event()
    timer = QTimer()
    timer.timeout.connect(alive.set)
    timer.start(10)

    def work(progress, cancel):
        return 42 if alive.wait(20) else None

    assert run_waiting(work, "Working") == 42
    timer.stop()


def test_waiting_raises_what_the_work_raised(qtbot):
    def work(progress, cancel):
        raise InputError("nothing there")

    with pytest.raises(InputError, match="nothing there"):
        run_waiting(work, "Working")


def test_the_dialogs_cancel_button_cancels(qtbot):
    def press():
        for widget in QApplication.topLevelWidgets():
            if isinstance(widget, QProgressDialog):
                widget.findChild(QPushButton).click()

    def work(progress, cancel):
        while True:
            check(cancel)
            time.sleep(0.005)

    QTimer.singleShot(50, press)
    with pytest.raises(Cancelled):
        run_waiting(work, "Working")


def test_waiting_in_another_thread_just_works(qtbot):
    results = []
    thread = threading.Thread(
        target=lambda: results.append(run_waiting(lambda progress, cancel: progress, "Working"))
    )
    thread.start()
    thread.join(60)
    assert results == [None]


def test_a_throttle_acts_at_once_and_never_loses_the_last_request(qtbot):
    done = []
    owner = QObject()
    throttle = Throttle(lambda: done.append(wanted[0]), owner)
    wanted = [0]
    throttle.request()
    assert done == [0]
    for value in range(1, 50):
        wanted[0] = value
        throttle.request()
    assert done == [0]
    qtbot.waitUntil(lambda: done[-1] == 49, timeout=1000)
    assert len(done) < 10


def test_a_resting_throttle_waits_until_the_slider_rests(qtbot):
    done = []
    owner = QObject()
    throttle = Throttle(lambda: done.append(1), owner)
    for _ in range(5):
        throttle.request(after_ms=60)
        throttle._timer.setInterval(10**6)  # the slider rests for as long as the test says
        qtbot.wait(10)
    assert done == []
    throttle.request(after_ms=60)
    qtbot.waitUntil(lambda: done == [1])
    qtbot.waitUntil(lambda: not throttle._timer.isActive())
    assert done == [1]


def test_python_yields_to_the_window_while_a_job_runs_and_is_as_before_after_it(qtbot):
    before = sys.getswitchinterval(), gc.get_threshold()
    seen = []
    jobs = [Job(lambda *_: seen.append((sys.getswitchinterval(), gc.get_threshold())))]
    jobs.append(Job(lambda *_: 1 / 0))
    for job in jobs:
        with qtbot.waitSignal(job.ended, timeout=5000):
            job.start()
    ((interval, thresholds),) = seen
    assert interval < before[0]
    assert thresholds[:2] == before[1][:2]
    assert thresholds[2] > 100 * before[1][2]
    qtbot.waitUntil(lambda: (sys.getswitchinterval(), gc.get_threshold()) == before)
