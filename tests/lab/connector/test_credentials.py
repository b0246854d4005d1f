"""What proves a tunnel: a token, or a file of credentials in one of the places where cloudflared looks."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from tests.lab.connector.child import TUNNEL_ID, token

from prx.lab.connector.command_line import parse
from prx.lab.connector.credentials import Credentials, read_credentials
from prx.lab.connector.errors import CredentialsError

SECRET = b"s" * 32
CONTENT = {"AccountTag": "acc", "TunnelSecret": base64.b64encode(SECRET).decode(), "TunnelID": str(TUNNEL_ID), "Endpoint": ""}


def find(*words: str, config: dict[str, Any] | None = None, **environment: str) -> Credentials:
    """Find credentials for a command line behind `tunnel run`."""
    return read_credentials(parse(["tunnel", "run", *words], environment), config or {})


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return a credentials file."""
    path = tmp_path / f"{TUNNEL_ID}.json"
    path.write_text(json.dumps(CONTENT))
    return path


EXPECTED = Credentials("acc", TUNNEL_ID, SECRET)


def test_where_they_are(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A flag, its alias, the environment, contents, a certificate's folder, and the user's own folder all lead there."""
    named = str(TUNNEL_ID)
    assert find("--credentials-file", str(file), named) == EXPECTED
    assert find("--cred-file", str(file), config={"tunnel": named}) == EXPECTED
    assert find(named, TUNNEL_CRED_FILE=str(file)) == EXPECTED
    assert find(named, TUNNEL_CRED_CONTENTS=json.dumps(CONTENT)) == EXPECTED
    assert find(named, TUNNEL_ORIGIN_CERT=str(file.parent / "cert.pem")) == EXPECTED
    monkeypatch.setenv("HOME", str(file.parent))
    (file.parent / ".cloudflared").mkdir()
    file.rename(file.parent / ".cloudflared" / file.name)
    assert find(named) == EXPECTED


def test_names(file: Path) -> None:
    """A name that is no id is that of the tunnel in the file; an id on the command line beats the file's."""
    other = "22222222-2222-4333-8444-555555555555"
    assert find("--credentials-file", str(file), "web") == EXPECTED
    assert str(find("--credentials-file", str(file), other, config={"tunnel": "web"}).tunnel_id) == other


def test_a_token_wins(file: Path) -> None:
    """A token needs no name, and beats the file."""
    assert find("--token", token(), "--credentials-file", str(file)).account_tag == "account"


def test_spelling(file: Path) -> None:
    """Keys are read in any case, as Go does; files of old, without an id, take the one that was named."""
    file.write_text(json.dumps({"accounttag": "acc", "TUNNELSECRET": CONTENT["TunnelSecret"]}))
    assert find("--credentials-file", str(file), str(TUNNEL_ID)) == EXPECTED


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("no JSON", "Invalid JSON when parsing tunnel credentials file"),
        ("[]", "it is no object"),
        ("{}", "need AccountTag"),
        (json.dumps({**CONTENT, "TunnelSecret": "%%"}), "hold no secret"),
        (json.dumps({**CONTENT, "TunnelID": "web"}), "hold no secret or no id"),
        (json.dumps({**CONTENT, "AccountTag": 5}), "need AccountTag"),
        ("", "Invalid JSON"),
    ],
)
def test_bad_files(file: Path, content: str, words: str) -> None:
    """A file that holds no credentials is refused by name, without its content."""
    file.write_text(content)
    with pytest.raises(CredentialsError) as caught:
        find("--credentials-file", str(file), str(TUNNEL_ID))
    assert words in str(caught.value)
    assert str(file) in str(caught.value)
    assert str(CONTENT["TunnelSecret"]) not in str(caught.value)
    assert caught.value.code == 1


def test_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is missing is named: the file, the credentials, the tunnel."""
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(CredentialsError, match="doesn't exist or is not a file"):
        find("--credentials-file", str(tmp_path), str(TUNNEL_ID))
    with pytest.raises(CredentialsError, match="tunnel credentials file not found"):
        find(str(TUNNEL_ID))
    with pytest.raises(CredentialsError, match="looked up in its credentials only"):
        find("web")
    with pytest.raises(CredentialsError, match="requires the ID or name of the tunnel") as caught:
        find()
    assert caught.value.code == 255


def test_a_certificate_in_their_place(tmp_path: Path) -> None:
    """The certificate of the log-in, given in its place, is named in the error."""
    path = tmp_path / "cert.pem"
    path.write_text("-----BEGIN ARGO TUNNEL TOKEN-----")
    with pytest.raises(CredentialsError, match=r"should be \.json but you gave a \.pem"):
        find("--credentials-file", str(path), str(TUNNEL_ID))
