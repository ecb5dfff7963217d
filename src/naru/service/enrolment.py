"""Enrolment: a host gets a credential of its own for a one-time token, and loses it."""

import hashlib
import hmac
from datetime import datetime, timedelta

from msgspec.structs import replace

from naru.model.enrolment import HostCredential
from naru.model.errors import Unauthenticated, not_found
from naru.model.resources import Changes, new_id, put
from naru.model.view import View

TICKET_LIFETIME_S = 24 * 3600


def digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def credential_of(view: View, host: str) -> HostCredential | None:
    return next(view.find(HostCredential, "host", host), None)


def invite_host(view: View, host: str, ticket: str, now: datetime) -> Changes[HostCredential]:
    """`ticket` is a digest. A credential that the host has goes on to open until the host has chosen another."""
    expires_at = (now + timedelta(seconds=TICKET_LIFETIME_S)).strftime("%Y-%m-%dT%H:%M:%SZ")
    before = credential_of(view, host) or HostCredential(id=new_id(), host=host)
    invited = replace(before, ticket=ticket, ticket_expires_at=expires_at)
    yield put(invited)
    return invited


def enrol_host(view: View, host: str, shown: str, credential: str, now: datetime) -> Changes[None]:
    """The host's choice of a credential, a digest like `shown`. Raises Unauthenticated for no ticket, or one used or too old."""
    kept = credential_of(view, host)
    if kept is not None and kept.closed and _same(kept.credential, credential):
        return  # it has come through before, and only the answer was lost
    is_open = kept is not None and kept.ticket_expires_at > now.strftime("%Y-%m-%dT%H:%M:%SZ") and _same(kept.ticket, shown)
    if kept is None or not is_open:
        raise Unauthenticated(f"This is no one-time token for host {host}, or it was used, or it is too old: `naru host enrol {host}`.")
    yield put(replace(kept, credential=credential, ticket="", ticket_expires_at="", closed=True))


def revoke_host(view: View, host: str) -> Changes[None]:
    """Nothing opens for the host until it is invited again. Raises NotFound for one that was never invited."""
    kept = credential_of(view, host)
    if kept is None:
        raise not_found("HostCredential", host)
    yield put(replace(kept, credential="", ticket="", ticket_expires_at="", closed=True))


def is_host(view: View, host: str, secret: str, shared: str) -> bool:
    """Whether a secret that was shown is this host's: its own, or before it has one, that which such hosts share."""
    kept = credential_of(view, host)
    if kept is not None and kept.closed:
        return _same(kept.credential, digest(secret))
    return hmac.compare_digest(secret.encode(), shared.encode())


def _same(kept: str, shown: str) -> bool:
    return bool(kept) and hmac.compare_digest(kept.encode(), shown.encode())
