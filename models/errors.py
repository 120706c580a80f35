"""The error tree, by blame: who has to act, and the exit code that a command ends with.

Owns: the roots and the refusals of the shared language. Each class carries a stable machine `code`;
the message is one sentence that says what is wrong and, where it helps, what to do.
Must not know: devices, servers, terminals.
"""

import errno
from typing import ClassVar


class RoskvaError(Exception):
    """Root of every error that Roskva raises on purpose."""

    code: ClassVar[str] = "error"
    exit_code: ClassVar[int] = 1


class UsageError(RoskvaError):
    """The person asked for something that makes no sense; exit code 2."""

    code = "usage"
    exit_code = 2


class ConfigurationError(UsageError):
    """A configuration file has an unknown key, a wrong type or an impossible value."""

    code = "configuration"


class RefusedError(RoskvaError):
    """Well-formed and perhaps genuine, but not for this device or not allowed; exit code 3."""

    code = "refused"
    exit_code = 3


class ContractMismatchError(RefusedError):
    """The release's contract does not fit the plant that this device drives."""

    code = "contract-mismatch"


class DeviceClassMismatchError(RefusedError):
    """The release is for another hardware class."""

    code = "device-class-mismatch"


class WrongDeviceError(RefusedError):
    """The Director's signed targets name another device."""

    code = "wrong-device"


class DowngradeError(RefusedError):
    """The release counter is below the floor that this device has accepted."""

    code = "downgrade"


class GoldenMismatchError(RefusedError):
    """The loaded policy does not reproduce the release's golden outputs on this device."""

    code = "golden-mismatch"


class ModelNotAllowedError(RefusedError):
    """The graph holds an operator, a domain or a shape that the contract does not allow."""

    code = "model-not-allowed"


class PolicyFailedError(RefusedError):
    """A loaded policy could not decide on an observation, or left the shape that its contract promises."""

    code = "policy-failed"


class VerificationError(RoskvaError):
    """A digest, a signature or a signed chain does not hold; exit code 4."""

    code = "verification"
    exit_code = 4


class DigestMismatchError(VerificationError):
    """Bytes do not have the digest or the size that was signed for them."""

    code = "digest-mismatch"


class DirectoryMismatchError(VerificationError):
    """A directory holds something else than the named regular files: a link, a device, one too many, one missing."""

    code = "directory-mismatch"


class ModelSignatureError(VerificationError):
    """The OpenSSF Model Signing bundle is malformed, signed by another key, or signs other files."""

    code = "model-signature"


class ClaimError(VerificationError):
    """A lineage claim is malformed, unsigned, signed by a key that may not, or breaks the chain."""

    code = "claim"


class MetadataError(VerificationError):
    """TUF metadata is malformed, expired, rolled back or not signed by enough trusted keys."""

    code = "metadata"


class ExpiredMetadataError(MetadataError):
    """TUF metadata is past its expiry: no new installation, and an alarm."""

    code = "metadata-expired"


class RepositoriesDisagreeError(VerificationError):
    """Director and Image repository do not say the same of the release."""

    code = "repositories-disagree"


class MalformedError(VerificationError):
    """Bytes from outside do not parse as what they should be."""

    code = "malformed"


class MalformedMessageError(MalformedError):
    """A wire message is not JSON, has unknown fields, misses some, or is too long."""

    code = "malformed-message"


class HostileNameError(MalformedError):
    """A file name that could leave its folder or collide with another."""

    code = "hostile-name"


class NotNowError(RoskvaError):
    """The world is in the way (network, disk, time): nothing is wrong with the release; exit code 5."""

    code = "not-now"
    exit_code = 5


class NoSpaceError(NotNowError):
    """The disk has no room for the release."""

    code = "no-space"


class DiskError(NotNowError):
    """The disk does not read or write what it should: broken, or out of something else than room."""

    code = "disk"


class TransferError(NotNowError):
    """Content did not arrive: no broker, no depot, or too slow."""

    code = "transfer"


class UnknownObjectError(RoskvaError):
    """Nothing is known by that name or digest; exit code 2."""

    code = "unknown"
    exit_code = 2


_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def disk_error(error: OSError, what: str) -> NoSpaceError | DiskError:
    """Our error for the system's: whether the disk is full or fails, nothing is known about `what` was asked of it."""
    kind = NoSpaceError if error.errno in _FULL else DiskError
    return kind(f"{what}: {error.strerror or type(error).__name__}")
