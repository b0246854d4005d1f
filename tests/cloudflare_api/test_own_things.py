"""This machine's side of a set-up: the journal, the configuration file, cert.pem, and where the API token comes from."""

from __future__ import annotations

import base64
import json
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from prx.cloudflare_api.cert import find_cert, read_cert
from prx.cloudflare_api.client import BASE, FED_BASE
from prx.cloudflare_api.credentials import find_credentials
from prx.cloudflare_api.journal import Journal, Memory, TokenMemory
from prx.config.access_wishes import allow_rule, public_path, service_token
from prx.config.edit import NamedTunnel, tunnel_table, with_tunnel, without_tunnel
from prx.core.errors import CredentialError, PermanentError, PrxError, UsageError
from prx.secrets.value import Secret

API = "https://api.cloudflare.com/client/v4"
TOKEN = "cfut_" + "a" * 40


# -- the journal -------------------------------------------------------------------------------------------------------


def test_the_journal_gives_back_what_it_was_given(tmp_path: Path) -> None:
    """Everything about a host name is there again, in a file that only its owner reads."""
    memory = Memory("a.example.com", API, tunnel_name="prx-a", former_records=[{"type": "A"}], pin=True)
    memory.service_tokens["ci"] = TokenMemory("t", delivered=True, kept_as="e")
    Journal(tmp_path).keep(memory)
    assert Journal(tmp_path).find("a.example.com", API) == memory
    assert oct((tmp_path / "setups.json").stat().st_mode & 0o777) == "0o600"
    Journal(tmp_path).forget(memory)
    assert Journal(tmp_path).all() == []


@pytest.mark.parametrize("left", ["", "{", '{"version": 1, "setups": []}', "x" * 100_000])
def test_what_a_kill_left_beside_the_journal_goes(tmp_path: Path, left: str) -> None:
    """A write that was cut off leaves a file, which the next one takes the place of."""
    (tmp_path / ".setups.json.new").write_text(left)
    Journal(tmp_path).keep(Memory("a.example.com", API))
    assert [path.name for path in tmp_path.iterdir()] == ["setups.json"]


def test_a_name_means_another_thing_at_another_api(tmp_path: Path) -> None:
    """What was made in a lab says nothing about Cloudflare; of a lab that is gone nothing is kept."""
    journal = Journal(tmp_path)
    for api in (API, "http://127.0.0.1:1/client/v4", "http://127.0.0.1:2/client/v4"):
        journal.keep(Memory("a.prx.localhost", api, tunnel_id=api))
    assert {memory.api for memory in journal.all()} == {API, "http://127.0.0.1:2/client/v4"}
    gone = "http://127.0.0.1:1/client/v4"
    assert journal.find("a.prx.localhost", gone) == Memory("a.prx.localhost", gone)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"setups": 1}', "\x00" * 9])
def test_a_journal_that_cannot_be_read_is_not_taken_for_an_empty_one(tmp_path: Path, content: str) -> None:
    """What is ours would be unknown: the message says what to do, and the file stays."""
    path = tmp_path / "setups.json"
    path.write_text(content)
    with pytest.raises(PermanentError) as caught:
        Journal(tmp_path).all()
    assert str(path) in caught.value.message
    assert path.read_text() == content


def test_unknown_entries_are_passed_over(tmp_path: Path) -> None:
    """A later prx may have written more than this one knows."""
    later = {"hostname": "a", "api": "b", "new": 1, "service_tokens": {"x": {"id": "1", "later": 2}, "y": 3}}
    (tmp_path / "setups.json").write_text(json.dumps({"version": 2, "setups": [later, 7, {"hostname": 1}]}))
    (memory,) = Journal(tmp_path).all()
    assert memory.service_tokens == {"x": TokenMemory("1")}


# -- the configuration file --------------------------------------------------------------------------------------------

