"""Who calls, and the resources of the builtin identity service (Keystone v3's words)."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

import msgspec
from msgspec import field

from naru.model.attributes import boolean, hidden, read_only, settable, text
from naru.model.resources import Keys, Resource


class Caller(msgspec.Struct, frozen=True):
    """Who asks: the outcome of authentication, the ground of every policy decision."""

    user_id: str
    project_id: str
    roles: frozenset[str] = frozenset()

    @property
    def is_admin(self) -> bool:
        return "admin" in self.roles

    @property
    def reads_all(self) -> bool:
        """Sees what an administrator sees: another service may have to know, say, the host of a port."""
        return not self.roles.isdisjoint(("admin", "service"))

    @property
    def may_write(self) -> bool:
        """Neutron's default policies: a `reader` of a project changes nothing in it."""
        return not self.roles.isdisjoint(("admin", "member", "service"))


# What the service itself does, for nobody in particular.
SERVICE = Caller("naru", "", frozenset({"admin", "service"}))


DOMAIN_ID, DOMAIN_NAME = "default", "Default"  # the only domain
ROLES = ("admin", "member", "reader", "service")  # a role's id is its name


class Project(Resource, frozen=True, kw_only=True):
    """https://docs.openstack.org/api-ref/identity/v3/#projects"""

    kind: ClassVar[str] = "Project"
    singular: ClassVar[str] = "project"
    plural: ClassVar[str] = "projects"

    name: Annotated[str, settable(text(64), required=True)]
    domain_id: Annotated[str, settable(text(64))] = "default"
    enabled: Annotated[bool, settable(boolean)] = True

    indexes: ClassVar[Mapping[str, Keys]] = {"name": lambda project: (project.name,)}

    def claims(self) -> tuple[str, ...]:
        return (f"project/{self.domain_id}/{self.name}",)


class User(Resource, frozen=True, kw_only=True):
    """https://docs.openstack.org/api-ref/identity/v3/#users

    `password` is a salted hash; `roles` maps project id to role names.
    """

    kind: ClassVar[str] = "User"
    singular: ClassVar[str] = "user"
    plural: ClassVar[str] = "users"

    name: Annotated[str, settable(text(255), required=True)]
    domain_id: Annotated[str, settable(text(64))] = "default"
    enabled: Annotated[bool, settable(boolean)] = True
    password: Annotated[str, hidden()] = ""
    roles: Annotated[dict[str, tuple[str, ...]], hidden()] = field(default_factory=dict)

    indexes: ClassVar[Mapping[str, Keys]] = {"name": lambda user: (user.name,)}

    def claims(self) -> tuple[str, ...]:
        return (f"user/{self.domain_id}/{self.name}",)


class Token(Resource, frozen=True, kw_only=True):
    """A token that was given out; its id is the SHA-256 of the secret, so a stolen database opens nothing."""

    kind: ClassVar[str] = "Token"
    singular: ClassVar[str] = "token"
    plural: ClassVar[str] = "tokens"

    user_id: Annotated[str, hidden()]
    methods: Annotated[tuple[str, ...], read_only()] = ("password",)
    issued_at: Annotated[str, read_only()]
    expires_at: Annotated[str, read_only()]  # ISO 8601, UTC, microseconds, "Z": text order is time order
    audit_id: Annotated[str, read_only()]

    indexes: ClassVar[Mapping[str, Keys]] = {"user_id": lambda token: (token.user_id,)}


# -- what a request for a token says: https://docs.openstack.org/api-ref/identity/v3/#authentication-and-token-management


class DomainRef(msgspec.Struct, frozen=True):
    id: str | None = None
    name: str | None = None


class Ref(msgspec.Struct, frozen=True):
    """A user or project: by id, or by name in a domain."""

    id: str | None = None
    name: str | None = None
    domain: DomainRef | None = None


class UserPassword(Ref, frozen=True, kw_only=True):
    password: str


class PasswordMethod(msgspec.Struct, frozen=True):
    user: UserPassword


class TokenMethod(msgspec.Struct, frozen=True):
    id: str


class Proof(msgspec.Struct, frozen=True):
    """Who the caller says he is: by the one method that is named."""

    methods: tuple[str, ...]
    password: PasswordMethod | None = None
    token: TokenMethod | None = None


class Scope(msgspec.Struct, frozen=True):
    project: Ref | None = None
    domain: DomainRef | None = None
    system: dict[str, bool] | None = None
    unscoped: dict[str, str] | None = None


class AuthRequest(msgspec.Struct, frozen=True):
    identity: Proof
    scope: Scope | Literal["unscoped"] | None = None
