"""The edges of the agent's processes: word to systemd, the inbox, the command line."""

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from agent.adapters.systemd import Notifier
from agent.app.inbox import Inbox, Receivers
from agent.app.main import app
from agent.app.worker import VerifiedLoader
from agent.ports import Inbound
from agent.telemetry.events import EventLog
from models.digest import digest_of
from models.errors import DiskError, MetadataError
from models.wire.messages import BatchAck, EnvelopeOrder, Refusal, RefusalCode, ReleaseOffer, encode
from models.wire.topics import Channel, topic
from tests.fakes.clock import FakeClock

CONFIG = '[device]\nid = "thor-1"\nfleet = "yard"\n'


def test_systemd_hears_ready_watchdog_and_stopping(tmp_path: Path) -> None:
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(path))
        manager.settimeout(2)
        notifier = Notifier({"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "3000000"})
        notifier.ready()
        notifier.watchdog()
        notifier.status("two\nlines")
        notifier.stopping()
        heard = [manager.recv(200) for _ in range(4)]
    assert heard == [b"READY=1", b"WATCHDOG=1", b"STATUS=two lines", b"STOPPING=1"]
    assert notifier.watchdog_s == 3.0


def test_without_systemd_nothing_happens(tmp_path: Path) -> None:
    Notifier({}).ready()
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "gone")}).ready()
    assert Notifier({}).watchdog_s is None


def address(channel: Channel, tail: str = "") -> str:
    return topic("yard", "thor-1", channel, tail)


def test_the_inbox_hands_over_what_parses_and_reports_the_rest() -> None:
    got: list[object] = []
    events = EventLog(FakeClock())
    inbox = Inbox(Receivers(got.append, got.append, lambda *answer: got.append(answer), got.append), events)
    good = [
        Inbound(address(Channel.OFFER), encode(ReleaseOffer("x"))),
        Inbound(address(Channel.ACK), encode(BatchAck("boot", 1))),
        Inbound(address(Channel.REPLY, "r.1"), b"\x00\xff"),
        Inbound(address(Channel.REFUSAL, "r.2"), encode(Refusal(RefusalCode.BUSY))),
        Inbound(address(Channel.ENVELOPE), encode(EnvelopeOrder(1, 60.0))),
    ]
    bad = [
        Inbound(address(Channel.OFFER), b"{}"),
        Inbound(address(Channel.OFFER), b'{"release_digest":"x","extra":1}'),
        Inbound(address(Channel.OFFER), b"[" * 100_000),
        Inbound(address(Channel.ACK), b"\xff\xfe"),
        Inbound(address(Channel.REPLY, "r.3"), bytes((1 << 20) + 1)),
        Inbound(address(Channel.REFUSAL, "r.4"), bytes(10_000_000)),
        Inbound(address(Channel.ENVELOPE), b'{"sequence":1,"envelope_w":NaN}'),
        Inbound(address(Channel.ENVELOPE), b'{"sequence":1,"envelope_w":1e9}'),
        Inbound("somebody/else's/topic", b""),
    ]
    for message in [*bad, *good]:
        inbox.deliver(message)
    assert len(got) == 5
    assert got[2] == ("r.1", b"\x00\xff")
    assert inbox.malformed == len(bad)
    assert {event.kind for event in events.drain()} == {"malformed-message"}


def device(tmp_path: Path, config: str = CONFIG) -> list[str]:
    (tmp_path / "etc/roskva").mkdir(parents=True)
    (tmp_path / "etc/roskva/agent.toml").write_text(config)
    return ["--root", str(tmp_path)]


def test_status_of_a_device_where_nothing_runs_says_so(tmp_path: Path) -> None:
    root = device(tmp_path)
    shown = CliRunner().invoke(app, ["status", "--json", *root])
    document = json.loads(shown.stdout)
    assert (document["device"], document["broker_connected"]) == ("thor-1", None)
    assert (document["live_digest"], document["loop"], document["power"]) == ("", None, None)
    table = CliRunner().invoke(app, ["status", *root]).stdout
    assert "manage does not run" in table
    assert "control does not run" in table


def test_a_good_configuration_is_called_good(tmp_path: Path) -> None:
    shown = CliRunner().invoke(app, ["check-config", *device(tmp_path)])
    assert shown.exit_code == 0
    assert "thor-1 of fleet yard" in shown.stdout


@pytest.mark.parametrize(
    ("config", "named"),
    [("[device]\n", "id"), (CONFIG + "[mqtt]\nprot = 1\n", "prot"), ("x", "agent.toml")],
)
def test_a_bad_configuration_ends_with_one_line_and_exit_code_2(
    tmp_path: Path, config: str, named: str
) -> None:
    command = [sys.executable, "-m", "agent.app.main", "check-config", *device(tmp_path, config)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr.startswith("error [configuration]:")
    assert named in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_the_manage_process_loads_no_inference_runtime() -> None:
    code = "import agent.app.main, agent.app.manage, sys; print([m for m in sys.modules if 'onnx' in m or m == 'torch'])"
    done = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.strip() == "[]"


def test_a_worker_whose_disk_fails_says_so_and_blames_no_release(tmp_path: Path) -> None:
    unreadable = Path("/proc/self/mem")  # opens, and every read at 0 is an input/output error
    with pytest.raises(DiskError, match="Input/output error"):
        VerifiedLoader(tmp_path, digest_of(b""), unreadable, 1).load()
    with pytest.raises(MetadataError, match="no admitted trust policy"):
        VerifiedLoader(tmp_path, digest_of(b""), tmp_path / "absent", 1).load()
