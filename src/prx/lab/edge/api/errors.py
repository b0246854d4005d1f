"""What the API refuses, as status, code and text. There is no official list: the texts are those that users quote."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(eq=False)
class ApiError(Exception):
    """A call is refused; `chain` is what stands in `error_chain`."""

    status: int
    code: int
    message: str
    chain: tuple[tuple[int, str], ...] = ()
    headers: tuple[tuple[str, str], ...] = ()

    def describe(self) -> dict[str, Any]:
        """Write it as an element of `errors`."""
        document: dict[str, Any] = {"code": self.code, "message": self.message}
        if self.chain:
            document["error_chain"] = [{"code": code, "message": message} for code, message in self.chain]
        return document


def not_signed_in() -> ApiError:
    """Refuse a call without a token."""
    return ApiError(400, 9106, "Missing X-Auth-Key, X-Auth-Email or Authorization headers")


def malformed_token() -> ApiError:
    """Refuse a header that cannot hold a token."""
    return ApiError(400, 6003, "Invalid request headers", ((6111, "Invalid format for Authorization header"),))


def invalid_token() -> ApiError:
    """Refuse a token that is not known, if it is asked about itself."""
    return ApiError(401, 1000, "Invalid API Token")


def invalid_access_token(habit: str) -> ApiError:
    """Refuse a token that is not known, or no longer good; `habit` is status and code, such as 403/9109."""
    status, _, code = habit.partition("/")
    return ApiError(int(status), int(code), {"9109": "Invalid access token", "1000": "Invalid API Token"}[code])


def unauthorized_resource() -> ApiError:
    """Refuse an account or a zone that is not the caller's."""
    return ApiError(403, 9109, "Unauthorized to access requested resource")


def no_route(path: str) -> ApiError:
    """Refuse a path that does not exist."""
    return ApiError(400, 7000, f"No route for that URI: {path}")


def bad_identifier(path: str, status: int) -> ApiError:
    """Refuse a path in which an identifier has the wrong form."""
    return ApiError(status, 7003, f"Could not route to {path}, perhaps your object identifier is invalid?")


def method_not_allowed(method: str) -> ApiError:
    """Refuse a method that a path does not have."""
    return ApiError(405, 10405, f"Method {method} not allowed for this authentication scheme")


def bad_json(found: str) -> ApiError:
    """Refuse a body that is no JSON object."""
    return ApiError(400, 6007, f"Malformed JSON in request body: {found}")


def invalid(message: str, code: int = 1004) -> ApiError:
    """Refuse what a body says."""
    return ApiError(400, code, message)


def forbidden(habit: str) -> ApiError:
    """Refuse a call that the token has no permission for; `habit` is status and code, such as 403/10000."""
    status, _, code = habit.partition("/")
    texts = {"10000": "Authentication error", "9109": "Unauthorized to access requested resource"}
    return ApiError(int(status), int(code), texts[code])
