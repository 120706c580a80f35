"""What was once released is read for ever: every entry still verifies, decodes, and encodes to the same bytes."""

from pathlib import Path

import msgspec
import pytest

from agent.board.layout import Layout
from agent.board.records import ACTUATION
from agent.board.seqlock import BoardReader
from models.contract import PolicyContract, check_sound
from models.digest import Digest
from models.errors import ClaimError, ModelSignatureError
from models.release import golden
from models.release.manifest import MANIFEST_NAME, bytes_from_manifest, manifest_from_bytes
from models.release.verify import CHECKS, Check, verify
from models.trust.policy import bytes_from_policy, policy_from_bytes
from models.wire import document, messages
from tests.fakes.golden import (
    BOARD_MONO_NS,
    BOARD_RECORD,
    ENTRIES,
    LayoutLine,
    contract_bytes,
    contracts,
    layouts,
    line_of,
    simulated_policy,
)

RELEASES = sorted((ENTRIES / "releases").iterdir())
CONTRACTS = sorted((ENTRIES / "contracts").iterdir())
MESSAGES = sorted((ENTRIES / "messages").glob("*/*.json"))
LINES = (ENTRIES / "boards/layouts.jsonl").read_bytes().splitlines()
KINDS = {kind.__name__: kind for kind in document.message_kinds()}


def name_of(path: Path) -> str:
    return path.stem


def identity_of(entry: Path) -> Digest:
    return Digest((entry / "identity.txt").read_text(encoding="ascii").strip())


@pytest.mark.parametrize("entry", RELEASES, ids=name_of)
def test_a_release_that_was_once_signed_still_verifies(entry: Path) -> None:
    policy = policy_from_bytes((entry / "builders.json").read_bytes())
    held: list[Check] = []
    with verify(entry / "release", identity_of(entry), policy, held.append) as release:
        golden.check(simulated_policy(), release)
        assert release.signer == "publisher"
    assert tuple(check.name for check in held) == CHECKS


@pytest.mark.parametrize("entry", RELEASES, ids=name_of)
def test_what_a_release_says_of_itself_encodes_to_the_same_bytes(entry: Path) -> None:
    data, policy = (entry / "release" / MANIFEST_NAME).read_bytes(), (entry / "builders.json").read_bytes()
    manifest, digest = manifest_from_bytes(data)
    assert bytes_from_manifest(manifest) == data
    assert digest == identity_of(entry)
    assert bytes_from_policy(policy_from_bytes(policy)) == policy


@pytest.mark.parametrize("entry", RELEASES, ids=name_of)
def test_an_old_release_is_not_believed_by_other_keys(entry: Path) -> None:
    policy = policy_from_bytes((entry / "builders.json").read_bytes())
    strangers = msgspec.structs.replace(policy, publishers=())
    with pytest.raises(ModelSignatureError):
        verify(entry / "release", identity_of(entry), strangers)
    strangers = msgspec.structs.replace(policy, builders=())
    with pytest.raises(ClaimError):
        verify(entry / "release", identity_of(entry), strangers)


@pytest.mark.parametrize("path", CONTRACTS, ids=name_of)
def test_a_contract_that_was_once_stated_reads_back_byte_for_byte(path: Path) -> None:
    data = path.read_bytes()
    contract = msgspec.json.decode(data, type=PolicyContract, strict=True)
    check_sound(contract)
    assert contract_bytes(contract) == data


def test_the_oldest_release_states_a_contract_of_the_oldest_form() -> None:
    data = (ENTRIES / "releases/schema-1-int8/release" / MANIFEST_NAME).read_bytes()
    assert (ENTRIES / "contracts/small.json").read_bytes() in data
    assert {path.stem for path in CONTRACTS} >= set(contracts())


@pytest.mark.parametrize("path", MESSAGES, ids=name_of)
def test_a_message_that_was_once_sent_reads_back_byte_for_byte(path: Path) -> None:
    data = path.read_bytes()
    message = messages.decode(data, KINDS[path.name.split(".")[0]], messages.MAX_TELEMETRY_BYTES)
    assert messages.encode(message) == data


def test_every_kind_of_message_has_an_example() -> None:
    assert {path.name.split(".")[0] for path in MESSAGES} == set(KINDS)


@pytest.mark.parametrize("line", LINES, ids=lambda line: msgspec.json.decode(line)["name"])
def test_the_fingerprint_of_a_layout_is_computed_as_it_always_was(line: bytes) -> None:
    kept = msgspec.json.decode(line, type=LayoutLine)
    kind = type("Kind", (), {"_fields": kept.fields})
    assert Layout(kept.name, kind, kept.format).fingerprint == kept.fingerprint


def test_every_layout_in_use_has_its_line() -> None:
    missing = {msgspec.json.encode(line_of(layout)) for layout in layouts()} - set(LINES)
    assert not missing
    assert layouts()


def test_a_board_that_was_once_written_is_read_as_the_record_that_it_was() -> None:
    with BoardReader(ENTRIES / "boards/actuation.board", ACTUATION) as reader:
        stamped = reader.read()
    assert stamped is not None
    assert (stamped.record, stamped.mono_ns) == (BOARD_RECORD, BOARD_MONO_NS)
