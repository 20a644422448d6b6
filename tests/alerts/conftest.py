"""A test certificate authority and one notification for the channels."""

import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from exd_dagster.alerts.channels.sender import Notification
from exd_dagster.alerts.messages.answer_sections import Context
from exd_dagster.alerts.messages.compose import compose
from exd_dagster.alerts.model import AlertState, OutboxEntry
from tests.alerts.make import NOW, alert

AUTHORITY = trustme.CA()


@pytest.fixture
def ca_file(tmp_path: Path) -> Iterator[str]:
    with AUTHORITY.cert_pem.tempfile(dir=str(tmp_path)) as path:
        yield path


@pytest.fixture
def tls() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    AUTHORITY.issue_cert("127.0.0.1", "localhost").configure_cert(context)
    return context


@pytest.fixture
def notification() -> Notification:
    reported = alert()
    entry = OutboxEntry(
        id="5ea1" * 8,
        destination="any",
        channel="webhook",
        reason="fire",
        alerts=(reported.id,),
        incidents=("incident-1",),
        created_at=NOW,
        next_attempt_at=NOW,
    )
    message = compose(entry, AlertState(alerts={reported.id: reported}), Context())
    return Notification(id=entry.id, reason="fire", message=message, alerts=(reported,), created_at=NOW)
