"""The control process's own wiring: what cannot be started, and what must not be started twice."""

from pathlib import Path

import pytest

from agent.adapters.systemd import Notifier
from agent.app import control
from agent.app.control import PythonSpawner, live_source, supervise
from agent.config import config_from_text
from models.errors import NotNowError


def test_a_child_that_cannot_be_started_is_a_dead_child_and_no_end_of_the_supervisor(tmp_path: Path) -> None:
    """No process table entry, no memory: the follower that runs must not be taken down by that."""
    child = PythonSpawner(tmp_path, interpreter=str(tmp_path / "absent")).follower()
    assert child.poll()
    child.terminate()
    child.kill()
    assert child.wait() == child.poll()


def test_a_second_control_process_is_turned_away_before_it_starts_anything(tmp_path: Path) -> None:
    spawner = PythonSpawner(tmp_path, interpreter=str(tmp_path / "absent"))
    with control.only_one(tmp_path), pytest.raises(NotNowError, match="another control process"):
        supervise(tmp_path, spawner, lambda: None, Notifier({}))
    assert list(tmp_path.glob("*.board")) == []
    with control.only_one(tmp_path):
        pass


def test_a_pointer_that_cannot_be_read_is_an_error_of_ours_so_that_the_follower_runs_on(
    tmp_path: Path,
) -> None:
    (tmp_path / "var/lib/roskva/slots/pointer.json").mkdir(parents=True)
    config = config_from_text('[device]\nid = "d"\nfleet = "f"\n')
    with pytest.raises(NotNowError, match="cannot be read"):
        live_source(tmp_path, config)()
