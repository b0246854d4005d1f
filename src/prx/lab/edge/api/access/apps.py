"""The calls about applications and policies.

A policy is reusable, made by `/access/policies` and linked to applications by id, or belongs to one application, made inline
with it or below its path. An application links either kind, not both.
"""

from __future__ import annotations

import secrets
from typing import Any, Final
from uuid import uuid4

from prx.lab.edge.api import errors
from prx.lab.edge.api.access import rules
from prx.lab.edge.api.access.objects import BASES
from prx.lab.edge.api.access.store import Store, duration, refused, unknown
from prx.lab.edge.api.call import Call, Reply, Route, text
from prx.lab.edge.api.envelope import page
from prx.lab.edge.api.permissions import APPS, read, write
from prx.lab.edge.api.records import Records
from prx.lab.edge.registry import ACCOUNT_TAG

_DEFAULTS: Final[dict[str, Any]] = {
    "allowed_idps": [],
    "app_launcher_visible": True,
    "auto_redirect_to_identity": False,
    "enable_binding_cookie": False,
    "http_only_cookie_attribute": True,
    "options_preflight_bypass": False,
    "session_duration": "24h",
    "tags": [],
}
_OURS: Final = frozenset(("id", "uid", "aud", "created_at", "updated_at", "policies", "links"))
_POLICY: Final = ("name", "decision", "include", "exclude", "require", "session_duration")


