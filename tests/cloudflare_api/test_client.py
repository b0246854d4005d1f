"""One request: what is repeated, what never is, and what an answer means."""

from __future__ import annotations

import httpx2
import pytest

from prx.cloudflare_api import errors
from prx.cloudflare_api.calls import Api
from prx.cloudflare_api.client import Call, Client, require_safe, wait_of
from prx.cloudflare_api.rights import Right
from prx.core.errors import UsageError
from prx.secrets.value import Secret

Answer = httpx2.Response | Exception


class Scripted(httpx2.BaseTransport):
    """Gives these answers in turn, and the last one forever."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.requests: list[httpx2.Request] = []

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Return the next answer."""
        self.requests.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


def good(result: object = None, **more: object) -> httpx2.Response:
    """Return an answer that succeeds."""
    return httpx2.Response(200, json={"success": True, "errors": [], "messages": [], "result": result, **more})


def bad(status: int, code: object = 0, message: str = "", **headers: str) -> httpx2.Response:
    """Return a refusal."""
    body = {"success": False, "errors": [{"code": code, "message": message}], "result": None}
    return httpx2.Response(status, json=body, headers={name.replace("_", "-"): value for name, value in headers.items()})


def client_of(*answers: Answer) -> tuple[Client, Scripted, list[float]]:
    """Return a client, what it talks to, and for how long it waited."""
    transport, waits = Scripted(*answers), list[float]()
    return Client(Secret("t" * 40), transport=transport, sleep=waits.append), transport, waits


def ask(method: str, *answers: Answer) -> tuple[object, list[float]]:
    """Perform one call; return its result, or the error, and the waits."""
    client, transport, waits = client_of(*answers)
    try:
        return client.request(Call(method, "/x", "do it", Right.DNS_EDIT), body={}).result, [
            *waits,
            float(len(transport.requests)),
        ]
    except errors.ApiError as error:
        return error, [*waits, float(len(transport.requests))]


HTML = httpx2.Response(502, text="<html>Bad gateway</html>")
GONE_SILENT = httpx2.ReadTimeout("no answer")
NOT_CONNECTED = httpx2.ConnectError("refused")


@pytest.mark.parametrize("answer", [HTML, GONE_SILENT, bad(503), httpx2.Response(408)], ids=["html", "silent", "503", "408"])
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_what_can_be_repeated_is(method: str, answer: Answer) -> None:
    """GET, PUT and DELETE are tried again after an outage, with growing waits."""
    assert ask(method, answer, answer, good("done")) == ("done", [0.5, 2.0, 3.0])


@pytest.mark.parametrize("answer", [HTML, GONE_SILENT, bad(503), httpx2.Response(408)], ids=["html", "silent", "503", "408"])
def test_a_post_is_never_repeated_blindly(answer: Answer) -> None:
    """What an unanswered POST did is unknown, so it is said and not asked again."""
    error, seen = ask("POST", answer, good("twin"))
    assert isinstance(error, errors.LostAnswerError)
    assert seen == [1.0]


def test_a_post_that_was_never_sent_is_repeated() -> None:
    """Without a connection nothing can have happened."""
    assert ask("POST", NOT_CONNECTED, good("done")) == ("done", [0.5, 2.0])


@pytest.mark.parametrize(
    ("headers", "wait"),
    [({"retry_after": "7"}, 7.0), ({"Ratelimit": '"default";r=0;t=12'}, 12.0), ({}, 60.0), ({"retry_after": "soon"}, 60.0)],
)
def test_a_rate_limit_is_waited_out_once(headers: dict[str, str], wait: float) -> None:
    """429 waits as it says, else a minute, for a POST too; the second one ends it."""
    assert ask("POST", bad(429, 971, **headers), good("done")) == ("done", [wait, 2.0])
    error, seen = ask("POST", bad(429, **headers))
    assert isinstance(error, errors.RateLimitedError)
    assert seen == [wait, 2.0]


def test_a_limit_without_a_code_is_a_limit() -> None:
    """429 alone says it: without a code, without errors, or as a page of HTML."""
    empty = httpx2.Response(429, json={"success": False, "errors": [], "messages": [], "result": None})
    for answer in (empty, httpx2.Response(429, text="<html>slow down</html>"), httpx2.Response(429), bad(429, 10000)):
        assert ask("POST", answer, good("done")) == ("done", [60.0, 2.0])
        error, _ = ask("GET", answer)
        assert isinstance(error, errors.RateLimitedError)
        assert "HTTP 429" in error.message


