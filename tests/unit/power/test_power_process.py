"""The power process as systemd sees it: it says when it is ready, that it lives, and it ends when told."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

from agent.board.layout import text_from
from agent.board.records import POWER, POWER_BOARD
from agent.board.seqlock import BoardReader
from agent.emulator.profile import ProfileName, profile_named
from agent.emulator.tree import create_tree

PROGRAM = """
import sys
from pathlib import Path
from agent.app.power import run
from agent.config import config_from_text
sys.exit(run(Path(sys.argv[1]), config_from_text('[device]\\nid="d"\\nfleet="f"')))
"""


def test_the_process_reports_ready_feeds_its_watchdog_and_ends_on_sigterm(tmp_path: Path) -> None:
    create_tree(tmp_path, profile_named(ProfileName.R39), seed=1)
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(address)
        listener.settimeout(60)
        environment = {**os.environ, "NOTIFY_SOCKET": address}
        process = subprocess.Popen([sys.executable, "-c", PROGRAM, str(tmp_path)], env=environment)
        try:
            heard = [listener.recv(256) for _ in range(4)]
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=20) == 0
        finally:
            process.kill()
            process.wait()
    assert heard == [b"READY=1", b"WATCHDOG=1", b"WATCHDOG=1", b"WATCHDOG=1"]
    with BoardReader(tmp_path / "run/roskva" / POWER_BOARD, POWER) as board:
        stamped = board.read()
    assert stamped is not None
    assert stamped.record.envelope_w == 120.0
    assert text_from(stamped.record.power_mode) == "120W"