WANTED = NamedTunnel(
    "a.example.com", "127.0.0.1:3000", "secret:prx-a", allow=["me@x.org"], is_protected=True, team="lab", aud="ab" * 32
)
FILES = [
    "",
    "# only a comment\n",
    'log_level = "info"  # quiet\n\n[tunnel]\nlocal_addr = 3000  # mine\nmax_failures = 3\n\n[access]\nclient_id = "x.a"\n',
    '[tunnel]\n[tunnel.cloudflare]\nmode = "named"\nhostname = "b.example.com"\ntoken = "secret:b"\n',
    '[tunnels.web]\nlocal_addr = "9000"\n[tunnels.web.cloudflare]\nmode = "named"\nhostname = "b.x.org"\ntoken = "env:B"\n',
    '[tunnels.web]\n[tunnels.web.cloudflare]\nmode = "named"\nhostname = "a.example.com"\ntoken = "plain"  # old\n',
]


@pytest.mark.parametrize("text", FILES)
def test_the_file_keeps_everything_else(text: str) -> None:
    """Every comment and every other key stays; a second time nothing changes; what is written is what is wanted."""
    written, changes = with_tunnel(text, WANTED)
    assert changes
    assert with_tunnel(written, WANTED) == (written, ())
    for line in text.splitlines():
        if "#" in line:
            assert line.partition("#")[2] in written
    tables = tomllib.loads(written)
    tunnels = [tables.get("tunnel", {}), *tables.get("tunnels", {}).values()]
    (ours,) = [item for item in tunnels if item.get("cloudflare", {}).get("hostname") == "a.example.com"]
    assert ours["cloudflare"]["token"] == "secret:prx-a"
    assert ours["access"] == {"allow": ["me@x.org"]}
    assert tables["access"]["aud"] == "ab" * 32
    others = [item["cloudflare"]["hostname"] for item in tunnels if item and item is not ours and "cloudflare" in item]
    assert others == (["b.example.com"] if "b.example" in text else ["b.x.org"] if "b.x.org" in text else [])


@pytest.mark.parametrize("text", ['tunnel.local_addr = "1"\ntunnel.cloudflare.mode = "quick"\n', "tunnel = {}\n", "x = ["])
def test_a_file_that_cannot_be_edited_without_harm_is_left(text: str) -> None:
    """Rather no change than a wrong one: the user is shown what to do."""
    with pytest.raises(UsageError) as caught:
        with_tunnel(text, WANTED)
    assert "TOML" in caught.value.message or "--write FILE" in caught.value.hint


SPELLINGS = [
    ("A.Example.COM", "a.example.com"),
    ("a.example.com.", "a.example.com"),
    ("bücher.example.com", "xn--bcher-kva.example.com"),
    ("${HOST}", "a.example.com"),
    ("${SUB}.example.com", "a.example.com"),
]
ENVIRON = {"HOST": "a.example.com", "SUB": "A"}


@pytest.mark.parametrize(("spelt", "name"), SPELLINGS)
@pytest.mark.parametrize("table", ["tunnel", "tunnels.web"])
def test_a_tunnel_is_known_by_its_name_in_whatever_letters(spelt: str, name: str, table: str) -> None:
    """A host name that the file spells in another way is the same one: no second tunnel, the spelling stays, the token goes."""
    text = f'[{table}]\n[{table}.cloudflare]\nmode = "named"\nhostname = "{spelt}"\ntoken = "env:T"\n'
    wanted = replace(WANTED, hostname=name, local_addr="", allow=(), is_protected=False)
    assert tunnel_table(text, name, ENVIRON) == tuple(table.split("."))
    written, changes = with_tunnel(text, wanted, ENVIRON)
    assert (written, changes) == (text.replace("env:T", "secret:prx-a"), (f'{table}.cloudflare.token = "secret:prx-a"',))
    assert with_tunnel(written, wanted, ENVIRON) == (written, ())
    left, gone = without_tunnel(written, name, "", ENVIRON)
    assert (f'hostname = "{spelt}"' in left, gone) == (True, (f"without {table}.cloudflare.token",))


