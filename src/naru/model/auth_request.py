"""What a request for a token says.

https://docs.openstack.org/api-ref/identity/v3/#authentication-and-token-management
"""

from typing import Literal

import msgspec


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


class ApplicationCredentialMethod(msgspec.Struct, frozen=True):
    """By id, or by the name that its user gave it."""

    secret: str
    id: str | None = None
    name: str | None = None
    user: Ref | None = None


class Proof(msgspec.Struct, frozen=True):
    """Who the caller says he is: by the one method that is named."""

    methods: tuple[str, ...]
    password: PasswordMethod | None = None
    token: TokenMethod | None = None
    application_credential: ApplicationCredentialMethod | None = None


class Scope(msgspec.Struct, frozen=True):
    project: Ref | None = None
    domain: DomainRef | None = None
    system: dict[str, bool] | None = None
    unscoped: dict[str, str] | None = None


class AuthRequest(msgspec.Struct, frozen=True):
    identity: Proof
    scope: Scope | Literal["unscoped"] | None = None
