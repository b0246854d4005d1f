"""Policies decide: who is meant by the rules of one, and which comes first."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from prx.lab.edge.api.access.store import refused

DECISIONS: Final = ("allow", "deny", "non_identity", "bypass")
RULES: Final = frozenset(
    (
        "any_valid_service_token", "auth_context", "auth_method", "azureAD", "certificate", "common_name",
        "device_posture", "email", "email_domain", "email_list", "everyone", "external_evaluation", "geo",
        "github-organization", "group", "gsuite", "ip", "ip_list", "linked_app_token", "login_method", "oidc", "okta",
        "saml", "service_token",
    )
)  # fmt: skip


@dataclass(frozen=True)
class Caller:
    """What is known of a visitor: where from, and, if that is proven, which person or which service token (its id)."""

    ip: str
    email: str = ""
    service_token: str = ""


def means(policy: Mapping[str, Any], caller: Caller) -> bool:
    """Return whether a policy is about a visitor: one of `include`, none of `exclude`, all of `require`."""
    included = any(_fits(rule, caller) for rule in policy.get("include") or ())
    excluded = any(_fits(rule, caller) for rule in policy.get("exclude") or ())
    required = all(_fits(rule, caller) for rule in policy.get("require") or ())
    return included and not excluded and required


def first(policies: Sequence[Mapping[str, Any]], decisions: Sequence[str], caller: Caller) -> str:
    """Return what the first policy with one of these decisions that is about a visitor decides; '' if there is none."""
    for policy in policies:
        if policy["decision"] in decisions and means(policy, caller):
            return str(policy["decision"])
    return ""


def _fits(rule: Mapping[str, Any], caller: Caller) -> bool:
    """Return whether one rule means a visitor. What the lab knows nothing of (countries, groups, devices) fits no visitor."""
    ((kind, values),) = rule.items()
    match kind:
        case "everyone":
            return True
        case "ip":
            return ipaddress.ip_address(caller.ip) in ipaddress.ip_network(str(values["ip"]), strict=False)
        case "email":
            return caller.email != "" and caller.email.lower() == str(values["email"]).lower()
        case "email_domain":
            return caller.email.lower().endswith("@" + str(values["domain"]).lower().removeprefix("@"))
        case "service_token":
            return caller.service_token != "" and caller.service_token == values["token_id"]
        case "any_valid_service_token":
            return caller.service_token != ""
    return False


def check(policy: Mapping[str, Any], service_tokens: Mapping[str, Any]) -> None:
    """Raise ApiError if a policy cannot be."""
    if not policy.get("name") or not isinstance(policy["name"], str):
        raise refused("policy name is required")
    if policy.get("decision") not in DECISIONS:
        raise refused(f"decision {policy.get('decision')!r} is not one of {', '.join(DECISIONS)}")
    if not policy.get("include"):
        raise refused("policy must include at least one rule")
    for part in ("include", "exclude", "require"):
        rules = policy.get(part) or []
        if not isinstance(rules, list) or not all(isinstance(rule, dict) and len(rule) == 1 for rule in rules):
            raise refused(f"{part}: expected a list of rules")
        for rule in rules:
            _check(rule, service_tokens)


_WORDS: Final = {"email": "email", "email_domain": "domain", "ip": "ip", "service_token": "token_id"}


def _check(rule: Mapping[str, Any], service_tokens: Mapping[str, Any]) -> None:
    ((kind, values),) = rule.items()
    if kind not in RULES or not isinstance(values, dict):
        raise refused(f"unknown rule {kind!r}")
    word = _WORDS.get(kind)
    if word is not None and not isinstance(values.get(word), str):
        raise refused(f"{kind}: {word} is required")
    if kind == "service_token" and values["token_id"] not in service_tokens:
        raise refused(f"service token {values['token_id']} does not exist")
    if kind == "ip":
        try:
            ipaddress.ip_network(values["ip"], strict=False)
        except ValueError:
            raise refused(f"ip: {values['ip']!r} is no address range") from None
