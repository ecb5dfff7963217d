"""Who calls, and the resources of the builtin identity service (Keystone v3's words)."""

from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Annotated, Any, ClassVar, Protocol

import msgspec
from msgspec import field

from naru.model.attributes import at_create, hidden, mapping, or_none, read_only, settable, shown, text
from naru.model.resources import Keys, Resource

Read = Callable[[str], Any]  # an attribute, by its wire name, of what a rule is about; raises KeyError where it has none


class Overrides(Protocol):
    """The operator's own rules, by Neutron's names for them: `create_network:shared`. What they do not name, the defaults decide."""

    def __contains__(self, rule: str) -> bool: ...

    def names(self, rule: str) -> frozenset[str]:
        """Of the attributes that have a rule of their own below `rule`: `get_port` -> {"binding:host_id"}."""

    def allow(self, rule: str, caller: "Caller", read: Read) -> bool: ...


class Caller(msgspec.Struct, frozen=True):
    """Who asks: the outcome of authentication, the ground of every policy decision."""

    user_id: str
    project_id: str
    roles: frozenset[str] = frozenset()
    scope: str = ""  # of a token without a project: the domain's id that it is for, or SYSTEM
    by_service: bool = False  # a service asks for him: its own token came along in X-Service-Token
    restricted: bool = False  # he came by an application credential that may make no others
    overrides: Overrides | None = None  # what the operator says of him, where he says anything

    def is_ruled(self, rule: str) -> bool:
        """The operator decides it, and no default."""
        return self.overrides is not None and rule in self.overrides

    def may(self, rule: str, default: bool, read: Read | None = None) -> bool:  # noqa: FBT001
        """What the operator's rule says, else the default. Without `read` it is about something of the caller's project."""
        if self.overrides is None or rule not in self.overrides:
            return default
        return self.overrides.allow(rule, self, read or self._own)

    def _own(self, wire: str) -> str:
        return {"project_id": self.project_id, "tenant_id": self.project_id}[wire]

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

    @property
    def is_service(self) -> bool:
        """A service, for itself or for a user: Nova deletes the ports of a server with the user's token and its own."""
        return self.by_service or "service" in self.roles


DOMAIN_ID, DOMAIN_NAME = "default", "Default"  # the domain that every installation has
SYSTEM = "system"  # the scope of all that belongs to no domain
ROLES = ("admin", "member", "reader", "service")  # those that every installation has: a role's id is its name
IMPLIED: Mapping[str, tuple[str, ...]] = {"admin": ("member", "reader"), "member": ("reader",)}


# -- what values may be, in the words of Keystone's schemas


def named(maximum: int) -> Callable[[Any], str]:
    def convert(value: Any) -> str:
        if not isinstance(value, str):
            raise ValueError(f"{shown(value)} is not of type 'string'")
        if not value.strip() or "\x00" in value:
            raise ValueError(f"{shown(value)} does not match '[\\S]+'")
        if len(value) > maximum:
            raise ValueError(f"{shown(value)} is too long: more than {maximum} characters")
        return value

    return convert


def truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{shown(value)} is not of type 'boolean'")
    return value


def _claim(*words: str) -> str:
    """A claim has room for 255 characters, and a name alone may have so many."""
    claim = "/".join(words)
    return claim if len(claim) <= 255 else f"{words[0]}/{sha256(claim.encode()).hexdigest()}"


# -- resources

# Keystone keeps what it does not know of a user or project (an e-mail address, say): `extra` holds it. `options` may say that a
# resource is immutable: https://docs.openstack.org/keystone/latest/admin/resource-options.html
Extra = Annotated[dict[str, Any], hidden()]
Options = Annotated[dict[str, Any], settable(mapping(4096), filter=False, sort=False)]


class Domain(Resource, frozen=True, kw_only=True):
    """https://docs.openstack.org/api-ref/identity/v3/#domains"""

    kind: ClassVar[str] = "Domain"
    singular: ClassVar[str] = "domain"
    plural: ClassVar[str] = "domains"

    name: Annotated[str, settable(named(64), required=True)]
    enabled: Annotated[bool, settable(truth)] = True
    options: Options = field(default_factory=dict)
    extra: Extra = field(default_factory=dict)

    indexes: ClassVar[Mapping[str, Keys]] = {"name": lambda domain: (domain.name,)}

    def claims(self) -> tuple[str, ...]:
        return (_claim("domain", self.name),)


