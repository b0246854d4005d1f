"""`prx why`, asked of a real prx with a real tunnel in the lab."""

from __future__ import annotations

import json

from tests.cli.home import Home


def test_why_of_a_tunnel_that_is_up(home: Home) -> None:
    """The story of a healthy tunnel: verdict, judge, evidence with ages, the next check; and in lines with the URL first."""
    prx = home.start("--hello", "--lab")
    url = prx.url()
    (told,) = json.loads(home.run("why", "--json").stdout)["tunnels"]
    assert (told["verdict"], told["judge"], told["url"]) == ("healthy", "the public answer", url)
    seen = {item["part"]: item for item in told["evidence"]}
    assert seen["public URL"]["words"].startswith("answers 200 in ")
    assert seen["public URL"]["ago"] < 30
    assert "check" in [item["what"] for item in told["next"]]
    lines = home.run("why", "hello").stdout.splitlines()
    assert lines[0] == f"hello  {url}"
    assert "  decided by the public answer" in lines


def test_why_without_a_prx(home: Home) -> None:
    """Nothing runs: exit code 3, as with status."""
    done = home.run("why")
    assert done.returncode == 3
    assert "prx is not running" in done.stderr


def test_why_of_a_tunnel_that_there_is_not(home: Home) -> None:
    """An unknown name is refused with those that run."""
    home.start("--hello", "--lab").url()
    done = home.run("why", "wbe")
    assert done.returncode == 2
    assert "no tunnel is called 'wbe'" in done.stderr
