"""`/v2.0/qos/…`: policies, the rules below them, the same rules without their policy ("alias"), and the types of rules."""

from functools import partial

from starlette.responses import Response

from naru.api.backend import Backend
from naru.api.collections import Collection
from naru.api.http import Call, Route, json_response, no_content
from naru.model.attributes import boolean
from naru.model.errors import invalid_value
from naru.model.qos import RULE_KINDS, QosPolicy, Rule
from naru.model.requests import decode_update
from naru.model.resources import attributes
from naru.service import qos
from naru.service.policy import fetch
from naru.store.read import project

QOS_COLLECTIONS = (
    Collection(QosPolicy, qos.create_policy, qos.update_policy, qos.delete_policy, path="qos/policies"),
    *(Collection(kind, *qos.plans_of(kind), path=f"qos/policies/{{qos_policy_id}}/{kind.plural}", parent=QosPolicy) for kind in RULE_KINDS),
)


def qos_routes(backend: Backend) -> list[Route]:
    routes = [
        Route("GET", "/v2.0/qos/rule-types", partial(_list_types, backend)),
        Route("GET", "/v2.0/qos/rule-types/{type}", partial(_show_type, backend)),
    ]
    for kind in RULE_KINDS:
        for path in (f"alias_{kind.plural}", f"alias-{kind.plural.replace('_', '-')}"):  # the reference writes both
            one = f"/v2.0/qos/{path}/{{id}}"
            routes += [
                Route("GET", one, partial(_show_rule, backend, kind)),
                Route("PUT", one, partial(_update_rule, backend, kind)),
                Route("DELETE", one, partial(_delete_rule, backend, kind)),
            ]
    return routes


async def _list_types(backend: Backend, call: Call) -> Response:
    asked = {name: any(_truth(name, value) for value in call.values(name)) for name in ("all_supported", "all_rules")}
    fields = call.values("fields")
    types = qos.rule_types(backend.view, **asked)
    return json_response({"rule_types": [{name: one[name] for name in one if not fields or name in fields} for one in types]})


def _truth(name: str, value: str) -> bool:
    try:
        return boolean(value)
    except ValueError as error:
        raise invalid_value(name, str(error), "InvalidInput") from None


async def _show_type(backend: Backend, call: Call) -> Response:
    return json_response({"rule_type": qos.show_rule_type(backend.view, call.id)})


async def _show_rule(backend: Backend, kind: type[Rule], call: Call) -> Response:
    return _answer(fetch(backend.view, call.caller, kind, call.id), call.values("fields"))


async def _update_rule(backend: Backend, kind: type[Rule], call: Call) -> Response:
    given = decode_update(kind, await call.member(f"alias_{kind.singular}"), call.caller)
    plan = qos.plans_of(kind).update
    return _answer(await backend.store.write(lambda view: plan(view, call.caller, call.id, given, backend.cloud)))


async def _delete_rule(backend: Backend, kind: type[Rule], call: Call) -> Response:
    plan = qos.plans_of(kind).delete
    await backend.store.write(lambda view: plan(view, call.caller, call.id, backend.cloud))
    return no_content()


def _answer(rule: Rule, fields: tuple[str, ...] = ()) -> Response:
    shown = fields or tuple(name for name, item in attributes(type(rule)).items() if item.attribute.see == "anyone")
    return json_response({f"alias_{rule.singular}": project(rule, shown, admin=True)})
