"""Answers of which it is not known which one Cloudflare sends: switches, so that a client can be tried with both."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, get_args, get_type_hints


@dataclass(frozen=True)
class Habits:
    """The first value is the usual one.

    forbidden: status and code for a token without the permission. bad_identifier: status of an id with a wrong form.
    not_enabled: status while Zero Trust is not switched on. second_cname, identical_record: code for a host that has a CNAME
    already. duplicate_app: an application for a domain that has one. delete_in_use: deleting a service token that a policy
    names, or a policy that an application has. put_without_policies: what becomes of an application's policies in a PUT
    without any. app_deleted: status for a deleted application. configure_local: a configuration for a tunnel that has
    its own. cleaned: the result of a clean-up of connections. created_with_connections: whether the answer to a created tunnel
    has `connections`. accounts_unseen: the list of accounts for a token that may not read them. code_as_text: error codes as
    strings. total_pages: whether `result_info` has them. access_unknown: the code for an unknown object of Access.
    unknown_token: status and code for a token that is unknown, revoked or expired. providers: whether the list of identity
    providers has pages, or is a single one without `result_info`. ratelimit: whether every answer says how many calls are left.
    remarks: what stands in `errors` or `messages` of a call that succeeded. gone_connections: whether those that have gone are
    listed for some minutes, as `is_pending_reconnect`, and keep their tunnel from being deleted.
    """

    forbidden: Literal["403/10000", "403/9109", "400/10000", "401/10000"] = "403/10000"
    bad_identifier: Literal["404", "400"] = "404"
    not_enabled: Literal["403", "400"] = "403"
    second_cname: Literal["81054", "81053"] = "81054"
    identical_record: Literal["81058", "81057"] = "81058"
    duplicate_app: Literal["409", "400", "accept"] = "409"
    delete_in_use: Literal["refuse", "accept"] = "refuse"
    app_deleted: Literal["202", "200"] = "202"
    configure_local: Literal["follow", "refuse"] = "follow"
    cleaned: Literal["object", "null"] = "object"
    created_with_connections: Literal["yes", "no"] = "yes"
    accounts_unseen: Literal["forbidden", "empty"] = "forbidden"
    code_as_text: Literal["no", "yes"] = "no"
    total_pages: Literal["yes", "no"] = "yes"
    put_without_policies: Literal["drop", "keep"] = "drop"
    access_unknown: Literal["11021", "12130"] = "11021"
    unknown_token: Literal["403/9109", "401/1000", "403/1000"] = "403/9109"  # noqa: S105 - a status and a code
    providers: Literal["pages", "single"] = "pages"
    ratelimit: Literal["told", "silent"] = "told"
    remarks: Literal["none", "errors", "messages"] = "none"
    gone_connections: Literal["forgotten", "remembered"] = "forgotten"

    def changed(self, document: dict[str, Any]) -> Habits:
        """Return habits with these values; ValueError names one that does not exist."""
        hints = get_type_hints(type(self))
        for name, value in document.items():
            if name not in hints:
                raise ValueError(f"unknown habit {name!r}; expected one of {', '.join(hints)}")
            if value not in get_args(hints[name]):
                raise ValueError(f"habit {name} is {value!r}; expected one of {', '.join(get_args(hints[name]))}")
        return replace(self, **document)

    def describe(self) -> dict[str, Any]:
        """Write each with its value and the values that it may have."""
        hints = get_type_hints(type(self))
        values = asdict(self)
        return {item.name: {"value": values[item.name], "of": list(get_args(hints[item.name]))} for item in fields(self)}
