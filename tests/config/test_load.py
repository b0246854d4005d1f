"""Loading: layers, mistakes with their places, variables, what must hold between keys."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from prx.config.checker import read
from prx.config.load import Loaded, load
from prx.config.schema import Config, TunnelSettings
from prx.core.errors import ConfigError
from prx.secrets.value import Secret

# The documented blocks, as they stand.
TUNNEL = """
[tunnel]
backend = "cloudflare"            # cloudflare | none   (later: auto, tailscale, ngrok, custom)
local_addr = "127.0.0.1:8080"
health_check_interval_secs = 30
max_failures = 3
health_check_path = "/"
health_check_expect = "auto"
health_check_restart = "cause"    # cause | any
startup_timeout_secs = 60
"""
CLOUDFLARE = """
[tunnel.cloudflare]
mode = "quick"                    # quick | named
token = ""                        # required for named; CLOUDFLARE_TUNNEL_TOKEN
hostname = ""                     # required for named
cloudflared_path = "cloudflared"  # or "builtin": the connector that comes with prx
protocol = "auto"                 # auto | quic | http2
edge_ip_version = "auto"          # auto | 4 | 6
retries = 5
grace_period_secs = 30
metrics_port = 0                  # 0: prx picks a free one
log_level = "info"                # debug | info | warn | error
"""
NAMED = TUNNEL.replace("[tunnel]", "[tunnels.web]") + CLOUDFLARE.replace("[tunnel.", "[tunnels.web.")

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Return a function that writes prx.toml (0600) in the current folder."""
    monkeypatch.chdir(tmp_path)

    def write(text: str) -> Path:
        path = Path("prx.toml")
        path.write_text(text, encoding="utf-8")
        path.chmod(0o600)
        return path

    return write


def problems(
    path: Path | None, environ: Mapping[str, str] | None = None, overrides: Mapping[str, Any] | None = None
) -> list[str]:
    """Return the mistakes that loading reports."""
    with pytest.raises(ConfigError) as caught:
        load(path, environ or {}, overrides)
    return list(caught.value.problems)


@pytest.mark.parametrize("text", [TUNNEL, CLOUDFLARE, TUNNEL + CLOUDFLARE])
def test_documented_blocks_load_and_hold_the_defaults(write: Write, text: str) -> None:
    """Every documented block loads as it stands, and shows the defaults."""
    assert load(write(text), {}).config == Config()


def test_documented_block_of_a_named_table(write: Write) -> None:
    """[tunnels.NAME] takes the same keys, and alone it is the only tunnel."""
    assert load(write(NAMED), {}).config.tunnels == {"web": TunnelSettings()}
    assert list(load(write(TUNNEL + NAMED), {}).config.tunnels) == ["default", "web"]


@pytest.mark.parametrize("text", [TUNNEL, CLOUDFLARE])
def test_each_documented_key_alone(write: Write, text: str) -> None:
    """Each key loads with nothing beside it, and the documentation names every one of the block."""
    header, *lines = text.strip().splitlines()
    for line in lines:
        assert load(write(f"{header}\n{line}\n"), {}).config == Config()


def test_no_file_is_the_defaults() -> None:
    """Without a file, a variable or an argument everything has its default, and says so."""
    loaded = load(None, {})
    assert loaded.config == Config()
    assert {str(origin) for origin in loaded.origins.values()} == {"default"}
    assert loaded.path is None


def test_tunnels_keep_the_order_of_the_file(write: Write) -> None:
    """`prx status` lists tunnels as their owner wrote them down, not by name or by chance."""
    names = ["zeta", "alpha", "mid", "beta-2", "a"]
    text = "".join(f"[tunnels.{name}]\n[tunnels.{name}.cloudflare]\nretries = 1\n" for name in names)
    assert list(load(write(text), {}).config.tunnels) == names


@pytest.mark.parametrize("text", ["", "[tunnels]", "[tunnel]", "[access]", "\ufeff[tunnel]\r\nmax_failures = 3\r\n"])
def test_empty_tables(write: Write, text: str) -> None:
    """An empty file, an empty table, a byte order mark and Windows line ends change nothing."""
    assert load(write(text), {}).config == Config()


