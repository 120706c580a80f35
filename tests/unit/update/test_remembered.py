"""What is remembered of the repositories: only what proves itself, only a little, and never what must be fresh."""

from agent.update.remembered import RememberedTargets
from models.digest import digest_of, hex_of
from models.trust.targets import prefixed
from models.wire.messages import Repository

MOST = 1 << 20


class Source:
    """Answers with `content`, or with bytes that say how often it was asked."""

    def __init__(self, content: bytes = b"") -> None:
        self.content, self.asked = content, 0

    def metadata(self, repository: Repository, name: str, max_bytes: int) -> bytes:
        self.asked += 1
        return f"{name} {self.asked}".encode()

    def target(self, path: str, max_bytes: int) -> bytes:
        self.asked += 1
        return self.content


def path_of(content: bytes) -> str:
    return prefixed("releases/drive/1.0.0/release.json", hex_of(digest_of(content)))


def test_a_target_that_is_what_its_name_says_is_asked_for_once() -> None:
    source = Source(b"content")
    remembered = RememberedTargets(source)
    for _ in range(3):
        assert remembered.target(path_of(b"content"), MOST) == b"content"
    assert source.asked == 1


def test_a_lie_is_passed_on_to_who_finds_it_out_and_is_not_kept() -> None:
    source = Source(b"a lie")
    remembered = RememberedTargets(source)
    assert remembered.target(path_of(b"content"), MOST) == b"a lie"
    source.content = b"content"
    assert remembered.target(path_of(b"content"), MOST) == b"content"


def test_metadata_is_asked_for_every_time() -> None:
    remembered = RememberedTargets(Source())
    answers = {remembered.metadata(Repository.DIRECTOR, "timestamp.json", MOST) for _ in range(3)}
    assert len(answers) == 3


def test_no_more_than_two_targets_are_kept_the_latest_ones() -> None:
    source = Source()
    remembered = RememberedTargets(source)
    for content in (b"one", b"two", b"one", b"three"):
        source.content = content
        remembered.target(path_of(content), MOST)
    assert source.asked == 3
    remembered.target(path_of(b"one"), MOST)
    assert source.asked == 3
    source.content = b"two"
    remembered.target(path_of(b"two"), MOST)
    assert source.asked == 4


def test_what_is_kept_does_not_pass_a_narrower_bound() -> None:
    source = Source(b"content")
    remembered = RememberedTargets(source)
    remembered.target(path_of(b"content"), MOST)
    remembered.target(path_of(b"content"), 3)
    assert source.asked == 2
