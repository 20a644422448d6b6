"""What a destination may be: addresses, configuration, secrets."""

import socket
from ipaddress import ip_address

import dagster as dg
import pytest

from exd_dagster.alerts.channels.guard import RefusedAddressError, is_public, redact, vetted_address
from exd_dagster.definitions.alerting.destinations import (
    CallbackAlerts,
    EmailAlerts,
    SlackAlerts,
    WebhookAlerts,
    open_senders,
)
from exd_dagster.errors import ConfigError, DeliveryError


@pytest.mark.parametrize("address", ["93.184.216.34", "1.1.1.1", "2606:4700::1111", "2a00:1450:4001::1"])
def test_a_public_address_is_public(address):
    assert is_public(ip_address(address))


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "::1",
        "::127.0.0.1",
        "::ffff:127.0.0.1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
        "2001::1",
        "2001:db8::1",
        "fe80::1",
        "fc00::1",
        "ff02::1",
    ],
)
def test_what_is_or_wraps_a_private_address_is_not_public(address):
    assert not is_public(ip_address(address))


def test_a_name_with_one_private_address_among_public_ones_is_refused(monkeypatch):
    """Scenario 40: a rebinding name."""
    answers = [(socket.AF_INET, 1, 6, "", (address, 443)) for address in ("93.184.216.34", "10.0.0.7")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answers)
    with pytest.raises(RefusedAddressError, match=r"allow_hosts=\['rebind.example'\]"):
        vetted_address("rebind.example", 443, ())


def test_a_resolver_error_refuses():
    with pytest.raises(OSError, match=r"."):
        vetted_address("no-such-host.invalid", 443, ())


@pytest.mark.parametrize(
    "secret",
    [
        "xoxb-1234-abcd",
        "whsec_MDEyMzQ1Njc4OTAxMjM0NQ==",
        "https://hooks.slack.com/services/T0/B0/abc",
        "Bearer abcdef123456",
        "Basic dXNlcjpwYXNz",
    ],
)
def test_a_recognisable_secret_is_redacted_without_being_reported(secret):
    assert redact(f"cannot reach {secret}") == "cannot reach ***"


def test_an_answer_is_one_short_line():
    assert redact("a\r\nb\x00" + "c" * 900) == "a b\\u0000" + "c" * 491


@pytest.mark.parametrize(
    ("build", "part"),
    [
        (lambda: SlackAlerts(channel="#a", tokn="x"), "tokn: is not a known key. Did you mean 'token'?"),
        (SlackAlerts, "channel: is missing"),
        (lambda: WebhookAlerts(url="http://example.com/hook"), "scheme 'http' is not allowed; use https"),
        (lambda: WebhookAlerts(url="ftp://example.com/"), "scheme 'ftp' is not allowed"),
        (lambda: WebhookAlerts(url="file:///etc/passwd"), "names no host"),
        (lambda: WebhookAlerts(url="https://me:pw@example.com"), "pass secrets as `secret`"),
        (lambda: WebhookAlerts(url="https://example.com", secret="short"), "secret: "),
        (lambda: WebhookAlerts(url="https://example.com", timeout=0), "timeout"),
        (lambda: EmailAlerts(host="h", to=["a@b.c\r\nBcc: x@y.z"]), "is not an e-mail address"),
        (lambda: EmailAlerts(host="h", to=["nobody"]), "is not an e-mail address"),
        (lambda: EmailAlerts(host="h", to=[]), "to"),
        (lambda: EmailAlerts(host="h", to=["a@b.c"], tls="start"), "Did you mean 'starttls'?"),
        (lambda: EmailAlerts(host="mail.example", to=["a@b.c"], tls="none", user="u"), "in the clear"),
        (lambda: CallbackAlerts("no_such_module_at_all:function"), "cannot be imported"),
        (lambda: CallbackAlerts("json:decoder"), "is not callable"),
    ],
)
def test_a_destination_that_cannot_work_is_refused_at_load_with_the_fix(build, part):
    """Scenario 44."""
    with pytest.raises(ConfigError) as caught:
        build()
    assert part in str(caught.value)


def test_every_fault_of_a_destination_is_listed_at_once():
    with pytest.raises(ConfigError) as caught:
        EmailAlerts(host="mail.example", to=["nobody"], tls="none", user="u", hots="x")
    assert len(caught.value.faults) == 3


def test_a_faulty_destination_never_quotes_its_secret():
    for build in (
        lambda: WebhookAlerts(url="http://example.com/S3CRET"),
        lambda: WebhookAlerts(url="https://u:S3CRET@example.com"),
        lambda: WebhookAlerts(url="https://example.com", secret="S3CRET"),
        lambda: SlackAlerts(webhook_url="http://hooks.example/S3CRET"),
        lambda: SlackAlerts(channel="#a", token=["S3CRET"]),
    ):
        with pytest.raises(ConfigError) as caught:
            build()
        assert "S3CRET" not in str(caught.value)


def test_the_repr_of_a_destination_hides_its_secrets():
    shown = [
        repr(SlackAlerts(channel="#a", token="S3CRET")),
        repr(EmailAlerts(host="h", to=["a@b.c"], user="u", password="S3CRET")),
        repr(WebhookAlerts(url="https://example.com/S3CRET", authorization="S3CRET")),
    ]
    senders, _ = open_senders(
        [SlackAlerts(channel="#a", token="S3CRET"), WebhookAlerts(url="https://example.com/S3CRET")]
    )
    assert "S3CRET" not in "".join([*shown, *map(repr, senders.values())])


def test_a_missing_environment_variable_is_named(monkeypatch):
    monkeypatch.delenv("NOT_THERE", raising=False)
    with pytest.raises(DeliveryError, match="environment variable NOT_THERE is not set"):
        SlackAlerts(channel="#a", token=dg.EnvVar("NOT_THERE")).open()


def test_a_value_is_read_from_the_environment_when_it_is_needed(monkeypatch):
    destination = EmailAlerts(host="127.0.0.1", port=dg.EnvVar.int("SMTP_PORT"), to=["a@b.c"])
    monkeypatch.setenv("SMTP_PORT", "2525")
    assert destination.open().port == 2525


def test_mail_is_secured_unless_the_server_is_this_machine():
    assert EmailAlerts(host="mail.example", to=["a@b.c"]).open().tls == "starttls"
    assert EmailAlerts(host="localhost", to=["a@b.c"]).open().tls == "none"


def test_a_callback_may_be_named_by_its_import_path():
    assert CallbackAlerts("json:dumps").open().function.__name__ == "dumps"
