"""The heartbeat: an address that is called while all is well, as healthchecks.io and its kind expect.

When the calls stop, because the daemon or the machine did, that service says so from outside.
"""

from collections.abc import Sequence
from http.client import HTTPException
from urllib.parse import urlsplit, urlunsplit

from exd_dagster.alerts.channels.guard import redact, url_secrets
from exd_dagster.alerts.channels.http import post
from exd_dagster.errors import DeliveryError


def ping(url: str, faults: Sequence[str], *, timeout: float, allow_hosts: Sequence[str] = ()) -> None:
    """Call the address, or its `/fail` with what is wrong.

    Args:
        url: of the check; a secret.
        faults: what is wrong, one sentence each; none: all is well.
        timeout: seconds for each network operation.
        allow_hosts: hosts that may be private.

    Raises:
        DeliveryError: when the service did not answer 2xx; the address is not in the message.
    """
    parts = urlsplit(url)
    path = parts.path.rstrip("/") + ("/fail" if faults else "")
    address = urlunsplit(parts._replace(path=path))
    text = "\n".join(faults) or "Audits end in time and messages are delivered."
    headers = {"Content-Type": "text/plain; charset=utf-8"}
    try:
        answer = post(address, text.encode(), headers, timeout=timeout, allow_hosts=allow_hosts)
    except (OSError, HTTPException, DeliveryError) as error:
        raise DeliveryError(f"the heartbeat was not accepted: {redact(error, url_secrets(url))}") from None
    if not 200 <= answer.status < 300:
        said = redact(answer.body, url_secrets(url), 80)
        raise DeliveryError(f"the heartbeat was not accepted: HTTP {answer.status} {said}".rstrip())
