"""Where each key comes from, for all keys of hundreds of tunnels, of which most have their default."""

from __future__ import annotations

import pytest

from prx.config.origins import DEFAULT, Origin, Origins

WRITTEN = Origin("file", "prx.toml", 7)
ORIGINS = Origins(
    shared=["log_level", "web.listen"],
    tables=["tunnel", 'tunnels."a.b"'],
    of_table=["backend", "cloudflare.token"],
    written={
        "web.listen": WRITTEN,
        'tunnels."a.b".cloudflare.token': WRITTEN,
        "tunnels": WRITTEN,
        "tunnel.on_url[1]": WRITTEN,
    },
)


def test_every_key_has_an_origin_in_order() -> None:
    """Keys of the whole prx first, then those of each tunnel; what nothing names has its default, and nothing else is a key."""
    assert list(ORIGINS.items()) == [
        ("log_level", DEFAULT),
        ("web.listen", WRITTEN),
        ("tunnel.backend", DEFAULT),
        ("tunnel.cloudflare.token", DEFAULT),
        ('tunnels."a.b".backend', DEFAULT),
        ('tunnels."a.b".cloudflare.token', WRITTEN),
    ]
    assert len(ORIGINS) == 6
    assert dict(ORIGINS) == ORIGINS


@pytest.mark.parametrize(
    "name", ["", "tunnels", "tunnel", "backend", "tunnel.web.listen", "tunnels.c.backend", "tunnel.on_url[1]"]
)
def test_what_is_no_key_has_no_origin(name: str) -> None:
    """A name that is no key of this configuration is not taken for one with a default."""
    assert name not in ORIGINS
    with pytest.raises(KeyError):
        ORIGINS[name]
