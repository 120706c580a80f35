"""The depot hands out what is published, to each device its own, and nothing else of the disk."""

from pathlib import Path

import pytest

from fleet.adapters.repository import RepositoryFiles
from fleet.depot import LIMITS, Depot, answer, refusal_of
from models.digest import digest_of, hex_of
from models.errors import MalformedError, RoskvaError, TransferError, UnknownObjectError
from models.wire.messages import (
    MAX_RANGE_BYTES,
    ContentRequest,
    MetadataRequest,
    RangeRequest,
    Refusal,
    RefusalCode,
    Repository,
    TargetRequest,
    decode,
)
from tests.fakes.fleet_world import SentMessages

CONTENT = bytes(range(256)) * 1000
DIGEST = digest_of(CONTENT)

Ask = MetadataRequest | TargetRequest | RangeRequest


@pytest.fixture
def files(tmp_path: Path) -> RepositoryFiles:
    repo, state = tmp_path / "repo", tmp_path / "state"
    for path, data in (
        (repo / "image/metadata/timestamp.json", b"image timestamp"),
        (repo / "image/targets/policy/ab.builders.json", b"policy"),
        (repo / "content" / hex_of(DIGEST), CONTENT),
        (state / "director/thor-1/metadata/1.root.json", b"for thor-1"),
        (state / "operator.token", b"secret"),
        (tmp_path / "keys/director-online", b"key"),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return RepositoryFiles(repo, state)


@pytest.mark.parametrize(
    ("ask", "expected"),
    [
        (MetadataRequest(Repository.IMAGE, "timestamp.json"), b"image timestamp"),
        (MetadataRequest(Repository.DIRECTOR, "1.root.json"), b"for thor-1"),
        (TargetRequest("policy/ab.builders.json"), b"policy"),
        (RangeRequest(DIGEST, 0, len(CONTENT)), CONTENT),
        (RangeRequest(DIGEST, 300, 5), CONTENT[300:305]),
        (RangeRequest(DIGEST, len(CONTENT) - 1, 1), CONTENT[-1:]),
    ],
)
def test_a_device_gets_exactly_what_it_asks_for(files: RepositoryFiles, ask: Ask, expected: bytes) -> None:
    assert answer("thor-1", ask, files) == expected


@pytest.mark.parametrize(
    "ask",
    [
        MetadataRequest(Repository.DIRECTOR, "1.root.json"),
        MetadataRequest(Repository.IMAGE, "7.root.json"),
        TargetRequest("policy/zz.builders.json"),
        TargetRequest("policy"),
        RangeRequest(digest_of(b"never published"), 0, 1),
    ],
)
def test_what_is_not_there_for_this_device_is_unknown(files: RepositoryFiles, ask: Ask) -> None:
    with pytest.raises(UnknownObjectError):
        answer("thor-2", ask, files)


@pytest.mark.parametrize(
    "ask",
    [
        MetadataRequest(Repository.IMAGE, "../../../keys/director-online"),
        MetadataRequest(Repository.DIRECTOR, "../../thor-1/metadata/1.root.json"),
        MetadataRequest(Repository.DIRECTOR, "01.root.json"),
        MetadataRequest(Repository.DIRECTOR, "1.root.json\n"),
        TargetRequest("../../../state/operator.token"),
        TargetRequest("/etc/passwd"),
        TargetRequest("policy//ab.builders.json"),
        TargetRequest("policy/../policy/ab.builders.json"),
        TargetRequest(".hidden"),
        TargetRequest("a\x00b"),
        TargetRequest(""),
        TargetRequest("/".join("a" * 20)),
        RangeRequest("../../state/operator.token", 0, 1),
        RangeRequest(DIGEST.upper(), 0, 1),
        RangeRequest(DIGEST, -1, 1),
        RangeRequest(DIGEST, 0, 0),
        RangeRequest(DIGEST, 0, MAX_RANGE_BYTES + 1),
        RangeRequest(DIGEST, len(CONTENT), 1),
        RangeRequest(DIGEST, len(CONTENT) - 1, 2),
        RangeRequest(DIGEST, 1 << 70, 1),
    ],
)
def test_hostile_names_and_impossible_ranges_are_malformed(files: RepositoryFiles, ask: Ask) -> None:
    with pytest.raises(MalformedError):
        answer("thor-1", ask, files)


def test_a_symbolic_link_among_the_content_is_not_followed(files: RepositoryFiles, tmp_path: Path) -> None:
    link = tmp_path / "repo/content" / ("0" * 64)
    link.symlink_to(tmp_path / "keys/director-online")
    with pytest.raises(UnknownObjectError):
        answer("thor-1", RangeRequest("sha256:" + "0" * 64, 0, 1), files)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UnknownObjectError("x"), RefusalCode.UNKNOWN),
        (MalformedError("x"), RefusalCode.MALFORMED),
        (TransferError("x"), RefusalCode.BUSY),
        (RoskvaError("/secret/path"), RefusalCode.FAILED),
    ],
)
def test_each_refusal_says_what_the_device_can_do(error: RoskvaError, code: RefusalCode) -> None:
    assert refusal_of(error).code is code
    assert "secret" not in refusal_of(error).detail


def test_answers_and_refusals_go_to_the_device_that_asked(files: RepositoryFiles) -> None:
    sent = SentMessages()
    depot = Depot("demo", files, sent)
    depot.offer("thor-1", ContentRequest("q1", RangeRequest(DIGEST, 0, 3)))
    depot.offer("thor-2", ContentRequest("q2", MetadataRequest(Repository.DIRECTOR, "1.root.json")))
    depot.close()
    depot.run()
    assert sent.sent[0] == ("roskva/v1/demo/thor-1/reply/q1", CONTENT[:3])
    assert sent.sent[1][0] == "roskva/v1/demo/thor-2/refusal/q2"
    assert decode(sent.sent[1][1], Refusal).code is RefusalCode.UNKNOWN


def test_a_device_that_asks_too_much_is_told_busy_and_others_are_served(files: RepositoryFiles) -> None:
    sent = SentMessages()
    depot = Depot("demo", files, sent)
    for number in range(LIMITS.items_per_sender + 1):
        depot.offer("thor-1", ContentRequest(f"q{number}", RangeRequest(DIGEST, 0, 3)))
    depot.offer("thor-2", ContentRequest("mine", RangeRequest(DIGEST, 0, 3)))
    assert [decode(payload, Refusal).code for _, payload in sent.sent] == [RefusalCode.BUSY]
    depot.close()
    depot.run()
    assert "roskva/v1/demo/thor-2/reply/mine" in sent.topics()
