"""`roskva trace` against a server that may lie: what holds is shown as verified, what doesn't is named, exit 4."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
import typer
from typer.testing import CliRunner, Result

from fleet.adapters.api_client import ApiClient
from fleet.cli.trace import trace
from models.digest import Digest, digest_of
from models.errors import RoskvaError, TransferError
from models.lineage.claim import BundleParameters
from models.lineage.facts import Facts, Run
from models.release.manifest import CLAIMS_NAME, MANIFEST_NAME, SIGNATURE_NAME, manifest_from_bytes
from models.trust.metadata import utc_now
from tests.fakes.fleet_api import FakeFleetApi, decision_record
from tests.fakes.repositories import (
    Recipe,
    Site,
    claims_bytes,
    make_claims,
    make_release,
    release_file,
    write_manifest,
)
from tests.fakes.workshop import RACK

ID = "thor-1:5f0c:7"
STEPS = ["pretrain", "convert", "quantise", "bundle"]


class Audit:
    """A site with one release whose checkpoint was trained on an emulated rack, and a server for it."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.recipe = Recipe()
        self.digest = publish_from_rack(site, "1.0.0", 1, self.recipe)
        self.api = FakeFleetApi(site, decisions={ID: decision_record(self.digest)})
        self.api.descent[self.recipe.checkpoint] = self.descent(self.digest)
        self.trust = site.repo / "trust"

    @staticmethod
    def descent(*releases: Digest) -> dict[str, Any]:
        """What a server says of the checkpoint."""
        use = {"decisions": 12, "first_utc_ns": 1, "last_utc_ns": 2, "live_now": True}
        return {
            "digest": "whatever",
            "releases": [{"digest": release, "name": "drive", "counter": 3} for release in releases],
            "devices": [{"device": "thor-1", "release_digest": release, **use} for release in releases],
        }

    @property
    def claims_path(self) -> str:
        """Where the API has the claims."""
        return f"releases/{self.digest}/files/{CLAIMS_NAME}"

    def run(self, identity: str = ID, *options: str, trust: Path | None = None) -> Result:
        """`roskva trace`."""
        with self.api.serving() as url:
            return command(identity, "--server", url, "--trust", str(trust or self.trust), *options)


def command(*arguments: str) -> Result:
    """The command alone, as the command line runs it."""
    app = typer.Typer()
    app.command()(trace)
    return CliRunner().invoke(app, list(arguments))


def publish_from_rack(site: Site, version: str, counter: int, recipe: Recipe) -> Digest:
    """Publish a release whose training claim names a run and a rack."""
    folder = site.release_dir(version)
    make_release(folder, site.keys, version, counter, recipe)
    manifest, _ = manifest_from_bytes((folder / MANIFEST_NAME).read_bytes())
    bundle = BundleParameters(name=recipe.name, version=version, counter=counter)
    claims = make_claims(site.keys, recipe, Digest(manifest.model_digest), bundle)
    run = Run(name="night run", scheduler="slurm", cluster="oslo", job_id="42")
    claims[0] = ("trainer", replace(claims[0][1], internal=Facts(run=run, rack=RACK)))
    (folder / CLAIMS_NAME).write_bytes(claims_bytes(site.keys, claims))
    files = [file for file in manifest.files if file.role != "claims"]
    files.append(release_file(folder, CLAIMS_NAME, "claims"))
    write_manifest(folder, site.keys, msgspec.structs.replace(manifest, files=tuple(files)))
    return site.image.publish(folder, site.now).digest


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """One for all tests here: none of them writes to it after `audit` has published."""
    return Site(tmp_path_factory.mktemp("site"), utc_now())


@pytest.fixture(scope="module")
def shared(site: Site) -> Audit:
    """The published release."""
    return Audit(site)


@pytest.fixture
def audit(shared: Audit) -> Iterator[Audit]:
    """The shared site, with a server that tells the truth until the test makes it lie."""
    shared.api.lies.clear()
    yield shared
    shared.api.lies.clear()


def exit_code(result: Result) -> int:
    """What `main` would end with."""
    if isinstance(result.exception, RoskvaError):
        return result.exception.exit_code
    return result.exit_code


