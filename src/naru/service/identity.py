"""Identity: whom a password or a token stands for. Roles are given per project; a token follows them as they change."""

import hashlib
import hmac
import secrets
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

from msgspec.structs import replace

from naru.model.auth_request import DomainRef, Ref
from naru.model.errors import Forbidden, Invalid, NotFound, Unauthenticated
from naru.model.identity import (
    DOMAIN_ID,
    DOMAIN_NAME,
    IMPLIED,
    ROLES,
    SYSTEM,
    ApplicationCredential,
    Caller,
    Domain,
    Project,
    Role,
    Token,
    User,
)
from naru.model.resources import Changes, new_id, put, remove
from naru.model.view import View

WRONG = "The request you have made requires authentication."  # the same whatever was wrong: it tells nothing of who exists

# What a new installation has: projects, and users with their roles on them, on the domain and on the system.
SEED_PROJECTS = ("admin", "demo", "service")
SEED_USERS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "admin": {
        "admin": ("admin", "member", "reader"),
        "demo": ("admin", "member", "reader"),
        DOMAIN_ID: ("admin",),
        SYSTEM: ("admin",),
    },
    "demo": {"demo": ("member", "reader")},
}

# -- passwords: scrypt (RFC 7914), 16 MiB and some 50 ms each: call these in a thread

_NOBODY = f"scrypt$16384$8$1${'00' * 16}${'00' * 32}"  # compared against where there is no such user: the same work


def hash_password(password: str) -> str:
    salt = secrets.token_bytes(16)
    return f"scrypt$16384$8$1${salt.hex()}${_scrypt(password, 16384, 8, 1, salt).hex()}"


def fits(password: str, hashed: str | None) -> bool:
    """Takes as long for None, which nothing fits."""
    _, n, r, p, salt, digest = (hashed or _NOBODY).split("$")
    found = _scrypt(password, int(n), int(r), int(p), bytes.fromhex(salt))
    return hmac.compare_digest(found, bytes.fromhex(digest)) and bool(hashed)


def _scrypt(password: str, n: int, r: int, p: int, salt: bytes) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, n=n, r=r, p=p, maxmem=256 * n * r, dklen=32)


# -- tokens


