"""Enrolment: what a host shows to say that it is this host and no other."""

from collections.abc import Mapping
from typing import Annotated, ClassVar

from naru.model.attributes import hidden
from naru.model.resources import Keys, Resource


class HostCredential(Resource, frozen=True, kw_only=True):
    """Of one host. Secrets are kept as SHA-256 in hexadecimal, so a stolen database opens nothing.

    `ticket` lets the host choose its credential, once and before `ticket_expires_at`. From then on, and after it was revoked, the host is
    `closed` to the token that hosts without a credential share.
    """

    kind: ClassVar[str] = "HostCredential"
    singular: ClassVar[str] = "host_credential"
    plural: ClassVar[str] = "host_credentials"

    host: Annotated[str, hidden()]
    ticket: Annotated[str, hidden()] = ""
    ticket_expires_at: Annotated[str, hidden()] = ""  # ISO 8601, UTC, seconds, "Z": text order is time order
    credential: Annotated[str, hidden()] = ""
    closed: Annotated[bool, hidden()] = False

    indexes: ClassVar[Mapping[str, Keys]] = {"host": lambda credential: (credential.host,)}

    def claims(self) -> tuple[str, ...]:
        return (f"host-credential/{self.host}",)
