"""The operator's policy file: https://docs.openstack.org/oslo.policy/latest/admin/policy-yaml-file.html

oslo.policy reads and evaluates it. It is an extra (docs/adr/0010): nothing imports this module where no file is set. What
oslo.policy would only log, a rule that cannot be read or refers to nothing, is refused here, before the server starts.
"""

import ast
import logging
import re
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from oslo_config.cfg import ConfigOpts
from oslo_policy import policy

from naru.model.identity import Caller, Read
from naru.settings import SettingsError

# Neutron's words for use in rules: https://docs.openstack.org/neutron/latest/configuration/policy.html
ALIASES = {
    "context_is_admin": "role:admin",
    "context_is_advsvc": "role:advsvc",
    "service_api": "role:service",
    "admin_only": "rule:context_is_admin",
    "regular_user": "",
    "public": "",
    "default": "rule:admin_or_owner",
    "owner": "project_id:%(project_id)s",
    "admin_or_owner": "rule:context_is_admin or rule:owner",
    "network_owner": "project_id:%(network:project_id)s",
    "admin_or_network_owner": "rule:context_is_admin or rule:network_owner",
    "admin_owner_or_network_owner": "rule:owner or rule:admin_or_network_owner",
    "sg_owner": "project_id:%(security_group:project_id)s",
    "admin_or_sg_owner": "rule:context_is_admin or rule:sg_owner",
    "admin_owner_or_sg_owner": "rule:owner or rule:admin_or_sg_owner",
    "ext_parent_owner": "project_id:%(ext_parent:project_id)s",
    "admin_or_ext_parent_owner": "rule:context_is_admin or rule:ext_parent_owner",
    "admin_or_data_plane_int": "rule:context_is_admin or role:data_plane_integrator",
    "network_device": "field:port:device_owner=~^network:",
    "shared": "field:networks:shared=True",
    "external": "field:networks:router:external=True",
    "shared_subnetpools": "field:subnetpools:shared=True",
    "shared_address_scopes": "field:address_scopes:shared=True",
    "shared_address_groups": "field:address_groups:shared=True",
    "shared_security_group": "field:security_groups:shared=True",
    "shared_qos_policy": "field:policies:shared=True",
}

_READ = re.compile(r"%\(([^)]+)\)s")
_FIELD = re.compile(r"[a-z_]+:(?P<wire>[a-z_]+(?::[a-z_]+)?)=(?P<pattern>~?)(?P<value>.*)")  # networks:router:external=True


@policy.register("field")
class FieldCheck(policy.Check):
    """Neutron's own check: `field:networks:shared=True`, or `=~` and a regular expression."""

    def __call__(self, target: Mapping[str, Any], creds: Any, enforcer: Any, current_rule: str | None = None) -> bool:
        matched = _FIELD.fullmatch(self.match)
        if matched is None or matched["wire"] not in target:
            return False
        value = target[matched["wire"]]
        return bool(re.match(matched["value"], value)) if matched["pattern"] else value == matched["value"]


def open_overrides(path: Path, known: frozenset[str]) -> "PolicyFile":
    """`known`: the names that rules may have. Raises SettingsError, naming the line or the rule."""
    logging.getLogger("oslo_policy").setLevel(logging.CRITICAL)  # what it would log is refused here
    texts = _read_texts(path)
    rules = policy.Rules.from_dict({**ALIASES, **texts})
    referred = {leaf.match for check in rules.values() for leaf in _leaves(check) if _kind(leaf) == "rule"}
    for name, text in texts.items():
        where = f"policy_file: {path}: rule {name!r}"
        leaves = list(_leaves(rules[name]))
        if fault := next(filter(None, (_fault(leaf, rules) for leaf in leaves)), None) or _misread(leaves, text):
            raise SettingsError(f"{where}, {text!r}: {fault}")
        if name not in known and name not in ALIASES and name not in referred:
            raise SettingsError(f"{where}: there is none of this name, nor is it used by another; docs/reference/policy-rules.md has all")
    enforcer = policy.Enforcer(ConfigOpts(), rules=rules, use_conf=False)
    try:
        enforcer.check_rules(raise_on_violation=True)
    except policy.InvalidDefinitionError as error:
        raise SettingsError(f"policy_file: {path}: rules that refer to themselves: {error}") from error
    return PolicyFile(enforcer, frozenset(texts) & known)


