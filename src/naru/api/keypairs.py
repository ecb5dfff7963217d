"""Key pairs on the wire: imported, or generated here, where the private half is told once and not kept.

https://docs.openstack.org/api-ref/compute/#keypairs-keypairs
"""

import asyncio
import hashlib
from base64 import b64decode

from starlette.responses import Response

from naru.api.backend import Backend
from naru.api.http import Call, json_response, no_content
from naru.api.servers import Row, Version, cut_page, next_link, read
from naru.model.compute import KeyPair, KeyPairCreate
from naru.model.errors import Invalid
from naru.service.keypairs import create_keypair, delete_keypair, fetch_keypair, keypairs_of, whose

HAS_TYPE: Version = (2, 2)
HAS_USER: Version = (2, 10)
HAS_PAGES: Version = (2, 35)
RSA_BITS = 2048  # as Nova's, until 2.92 generates none


async def create(backend: Backend, call: Call, version: Version) -> Response:
    body = await call.member("keypair")
    later = {"type": HAS_TYPE, "user_id": HAS_USER}
    for name in body:
        if version < later.get(name, version):
            raise Invalid(f"Invalid input for keypair: `{name}` is known from microversion {later[name][0]}.{later[name][1]} on.")
    asked = read(body, KeyPairCreate, "keypair")
    user_id = whose(call.caller, asked.user_id, "create")
    if asked.type != "ssh":
        raise Invalid("Keypair data is invalid: instances here take keys of type ssh, and none of type x509.")
    if asked.public_key is None:
        private_key, public_key = await asyncio.to_thread(generate_key)
    else:
        private_key, public_key = "", asked.public_key.strip()
    mark = fingerprint(public_key)
    made = await backend.store.write(lambda view: create_keypair(view, user_id, asked.name, public_key, mark))
    row = _brief(made, version) | {"user_id": made.user_id} | ({"private_key": private_key} if private_key else {})
    return json_response({"keypair": row}, 201 if version >= HAS_TYPE else 200)


async def list_all(backend: Backend, call: Call, version: Version) -> Response:
    found = sorted(keypairs_of(backend.view, _user(call, version, "index")), key=lambda pair: pair.name)
    if version < HAS_PAGES:
        return json_response({"keypairs": [{"keypair": _brief(pair, version)} for pair in found]})
    page, has_more = cut_page(found, lambda pair: pair.name, call)
    rows = {"keypairs": [{"keypair": _brief(pair, version)} for pair in page]}
    return json_response(rows | (next_link("keypairs", page[-1].name, call) if has_more and page else {}))


async def show(backend: Backend, call: Call, version: Version) -> Response:
    pair = fetch_keypair(backend.view, _user(call, version, "show"), call.id)
    row = _brief(pair, version) | {
        "user_id": pair.user_id,
        "id": int(pair.id[:7], 16),  # Nova's are numbers
        "created_at": pair.created_at,
        "updated_at": None,
        "deleted": False,
        "deleted_at": None,
    }
    return json_response({"keypair": row})


async def delete(backend: Backend, call: Call, version: Version) -> Response:
    user_id = _user(call, version, "delete")
    await backend.store.write(lambda view: delete_keypair(view, user_id, call.id))
    return no_content(204 if version >= HAS_TYPE else 202)


def _user(call: Call, version: Version, action: str) -> str:
    return whose(call.caller, dict(call.query).get("user_id") if version >= HAS_USER else None, action)


def _brief(pair: KeyPair, version: Version) -> Row:
    row = {"name": pair.name, "public_key": pair.public_key, "fingerprint": pair.fingerprint}
    return row | ({"type": "ssh"} if version >= HAS_TYPE else {})


def generate_key() -> tuple[str, str]:
    """-> the private key (PEM), the public key (a line of authorized_keys)."""
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415 - 60 ms that a start need not take
    from cryptography.hazmat.primitives.asymmetric import rsa  # noqa: PLC0415

    key = rsa.generate_private_key(public_exponent=65537, key_size=RSA_BITS)
    plain = serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    private = key.private_bytes(serialization.Encoding.PEM, *plain).decode()
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH).decode()
    return private, f"{public} Generated-by-Naru"


def fingerprint(public_key: str) -> str:
    """MD5 of the key, as Nova shows it. Raises Invalid for what is no public key of SSH."""
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415 - as above
    from cryptography.hazmat.primitives.serialization import load_ssh_public_key  # noqa: PLC0415

    try:
        load_ssh_public_key(public_key.encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise Invalid(f"Keypair data is invalid: it is no public key of SSH ({error}).") from None
    digest = hashlib.md5(b64decode(public_key.split()[1]), usedforsecurity=False)
    return digest.digest().hex(":")
