"""`policy/builders.json`: whose model signatures and whose claims count.

Owns: the trust policy's schema and its canonical bytes. It travels as a TUF target, so its keys rotate by TUF.
Must not know: how signatures are checked, or which steps a lineage has.
"""

from typing import Annotated

import msgspec

from models.errors import MalformedError
from models.trust.keys import keyid_of, public_key_from_pem

POLICY_PATH = "policy/builders.json"
MAX_POLICY_BYTES = 64 << 10
MAX_KEYS = 64
SCHEMA = 1

_Name = Annotated[str, msgspec.Meta(pattern=r"\A[a-z0-9][a-z0-9._-]{0,63}\Z")]


class TrustedKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A P-256 key that may sign releases; `keyid` is `models.trust.keys.keyid_of` the key."""

    name: _Name
    keyid: str
    public_pem: str


class Builder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A P-256 key that may sign claims of `steps`, and of no other."""

    name: _Name
    keyid: str
    public_pem: str
    steps: tuple[_Name, ...]


class TrustPolicy(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Who may publish and who may build."""

    schema: int = SCHEMA
    publishers: tuple[TrustedKey, ...]
    builders: tuple[Builder, ...]


def bytes_from_policy(policy: TrustPolicy) -> bytes:
    """The canonical bytes: JSON with sorted keys, no spaces, one newline at the end."""
    return msgspec.json.encode(policy, order="sorted") + b"\n"


def policy_from_bytes(data: bytes) -> TrustPolicy:
    """Parse the canonical bytes of a trust policy.

    Raises:
        MalformedError: too long, not canonical, of another schema, a key not on P-256 or not named by its own
            digest, or a name or key that appears twice among publishers or among builders.
    """
    if len(data) > MAX_POLICY_BYTES:
        raise MalformedError(f"builders.json of {len(data)} bytes; at most {MAX_POLICY_BYTES} are read")
    try:
        policy = msgspec.json.decode(data, type=TrustPolicy, strict=True)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedError(f"builders.json: {error}") from error
    if bytes_from_policy(policy) != data:
        raise MalformedError("builders.json is not in canonical form (sorted keys, no spaces, no duplicates)")
    if policy.schema != SCHEMA:
        raise MalformedError(f"builders.json has schema {policy.schema}; this program reads {SCHEMA}")
    _check_keys(policy.publishers)
    _check_keys(policy.builders)
    return policy


def _check_keys(keys: tuple[TrustedKey, ...] | tuple[Builder, ...]) -> None:
    if len(keys) > MAX_KEYS:
        raise MalformedError(
            f"builders.json lists {len(keys)} keys of one kind; at most {MAX_KEYS} are allowed"
        )
    for key in keys:
        if keyid_of(public_key_from_pem(key.public_pem)) != key.keyid:
            raise MalformedError(f"builders.json: the keyid of {key.name} is not that of its key")
    if len({key.name for key in keys}) != len(keys) or len({key.keyid for key in keys}) != len(keys):
        raise MalformedError("builders.json: a name or a key appears twice")