def _read_texts(path: Path) -> dict[str, str]:
    try:
        texts: Any = policy.parse_file_contents(path.read_text())
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise SettingsError(f"policy_file: cannot read {path}: {error}") from error
    if not isinstance(texts, dict):
        raise SettingsError(f"policy_file: {path} is no mapping from the names of rules to their expressions")
    for name, text in texts.items():
        if not isinstance(name, str) or not isinstance(text, str):
            raise SettingsError(f"policy_file: {path}: rule {name!r} is {text!r}, and not a text such as 'role:member'")
    return texts


class PolicyFile:
    """The rules of a file, as `Overrides`. What a rule answers follows from the caller and from what it reads of its target: both are
    the key under which an answer is remembered, so that a list asks oslo.policy once for each project, and not for each port.
    """

    def __init__(self, enforcer: policy.Enforcer, own: frozenset[str]) -> None:
        """`own`: the names of the rules that the file has, aliases aside."""
        self._enforcer = enforcer
        self._reads = {name: frozenset(_read_by(name, enforcer.rules)) for name in own}
        self._attributes: dict[str, frozenset[str]] = {}
        for rule, _, wire in (name.partition(":") for name in own):
            self._attributes[rule] = self._attributes.get(rule, frozenset()) | {wire} - {""}
        self._answer: Callable[[str, Caller, tuple[tuple[str, str], ...]], bool] = lru_cache(maxsize=65536)(self._evaluate)

    def __contains__(self, rule: str) -> bool:
        return rule in self._reads

    def names(self, rule: str) -> frozenset[str]:
        return self._attributes.get(rule, frozenset())

    def allow(self, rule: str, caller: Caller, read: Read) -> bool:
        return self._answer(rule, caller, tuple(_values(self._reads[rule], read)))

    def _evaluate(self, rule: str, caller: Caller, target: tuple[tuple[str, str], ...]) -> bool:
        return self._enforcer.enforce(rule, dict(target), _credentials(caller))


def _values(wires: frozenset[str], read: Read) -> Iterator[tuple[str, str]]:
    """What a target has of these; a rule that asks for what it has not says no."""
    for wire in wires:
        try:
            yield wire, str(read(wire))
        except KeyError:
            continue


def _credentials(caller: Caller) -> dict[str, Any]:
    """What the left side of a rule may name."""
    return {
        "roles": sorted(caller.roles),
        "service_roles": ["service"] if caller.is_service else [],
        "user_id": caller.user_id,
        "user": caller.user_id,
        "project_id": caller.project_id,
        "tenant_id": caller.project_id,
        "tenant": caller.project_id,
        "is_admin": caller.is_admin,
    }


_CREDENTIALS = frozenset(_credentials(Caller("", "")))


# -- what a parsed rule is made of


def _leaves(check: Any) -> Iterator[Any]:
    below = [check.rule] if hasattr(check, "rule") else getattr(check, "rules", None)
    if below is None:
        yield check
    else:
        for one in below:
            yield from _leaves(one)


def _kind(leaf: Any) -> str:
    """Of `@` and `!`: none."""
    return getattr(leaf, "kind", "")


def _fault(leaf: Any, rules: Mapping[str, Any]) -> str | None:
    kind = _kind(leaf)
    if kind == "rule" and leaf.match not in rules:
        return f"there is no rule {leaf.match!r}"
    if kind == "field":
        return None if _FIELD.fullmatch(leaf.match) else f"{leaf} is not field:<resources>:<attribute>=<value>"
    if kind in ("http", "https"):
        return f"{leaf} would ask another server while everyone waits; it is not offered"
    if kind in ("", "rule", "role") or kind in _CREDENTIALS:
        return None
    try:
        ast.literal_eval(kind)
    except (ValueError, SyntaxError):
        return f"{leaf}: '{kind}' is none of role, rule, field, {', '.join(sorted(_CREDENTIALS))}, and no value"
    return None


def _misread(leaves: list[Any], text: str) -> str | None:
    """oslo.policy takes what it cannot read for `!`."""
    refusals = sum(str(leaf) == "!" for leaf in leaves)
    return None if refusals == len(re.findall(r"(?<!\S)\(*!\)*(?!\S)", text)) else "it cannot be read; a check is <word>:<value>, @ or !"


def _read_by(rule: str, rules: Mapping[str, Any]) -> Iterator[str]:
    """The attributes of its target that a rule asks for, through all that it refers to."""
    for leaf in _leaves(rules[rule]):
        if _kind(leaf) == "rule":
            yield from _read_by(leaf.match, rules)
        elif _kind(leaf) == "field":
            yield _FIELD.fullmatch(leaf.match)["wire"]  # type: ignore[index]
        elif _kind(leaf):
            yield from _READ.findall(leaf.match)
