"""URLs that name sources, as they may be shown and kept: without what is secret in them.

On the web (``http``, ``https``) all that stands before ``@`` is taken for secret, as a token is often given as a user
name. Elsewhere (``sftp://me@host``, ``abfs://container@account``) what stands there is part of the address, and what
follows its colon a password. A query is always secret; a path never is.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
from collections.abc import Iterator
from urllib.parse import parse_qsl, quote, unquote, unquote_plus, urlsplit, urlunsplit

URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
WEB = ("http", "https")  # protocols that list no folder
HIDDEN = "…"
_WITH_PARTS = ("github",)  # of which what stands before ``@`` is the place, ``org:repository``
_WITH_PORTS = (*WEB, "ftp", "ftps", "sftp", "ssh", "smb")  # of which what follows the host's colon is a number
_IN_TEXT = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://[^\s\"<>]+")
_QUERY_IN_TEXT = re.compile(r"\?[^\s?=\"<>]*=[^\s\"<>]*")
_CLOSING = "'`)]},.;:!"  # what ends a sentence or a bracket around a URL in a text
_SECRET_NAME = re.compile(
    r"SECRET|TOKEN|PASSWORD|PASSWD|PASSPHRASE|CREDENTIAL|CONNECTION_STRING|SAS|AUTH|(?:ACCESS|ACCOUNT|API)_?KEY", re.I
)
_LEAST = 4  # characters of a value that is looked for by itself


def is_url(source: str) -> bool:
    """Whether a source is named by a URL, or by one in another (``simplecache::https://…``)."""
    return any(URL.match(part.strip()) for part in source.split("::"))


def local_path(source: str) -> str:
    """The path of a ``file://`` URL; any other source as it is."""
    return unquote(urlsplit(source).path) if source.lower().startswith("file://") else source


def shown_url(url: str) -> str:
    """A URL without what is secret; of a query, six digits of its SHA-256, which tell two of them apart.

    Of what this returned, it returns the same. Of one that cannot be understood only the protocol is shown.
    """
    if "::" in url and any(is_url(part) for part in url.split("::")[1:]):  # one in another
        return "::".join(shown_url(part) if is_url(part) else part for part in url.split("::"))
    try:
        parts = urlsplit(url)
        if parts.scheme in _WITH_PORTS:
            _ = parts.port  # a password with `/`, `?` or `#` ends the host at its colon
    except ValueError:
        return f"{url.partition('://')[0]}://{HIDDEN}"
    user, at, host = parts.netloc.rpartition("@")
    if not at and ":" in host and "@" in url.partition("://")[2]:  # such a password where no port is known
        return f"{url.partition('://')[0]}://{HIDDEN}"
    name = "" if parts.scheme in WEB else user if parts.scheme in _WITH_PARTS else user.partition(":")[0]
    place = f"{name}@{host}" if at and name else host
    is_known = re.fullmatch("q=[0-9a-f]{6}", parts.fragment) is not None
    fragment = parts.fragment if is_known or parts.scheme not in WEB else ""  # elsewhere `#` is part of a name
    if parts.query:
        fragment = "#".join(filter(None, [fragment, f"q={hashlib.sha256(parts.query.encode()).hexdigest()[:6]}"]))
    path = parts.path if parts.scheme in WEB else parts.path.rstrip("/")
    return urlunsplit((parts.scheme, place, path, "", fragment))


def has_secrets(source: str) -> bool:
    """Whether a source is a URL of which something that is needed to fetch it is not shown."""
    if not is_url(local_path(source)):
        return False
    try:
        parts = urlsplit(source)
    except ValueError:
        return True
    return bool(parts.query) or parts.netloc != urlsplit(shown_url(source)).netloc or "::" in source


def without_secrets(url: str, text: str) -> str:
    """What a library says of a URL, without what is secret in it.

    That is: what ``shown_url`` leaves out of this URL and of any other in the text, as of one that a server led to, in
    whatever form a library writes it; a query without its URL; and what the environment and the settings of fsspec call
    a token, key or password.
    """
    text = text.replace(url, shown_url(url))
    text = _IN_TEXT.sub(_shown, text)
    text = _QUERY_IN_TEXT.sub(f"?{HIDDEN}", text)
    for secret in sorted({*_secrets(url), *_settings()}, key=len, reverse=True):
        text = re.sub(_standing(secret), HIDDEN, text)
    return text


def _standing(secret: str) -> str:
    """A pattern for a secret in a text; a short one, which may be a part of a word, stands by itself."""
    if len(secret) >= 2 * _LEAST:
        return re.escape(secret)
    before, behind = r"(?<!\w)" * secret[0].isalnum(), r"(?!\w)" * secret[-1].isalnum()
    return f"{before}{re.escape(secret)}{behind}"


def _shown(found: re.Match[str]) -> str:
    """A URL in a text as it may be shown, with what ends it there."""
    url = found[0].rstrip(_CLOSING)
    return shown_url(url) + found[0][len(url) :]


def _secrets(url: str) -> Iterator[str]:
    """What is secret in a URL, as it is written there and as libraries write it."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return
    given = "" if parts.scheme in _WITH_PARTS else parts.netloc.rpartition("@")[0]
    user, _, password = given.partition(":")
    found = [parts.query, password]
    if parts.scheme in WEB:
        found += [given, user]
    for name, value in parse_qsl(parts.query):
        found += [f"{name}={value}", *([value] if len(value) >= _LEAST else [])]
    for one in filter(None, found):
        plain = unquote(one)
        yield from filter(None, {one, plain, unquote_plus(one), quote(plain), quote(plain, safe="")})
    if given:
        yield base64.b64encode(unquote(given).encode()).decode()


def _settings() -> Iterator[str]:
    """The values of the environment and of fsspec's settings whose names say that they are secret."""
    for name, value in os.environ.items():
        if _SECRET_NAME.search(name) and len(value) >= 2 * _LEAST:
            yield value
    try:
        from fsspec.config import conf
    except ImportError:
        return
    yield from _named(conf, is_secret=False)


def _named(settings: object, *, is_secret: bool) -> Iterator[str]:
    """The texts of nested settings that stand under a name that says that they are secret."""
    if isinstance(settings, dict):
        for name, value in settings.items():
            known = is_secret or bool(_SECRET_NAME.search(str(name))) or str(name).lower() in ("key", "pass", "user")
            yield from _named(value, is_secret=known)
    elif is_secret and isinstance(settings, str) and len(settings) >= _LEAST:
        yield settings