@pytest.mark.parametrize(
    "said", ['local_addr = "3000"', 'local_addr = "${PORT}"', "local_addr = '127.0.0.1:3000'", 'local_addr = "127.0.0.1:3000"']
)
def test_what_the_file_means_already_is_not_written_again(said: str) -> None:
    """Another spelling of the same address and the same guest is no change."""
    text = f'[tunnel]\n{said}\n[tunnel.access]\nallow = ["ME@x.org"]\n'
    _, changes = with_tunnel(text, replace(WANTED, is_protected=False), {"PORT": "3000"})
    assert [change.partition(" = ")[0].rpartition(".")[2] for change in changes] == ["mode", "hostname", "token"]


@pytest.mark.parametrize("said", ['backend = "none"', "backend = 'none'", 'backend = "${KEEPER}"', 'backend = "none" # mine'])
def test_a_tunnel_that_another_program_keeps_up_is_left(said: str) -> None:
    """A set-up declares a tunnel of its own beside one for which prx runs nothing."""
    text = f'[tunnel]\n{said}\npublic_url = "https://x.example.org"\n'
    written, _ = with_tunnel(text, WANTED, {"KEEPER": "none"})
    assert written.startswith(text)
    assert tomllib.loads(written)["tunnels"]["a"]["cloudflare"]["hostname"] == "a.example.com"


def test_another_tunnels_application_keeps_its_tag() -> None:
    """`[access]` is one for a file: the tag of another protected tunnel is not overwritten, its own former one is."""
    text = FILES[3] + f'[access]\nteam = "lab"\naud = "{"cd" * 32}"\n'
    assert tomllib.loads(with_tunnel(text, WANTED)[0])["access"]["aud"] == "cd" * 32
    renewed = replace(WANTED, former_aud="cd" * 32)
    assert tomllib.loads(with_tunnel(text, renewed)[0])["access"]["aud"] == "ab" * 32


def test_a_removal_takes_the_token_and_the_tag_and_leaves_the_wishes() -> None:
    """The tunnel stays declared, so that no start publishes it without protection; the next set-up makes it again."""
    written, _ = with_tunnel(FILES[2], WANTED)
    left, changes = without_tunnel(written, "a.example.com", "ab" * 32)
    tables = tomllib.loads(left)
    assert tables["tunnel"]["cloudflare"] == {"mode": "named", "hostname": "a.example.com"}
    assert tables["tunnel"]["access"] == {"allow": ["me@x.org"]}
    assert tables["access"] == {"client_id": "x.a"}
    assert len(changes) == 3
    assert without_tunnel(left, "a.example.com", "ab" * 32)[1] == ()


@pytest.mark.parametrize(
    ("check", "good", "bad"),
    [
        (allow_rule, ["You@Example.com", "@example.com", "everyone"], ["", "you", "@", "a b@c.d", "@x@y"]),
        (public_path, ["/hooks/*", "/a/*/b", "/x-*"], ["", "hooks", "/", "/a//b", "/../x", "/a?b", "/a**", "/a%2f", "/é"]),
        (
            service_token,
            ["ci", "github=secret:gh"],
            ["", "a b", "ci=", "ci=file:x", "ci=secret:", "-x", "ci=secret:" + "a" * 62],
        ),
    ],
)
def test_wishes_are_checked(check: Callable[[str], str], good: list[str], bad: list[str]) -> None:
    """Each text is taken or refused with what is expected, on the command line and in the file alike."""
    for text in good:
        assert check(text)
    for text in bad:
        with pytest.raises(ValueError, match=r"\w"):
            check(text)


# -- cert.pem ----------------------------------------------------------------------------------------------------------


def pem(content: object, label: str = "ARGO TUNNEL TOKEN") -> str:
    """Write a PEM block."""
    body = base64.encodebytes(json.dumps(content).encode()).decode()
    return f"-----BEGIN {label}-----\n{body}-----END {label}-----\n"


CERT = {"zoneID": "z" * 32, "accountID": "a" * 32, "apiToken": "t" * 40}