class Project(Resource, frozen=True, kw_only=True):
    """https://docs.openstack.org/api-ref/identity/v3/#projects

    `parent_id` is empty for a project that is directly below its domain.
    """

    kind: ClassVar[str] = "Project"
    singular: ClassVar[str] = "project"
    plural: ClassVar[str] = "projects"

    name: Annotated[str, settable(named(64), required=True)]
    domain_id: Annotated[str, at_create(or_none(text(64)))] = DOMAIN_ID
    parent_id: Annotated[str, at_create(or_none(text(64)))] = ""
    enabled: Annotated[bool, settable(truth)] = True
    options: Options = field(default_factory=dict)
    extra: Extra = field(default_factory=dict)

    indexes: ClassVar[Mapping[str, Keys]] = {
        "name": lambda project: (project.name,),
        "domain_id": lambda project: (project.domain_id,),
        "parent_id": lambda project: (project.parent_id,) if project.parent_id else (),
    }

    def claims(self) -> tuple[str, ...]:
        return (_claim("project", self.domain_id, self.name),)


class User(Resource, frozen=True, kw_only=True):
    """https://docs.openstack.org/api-ref/identity/v3/#users

    `password` is a salted hash; `roles` maps a scope to the ids of the roles that were given there. A scope is the id of a project
    or of a domain, or SYSTEM.
    """

    kind: ClassVar[str] = "User"
    singular: ClassVar[str] = "user"
    plural: ClassVar[str] = "users"

    name: Annotated[str, settable(named(255), required=True)]
    domain_id: Annotated[str, at_create(or_none(text(64)))] = DOMAIN_ID
    enabled: Annotated[bool, settable(truth)] = True
    default_project_id: Annotated[str | None, settable(or_none(text(64)))] = None
    options: Options = field(default_factory=dict)
    password: Annotated[str, settable(or_none(text(4096)), see="nobody", filter=False, sort=False)] = ""
    roles: Annotated[dict[str, tuple[str, ...]], hidden()] = field(default_factory=dict)
    extra: Extra = field(default_factory=dict)

    indexes: ClassVar[Mapping[str, Keys]] = {
        "name": lambda user: (user.name,),
        "domain_id": lambda user: (user.domain_id,),
        "scope": lambda user: tuple(user.roles),
    }

    def claims(self) -> tuple[str, ...]:
        return (_claim("user", self.domain_id, self.name),)


class Role(Resource, frozen=True, kw_only=True):
    """https://docs.openstack.org/api-ref/identity/v3/#roles"""

    kind: ClassVar[str] = "Role"
    singular: ClassVar[str] = "role"
    plural: ClassVar[str] = "roles"

    name: Annotated[str, settable(named(255), required=True)]
    options: Options = field(default_factory=dict)
    extra: Extra = field(default_factory=dict)

    indexes: ClassVar[Mapping[str, Keys]] = {"name": lambda role: (role.name,)}

    def claims(self) -> tuple[str, ...]:
        return (_claim("role", self.name),)


class Token(Resource, frozen=True, kw_only=True):
    """A token that was given out; its id is the SHA-256 of the secret, so a stolen database opens nothing.

    It is for `project_id`, or for `scope` (a domain's id or SYSTEM), or for neither.
    """

    kind: ClassVar[str] = "Token"
    singular: ClassVar[str] = "token"
    plural: ClassVar[str] = "tokens"

    user_id: Annotated[str, hidden()]
    scope: Annotated[str, hidden()] = ""
    credential_id: Annotated[str, hidden()] = ""  # of the application credential that it was given for
    methods: Annotated[tuple[str, ...], read_only()] = ("password",)
    issued_at: Annotated[str, read_only()]
    expires_at: Annotated[str, read_only()]  # ISO 8601, UTC, microseconds, "Z": text order is time order
    audit_id: Annotated[str, read_only()]

    indexes: ClassVar[Mapping[str, Keys]] = {
        "user_id": lambda token: (token.user_id,),
        "scope": lambda token: (token.project_id or token.scope,),
        "credential_id": lambda token: (token.credential_id,) if token.credential_id else (),
    }


class ApplicationCredential(Resource, frozen=True, kw_only=True):
    """A password for a program: one user, one project, some of his roles there.

    https://docs.openstack.org/api-ref/identity/v3/#application-credentials
    """

    kind: ClassVar[str] = "ApplicationCredential"
    singular: ClassVar[str] = "application_credential"
    plural: ClassVar[str] = "application_credentials"

    user_id: Annotated[str, hidden()]
    name: Annotated[str, at_create(named(255), required=True)]
    secret: Annotated[str, at_create(or_none(text(4096)), see="nobody", filter=False, sort=False)] = ""  # kept as a salted hash
    roles: Annotated[tuple[str, ...], hidden()] = ()  # ids
    expires_at: Annotated[str | None, at_create(or_none(text(64)))] = None  # as a token's, or never
    unrestricted: Annotated[bool, at_create(truth)] = False  # may make others, and so outlive itself

    indexes: ClassVar[Mapping[str, Keys]] = {
        "user_id": lambda credential: (credential.user_id,),
        "project_id": lambda credential: (credential.project_id,),
    }

    def claims(self) -> tuple[str, ...]:
        return (_claim("application_credential", self.user_id, self.name),)
