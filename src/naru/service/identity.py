"""Identity: whom a password or a token stands for. Roles are given per project; a token follows them as they change."""

import hashlib
import hmac
import secrets
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta

from msgspec.structs import replace

from naru.model.errors import Forbidden, Invalid, NotFound, Unauthenticated, not_found
from naru.model.identity import DOMAIN_ID, DOMAIN_NAME, Caller, DomainRef, Project, Ref, Token, User
from naru.model.resources import Changes, new_id, put, remove
from naru.model.view import View

WRONG = "The request you have made requires authentication."  # the same whatever was wrong: it tells nothing of who exists

# What a new installation has: projects, and users with their roles on them.
SEED_PROJECTS = ("admin", "demo", "service")
SEED_USERS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "admin": {"admin": ("admin", "member", "reader"), "demo": ("admin", "member", "reader")},
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


def issue_token(
    view: View, user_id: str, project_id: str, methods: tuple[str, ...], now: datetime, expires_at: str
) -> Changes[tuple[str, Token]]:
    """-> the secret, which is kept nowhere, and the token. `project_id` "" leaves it unscoped.

    Raises Unauthenticated where the user is gone or disabled, or has no role on the project.
    """
    secret = secrets.token_urlsafe(32)
    token = Token(
        id=token_id(secret),
        user_id=user_id,
        project_id=project_id,
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
    """Whom the token stands for now; None when his account, the project or his roles on it are gone."""
    user = view.get(User, token.user_id)
    if user is None or not user.enabled:
        return None
    if not token.project_id:
        return Caller(user.id, "")
    project = view.get(Project, token.project_id)
    roles = user.roles.get(token.project_id, ())
    if project is None or not project.enabled or not roles:
        return None
    return Caller(user.id, project.id, frozenset(roles))


def find_token(view: View, secret: str, now: datetime) -> Token | None:
    """None for a token that is unknown, expired or stands for nobody any more."""
    token = view.get(Token, token_id(secret))
    return token if token is not None and token.expires_at > time_text(now) and caller_of(view, token) is not None else None


def fetch_token(view: View, caller: Caller, secret: str, now: datetime) -> Token:
    """A token to look at or revoke: one's own; all for administrators and services. Raises NotFound or Forbidden."""
    token = find_token(view, secret, now)
    if token is None:
        raise NotFound("Could not find token: it is unknown, was revoked or has expired.")
    if token.user_id != caller.user_id and not caller.roles & {"admin", "service"}:
        raise Forbidden("You are not authorized to perform the requested action: identity:validate_token: the token is another user's.")
    return token


def revoke_token(view: View, caller: Caller, secret: str, now: datetime) -> Changes[None]:
    yield remove(fetch_token(view, caller, secret, now))


def remove_expired(view: View, now: datetime) -> Changes[None]:
    moment = time_text(now)
    for token in [token for token in view.all(Token) if token.expires_at <= moment]:
        yield remove(token)


def expiry(now: datetime, lifetime_s: int) -> str:
    return time_text(now + timedelta(seconds=lifetime_s))


def time_text(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


# -- users and projects


def find_user(view: View, ref: Ref) -> User | None:
    if ref.id is not None:
        return view.get(User, ref.id)
    domain_id = _domain_id(ref, "user")
    return next((user for user in view.find(User, "name", ref.name or "") if user.domain_id == domain_id), None)


def find_project(view: View, ref: Ref) -> Project | None:
    if ref.id is not None:
        return view.get(Project, ref.id)
    domain_id = _domain_id(ref, "project")
    return next((project for project in view.find(Project, "name", ref.name or "") if project.domain_id == domain_id), None)


def _domain_id(ref: Ref, what: str) -> str | None:
    """None: a domain that does not exist. Raises Invalid where a name stands without one."""
    domain = ref.domain
    if ref.name is None:
        raise Invalid(f"Expecting to find id or name in {what}: the request names no {what}.")
    if domain is None:
        raise Invalid(f"Expecting to find domain in {what}: the name '{ref.name}' is only unique in a domain.")
    is_known = domain.id == DOMAIN_ID if domain.id is not None else domain.name == DOMAIN_NAME
    return DOMAIN_ID if is_known else None


def projects_of(view: View, caller: Caller, user_id: str) -> Iterator[Project]:
    """The projects on which a user has a role. Raises NotFound or Forbidden for another's."""
    user = fetch_user(view, caller, user_id)
    projects = (view.get(Project, id) for id, roles in user.roles.items() if roles)
    return (project for project in projects if project is not None and project.enabled)


def fetch_user(view: View, caller: Caller, user_id: str) -> User:
    if user_id != caller.user_id and not caller.is_admin:
        raise Forbidden("You are not authorized to perform the requested action: identity:get_user: it is another user.")
    user = view.get(User, user_id)
    if user is None:
        raise not_found("User", user_id)
    return user


def visible_users(view: View, caller: Caller) -> Iterator[User]:
    return (user for user in view.all(User) if caller.is_admin or user.id == caller.user_id)


def visible_projects(view: View, caller: Caller) -> Iterator[Project]:
    """All for an administrator; for others those on which they have a role."""
    return view.all(Project) if caller.is_admin else projects_of(view, caller, caller.user_id)


def seed_identity(view: View, hashes: Mapping[str, str]) -> Changes[None]:
    """The projects and users that every installation has, where they are missing; a new password hash where one is given."""
    projects: dict[str, str] = {}
    for name in SEED_PROJECTS:
        project = find_project(view, in_domain(name))
        if project is None:
            project = Project(id=new_id(), name=name)
            yield put(project)
        projects[name] = project.id
    for name, grants in SEED_USERS.items():
        user = find_user(view, in_domain(name))
        if user is None:
            yield put(User(id=new_id(), name=name, password=hashes[name], roles={projects[p]: roles for p, roles in grants.items()}))
        elif name in hashes:
            yield put(replace(user, password=hashes[name]))
            for token in list(view.find(Token, "user_id", user.id)):
                yield remove(token)


def in_domain(name: str) -> Ref:
    return Ref(name=name, domain=DomainRef(DOMAIN_ID))