def test_a_call_that_succeeded_did_so_whatever_else_is_said() -> None:
    """Remarks in `errors` and `messages`, and how many calls are left, are no refusal, and wait for nothing."""
    remark = [{"code": 10100, "message": "This call will change."}]
    for more in ({"errors": remark}, {"messages": remark}, {"errors": remark, "messages": ["x"]}, {"errors": None}):
        answer = httpx2.Response(
            200,
            json={"success": True, "errors": [], "messages": [], "result": "done", **more},
            headers={"Ratelimit": '"default";r=0;t=300', "Ratelimit-Policy": '"default";q=1200;w=300'},
        )
        assert ask("POST", answer) == ("done", [1.0])


def test_a_wait_beyond_the_window_is_not_waited() -> None:
    """No caller waits for an hour: the limit's window is five minutes."""
    error, seen = ask("GET", bad(429, retry_after="3600"))
    assert isinstance(error, errors.RateLimitedError)
    assert seen == [1.0]
    assert wait_of({}) == 60.0


CASES: list[tuple[httpx2.Response, type[errors.ApiError]]] = [
    (bad(403, 10000, "Authentication error"), errors.MissingRightError),
    (bad(400, 10000, "Authentication error"), errors.MissingRightError),
    (bad(401, "10000", "Authentication error"), errors.MissingRightError),
    (bad(403, 9109, "Unauthorized to access requested resource"), errors.MissingRightError),
    (bad(403, 9109, "Invalid access token"), errors.TokenRefusedError),
    (bad(401, 1000, "Invalid API Token"), errors.TokenRefusedError),
    (bad(400, 6003, "Invalid request headers"), errors.TokenRefusedError),
    (bad(403, 9999, "access.api.error.not_enabled"), errors.ZeroTrustOffError),
    (bad(400, 9999, "access.api.error.not_enabled"), errors.ZeroTrustOffError),
    (bad(409, 1013, "You already have a tunnel with this name"), errors.TakenError),
    (bad(400, 81053, "An A, AAAA, or CNAME record with that host already exists."), errors.TakenError),
    (bad(400, 81058, "An identical record already exists."), errors.TakenError),
    (bad(400, 12130, "access.api.error.application_already_exists"), errors.TakenError),
    (bad(400, 1022, "active connections"), errors.InUseError),
    (bad(404, 1003, "Tunnel not found"), errors.GoneError),
    (bad(404, 81044, "Record does not exist."), errors.GoneError),
    (bad(404, 7003, "Could not route to /x, perhaps your object identifier is invalid?"), errors.ApiError),
    (bad(200, 1, "something"), errors.ApiError),
    (httpx2.Response(200, text="<html>a captive portal</html>"), errors.ApiError),
    (httpx2.Response(200, json=[1]), errors.ApiError),
]


@pytest.mark.parametrize(("answer", "kind"), CASES, ids=[f"{a.status_code}-{k.__name__}-{n}" for n, (a, k) in enumerate(CASES)])
def test_each_refusal_is_of_one_kind(answer: httpx2.Response, kind: type[errors.ApiError]) -> None:
    """Status and code decide, codes come as number or text, and what is unknown is shown as it came."""
    error, _ = ask("PUT", answer)
    assert type(error) is kind


@pytest.mark.parametrize("right", list(Right))
def test_a_missing_permission_is_named_as_the_dashboard_names_it(right: Right) -> None:
    """The message says which permission, and the hint leads to the page that makes a token with it."""
    client, *_ = client_of(bad(403, 10000, "Authentication error"))
    with pytest.raises(errors.MissingRightError) as caught:
        client.request(Call("GET", "/x", "do it", right))
    assert right.title in caught.value.message
    assert right.title.replace("Tunnel › Read", "Tunnel › Edit").replace("Groups › Read", "Groups › Edit") in caught.value.hint
    assert "https://dash.cloudflare.com/profile/api-tokens?permissionGroupKeys=%5B%7B" in caught.value.hint
    assert caught.value.exit_code == 3


