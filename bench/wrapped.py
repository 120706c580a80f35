"""A policy around another one.

Owns: what such a policy says of itself, which is what the one inside says. Must not know: why it is wrapped.
"""

from models.contract import PolicyContract
from models.digest import Digest
from models.runtime.policy import Policy


class Wrapped:
    """The release and the contract of `policy`; whoever derives from this decides."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy

    @property
    def release_digest(self) -> Digest:
        """The wrapped policy's."""
        return self._policy.release_digest

    @property
    def contract(self) -> PolicyContract:
        """The wrapped policy's."""
        return self._policy.contract
