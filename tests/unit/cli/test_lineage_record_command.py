"""`roskva lineage`: a checkpoint on disk becomes a claim that the policy's trainer signed."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from fleet.cli.code_of import code_from_text, without_credentials
from fleet.cli.lineage import app
from models.digest import digest_of
from models.errors import ClaimError, ModelSignatureError, RoskvaError, UsageError
from models.lineage.chain import verify_chain
from models.lineage.claim import CodeRef, Parent, ParentRole, Step, VerifiedClaim, open_claim
from models.trust.keyset import KeyDirectory, init_development_keys, policy_of
from tests.fakes.repositories import Recipe, make_release
from tests.fakes.workshop import RACK


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> KeyDirectory:
    """A development key set."""
    return init_development_keys(tmp_path_factory.mktemp("site") / "keys")


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A small Hugging Face checkpoint."""
    folder = tmp_path / "checkpoint-40"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights" * 1000)
    return folder


def record(keys: KeyDirectory, checkpoint: Path, out: Path, *options: str) -> Result:
    """`roskva lineage record` with the trainer's key."""
    key = str(keys.path / "builder-trainer.pem")
    arguments = ["record", str(checkpoint), "--key", key, "--builder", "trainer", "--out", str(out), *options]
    return CliRunner().invoke(app, arguments)


def opened(keys: KeyDirectory, out: Path) -> VerifiedClaim:
    """The last claim in the file, verified by the key set's policy."""
    return open_claim(out.read_bytes().splitlines()[-1], policy_of(keys))


def platform(folder: Path) -> str:
    """A platform file of an emulated rack."""
    said: dict[str, Any] = {
        "system": RACK.system,
        "chassis_serial": RACK.chassis_serial,
        "cluster_uuid": RACK.cluster_uuid,
        "clique_id": 1,
        "trays": [],
        "emulated": True,
    }
    (folder / "nvl72.json").write_text(json.dumps(said))
    return str(folder / "nvl72.json")


def test_a_recorded_checkpoint_verifies_as_a_lineage_of_its_own(
    keys: KeyDirectory, checkpoint: Path, tmp_path: Path
) -> None:
    out, data = tmp_path / "out" / "claim.jsonl", digest_of(b"roads")
    where = ("--platform", platform(tmp_path), "--run-name", "night run")
    code = ("--code", "https://me:secret@git.example/trainer@" + "c" * 40)
    result = record(keys, checkpoint, out, "--dataset", f"roads={data}", *where, *code, "--json")
    assert result.exit_code == 0, result.output
    said = json.loads(result.stdout)
    chain = verify_chain(out.read_bytes(), policy_of(keys), said["checkpoint"], Step.PRETRAIN)
    claim = chain.claims[0].claim
    assert chain.ancestors == {data}
    assert claim.code == CodeRef("https://git.example/trainer", "c" * 40)
    assert claim.internal.run is not None
    assert claim.internal.run.name == "night run"
    assert claim.internal.rack is not None
    assert (said["chassis_serial"], said["emulated"], said["iteration"]) == (RACK.chassis_serial, True, 40)
    assert digest_of(Path(said["table"]).read_bytes()) == said["checkpoint"]


def test_people_see_the_whole_digest_and_where_the_claim_is(
    keys: KeyDirectory, checkpoint: Path, tmp_path: Path
) -> None:
    result = record(keys, checkpoint, tmp_path / "claim.jsonl", "--platform", platform(tmp_path))
    assert opened(keys, tmp_path / "claim.jsonl").claim.subject_digest in result.stdout
    assert f"chassis {RACK.chassis_serial}" in result.stdout
    assert "emulated, claimed" in result.stdout