class Apps:
    """The calls about applications and policies."""

    def __init__(self, store: Store, records: Records) -> None:
        self._store = store
        self._records = records

    def routes(self) -> list[Route]:
        """Return the calls."""
        return [route for base in BASES for route in self._routes(base)]

    def _routes(self, base: str) -> list[Route]:
        apps, policies = f"{base}/apps", f"{base}/policies"
        app, policy = f"{apps}/{{app}}", f"{policies}/{{policy}}"
        own, one = f"{app}/policies", f"{app}/policies/{{policy}}"
        calls = [
            ("GET", apps, read(APPS), self._list),
            ("POST", apps, write(APPS), self._create),
            ("GET", app, read(APPS), lambda call: self._describe(self._app(call))),
            ("PUT", app, write(APPS), self._change),
            ("DELETE", app, write(APPS), self._delete),
            ("POST", f"{app}/revoke_tokens", write(APPS), self._revoke),
            ("GET", policies, read(APPS), self._list_policies),
            ("POST", policies, write(APPS), self._create_policy),
            ("GET", policy, read(APPS), lambda call: self._shown(self._reusable(call))),
            ("PUT", policy, write(APPS), self._change_policy),
            ("DELETE", policy, write(APPS), self._delete_policy),
            ("GET", own, read(APPS), lambda call: page(call, self._describe(self._app(call))["policies"])),
            ("POST", own, write(APPS), self._create_own),
            ("GET", one, read(APPS), lambda call: self._shown(self._own(call))),
            ("PUT", one, write(APPS), self._change_own),
            ("DELETE", one, write(APPS), self._delete_own),
        ]
        return [Route(method, path, needs, handler, access=True) for method, path, needs, handler in calls]

    # -- applications ----------------------------------------------------------------------------------------------

    def _app(self, call: Call) -> dict[str, Any]:
        app = self._store.apps.get(call.params["app"])
        if app is None:
            raise unknown("application", call.habits)
        return app

    def _describe(self, app: dict[str, Any]) -> dict[str, Any]:
        shown = {key: value for key, value in app.items() if key != "links"}
        return {**shown, "policies": [self._shown(policy) for policy in self._store.policies_of(app)]}

    def _list(self, call: Call) -> Reply:
        found = [self._describe(app) for app in self._store.apps.values() if _wanted(app, call.query)]
        return page(call, found)

    def _create(self, call: Call) -> Any:
        app = self._read(call)
        self._refuse_duplicate(app, call)
        now = self._store.now()
        app_id = str(uuid4())
        app |= {"id": app_id, "uid": app_id, "aud": secrets.token_hex(32), "created_at": now, "updated_at": now}
        app["links"] = self._link(app_id, call.body().get("policies") or [])
        self._store.apps[app_id] = app
        return self._describe(app)

    def _change(self, call: Call) -> Any:
        old, body = self._app(call), call.body()
        new = self._read(call)
        self._refuse_duplicate(new, call, besides=old["id"])
        kept = {key: old[key] for key in ("id", "uid", "aud", "created_at")}
        links = old["links"]
        if "policies" in body or call.habits.put_without_policies == "drop":
            links = self._link(old["id"], body.get("policies") or [])
            self._drop_own(old["id"], besides={link["id"] for link in links})
        self._store.apps[old["id"]] = {**new, **kept, "updated_at": self._store.now(), "links": links}
        return self._describe(self._store.apps[old["id"]])

    def _delete(self, call: Call) -> Reply:
        app = self._app(call)
        del self._store.apps[app["id"]]
        self._store.revoked_at.pop(app["id"], None)
        self._drop_own(app["id"])
        return Reply({"id": app["id"]}, status=int(call.habits.app_deleted))

    def _revoke(self, call: Call) -> Any:
        self._store.revoked_at[self._app(call)["id"]] = self._store.wall()
        return {}

    def _read(self, call: Call) -> dict[str, Any]:
        """Read an application's own values; ApiError if it cannot be."""
        body = call.body()
        if body.get("type") != "self_hosted":
            raise refused(f"type {body.get('type')!r}: this account has self_hosted applications only")
        destinations = body.get("destinations")
        public = [one for one in destinations or [] if isinstance(one, dict) and one.get("type", "public") == "public"]
        domain = body.get("domain") or (public[0].get("uri") if public else None)
        if not isinstance(domain, str) or not domain:
            raise refused("domain is required")
        destinations = destinations or [{"type": "public", "uri": domain}]
        for place in [domain, *(str(one.get("uri", "")) for one in public)]:
            if not self._records.covers(place.partition("/")[0].lower().removeprefix("*.")):
                raise refused(f"domain {place} does not belong to zone")
        duration(text(body, "session_duration", "24h"))
        given = {key: value for key, value in body.items() if key not in _OURS}
        return {**_DEFAULTS, **given, "name": text(body, "name", domain), "domain": domain, "destinations": destinations}

    def _refuse_duplicate(self, new: dict[str, Any], call: Call, besides: str = "") -> None:
        taken = any(app["domain"] == new["domain"] and app["id"] != besides for app in self._store.apps.values())
        if taken and call.habits.duplicate_app != "accept":
            text = "access.api.error.application_already_exists"
            raise errors.ApiError(int(call.habits.duplicate_app), 12136, text)

    # -- policies --------------------------------------------------------------------------------------------------

    def _link(self, app_id: str, items: Any) -> list[dict[str, Any]]:
        """Read the policies of an application: links to reusable ones, or new ones of its own."""
        if not isinstance(items, list):
            raise refused("policies: expected a list")
        items = [{"id": item} if isinstance(item, str) else item for item in items]
        kinds = {self._kind(app_id, item) for item in items}
        if len(kinds) > 1:
            raise refused("reusable and inline policies exclude each other in one application")
        places = [item.get("precedence", number) for number, item in enumerate(items, 1)]
        if len(set(places)) < len(places):
            raise refused("precedence of policies must be unique")
        for item in items:
            if "id" not in item:
                rules.check(item, self._store.service_tokens)
        made = [item["id"] if "id" in item else self._make(item, app=app_id)["id"] for item in items]
        return [{"id": policy_id, "precedence": place} for policy_id, place in zip(made, places, strict=True)]

    def _kind(self, app_id: str, item: Any) -> str:
        """Return whether an item of `policies` means a reusable policy or one of the application's own."""
        if not isinstance(item, dict):
            raise refused("policies: expected objects")
        if "id" not in item:
            return "own"
        policy = self._store.policies.get(str(item["id"]))
        if policy is None or policy["app"] not in ("", app_id):
            raise refused(f"policy {item['id']} does not exist")
        return "own" if policy["app"] else "reusable"

    def _make(self, document: dict[str, Any], *, app: str = "") -> dict[str, Any]:
        rules.check(document, self._store.service_tokens)
        now = self._store.now()
        policy = {"id": str(uuid4()), **_values(document), "created_at": now, "updated_at": now, "app": app}
        self._store.policies[policy["id"]] = policy
        return policy

    def _replace(self, policy: dict[str, Any], document: dict[str, Any]) -> None:
        rules.check(document, self._store.service_tokens)
        kept = {key: policy[key] for key in ("id", "created_at", "app")}
        self._store.policies[policy["id"]] = {**kept, **_values(document), "updated_at": self._store.now()}

    def _shown(self, policy: dict[str, Any]) -> dict[str, Any]:
        uses = sum(policy["id"] == link["id"] for app in self._store.apps.values() for link in app["links"])
        shown = {key: value for key, value in policy.items() if key != "app"}
        return {**shown, "uid": policy["id"], "account_id": ACCOUNT_TAG, "reusable": policy["app"] == "", "app_count": uses}

    def _reusable(self, call: Call) -> dict[str, Any]:
        policy = self._store.policies.get(call.params["policy"])
        if policy is None or policy["app"]:
            raise unknown("policy", call.habits)
        return policy

    def _list_policies(self, call: Call) -> Reply:
        return page(call, [self._shown(policy) for policy in self._store.policies.values() if not policy["app"]])

    def _create_policy(self, call: Call) -> Any:
        return self._shown(self._make(call.body()))

    def _change_policy(self, call: Call) -> Any:
        policy = self._reusable(call)
        self._replace(policy, call.body())
        return self._shown(self._store.policies[policy["id"]])

    def _delete_policy(self, call: Call) -> Any:
        policy = self._reusable(call)
        if self._shown(policy)["app_count"] and call.habits.delete_in_use == "refuse":
            raise refused("policy is in use by an application")
        self._forget(policy["id"])
        return {"id": policy["id"]}

    def _own(self, call: Call) -> dict[str, Any]:
        linked = {link["id"] for link in self._app(call)["links"]}
        policy = self._store.policies.get(call.params["policy"])
        if policy is None or policy["id"] not in linked:
            raise unknown("policy", call.habits)
        return policy

    def _create_own(self, call: Call) -> Any:
        app, body = self._app(call), call.body()
        place = body.get("precedence", 1 + max((link["precedence"] for link in app["links"]), default=0))
        if any(link["precedence"] == place for link in app["links"]):
            raise refused("precedence of policies must be unique")
        policy = self._make(body, app=app["id"])
        app["links"] = [*app["links"], {"id": policy["id"], "precedence": place}]
        return {**self._shown(policy), "precedence": place}

    def _change_own(self, call: Call) -> Any:
        policy = self._own(call)
        self._replace(policy, call.body())
        return self._shown(self._store.policies[policy["id"]])

    def _delete_own(self, call: Call) -> Any:
        policy = self._own(call)
        app = self._app(call)
        app["links"] = [link for link in app["links"] if link["id"] != policy["id"]]
        if policy["app"]:
            self._forget(policy["id"])
        return {"id": policy["id"]}

    def _drop_own(self, app_id: str, besides: frozenset[str] | set[str] = frozenset()) -> None:
        for policy in [one for one in self._store.policies.values() if one["app"] == app_id and one["id"] not in besides]:
            self._forget(policy["id"])

    def _forget(self, policy_id: str) -> None:
        self._store.policies.pop(policy_id, None)
        for app in self._store.apps.values():
            app["links"] = [link for link in app["links"] if link["id"] != policy_id]


def _values(document: dict[str, Any]) -> dict[str, Any]:
    """Return what a policy says, complete."""
    lists = {name: document.get(name) or [] for name in ("include", "exclude", "require")}
    return {**{key: document[key] for key in _POLICY if key in document}, **lists}


def _wanted(app: dict[str, Any], query: dict[str, str]) -> bool:
    """Return whether a list with this query has an application; without `exact` a part of name or domain is enough."""
    exact = query.get("exact") == "true"
    for key in ("domain", "name", "aud"):
        wanted = query.get(key)
        if wanted is not None and (app[key] != wanted if exact or key == "aud" else wanted.lower() not in app[key].lower()):
            return False
    return query.get("search", "").lower() in f"{app['name']} {app['domain']}".lower()
