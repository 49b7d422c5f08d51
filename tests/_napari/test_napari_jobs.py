"""Worker threads: signals emitted, no blocking, and cleanup."""

from __future__ import annotations

import gc
import sys
import threading
import time

import pytest
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QApplication, QProgressDialog, QPushButton

from tomochrome._napari.kit import jobs
from tomochrome._napari.kit.jobs import Job, JobRunner, run_waiting
from tomochrome.errors import Cancelled, InputError
from tomochrome.runtime import check, current, report

pytestmark = pytest.mark.gui


class Ear:
    """Records the signals of a job, and the thread in which they arrive."""

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
    assert job.wait(600)


def test_a_result_arrives_in_the_gui_thread(qtbot):
    job = Job(lambda: threading.current_thread())
    ear = Ear(job)
    finish(qtbot, job)
    assert ear.names == ["returned", "ended"]
    assert ear.heard[0][1] is not threading.main_thread()
    assert ear.threads == {threading.main_thread()}


def test_an_error_arrives_instead_of_a_result(qtbot):
    def work():
        raise InputError("no such thing")

    job = Job(work)
    ear = Ear(job)
    finish(qtbot, job)
    assert ear.names == ["failed", "ended"]
    assert str(ear.heard[0][1]) == "no such thing"


def test_cancel_stops_at_the_next_check(qtbot):
    checks = []

    def work():
        while True:
            checks.append(current().cancelled)
            check()
            time.sleep(0.005)

    job = Job(work)
    ear = Ear(job)
    QTimer.singleShot(30, job.cancel)
    finish(qtbot, job)
    assert checks.count(True) <= 1
    assert ear.names == ["cancelled", "ended"]


def test_a_result_after_the_cancel_is_discarded(qtbot):
    def work():
        while not current().cancelled:
            time.sleep(0.005)
        return 7

    job = Job(work)
    ear = Ear(job)
    QTimer.singleShot(30, job.cancel)
    finish(qtbot, job)
    assert ear.names == ["cancelled", "ended"]


def test_frequent_progress_is_throttled_except_for_the_end(qtbot, monkeypatch):
    monkeypatch.setattr(jobs, "_REPORT_INTERVAL_S", 3600.0)

    def work():
        for done in range(20001):
            report(done, 20000, "slices")

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

    def work():
        return 42 if alive.wait(600) else None

    assert run_waiting(work, "Working") == 42
    timer.stop()


def test_waiting_raises_what_the_work_raised(qtbot):
    def work():
        raise InputError("nothing there")

    with pytest.raises(InputError, match="nothing there"):
        run_waiting(work, "Working")


def test_the_dialogs_cancel_button_cancels(qtbot):
    def press():
        for widget in QApplication.topLevelWidgets():
            if isinstance(widget, QProgressDialog):
                widget.findChild(QPushButton).click()

    def work():
        while True:
            check()
            time.sleep(0.005)

    QTimer.singleShot(50, press)
    with pytest.raises(Cancelled):
        run_waiting(work, "Working")


def test_waiting_in_another_thread_calls_directly(qtbot):
    results = []
    thread = threading.Thread(
        target=lambda: results.append(run_waiting(lambda: threading.current_thread(), "Working"))
    )
    thread.start()
    thread.join(600)
    assert results == [thread]


def test_a_second_job_replaces_the_first_silently(qtbot):
    runner, heard = JobRunner("tomochrome test"), []
    for name in ("progressed", "failed", "cancelled"):
        getattr(runner, name).connect(lambda *values, name=name: heard.append(name))
    go_on = threading.Event()
    runner.start(lambda: go_on.wait(600), heard.append)
    first = runner.job
    with qtbot.waitSignal(runner.ended):
        runner.start(lambda: 2, heard.append)
    assert heard == [2]
    assert not runner.running
    go_on.set()
    assert first.wait(600)
    qtbot.wait(10)
    assert heard == [2]


def test_a_dropped_job_emits_nothing(qtbot):
    runner, heard = JobRunner("tomochrome test"), []
    runner.ended.connect(lambda: heard.append("ended"))
    runner.start(lambda: 1, heard.append)
    job = runner.job
    runner.drop()
    assert not runner.running
    assert job.wait(600)
    qtbot.wait(10)
    assert heard == []


def test_interpreter_settings_are_unchanged_while_a_job_runs(qtbot):
    def settings():
        return sys.getswitchinterval(), gc.get_threshold(), gc.get_freeze_count()

    before, seen = settings(), []
    job = Job(lambda: seen.append(settings()))
    finish(qtbot, job)
    assert seen == [before]
