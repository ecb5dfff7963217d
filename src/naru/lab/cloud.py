"""The server's public HTTP API, as any client uses it: a clouds.yaml, a token, the catalog."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from naru.lab import LabError

Service = httpx.Client  # knows its endpoint and carries the token; raises LabError for a refusal
Services = Mapping[str, Service]  # by type: network, compute, image, identity


def connect(clouds_yaml: Path, cloud: str) -> Services:
    return log_in(read_cloud(clouds_yaml, cloud))


def log_in(auth: Mapping[str, str]) -> Services:
    """A token, and a client for each service of its catalog. `auth` has the keys of a clouds.yaml."""
    with _client(auth["auth_url"]) as identity:
        response = identity.post("auth/tokens", json=_password_auth(auth))
    token = response.headers["X-Subject-Token"]
    return {
        service["type"]: _client(endpoint["url"], token)
        for service in response.json()["token"]["catalog"]
        for endpoint in service["endpoints"]
        if endpoint["interface"] == "public"
    }


def read_cloud(clouds_yaml: Path, cloud: str) -> dict[str, str]:
    """The keys of `cloud` in a clouds.yaml that our server wrote, where each stands on a line of its own."""
    keys: dict[str, str] = {}
    inside = False
    for line in clouds_yaml.read_text().splitlines():
        name, _, value = (part.strip().strip("\"'") for part in line.partition(":"))
        if not value and line.startswith("  ") and not line.startswith("   "):
            inside = name == cloud
        elif inside and value:
            keys[name] = value
    if "password" not in keys:
        raise LabError(f"no cloud {cloud} with a password in {clouds_yaml}")
    return keys


def _password_auth(auth: Mapping[str, str]) -> dict[str, Any]:
    user = {"name": auth["username"], "password": auth["password"], "domain": {"name": auth["user_domain_name"]}}
    project = {"name": auth["project_name"], "domain": {"name": auth["project_domain_name"]}}
    return {"auth": {"identity": {"methods": ["password"], "password": {"user": user}}, "scope": {"project": project}}}


def _client(url: str, token: str = "") -> httpx.Client:
    return httpx.Client(
        base_url=url,
        headers={"X-Auth-Token": token} if token else {},
        timeout=30.0,
        trust_env=False,  # a proxy of the machine does not lead into the lab
        event_hooks={"response": [_refuse]},
    )


def _refuse(response: httpx.Response) -> None:
    if response.is_error:
        response.read()
        request = response.request
        raise LabError(f"{request.method} {request.url.path} was refused with {response.status_code}: {error_message(response.text)}")


def error_message(body: str) -> str:
    """The message in an error body, whichever of the three services' shapes it has; else the body."""
    try:
        (error,) = httpx.Response(200, text=body).json().values()
        return str(error["message"])
    except (ValueError, AttributeError, KeyError, TypeError):
        return body.strip()
