"""The network API, asked through the client's SDK: it knows the address and the token."""

from collections.abc import Mapping, Sequence
from typing import Any

from openstack import exceptions
from osc_lib.exceptions import CommandError

Row = dict[str, Any]


def send(app: Any, method: str, path: str, body: Any = None, **options: Any) -> Any:
    """The response, whatever it says."""
    return app.client_manager.network.request(path, method, json=body, **options)


def ask(app: Any, method: str, path: str, body: Any = None, **options: Any) -> Any:
    """The answer's body. Raises what the SDK has for a refusal, with the server's words."""
    response = send(app, method, path, body, **options)
    exceptions.raise_from_response(response)
    return response.json() if response.content else None


def rows(app: Any, collection: str, **filters: Any) -> list[Row]:
    key = collection.rpartition("/")[2].replace("-", "_")
    found: list[Row] = ask(app, "GET", f"/{collection}", params=filters)[key]
    return found


def find(app: Any, collection: str, name_or_id: str, what: str) -> Row:
    """Raises CommandError where there is none, or more than one of this name."""
    found = rows(app, collection, id=name_or_id) or rows(app, collection, name=name_or_id)
    if not found:
        raise CommandError(f"No {what} with the name or id '{name_or_id}'.")
    if len(found) > 1:
        ids = ", ".join(sorted(row["id"] for row in found))
        raise CommandError(f"{len(found)} of the name '{name_or_id}' ({what}); say which by its id: {ids}.")
    return found[0]


def names_of(app: Any, network_ids: Sequence[str]) -> Mapping[str, str]:
    """Network -> its name, else its id; also of those that lists do not show."""
    known: dict[str, str] = {}
    for start in range(0, len(network_ids), 100):  # a URL has its limits
        asked = network_ids[start : start + 100]
        known |= {row["id"]: row["name"] for row in rows(app, "networks", id=asked, fields=["id", "name"]) if row["name"]}
    return {id: known.get(id, id) for id in network_ids}


def delete_each(app: Any, paths: Mapping[str, str], what: str) -> None:
    """Name -> path. All are tried; raises CommandError with those that could not be deleted."""
    refused = []
    for name, path in paths.items():
        try:
            ask(app, "DELETE", path)
        except exceptions.HttpException as error:
            refused.append(f"{name}: {error}")
    if refused:
        raise CommandError(f"{len(refused)} of {len(paths)} ({what}) could not be deleted. " + "; ".join(refused))