def test_layers(write: Write) -> None:
    """Defaults < file < environment < command line, each value with its origin."""
    path = write('[tunnel]\nlocal_addr = "1"\nhealth_check_path = "/a"\nbackend = "cloudflare"\n')
    environ = {"PRX_TUNNEL_LOCAL_ADDR": "2", "PRX_LOG": "DEBUG", "PRX_TUNNEL_BACKEND": ""}
    loaded = load(path, environ, {"tunnel.local_addr": "3", "tunnel.max_failures": 9})
    tunnel = loaded.config.tunnels["default"]
    assert (tunnel.origin_port, tunnel.health_check_path, tunnel.max_failures) == (3, "/a", 9)
    assert loaded.config.log_level == "debug"
    shown = {name: str(origin) for name, origin in loaded.origins.items()}
    assert shown["tunnel.local_addr"] == shown["tunnel.max_failures"] == "command line"
    assert shown["tunnel.health_check_path"] == "prx.toml:3"
    assert shown["tunnel.backend"] == "prx.toml:4"
    assert shown["log_level"] == "environment variable PRX_LOG"
    assert shown["tunnel.doh"] == "default"


def test_variables_of_the_contract() -> None:
    """Every variable reaches its key."""
    environ = {
        "PRX_TUNNEL_BACKEND": "cloudflare",
        "PRX_TUNNEL_LOCAL_ADDR": "9",
        "CLOUDFLARE_TUNNEL_TOKEN": "tok",
        "CF_ACCESS_CLIENT_ID": "id.access",
        "CF_ACCESS_CLIENT_SECRET": "sesame",
        "PRX_LOG": "warn",
    }
    config = load(None, environ).config
    tunnel = config.tunnels["default"]
    assert (tunnel.backend, tunnel.origin_port, tunnel.cloudflare.token.reveal()) == ("cloudflare", 9, "tok")
    assert (config.access.client_id, config.access.client_secret, config.log_level) == ("id.access", Secret("sesame"), "warn")


def test_public_url_variable_runs_no_child() -> None:
    """PRX_TUNNEL_URL means that there is a public URL already: the backend is none."""
    tunnel = load(None, {"PRX_TUNNEL_URL": "https://app.example.com/"}).config.tunnels["default"]
    assert (tunnel.backend, tunnel.public_url) == ("none", "https://app.example.com")
    assert problems(None, {"PRX_TUNNEL_URL": "https://a.b", "PRX_TUNNEL_BACKEND": "cloudflare"}) == [
        (
            'environment variable PRX_TUNNEL_URL: tunnel.public_url: set, but backend "cloudflare" finds its own URL; '
            'expected backend = "none", or no public_url'
        )
    ]


def test_an_ip_version_needs_no_quotes(tmp_path: Path) -> None:
    """edge_ip_version = 4 means "4"."""
    file = tmp_path / "prx.toml"
    file.write_text("[tunnel.cloudflare]\nedge_ip_version = 4\n")
    assert load(file, {}).config.tunnels["default"].cloudflare.edge_ip_version == "4"


