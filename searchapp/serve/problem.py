"""A request that cannot be answered: the HTTP status and the one error body that all routes use."""

from __future__ import annotations

import re

from searchapp.errors import SearchAppError

COMMAND = re.compile(r"`searchapp [^`]+`")
TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    408: "timeout_error",
    409: "conflict_error",
    412: "conflict_error",
    413: "invalid_request_error",
    415: "invalid_request_error",
    429: "rate_limit_error",
    500: "server_error",
    503: "unavailable_error",
    504: "timeout_error",
}


class ProblemError(Exception):
    """An answer other than success. ``param`` names the field at fault, ``code`` is for programs to compare."""

    def __init__(
        self, status: int, message: str, *, param: str | None = None, code: str | None = None, retry: int | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param
        self.code = code
        self.retry = retry  # seconds, for the header Retry-After

    def body(self) -> dict[str, dict[str, str | None]]:
        """The JSON object, in the shape that OpenAI's clients read."""
        kind = TYPES.get(self.status, "invalid_request_error" if self.status < 500 else "server_error")
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}


def over_http(text: str) -> str:
    """A message of the library for a client, who has no command line here.

    Options lose their dashes, as they are fields; a command is for whoever runs the server.
    """
    first, *others = text.removeprefix("--").split("; ")
    commands = [command for part in others for command in COMMAND.findall(part)]
    kept = [part for part in others if not COMMAND.search(part)]
    advice = [f"whoever runs the server can do {', '.join(commands)}"] if commands else []
    return "; ".join([first, *kept, *advice])


def refused(error: SearchAppError, param: str | None = None) -> ProblemError:
    """What the library says of a value, as an answer: 400 with its own line."""
    text = over_http(str(error))
    if param is None and text.startswith("filter "):
        param = "filter"
    return ProblemError(400, text, param=param)
