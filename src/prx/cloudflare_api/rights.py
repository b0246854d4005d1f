"""The permissions of an API token, by the names that the dashboard shows, and the page that makes a token with them.

Which call needs which one: developers.cloudflare.com/fundamentals/api/reference/permissions/. The page's format is documented
there too (`permissionGroupKeys`); no key is known for service tokens, so the names are always said beside the link.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Iterable
from typing import Final
from urllib.parse import quote

_USER_PAGE: Final = "https://dash.cloudflare.com/profile/api-tokens"
_READ, _EDIT = " › Read", " › Edit"
_TOKEN_NAME: Final = "prx"  # noqa: S105 - the name that the token gets in the dashboard


class Right(enum.Enum):
    """One permission: its path in the dashboard, and the key and type of the prefilled page (empty: none is known)."""

    TUNNEL_READ = ("Account › Cloudflare Tunnel › Read", "argotunnel", "read")
    TUNNEL_EDIT = ("Account › Cloudflare Tunnel › Edit", "argotunnel", "edit")
    ZONE_READ = ("Zone › Zone › Read", "zone", "read")
    DNS_EDIT = ("Zone › DNS › Edit", "dns", "edit")
    ACCESS_EDIT = ("Account › Access: Apps and Policies › Edit", "access", "edit")
    SERVICE_TOKENS_EDIT = ("Account › Access: Service Tokens › Edit", "", "")
    TEAM_READ = ("Account › Access: Organizations, Identity Providers, and Groups › Read", "access_acct", "read")
    TEAM_EDIT = ("Account › Access: Organizations, Identity Providers, and Groups › Edit", "access_acct", "edit")

    @property
    def title(self) -> str:
        """The name in the dashboard."""
        return self.value[0]


TUNNEL: Final = (Right.TUNNEL_EDIT, Right.ZONE_READ, Right.DNS_EDIT)
ACCESS: Final = (Right.ACCESS_EDIT, Right.SERVICE_TOKENS_EDIT, Right.TEAM_EDIT)
ALL: Final = (*TUNNEL, *ACCESS)


def _rows(rights: Iterable[Right]) -> tuple[Right, ...]:
    """Return each once, and none that only reads what another one edits: the dashboard's form has one level for each row."""
    wanted = tuple(dict.fromkeys(rights))
    edited = {right.title.removesuffix(_EDIT) for right in wanted if right.title.endswith(_EDIT)}
    return tuple(right for right in wanted if right.title.endswith(_EDIT) or right.title.removesuffix(_READ) not in edited)


def token_page(rights: Iterable[Right] = ALL) -> str:
    """Return the URL of the dashboard's page for a new token, with these permissions filled in as far as keys are known."""
    keys = [{"key": right.value[1], "type": right.value[2]} for right in _rows(rights) if right.value[1]]
    wanted = quote(json.dumps(keys, separators=(",", ":")), safe="")
    return f"{_USER_PAGE}?permissionGroupKeys={wanted}&accountId=*&zoneId=all&name={_TOKEN_NAME}"


def how_to_get(rights: Iterable[Right] = ALL) -> str:
    """Say in one line which permissions a token needs, and where it is made."""
    wanted = _rows(rights)
    return f"a token with {', '.join(right.title for right in wanted)}: {token_page(wanted)}"