def test_a_tuned_checkpoint_carries_the_claims_of_its_base(
    keys: KeyDirectory, checkpoint: Path, tmp_path: Path
) -> None:
    record(keys, checkpoint, tmp_path / "base.jsonl")
    base = opened(keys, tmp_path / "base.jsonl").claim.subject_digest
    (checkpoint / "model.safetensors").write_bytes(b"tuned")
    tuned_out = tmp_path / "tuned.jsonl"
    assert record(keys, checkpoint, tuned_out, "--base", str(tmp_path / "base.jsonl")).exit_code == 0
    tuned = opened(keys, tuned_out).claim
    assert tuned.parents[0] == Parent(ParentRole.BASE_MODEL, base)
    chain = verify_chain(tuned_out.read_bytes(), policy_of(keys), tuned.subject_digest, Step.FINETUNE)
    assert base in chain.ancestors


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        (("--dataset", "roads"), UsageError),
        (("--dataset", "roads=nowhere"), UsageError),
        (("--code", "main"), UsageError),
        (("--base", "sha256:beef"), UsageError),
        (("--run-name", "two\nlines"), ClaimError),
    ],
)
def test_a_wrong_option_ends_with_its_error_and_writes_no_claim(
    keys: KeyDirectory, checkpoint: Path, tmp_path: Path, options: tuple[str, ...], kind: type[RoskvaError]
) -> None:
    result = record(keys, checkpoint, tmp_path / "claim.jsonl", *options)
    assert isinstance(result.exception, kind)
    assert not (tmp_path / "claim.jsonl").exists()


def test_a_key_that_is_none_is_refused_before_anything_is_hashed(
    keys: KeyDirectory, checkpoint: Path, tmp_path: Path
) -> None:
    key = keys.path / "public" / "builder-trainer.pem"
    arguments = ["record", str(checkpoint), "--key", str(key), "--builder", "trainer"]
    result = CliRunner().invoke(app, [*arguments, "--out", str(tmp_path / "claim.jsonl")])
    assert isinstance(result.exception, UsageError)
    assert str(key) in str(result.exception)


def test_a_clean_work_tree_names_its_commit_and_a_changed_one_names_none(tmp_path: Path) -> None:
    def git(*arguments: str) -> str:
        who = ("-c", "user.name=x", "-c", "user.email=x@example.org")
        done = subprocess.run(["git", "-C", str(tmp_path), *who, *arguments], capture_output=True, check=True)
        return done.stdout.decode().strip()

    git("init", "-q")
    git("remote", "add", "origin", "https://me:secret@git.example/trainer.git")
    (tmp_path / "train.py").write_text("x = 1\n")
    git("add", "train.py")
    git("commit", "-qm", "first")
    assert code_from_text(str(tmp_path)) == CodeRef(
        "https://git.example/trainer.git", git("rev-parse", "HEAD")
    )
    (tmp_path / "train.py").write_text("x = 2\n")
    with pytest.raises(UsageError, match="uncommitted"):
        code_from_text(str(tmp_path))


@pytest.mark.parametrize(
    ("url", "plain"),
    [
        ("https://token@git.example/x", "https://git.example/x"),
        ("https://a:b@git.example:8443/x.git", "https://git.example:8443/x.git"),
        ("git@git.example:us/x.git", "git@git.example:us/x.git"),
        ("trainer", "trainer"),
    ],
)
def test_no_password_gets_into_a_claim(url: str, plain: str) -> None:
    assert without_credentials(url) == plain


def test_an_ml_bom_is_derived_from_a_release_only_where_its_claims_verify(
    keys: KeyDirectory, tmp_path: Path
) -> None:
    make_release(tmp_path / "release", keys, recipe=Recipe())
    policy = str(keys.path / "public" / "builders.json")
    arguments = ["mlbom", str(tmp_path / "release"), "--policy", policy]
    result = CliRunner().invoke(app, arguments)
    assert json.loads(result.stdout)["bomFormat"] == "CycloneDX"
    claims = tmp_path / "release" / "claims.jsonl"
    claims.write_bytes(claims.read_bytes().replace(b"a", b"b", 1))
    assert isinstance(CliRunner().invoke(app, arguments).exception, ClaimError)


def test_an_ml_bom_says_nothing_that_the_publisher_did_not_sign(keys: KeyDirectory, tmp_path: Path) -> None:
    make_release(tmp_path / "release", keys)
    path = tmp_path / "release" / "release.json"
    path.write_bytes(path.read_bytes().replace(b'"max_speed_mps":15.0', b'"max_speed_mps":95.0'))
    policy = str(keys.path / "public" / "builders.json")
    result = CliRunner().invoke(app, ["mlbom", str(tmp_path / "release"), "--policy", policy])
    assert isinstance(result.exception, ModelSignatureError)
    assert not result.stdout