def test_all_mistakes_at_once(write: Write) -> None:
    """One run names every mistake of every source, with its place, in order."""
    text = """log_levl = "info"
[tunnel]
backend = "cloudfare"
max_failures = "3"
token = "x"
on_url = ["a",
  3, "http://"]
require_access = "yes"
[tunnel.cloudflare]
mode = "named"
protocol = "quik"
edge_ip_version = 5
grace_period_secs = 300
[tunels.x]
[tunnels.Web]
[tunnels.b.cloudflare]
mode = "named"
[tunnels.c]
cloudflare = 5
max_failures = 1979-05-27
retries = 1
"""
    assert problems(write(text), {"PRX_LOG": "loud"}, {"tunnel.local_addr": "nowhere"}) == [
        "prx.toml:1: log_levl: unknown key; did you mean log_level?",
        'prx.toml:3: tunnel.backend: found "cloudfare", expected one of cloudflare, none; did you mean "cloudflare"?',
        'prx.toml:4: tunnel.max_failures: found "3", expected a whole number from 1 to 1000, without quotes',
        "prx.toml:5: tunnel.token: unknown key; it belongs in [tunnel.cloudflare]",
        "prx.toml:7: tunnel.on_url[1]: found the number 3, expected a string, in quotes",
        'prx.toml:7: tunnel.on_url[2]: found "http://", expected a command on one line, or an http or https URL to POST to',
        'prx.toml:8: tunnel.require_access: found "yes", expected true or false, without quotes',
        'prx.toml:11: tunnel.cloudflare.protocol: found "quik", expected one of auto, quic, http2; did you mean "quic"?',
        "prx.toml:12: tunnel.cloudflare.edge_ip_version: found the number 5, expected one of auto, 4, 6, in quotes",
        "prx.toml:13: tunnel.cloudflare.grace_period_secs: found the number 300, expected a number of seconds from 0 to 180",
        "prx.toml:14: tunels: unknown table; did you mean tunnels?",
        (
            'prx.toml:15: tunnels.Web: found "Web", expected a name of lower-case letters, digits and dashes, at most 63, '
            "that begins with a letter or digit"
        ),
        'prx.toml:17: tunnels.b.cloudflare.hostname: found nothing, expected the public host name, as mode is "named"',
        (
            'prx.toml:17: tunnels.b.cloudflare.token: found nothing, expected the tunnel token, as mode is "named" '
            "(CLOUDFLARE_TUNNEL_TOKEN sets it too, `prx setup` makes one)"
        ),
        "prx.toml:19: tunnels.c.cloudflare: found the number 5, expected a table: [tunnels.c.cloudflare]",
        "prx.toml:20: tunnels.c.max_failures: found a date or time, expected a whole number from 1 to 1000",
        "prx.toml:21: tunnels.c.retries: unknown key; it belongs in [tunnels.c.cloudflare]",
        'environment variable PRX_LOG: log_level: found "loud", expected one of debug, info, warn, error',
        (
            'command line: tunnel.local_addr: found "nowhere", expected PORT, HOST:PORT, [IPV6]:PORT or http(s)://HOST:PORT, '
            "such as 8080 or 127.0.0.1:8080"
        ),
    ]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("max_failures = true", "found true, expected a whole number"),
        ("max_failures = 3.5", "found the number 3.5, expected a whole number"),
        ("max_failures = 0", "from 1 to 1000"),
        ("max_failures = [3]", "found a list"),
        ("health_check_interval_secs = inf", "found a number, expected a number of seconds"),
        ("health_check_interval_secs = nan", "expected a number of seconds"),
        ("health_check_interval_secs = 1" + "0" * 400, "found a number, expected a number of seconds"),
        ("health_check_interval_secs = 0", "from 0.1 to 86400"),
        ("health_check_path = 'x'", "begins with /"),
        ("health_check_path = '/a b'", "neither spaces"),
        ("health_check_expect = '3x'", "status codes such as"),
        ("health_check_expect = ''", "status codes such as"),
        ("public_url = 'ftp://x'", "an http or https URL"),
        ("public_url = 'https://u:p@x'", "without user name"),
        ("public_url = 'https://x:99999'", "an http or https URL"),
        ("public_url = 'https://a..b'", "a host with something before, behind and between its dots"),
        ("public_url = 'https://[fe80::1]'", "a host with its network interface"),
        ("on_url = ['http://999.1.1.1/x']", "an IPv4 address of four numbers"),
        ("on_change = ['https://a.-b/x']", "without a dash beside a dot"),
        ("local_addr = 'a..b:80'", 'found "a..b:80", expected PORT, HOST:PORT'),
        ("doh = ['1.1.1.1']", "https://1.1.1.1/dns-query"),
        ("doh = 'https://1.1.1.1/dns-query'", "a list of strings"),
        ("on_url = ['']", "a command on one line"),
        ("on_url = [['a']]", "found a list, expected a string"),
        ("host_header = 'http://a'", "a host name with or without a port"),
        ('host_header = "a\\r\\nX: y"', "a host name with or without a port"),
        ("url_env_file = 'a/'", "the path of a file"),
        ("cloudflare.hostname = 'https://app.example.com'", "a host name alone"),
        ("cloudflare.hostname = 'a..b'", "something before, behind and between its dots"),
        ("cloudflare.hostname = '.example.com'", "something before, behind and between its dots"),
        ("cloudflare.hostname = '*.example.com'", "a wildcard cannot be checked"),
        ("cloudflare.hostname = 'a.*.example.com'", "a wildcard cannot be checked"),
        ("cloudflare.hostname = 'app.example.com/x'", "without a path"),
        ("cloudflare.hostname = 'app.example.com:443'", "without a port"),
        ("cloudflare.hostname = 'me@example.com'", "without a user name"),
        ("cloudflare.hostname = 'app example.com'", "without spaces"),
        ("cloudflare.hostname = '192.0.2.7'", "an address has no DNS record"),
        ("cloudflare.hostname = '[2001:db8::7]'", "an address has no DNS record"),
        ("cloudflare.hostname = '-a.example.com'", "without a dash beside a dot or at an end"),
        ("cloudflare.hostname = 'a-.example.com'", "without a dash beside a dot or at an end"),
        ("cloudflare.hostname = 'a$.example.com'", "of letters, digits and dashes"),
        (f"cloudflare.hostname = '{'a' * 64}.example.com'", "at most 63 characters between two dots"),
        (f"cloudflare.hostname = '{'ü' * 64}.example.com'", "IDNA"),
        (f"cloudflare.hostname = '{'a.' * 126}aa'", "of at most 253 characters"),
        ('cloudflare.hostname = "\\u202eabc.example"', "IDNA"),
        ("origin_tls_verify = 'no'", "one of auto, true, false"),
        ("origin_tls_verify = 1", "one of auto, true, false"),
        ("origin_ca = 'certs/'", "the path of a file"),
        ("origin_server_name = 'https://app'", "a host name alone"),
        ("origin_server_name = '*.example.com'", "a wildcard cannot be checked"),
        ("health_check_timeout_secs = 0", "from 0.1 to 300"),
        ("health_check_timeout_secs = 301", "from 0.1 to 300"),
        ("local_addr = 0", "a port from 1 to 65535"),
        ("local_addr = true", "expected a string"),
        ("cloudflare.cloudflared_path = ' '", "a program in PATH"),
        ("cloudflare.token = 5", "found a number, expected a string"),
        ("cloudflare.token = ['x']", "found a list, expected a string"),
        ("cloudflare.metrics_port = 65536", "from 0 to 65535"),
        ("cloudflare.retries = -1", "from 0 to 20"),
        ("'odd key\\u001b' = 1", "unknown key"),
        ("cloudflare.mod = 'quick'", "did you mean mode?"),
    ],
)
def test_values_out_of_bounds(write: Write, line: str, words: str) -> None:
    """Wrong types and values are refused one by one, with what is expected, and never with control characters."""
    (problem,) = problems(write(f"[tunnel]\n{line}\n"))
    assert problem.startswith("prx.toml:2: ")
    assert words in problem
    assert problem.isprintable()


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("[tunnel]\nlocal_addr = foo\n", "prx.toml:2:14: ", "expected text in quotes"),
        ("a = 1\na = 2\n", "prx.toml:2:", "set twice"),
        ("[tunnel]\n[tunnel]\n", "prx.toml:2:", "opened twice"),
        ('a = "x\n', "prx.toml:1:", "ends on its own line"),
        ('\na = """x\n\n', "prx.toml:2: ", "at the end of the file"),
        ("a = " + "[" * 5000, "prx.toml: ", "nested too deeply"),
        (f"c = 1\n[{'.'.join('a' * 3000)}]\nb = 1\n", "prx.toml:2: ", "nested within one another"),
        (f"[[{'.'.join('a' * 300)}]]\n", "prx.toml:1: ", "nested within one another"),
        (f"[tunnel]\n\n{'.'.join('a' * 3000)} = 1\n", "prx.toml:3: ", "nested within one another"),
        (f"a = {{ {'.'.join('a' * 3000)} = 1 }}\n", "prx.toml:1: ", "nested within one another"),
        ("a = [\n" + "[" * 110 + "]" * 110 + "]\n", "prx.toml:2: ", "nested within one another"),
        ("a = " + "9" * 5000, "prx.toml: ", "a number of more than 4300 digits"),
    ],
)
def test_syntax_errors(write: Write, text: str, place: str, words: str) -> None:
    """What is not TOML, or nested too deeply for a configuration, is reported with its line, and with its column if known."""
    (problem,) = problems(write(text))
    assert problem.startswith(place)
    assert words in problem


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    """A missing file, a directory, a loop of links, bytes that are not UTF-8, an endless file: one line each, no traceback."""
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "latin").write_bytes(b"# fine\n# \xe4\n")
    expected = {
        "gone": "there is no such file",
        ".": "found a directory",
        "loop": "cannot be read: ",
        "latin": "latin:2: found a byte that is not UTF-8",
        "nul\0": "cannot be read: ",
        "/dev/zero": "found a character device, expected a file",
    }
    for name, words in expected.items():
        (problem,) = problems(tmp_path / name)
        assert words in problem