def token_id(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


class Grant(NamedTuple):
    """What a token is to be for: a project, or else `scope` (a domain's id or SYSTEM), or neither."""

    user_id: str
    project_id: str = ""
    scope: str = ""
    credential_id: str = ""  # of the application credential that it is given for


def issue_token(view: View, grant: Grant, methods: tuple[str, ...], now: datetime, expires_at: str) -> Changes[tuple[str, Token]]:
    """-> the secret, which is kept nowhere, and the token.

    Raises Unauthenticated where the user is gone or disabled, or has no role on what it is for.
    """
    secret = secrets.token_urlsafe(32)
    token = Token(
        id=token_id(secret),
        user_id=grant.user_id,
        project_id=grant.project_id,
        scope=grant.scope,
        credential_id=grant.credential_id,
        methods=methods,
        issued_at=time_text(now),
        expires_at=expires_at,
        audit_id=secrets.token_urlsafe(16),
    )
    if caller_of(view, token) is None:
        raise Unauthenticated(WRONG)
    yield put(token)
    return secret, token


def caller_of(view: View, token: Token) -> Caller | None:
    """Whom the token stands for now; None when his account, what it is for, or his roles there are gone."""
    user = view.get(User, token.user_id)
    if user is None or not is_enabled(view, user):
        return None
    scope = token.project_id or token.scope
    if not scope:
        return Caller(user.id, "")
    if scope != SYSTEM and not is_enabled(view, view.get(Project, scope) if token.project_id else view.get(Domain, scope)):
        return None
    roles, restricted = role_names(view, user.roles.get(scope, ())), False
    if token.credential_id:
        credential = view.get(ApplicationCredential, token.credential_id)
        roles &= role_names(view, credential.roles if credential is not None else ())
        restricted = credential is None or not credential.unrestricted
    return Caller(user.id, token.project_id, roles, token.scope, restricted=restricted) if roles else None


def is_enabled(view: View, account: User | Project | Domain | None) -> bool:
    """Whether it is there and enabled, and its domain too."""
    if account is None or not account.enabled:
        return False
    domain = account if isinstance(account, Domain) else view.get(Domain, account.domain_id)
    return domain is not None and domain.enabled


def role_names(view: View, ids: Iterable[str]) -> frozenset[str]:
    """The names of the roles, and of those that they imply."""
    names = {role.name for id in ids if (role := view.get(Role, id)) is not None}
    return frozenset(names.union(*(IMPLIED.get(name, ()) for name in names)))


def find_token(view: View, secret: str, now: datetime) -> Token | None:
    """None for a token that is unknown, expired or stands for nobody any more."""
    token = view.get(Token, token_id(secret))
    return token if token is not None and token.expires_at > time_text(now) and caller_of(view, token) is not None else None


def fetch_token(view: View, caller: Caller, secret: str, now: datetime) -> Token:
    """A token to look at or revoke: one's own; all for administrators and services. Raises NotFound or Forbidden."""
    token = find_token(view, secret, now)
    if token is None:
        raise NotFound("Could not find token: it is unknown, was revoked or has expired.")
    if token.user_id != caller.user_id and not caller.reads_all:
        raise Forbidden("You are not authorized to perform the requested action: identity:validate_token: the token is another user's.")
    return token


def revoke_token(view: View, caller: Caller, secret: str, now: datetime) -> Changes[None]:
    yield remove(fetch_token(view, caller, secret, now))


def remove_expired(view: View, now: datetime) -> Changes[None]:
    """Tokens whose time is over. One from the future was given out before the clock was set back: it lasts no longer for that."""
    moment = time_text(now)
    for token in [token for token in view.all(Token) if token.expires_at <= moment or token.issued_at > moment]:
        if token.expires_at <= moment:
            yield remove(token)
        else:
            lasts = datetime.fromisoformat(token.expires_at) - datetime.fromisoformat(token.issued_at)
            yield put(replace(token, issued_at=moment, expires_at=time_text(now + lasts)))


def expiry(now: datetime, lifetime_s: int) -> str:
    return time_text(now + timedelta(seconds=lifetime_s))


def time_text(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


# -- what a request names


def find_domain(view: View, ref: DomainRef) -> Domain | None:
    return view.get(Domain, ref.id) if ref.id is not None else next(view.find(Domain, "name", ref.name or ""), None)


def find_user(view: View, ref: Ref) -> User | None:
    if ref.id is not None:
        return view.get(User, ref.id)
    domain = _domain_of(view, ref, "user")
    return next((user for user in view.find(User, "name", ref.name or "") if domain and user.domain_id == domain.id), None)


def find_project(view: View, ref: Ref) -> Project | None:
    if ref.id is not None:
        return view.get(Project, ref.id)
    domain = _domain_of(view, ref, "project")
    return next((project for project in view.find(Project, "name", ref.name or "") if domain and project.domain_id == domain.id), None)


def _domain_of(view: View, ref: Ref, what: str) -> Domain | None:
    """None: a domain that does not exist. Raises Invalid where a name stands without one."""
    if ref.name is None:
        raise Invalid(f"Expecting to find id or name in {what}: the request names no {what}.")
    if ref.domain is None:
        raise Invalid(f"Expecting to find domain in {what}: the name '{ref.name}' is only unique in a domain.")
    return find_domain(view, ref.domain)


def seed_identity(view: View, hashes: Mapping[str, str]) -> Changes[None]:
    """What a new installation has, where it is missing; users only those with a hash, and who is there gets it as his new password."""
    if view.get(Domain, DOMAIN_ID) is None:
        yield put(Domain(id=DOMAIN_ID, name=DOMAIN_NAME, description="The default domain"))
    for role in ROLES:
        if view.get(Role, role) is None:
            yield put(Role(id=role, name=role, options={"immutable": True}))
    if not hashes:
        return
    scopes = {DOMAIN_ID: DOMAIN_ID, SYSTEM: SYSTEM}
    for name in SEED_PROJECTS:
        project = find_project(view, in_domain(name))
        if project is None:
            project = Project(id=new_id(), name=name)
            yield put(project)
        scopes[name] = project.id
    for name, hashed in hashes.items():
        user = find_user(view, in_domain(name))
        if user is None:
            yield put(User(id=new_id(), name=name, password=hashed, roles={scopes[at]: roles for at, roles in SEED_USERS[name].items()}))
            continue
        yield put(replace(user, password=hashed))
        for token in list(view.find(Token, "user_id", user.id)):
            yield remove(token)


def in_domain(name: str) -> Ref:
    return Ref(name=name, domain=DomainRef(DOMAIN_ID))
