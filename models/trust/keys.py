"""P-256 keys: PEM in, keys out, and how a key is named.

Owns: the one curve that we use everywhere (hardware tokens, OpenSSF Model Signing and TUF all know it).
Must not know: what is signed, or where keys are kept.
"""

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
)
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from models.digest import digest_of, hex_of
from models.errors import MalformedError


def public_key_from_pem(pem: str) -> EllipticCurvePublicKey:
    """Parse a PEM SubjectPublicKeyInfo. Raises `MalformedError` where it is not a P-256 key."""
    try:
        key = load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise MalformedError("not a public key in PEM form") from error
    if not isinstance(key, EllipticCurvePublicKey) or not isinstance(key.curve, SECP256R1):
        raise MalformedError("a public key that is not on P-256")
    return key


def private_key_from_pem(pem: bytes) -> EllipticCurvePrivateKey:
    """Parse an unencrypted PEM private key. Raises `MalformedError` where it is not a P-256 key."""
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise MalformedError("not an unencrypted private key in PEM form") from error
    if not isinstance(key, EllipticCurvePrivateKey) or not isinstance(key.curve, SECP256R1):
        raise MalformedError("a private key that is not on P-256")
    return key


def pem_of(key: EllipticCurvePublicKey) -> str:
    """`key` as PEM SubjectPublicKeyInfo."""
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def keyid_of(key: EllipticCurvePublicKey) -> str:
    """The name of `key`: the sha256, in hexadecimal, of its DER SubjectPublicKeyInfo."""
    return hex_of(digest_of(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)))