def page(numbers: range, number: int, total: int | None, size: int = 50) -> httpx2.Response:
    """Return one page of a list."""
    info = {"page": number, "per_page": size, "count": len(numbers)} | ({} if total is None else {"total_count": total})
    return good([{"id": str(item)} for item in numbers], result_info=info)


@pytest.mark.parametrize(
    ("answers", "count"),
    [
        ([page(range(50), 1, 70), page(range(50, 70), 2, 70)], 70),
        ([page(range(50), 1, None), page(range(50, 100), 2, None), page(range(0), 3, None)], 100),
        ([page(range(50), 1, None)], 50),  # a server that ignores `page` gives the same one forever
        ([page(range(20), 1, 45, 20), page(range(20, 40), 2, 45, 20), page(range(40, 45), 3, 45, 20)], 45),
        ([good([{"id": "a"}, {"id": "b"}])], 2),  # no pages at all
        ([good(None)], 0),
    ],
)
def test_all_pages_are_read_and_no_more(answers: list[httpx2.Response], count: int) -> None:
    """A list ends if the server says so, if nothing new comes, and if there are no pages."""
    client, transport, _ = client_of(*answers)
    assert len(client.listed("/x", "list", Right.DNS_EDIT)) == count
    assert len(transport.requests) <= len(answers) + 1


@pytest.mark.parametrize("base", ["http://api.cloudflare.com/client/v4", "ftp://x", "https://", "https://u@h/", "x", ""])
def test_a_token_goes_nowhere_in_clear(base: str) -> None:
    """Only https, or this machine itself, may be the API."""
    with pytest.raises(UsageError):
        require_safe(base)
    require_safe("http://127.0.0.1:1/client/v4")


def test_no_error_shows_the_token() -> None:
    """Whatever Cloudflare answers, the token is in no message and in no representation."""
    token = "cfut_" + "a" * 40
    client = Client(Secret(token), transport=Scripted(bad(403, 10000, "no")), sleep=lambda _: None)
    with pytest.raises(errors.ApiError) as caught:
        client.get("/x", "look", Right.ZONE_READ)
    assert token not in f"{caught.value!r} {caught.value.message} {caught.value.hint} {client!r}"


def test_what_is_gone_already_is_deleted() -> None:
    """A delete tolerates that another client was faster."""
    client, *_ = client_of(bad(404, 81044, "Record does not exist."))
    Api(client).delete_record("z", "r")


def test_connections_that_the_edge_remembers_do_not_keep_a_tunnel() -> None:
    """A tunnel that is refused for its connections is cleaned up and deleted then."""
    client, transport, _ = client_of(bad(400, 1022, "active connections"), good({}), good({}))
    Api(client).delete_tunnel("a", "t")
    assert [request.url.path.rpartition("/")[2] for request in transport.requests] == ["t", "connections", "t"]


def test_a_tunnel_that_is_in_use_says_what_to_end() -> None:
    """Connectors that come back at once keep a tunnel: the error names the command that shows them."""
    client, *_ = client_of(bad(400, 1022, "active connections"), good({}), bad(400, 1022, "active connections"))
    with pytest.raises(errors.InUseError) as caught:
        Api(client).delete_tunnel("a", "t")
    assert "prx tunnels" in caught.value.hint


@pytest.mark.parametrize(
    ("headers", "waiting"),
    [
        ({"retry-after": "900"}, "15 minutes, as Cloudflare asks"),
        ({"retry-after": "299"}, "5 minutes, as Cloudflare asks"),
        ({"retry-after": "9"}, "a minute, as Cloudflare asks"),
        ({"ratelimit": '"default";r=0;t=100'}, "2 minutes, as Cloudflare asks"),
        ({}, "5 minutes"),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}, "5 minutes"),
        ({"retry-after": "0"}, "5 minutes"),
    ],
)
def test_a_rate_limit_says_how_long_it_lasts(headers: dict[str, str], waiting: str) -> None:
    """The hint is what Cloudflare asks for: who comes back sooner makes the limit last longer."""
    transport = Scripted(bad(429, 971, "limited", **headers))
    client = Client(Secret("t" * 40), transport=transport, sleep=lambda _: None)
    with client, pytest.raises(errors.RateLimitedError) as caught:
        client.request(Call("GET", "/zones", "look", Right.ZONE_READ))
    assert caught.value.hint.startswith(f"wait {waiting}, then run the same command again")