def document(result: Result) -> dict[str, Any]:
    """The one JSON object on stdout."""
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def with_a_changed_byte(lines: bytes, index: int) -> bytes:
    """The claims with one byte in the middle of claim `index` changed."""
    parts = lines.splitlines(keepends=True)
    broken = bytearray(parts[index])
    broken[len(broken) // 2] ^= 1
    parts[index] = bytes(broken)
    return b"".join(parts)


def test_a_decision_is_traced_to_the_chassis_of_the_rack_that_trained_it(audit: Audit) -> None:
    result = audit.run()
    assert exit_code(result) == 0, result.output
    for said in (
        "-1.250 m/s², +0.00100 1/m",
        "red light ahead, stop",
        "thor-1 · boot 5f0c · decision 7",
        "drive 1.0.0 · int8",
        audit.digest,
        "signed by publisher",
        audit.recipe.checkpoint,
        "slurm oslo job 42",
        f"chassis {RACK.chassis_serial}",
        "emulated, claimed by the trainer, not attested",
    ):
        assert said in result.stdout
    for signer in ("trainer", "converter", "quantiser", "bundler"):
        assert f"verified, signed by {signer}" in result.stdout
    assert "✘" not in result.stdout


def test_as_json_a_trace_has_its_documented_shape(audit: Audit) -> None:
    found = document(audit.run(ID, "--json"))
    assert set(found) == {"decision", "release", "claims", "checkpoint", "rack", "verified", "reasons"}
    assert found["verified"] is True
    assert found["decision"]["record"]["sequence"] == 7
    assert found["release"]["digest"] == audit.digest
    assert [claim["step"] for claim in found["claims"]] == STEPS[::-1]
    assert {tuple(sorted(claim)) for claim in found["claims"]} == {
        ("index", "name", "reason", "signer", "step", "subject", "verified")
    }
    assert found["claims"][-1]["signer"] == "trainer"
    assert found["checkpoint"]["digest"] == audit.recipe.checkpoint
    assert found["checkpoint"]["datasets"][0]["name"] == "drives"
    assert (found["rack"]["chassis_serial"], found["rack"]["emulated"]) == (RACK.chassis_serial, True)


@pytest.mark.parametrize("index", range(4))
def test_one_changed_byte_of_a_claim_is_named_and_everything_else_still_shown(
    audit: Audit, index: int
) -> None:
    audit.api.lies[audit.claims_path] = with_a_changed_byte(audit.api.content(audit.claims_path), index)
    result = audit.run(ID, "--json")
    assert exit_code(result) == 4
    assert f"claim {index + 1}" in str(result.exception)
    found = document(result)
    assert found["verified"] is False
    broken = [(claim["index"], claim["step"]) for claim in found["claims"] if not claim["verified"]]
    assert broken == [(index + 1, STEPS[index])]


def test_people_see_which_claim_is_broken_before_the_command_ends_with_4(audit: Audit) -> None:
    audit.api.lies[audit.claims_path] = with_a_changed_byte(audit.api.content(audit.claims_path), 2)
    result = audit.run()
    assert exit_code(result) == 4
    assert result.stdout.count("✔ verified, signed by") == 3
    lines = result.stdout.splitlines()
    [place] = [number for number, line in enumerate(lines) if "quantise " in line]
    assert "✘ claim 3: " in lines[place + 1]


def test_a_changed_signature_of_the_release_ends_with_4(audit: Audit) -> None:
    path = f"releases/{audit.digest}/files/{SIGNATURE_NAME}"
    audit.api.lies[path] = audit.api.content(path).replace(b'"sig":"M', b'"sig":"N')
    result = audit.run()
    assert exit_code(result) == 4
    assert SIGNATURE_NAME in str(result.exception)
    assert RACK.chassis_serial in result.stdout


def test_the_sound_claims_of_another_release_are_not_taken_for_this_one(audit: Audit) -> None:
    other = make_claims(
        audit.site.keys, audit.recipe, digest_of(b"other"), BundleParameters(name="x", version="1", counter=1)
    )
    audit.api.lies[audit.claims_path] = claims_bytes(audit.site.keys, other)
    result = audit.run(ID, "--json")
    assert exit_code(result) == 4
    assert document(result)["verified"] is False


def test_sound_claims_that_release_json_does_not_name_are_refused(audit: Audit) -> None:
    """Every builder signs anew, with another rack: the chain holds in itself, but isn't the release's."""
    manifest, _ = manifest_from_bytes((audit.site.release_dir("1.0.0") / MANIFEST_NAME).read_bytes())
    bundle = BundleParameters(name="drive", version="1.0.0", counter=1)
    claims = make_claims(audit.site.keys, audit.recipe, Digest(manifest.model_digest), bundle)
    audit.api.lies[audit.claims_path] = claims_bytes(audit.site.keys, claims)
    result = audit.run()
    assert exit_code(result) == 4
    assert "release.json does not name" in result.stdout


def test_a_release_that_the_image_repository_never_signed_is_no_release(audit: Audit) -> None:
    audit.api.decisions["thor-1:5f0c:8"] = decision_record(digest_of(b"made up"), sequence=8)
    result = audit.run("thor-1:5f0c:8")
    assert exit_code(result) == 4
    assert "does not vouch" in str(result.exception)


def test_a_server_with_keys_of_its_own_is_not_believed(audit: Audit, tmp_path: Path) -> None:
    foreign = Site(tmp_path / "foreign", utc_now())
    result = audit.run(trust=foreign.repo / "trust")
    assert exit_code(result) == 4
    assert RACK.chassis_serial not in result.output


def test_expired_metadata_is_not_believed(tmp_path: Path) -> None:
    stale = Audit(Site(tmp_path, utc_now() - timedelta(days=3)))
    result = stale.run()
    assert exit_code(result) == 4
    assert "expired" in str(result.exception)


def test_words_from_a_device_cannot_draw_on_the_terminal(audit: Audit) -> None:
    audit.api.decisions["thor-1:5f0c:9"] = decision_record(audit.digest, 9, "\x1b[2J[red]fine[/red]\u202e")
    result = audit.run("thor-1:5f0c:9")
    assert exit_code(result) == 0
    assert not {"\x1b", "\u202e"} & set(result.stdout)
    assert "[red]fine[/red]" in result.stdout


def test_words_from_a_claim_cannot_draw_on_the_terminal(audit: Audit) -> None:
    honest = audit.api.content(audit.claims_path).splitlines(keepends=True)
    audit.api.lies[audit.claims_path] = b'{"\\u001b[2J\\u202e":1}\n' + b"".join(honest[1:])
    result = audit.run()
    assert exit_code(result) == 4
    assert "✘ claim 1: " in result.stdout
    assert not {"\x1b", "\u202e"} & set(result.stdout)


def test_an_answer_about_another_decision_is_not_taken_for_this_one(audit: Audit) -> None:
    audit.api.decisions["thor-9:5f0c:7"] = decision_record(audit.digest)
    audit.api.lies[f"decisions/{ID}"] = audit.api.content("decisions/thor-9:5f0c:7")
    result = audit.run()
    assert exit_code(result) == 4
    assert "thor-9:5f0c:7" in str(result.exception)
    assert not result.stdout


@pytest.mark.parametrize(
    ("identity", "code"),
    [("thor-1:5f0c:404", 2), ("sha256:" + "0" * 64, 2), ("thor-1", 2), ("sha256:beef", 2)],
)
def test_an_id_that_leads_nowhere_ends_with_its_code(audit: Audit, identity: str, code: int) -> None:
    assert exit_code(audit.run(identity)) == code


def test_without_a_pinned_root_nothing_is_asked(audit: Audit, tmp_path: Path) -> None:
    result = audit.run(trust=tmp_path)
    assert exit_code(result) == 2
    assert "image-root.json" in str(result.exception)


@pytest.mark.parametrize("address", ["localhost:8080", "ftp://server", "http://", "http://[::1", "nonsense"])
def test_an_address_that_is_none_is_wrong_usage(audit: Audit, address: str) -> None:
    assert exit_code(command(ID, "--server", address, "--trust", str(audit.trust))) == 2


def test_an_answer_that_trickles_is_given_up() -> None:
    now_s = iter(range(0, 1_000_000, 5))

    class Trickle(httpx.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            while True:
                yield b"x"

    transport = httpx.MockTransport(lambda _: httpx.Response(200, stream=Trickle()))
    with (
        ApiClient("http://server", transport=transport, now_s=lambda: next(now_s)) as client,
        pytest.raises(TransferError, match="seconds"),
    ):
        client.release_file(digest_of(b""), CLAIMS_NAME, 1 << 30)


def test_a_server_that_is_not_there_is_for_later(audit: Audit) -> None:
    with audit.api.serving() as url:
        closed = url
    assert exit_code(command(ID, "--server", closed, "--trust", str(audit.trust))) == 5


def test_an_endless_answer_is_not_read_to_its_end(audit: Audit) -> None:
    audit.api.lies[audit.claims_path] = b"x" * (4 << 20)
    result = audit.run()
    assert exit_code(result) == 5
    assert "longer than" in str(result.exception)


def test_a_checkpoint_leads_to_the_devices_that_run_what_came_of_it(audit: Audit) -> None:
    result = audit.run(audit.recipe.checkpoint)
    assert exit_code(result) == 0, result.output
    assert "verified descendant" in result.stdout
    assert "thor-1 · 12 decisions" in result.stdout
    assert "live now" in result.stdout
    found = document(audit.run(audit.recipe.checkpoint, "--json"))
    assert set(found) == {"digest", "releases", "devices", "verified"}
    assert [(one["digest"], one["descends"]) for one in found["releases"]] == [(audit.digest, True)]


def test_a_release_that_does_not_descend_is_found_out_whatever_the_server_says(audit: Audit) -> None:
    stranger = digest_of(b"another checkpoint")
    audit.api.descent[stranger] = Audit.descent(audit.digest)
    result = audit.run(stranger, "--json")
    assert exit_code(result) == 4
    assert document(result)["releases"][0]["descends"] is False