def test_variables_in_strings(write: Write) -> None:
    """${VAR} is replaced everywhere in strings, also in lists; $${ stands for itself; what a variable holds is left alone."""
    path = write('[tunnel]\nlocal_addr = "${H}:${P}"\non_url = ["./hook $${URL} ${H}", "a$b${EMPTY}"]\n')
    tunnel = load(path, {"H": "localhost", "P": "81", "EMPTY": ""}).config.tunnels["default"]
    assert (tunnel.local_addr, tunnel.on_url) == ("localhost:81", ("./hook ${URL} localhost", "a$b"))
    assert load(write('[tunnel]\non_url = ["${A}"]'), {"A": "x ${B}"}).config.tunnels["default"].on_url == ("x ${B}",)


def test_a_variable_can_hold_a_number(write: Write) -> None:
    """TOML wants quotes around ${VAR}, also if the key wants a number or true or false; the quotes do not count."""
    path = write('[tunnel]\nmax_failures = "${N}"\nrequire_access = "${YES}"\n[tunnel.cloudflare]\nmetrics_port = "4${P}"\n')
    tunnel = load(path, {"N": " 7\n", "YES": "true", "P": "0123"}).config.tunnels["default"]
    assert (tunnel.max_failures, tunnel.require_access, tunnel.cloudflare.metrics_port) == (7, True, 40123)
    for wrong in ("many", "", "[1]", "1\nmax_failures = 2"):
        (problem,) = problems(write('[tunnel]\nmax_failures = "${N}"\n'), {"N": wrong})
        assert 'prx.toml:2: tunnel.max_failures: found "${N}", expected a variable with a whole number' in problem


