"""The key set of one site: which keys there are, and the one-command development set in files.

Owns: the names of the keys, their files, and the development trust policy that they make.
Must not know: what the keys sign. A production site keeps the same names in hardware and gives signers of its own.
"""

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from securesystemslib.signer import CryptoSigner  # type: ignore[attr-defined] # public names, without an __all__

from models.errors import UnknownObjectError, UsageError
from models.trust.atomic import write_atomically
from models.trust.keys import keyid_of, pem_of, private_key_from_pem, public_key_from_pem
from models.trust.policy import Builder, TrustedKey, TrustPolicy, bytes_from_policy

IMAGE_ROOTS = ("image-root-1", "image-root-2", "image-root-3")
BUILDER_STEPS = {
    "trainer": ("evaluate", "finetune", "pretrain"),
    "converter": ("convert",),
    "quantiser": ("quantise",),
    "bundler": ("bundle",),
}
"""Which claims each development builder may sign."""
KEY_NAMES = (
    *IMAGE_ROOTS,
    "image-targets",
    "image-release",
    "image-policy",
    "image-snapshot",
    "image-timestamp",
    "director-root",
    "director-online",
    "publisher",
    *(f"builder-{name}" for name in BUILDER_STEPS),
)
DEVELOPMENT_MARK = "DEVELOPMENT"
_MARK_TEXT = (
    b"These keys are for development. All of them lie here unencrypted, the offline ones too, so whoever reads this\n"
    b"folder can sign anything for every device that trusts them. Do not use them for a real fleet.\n"
)


class KeyDirectory:
    """Keys as PEM files in one folder: `<name>.pem`, and `public/<name>.pem` for the public halves."""

    def __init__(self, path: Path) -> None:
        """Use the keys in `path`; nothing is read before it is asked for."""
        self.path = path

    def private_key(self, name: str) -> EllipticCurvePrivateKey:
        """The private key `name`. Raises `UnknownObjectError` where it is not here, `MalformedError` if damaged."""
        return private_key_from_pem(self._read(self.path / f"{name}.pem", name))

    def signer(self, name: str) -> CryptoSigner:
        """A TUF signer for the key `name`. Raises as `private_key`."""
        return CryptoSigner(self.private_key(name))

    def public_pem(self, name: str) -> str:
        """The public half of the key `name` in PEM form. Raises `UnknownObjectError` where it is not here."""
        return self._read(self.path / "public" / f"{name}.pem", name).decode("ascii", "replace")

    @staticmethod
    def _read(path: Path, name: str) -> bytes:
        try:
            return path.read_bytes()
        except OSError as error:
            raise UnknownObjectError(f"no key {name!r} in {path.parent} ({error.strerror})") from error


def init_development_keys(directory: Path) -> KeyDirectory:
    """Make all keys of `KEY_NAMES` in `directory`, private files readable by their owner only.

    `public/builders.json` is the trust policy that these keys make.

    Raises:
        UsageError: the directory holds something already; keys are never overwritten.
    """
    if directory.exists() and any(directory.iterdir()):
        raise UsageError(f"{directory} is not empty; keys are never overwritten, name another folder")
    (directory / "public").mkdir(parents=True, mode=0o755)
    directory.chmod(0o700)
    write_atomically(directory / DEVELOPMENT_MARK, [_MARK_TEXT])
    for name in KEY_NAMES:
        key = generate_private_key(SECP256R1())
        private_pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        write_atomically(directory / f"{name}.pem", [private_pem], mode=0o600)
        write_atomically(directory / "public" / f"{name}.pem", [pem_of(key.public_key()).encode()])
    keys = KeyDirectory(directory)
    write_atomically(directory / "public" / "builders.json", [bytes_from_policy(policy_of(keys))])
    return keys


def policy_of(keys: KeyDirectory) -> TrustPolicy:
    """The trust policy that this key set makes: one publisher, and one builder for each kind of step."""
    builders = (
        Builder(name, _keyid(keys, f"builder-{name}"), keys.public_pem(f"builder-{name}"), steps)
        for name, steps in BUILDER_STEPS.items()
    )
    publisher = TrustedKey("publisher", _keyid(keys, "publisher"), keys.public_pem("publisher"))
    return TrustPolicy(publishers=(publisher,), builders=tuple(builders))


def _keyid(keys: KeyDirectory, name: str) -> str:
    return keyid_of(public_key_from_pem(keys.public_pem(name)))
