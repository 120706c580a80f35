"""However the demo is ended, it takes its processes and its memory along."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

_DEMO = """
import signal, sys
from pathlib import Path
from fleet.demo.processes import Processes, endable
slow = "import signal, threading as t; signal.signal(15, lambda *_: t.Event().wait(0.5) or exit(0)); print('up', flush=True); signal.pause()"
try:
    with endable(), Processes(Path(sys.argv[1])) as processes:
        children = [processes.start(f"child-{n}", [sys.executable, "-c", slow]) for n in range(2)]
        folder = processes.volatile_folder()
        while not all("up" in child.tail() for child in children):
            processes.check()
        print(folder, *[child.process.pid for child in children], flush=True)
        signal.pause()
except KeyboardInterrupt as interrupt:
    sys.exit(128 + interrupt.args[0])
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_impatient_person_leaves_no_process_and_no_folder_behind(
    tmp_path: Path, number: signal.Signals
) -> None:
    demo = subprocess.Popen(
        [sys.executable, "-c", _DEMO, str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert demo.stdout is not None
    folder, *children = demo.stdout.readline().split()
    assert Path(folder).is_dir()
    os.killpg(demo.pid, number)
    os.killpg(demo.pid, number)
    os.killpg(demo.pid, number)
    _, errors = demo.communicate(timeout=20)
    assert (demo.returncode, errors) == (128 + number, "")
    assert not Path(folder).exists()
    assert not [pid for pid in children if Path(f"/proc/{pid}").exists()]