@pytest.mark.parametrize("before", ["", pem("x", "PRIVATE KEY") + pem("y", "CERTIFICATE")])
def test_a_cert_is_read(tmp_path: Path, before: str) -> None:
    """The token, account and zone of the file, whatever other blocks are in it; a file that others can read is warned of."""
    path = tmp_path / "cert.pem"
    path.write_text(before + pem({**CERT, "endpoint": "fed"}))
    path.chmod(0o600)
    cert = read_cert(path, {})
    assert (cert.token.reveal(), cert.account_id, cert.zone_id, cert.fed) == ("t" * 40, "a" * 32, "z" * 32, True)
    assert cert.warning == ""
    path.chmod(0o644)
    assert "chmod 600" in read_cert(path, {}).warning


@pytest.mark.parametrize("text", ["", "nonsense", pem("a string"), pem({**CERT, "apiToken": ""}), pem({"zoneID": 1})])
def test_a_broken_cert_is_said_to_be_so(tmp_path: Path, text: str) -> None:
    """The defect is named, and how to get a new one; never the content."""
    path = tmp_path / "cert.pem"
    path.write_text(text)
    with pytest.raises(CredentialError) as caught:
        read_cert(path, {})
    assert str(path) in caught.value.message
    assert "cloudflared tunnel login" in caught.value.hint


def test_a_cert_lies_where_cloudflared_looks(tmp_path: Path) -> None:
    """In ~/.cloudflared before other places, and where TUNNEL_ORIGIN_CERT says."""
    for folder in (".cloudflared", "cloudflare-warp"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "cert.pem").touch()
    assert find_cert({"HOME": str(tmp_path)}) == tmp_path / ".cloudflared" / "cert.pem"
    other = tmp_path / "cloudflare-warp" / "cert.pem"
    assert find_cert({"HOME": str(tmp_path), "TUNNEL_ORIGIN_CERT": str(other)}) == other


# -- where the token comes from ----------------------------------------------------------------------------------------


def resolve(text: str) -> Secret:
    """Resolve a reference as the secrets manager would."""
    return Secret({"secret:cf": TOKEN, "secret:key": "cfk_" + "a" * 40}.get(text, text))


def test_the_order_of_sources(tmp_path: Path) -> None:
    """A reference that is given, the variable, a sign-in, a cert.pem that lies there."""
    home = {"HOME": str(tmp_path)}
    (tmp_path / ".cloudflared").mkdir()
    (tmp_path / ".cloudflared" / "cert.pem").write_text(pem({**CERT, "endpoint": "fed"}))
    token = {"CLOUDFLARE_API_TOKEN": "v" * 40}
    assert find_credentials(home | token, resolve, token_from="secret:cf").token.reveal() == TOKEN
    assert find_credentials(home | token, resolve).token.reveal() == "v" * 40
    assert find_credentials(home | {"CLOUDFLARE_API_TOKEN": "secret:cf"}, resolve).token.reveal() == TOKEN
    assert find_credentials(home, resolve, signed_in=lambda: Secret("s" * 40)).token.reveal() == "s" * 40
    cert = find_credentials(home, resolve)
    assert (cert.token.reveal(), cert.base, bool(cert.limits)) == ("t" * 40, FED_BASE, True)
    assert find_credentials(home | token, resolve, cert=True).token.reveal() == "t" * 40
    assert find_credentials(home | token, resolve).base == BASE


@pytest.mark.parametrize(
    ("token", "word"),
    [
        ("cfk_" + "a" * 40, "global"),
        ("0123456789abcdef0123456789abcdef01234", "global"),
        ("short", "20"),
        ("a b" * 20, "one word"),
    ],
)
def test_what_cannot_be_an_api_token_is_refused(token: str, word: str) -> None:
    """A global key is never taken; the defect is named, never the token."""
    with pytest.raises(PrxError) as caught:
        find_credentials({"CLOUDFLARE_API_TOKEN": token}, resolve)
    assert word in caught.value.message
    assert token not in caught.value.message + caught.value.hint


def test_without_any_the_page_is_named(tmp_path: Path) -> None:
    """A newcomer is shown which permissions a token needs, with the page that fills them in."""
    with pytest.raises(CredentialError) as caught:
        find_credentials({"HOME": str(tmp_path)}, resolve)
    assert "https://dash.cloudflare.com/profile/api-tokens?permissionGroupKeys=" in caught.value.hint
    assert "Access: Service Tokens" in caught.value.hint