def test_variables_that_are_not_there(write: Write) -> None:
    """An unset variable and a malformed reference are mistakes that name the variable and the way out."""
    path = write('[tunnel]\nhealth_check_path = "${NOPE}"\non_url = ["x",\n "${a b}"]\n[tunnel.cloudflare]\ntoken = "t${NO}"\n')
    assert problems(path) == [
        (
            'prx.toml:2: tunnel.health_check_path: found "${NOPE}", expected the environment variable NOPE to be set, '
            "or $${NOPE} for these characters themselves"
        ),
        (
            'prx.toml:4: tunnel.on_url[1]: found "${a b}", expected ${NAME} with the name of an environment variable, '
            "or $${ for the characters ${ themselves"
        ),
        (
            "prx.toml:6: tunnel.cloudflare.token: found text, expected the environment variable NO to be set, "
            "or $${NO} for these characters themselves"
        ),
    ]


def test_a_message_shows_what_stands_in_the_file(write: Write) -> None:
    """What a variable holds is not shown: it may be a secret in the wrong place."""
    (problem,) = problems(write('[tunnel.cloudflare]\nhostname = "${SECRET}"\n'), {"SECRET": "pass word"})
    assert 'found "${SECRET}", expected a host name alone' in problem


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('backend = "none"', 'prx.toml:2: tunnel.public_url: found nothing, expected the URL to watch, as backend is "none"'),
        ('public_url = "https://x"', 'prx.toml:2: tunnel.public_url: set, but backend "cloudflare" finds its own URL'),
        ('cloudflare.mode = "named"\ncloudflare.token = "x"', "prx.toml:2: tunnel.cloudflare.hostname: found nothing"),
        ('cloudflare.mode = "named"\ncloudflare.hostname = "x"', "prx.toml:2: tunnel.cloudflare.token: found nothing"),
        ('[access]\nteam = "x"', "prx.toml:3: access.aud: found nothing, expected it beside team"),
        ('[access]\nclient_secret = "x"', "prx.toml:3: access.client_id: found nothing, expected it beside client_secret"),
        ("[tunnels.default]", "prx.toml:2: tunnels.default: [tunnel] already declares the tunnel named default"),
        (
            "cloudflare.metrics_port = 1\n[tunnels.a]\ncloudflare.metrics_port = 1",
            "prx.toml:4: tunnels.a.cloudflare.metrics_port: 1 is already used by the tunnel",
        ),
        (
            'url_env_file = ".env"\n[tunnels.a]\nurl_env_file = ".env"',
            "prx.toml:4: tunnels.a.url_env_file: .env is already used",
        ),
    ],
)
def test_what_must_hold_between_keys(write: Write, text: str, words: str) -> None:
    """Combinations that cannot work are mistakes at the place that they follow from."""
    (problem,) = problems(write(f"[tunnel]\n{text}\n"))
    assert problem.startswith(words)


@pytest.mark.parametrize(
    "text",
    [
        'backend = "nome"\npublic_url = "https://x"',
        'cloudflare.mode = "named"\ncloudflare.hostname = "a b"\ncloudflare.token = "x"',
        'cloudflare.mode = "named"\ncloudflare.hostname = "x"\ncloudflare.token = 5',
    ],
)
def test_no_mistake_follows_from_a_mistake(write: Write, text: str) -> None:
    """A value that is itself wrong is reported once, without what would follow from its absence."""
    assert len(problems(write(f"[tunnel]\n{text}\n"))) == 1


