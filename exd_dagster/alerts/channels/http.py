"""Post bytes to one vetted address: pinned, TLS verified, no redirects, bounded response."""

import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from socket import create_connection
from typing import Any
from urllib.parse import urlsplit

from exd_dagster.alerts.channels.guard import RefusedAddressError, redact, vetted_address
from exd_dagster.alerts.policy.retry import Outcome

MAX_ANSWER = 4096


@dataclass(frozen=True, slots=True)
class Answer:
    """The response of a server: status, headers by lower-case name, and at most 4 KB of body."""

    status: int
    headers: Mapping[str, str]
    body: str


def tls_context(ca_file: str | None = None) -> ssl.SSLContext:
    """Return a verifying context, at least TLS 1.2, with `ca_file` as a further authority."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca_file:
        context.load_verify_locations(ca_file)
    return context


def post(
    url: str,
    body: bytes,
    headers: Mapping[str, str],
    *,
    timeout: float,
    allow_hosts: Sequence[str] = (),
    ca_file: str | None = None,
) -> Answer:
    """Post once to the address the host has now; redirects are returned, not followed.

    Args:
        url: http or https.
        body: exact bytes to send.
        headers: in addition to Host and Content-Length.
        timeout: seconds for each network operation.
        allow_hosts: hosts that may be private.
        ca_file: PEM file of a further certificate authority.

    Raises:
        RefusedAddressError: for a private address that is not allowed.
        OSError, http.client.HTTPException: when there was no response.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    secure = parts.scheme == "https"
    port = parts.port or (443 if secure else 80)
    address = vetted_address(host, port, allow_hosts)
    connection = (
        HTTPSConnection(host, port, timeout=timeout)
        if secure
        else HTTPConnection(host, port, timeout=timeout)
    )
    raw = create_connection((address, port), timeout=timeout)
    try:
        connection.sock = tls_context(ca_file).wrap_socket(raw, server_hostname=host) if secure else raw
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request("POST", path, body, dict(headers))
        response = connection.getresponse()
        text = response.read(MAX_ANSWER).decode("utf-8", "replace")
        return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, text)
    finally:
        connection.close()
        raw.close()


def answer_of(
    url: str, body: bytes, headers: Mapping[str, str], hidden: Sequence[str], **limits: Any
) -> Answer | Outcome:
    """Post once and return the answer, or the outcome of an attempt that got none.

    Args:
        url: http or https.
        body: exact bytes to send.
        headers: in addition to Host and Content-Length.
        hidden: secrets, not to be shown in the outcome.
        limits: timeout, allow_hosts and ca_file, as of `post`.
    """
    try:
        return post(url, body, headers, **limits)
    except RefusedAddressError as error:
        return Outcome(status="dead", detail=redact(error, hidden), whole=True)
    except (OSError, HTTPException) as error:
        return Outcome(status="retry", detail=redact(f"{type(error).__name__}: {error}", hidden))
