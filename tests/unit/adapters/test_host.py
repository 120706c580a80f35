"""Figures of the machine beside the policy: there without NVML, and never older than they look."""

import threading
from pathlib import Path

import psutil

from agent.adapters.host import HostWatch, host_figures
from models.wire.messages import HostFigures, decode, encode
from tests.fakes.clock import FakeClock

FIGURES = HostFigures(0.25, 1, 2, 3)


def test_host_figures_are_there_without_nvml(tmp_path: Path) -> None:
    figures = host_figures(tmp_path)
    assert 0 < figures.memory_used_bytes < figures.memory_total_bytes
    assert figures.disk_free_bytes > 0
    assert 0.0 <= figures.cpu_share <= 1.0
    assert decode(encode(figures), HostFigures) == figures


def test_figures_that_nobody_renews_are_not_shown_as_new(tmp_path: Path) -> None:
    clock = FakeClock()
    watch = HostWatch(tmp_path, clock, lambda _: FIGURES)
    assert watch.recent() is None
    watch.look()
    clock.advance(20)
    assert watch.recent() == FIGURES
    clock.advance(20)
    assert watch.recent() is None


def test_a_machine_that_says_nothing_ends_nothing(tmp_path: Path) -> None:
    errors = iter([OSError("no such disk"), psutil.AccessDenied(), None])

    def look(_: Path) -> HostFigures:
        if (error := next(errors)) is not None:
            raise error
        return FIGURES

    watch, stopping = HostWatch(tmp_path, FakeClock(), look), threading.Event()
    stopping.set()
    for _ in range(3):
        watch.run(stopping)
    assert watch.recent() == FIGURES