def test_hidden_mistakes_are_found(write: Write) -> None:
    """A mistake in the file is reported even if the environment overrides it."""
    assert len(problems(write('[tunnel]\nlocal_addr = "x"'), {"PRX_TUNNEL_LOCAL_ADDR": "80"})) == 1


def test_settings_without_effect_are_told(write: Write) -> None:
    """A token or host name for a quick tunnel is no mistake, but a warning with its place."""
    loaded = load(write('[tunnel.cloudflare]\nhostname = "a.b"'), {"CLOUDFLARE_TUNNEL_TOKEN": "x"})
    assert loaded.warnings == (
        (
            "environment variable CLOUDFLARE_TUNNEL_TOKEN: tunnel.cloudflare.token: "
            'not used, as mode is "quick"; mode = "named" uses it'
        ),
        'prx.toml:2: tunnel.cloudflare.hostname: not used, as mode is "quick"; mode = "named" uses it',
    )
    assert load(None, {}).warnings == ()


def test_which_tunnel_a_variable_means(write: Write) -> None:
    """Variables and arguments mean [tunnel], else the only tunnel; with several they are a mistake, except the token."""

    def ports(loaded: Loaded) -> dict[str, int]:
        return {name: tunnel.origin_port for name, tunnel in loaded.config.tunnels.items()}

    environ = {"PRX_TUNNEL_LOCAL_ADDR": "9", "CLOUDFLARE_TUNNEL_TOKEN": "x"}
    assert ports(load(write("[tunnels.a]"), environ)) == {"a": 9}
    assert ports(load(write("[tunnel]\n[tunnels.a]"), environ)) == {"default": 9, "a": 8080}
    assert ports(load(write("[tunnels.a]\n[tunnels.b]"), {}, {"tunnels.b.local_addr": "7"})) == {"a": 8080, "b": 7}
    file = write("[tunnels.a]\n[tunnels.b]")
    assert problems(file, environ) == [
        (
            f"environment variable PRX_TUNNEL_LOCAL_ADDR: tunnel.local_addr: {file} declares 2 tunnels (a, b), and this is "
            "meant for one; expected a file that declares one, or a table [tunnel] (-c FILE names another file)"
        )
    ]


def test_a_bad_tunnel_name_is_reported_once(write: Write) -> None:
    """A variable for the only tunnel does not repeat a mistake in its name."""
    assert len(problems(write("[tunnels.Web]"), {"PRX_TUNNEL_LOCAL_ADDR": "9"})) == 1


def test_documented_blocks_are_valid_toml() -> None:
    """The blocks above stay what they are meant to be: whole tables of the documentation."""
    assert len(tomllib.loads(TUNNEL)["tunnel"]) == 8
    assert len(tomllib.loads(CLOUDFLARE)["tunnel"]["cloudflare"]) == 10


@pytest.mark.parametrize(
    ("text", "environ", "overrides", "times"),
    [
        ('[tunnels.a]\nlocal_addr = "1"\n[tunnels.b]\nlocal_addr = "2"\n', {}, {}, 1),
        ('[tunnel]\nlocal_addr = "1"\n', {"PRX_LOG": "debug"}, {}, 3),
        ('[tunnel]\nlocal_addr = "1"\n', {}, {"tunnel.local_addr": "2"}, 3),
        ('[tunnel]\nlocal_addr = "1"\n[tunnel.cloudflare]\ntoken = "secret:x"\n', {}, {}, 2),
    ],
    ids=["a file alone", "and a variable", "and an option", "and a secret that is put in"],
)
def test_what_was_checked_is_not_checked_again(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    text: str,
    environ: dict[str, str],
    overrides: dict[str, str],
    times: int,
) -> None:
    """A thousand tunnels are read once; what several layers say together, or a secret has changed, is checked as a whole."""
    checked: list[Any] = []

    def read_and_count(table: Any, values: Mapping[str, Any]) -> Any:
        checked.extend([values] if values else [])
        return read(table, values)

    monkeypatch.setattr("prx.config.layers.read", read_and_count)
    monkeypatch.setattr("prx.config.load.read", read_and_count)
    file = tmp_path / "prx.toml"
    file.write_text(text)
    file.chmod(0o600)
    loaded = load(file, environ, overrides, resolve_secret=lambda _: Secret("y" * 40), tokens_follow=True)
    assert len(checked) == times
    assert loaded.config.tunnels
