"""Which addresses a destination may have, and what of its responses and logs may be shown."""

import logging
import re
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from urllib.parse import urlsplit

from exd_dagster.alerts.messages.text import visible
from exd_dagster.errors import DeliveryError

_UNICAST6 = ip_network("2000::/3")
_WRAPPED6 = tuple(ip_network(net) for net in ("2001::/23", "2001:db8::/32", "2002::/16"))
_SECRETS = re.compile(
    r"(xox[a-z]-[\w-]+|whsec_[\w+/=-]+|https?://hooks\.slack\.com/\S+|(?i:bearer|basic)\s+[\w.~+/=-]{6,})"
)


class RefusedAddressError(DeliveryError):
    """The address of a destination is not allowed."""


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """True for an address of the public internet, but not for one that wraps or routes to another.

    IPv4 must be globally routed unicast; IPv6 must lie in 2000::/3 outside Teredo, documentation and 6to4.
    """
    if isinstance(address, IPv4Address):
        return address.is_global and not address.is_multicast
    return address in _UNICAST6 and not any(address in net for net in _WRAPPED6)


def url_faults(url: str, allow_hosts: Sequence[str]) -> list[str]:
    """Return the faults of a destination's URL, without quoting it, since it may contain a secret."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return ["url: is not a URL; write https://host/path"]
    if not host:
        return ["url: names no host; write https://host/path"]
    if parts.username or parts.password:
        return ["url: contains a user name or password; pass secrets as `secret`"]
    if parts.scheme == "https" or (parts.scheme == "http" and host in allow_hosts):
        return []
    return [f"url: scheme '{parts.scheme}' is not allowed; use https, or name the host in allow_hosts"]


def vetted_address(host: str, port: int, allow_hosts: Sequence[str]) -> str:
    """Resolve a host once and return the address to connect to.

    Args:
        host: name or literal address.
        port: TCP port.
        allow_hosts: host names, addresses or networks that may be private.

    Raises:
        RefusedAddressError: when any address of the host is private and the host is not allowed by name.
        OSError: when the name does not resolve; nothing is contacted.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = [ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]
    if not addresses:
        raise OSError(f"{host} has no address")
    if host not in allow_hosts:
        for address in addresses:
            if not is_public(address) and not _allowed(address, allow_hosts):
                raise RefusedAddressError(
                    f"host {host} resolves to {address}, which is not a public address; "
                    f"if it is yours, name it: allow_hosts=['{host}']"
                )
    return str(addresses[0])


def _allowed(address: IPv4Address | IPv6Address, allow_hosts: Sequence[str]) -> bool:
    for allowed in allow_hosts:
        try:
            if address in ip_network(allowed, strict=False):
                return True
        except ValueError:  # a host name, compared by name
            continue
    return False


def url_secrets(url: str) -> tuple[str, ...]:
    """Return what of a URL may be a secret: the whole, its path and query, and each longer part of them."""
    parts = urlsplit(url)
    pieces = [piece for piece in re.split(r"[/?&=]", f"{parts.path}?{parts.query}") if len(piece) >= 8]
    return tuple(text for text in (url, parts.path.strip("/"), parts.query, *pieces) if len(text) >= 8)


def redact(text: object, secrets: Sequence[str | None] = (), limit: int = 500) -> str:
    """Return a response or error safe for logs: secrets replaced, one line, shortened."""
    shown = str(text)
    for secret in sorted({s for s in secrets if s}, key=len, reverse=True):
        shown = shown.replace(secret, "***")
    return visible(_SECRETS.sub("***", shown))[:limit]


class _Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@contextmanager
def captured_warnings(*loggers: str) -> Iterator[list[str]]:
    """Keep what libraries log out of our logs, for it may hold addresses; give the warnings as lines."""
    handler = _Lines()
    before = [(log, log.propagate) for log in map(logging.getLogger, loggers)]
    for log, _ in before:
        log.propagate = False
        log.addHandler(handler)
    try:
        yield handler.lines
    finally:
        for log, propagates in before:
            log.removeHandler(handler)
            log.propagate = propagates
