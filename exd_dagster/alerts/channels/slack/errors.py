"""Classify Slack's named errors: retry, correct the destination, or send as plain text. Pure.

The names are those of the method pages of chat.postMessage and chat.update and of the errors of incoming
webhooks. A name in neither list concerns this message only: its blocks, length or thread.
"""

from collections.abc import Mapping
from datetime import datetime

from exd_dagster.alerts.policy.retry import Outcome, retry_after

RETRY = frozenset(
    {
        "ratelimited",
        "rate_limited",
        "message_limit_exceeded",
        "internal_error",
        "fatal_error",
        "rollup_error",
        "service_unavailable",
        "request_timeout",
        "team_added_to_org",
        "org_login_required",
    }
)
"""Slack is busy, broken or moving the workspace: the same message may be taken later."""

LOST_THREAD = (
    "thread_not_found",
    "cannot_reply_to_message",
    "message_not_found",
    "restricted_action_thread_locked",
    "restricted_action_non_threadable_channel",
)
"""The thread accepts no replies; the message is posted outside it."""

_UNUSABLE = "set a valid bot token"
_WEBHOOK = "the incoming webhook was removed; create a new one"
_RULE = "a workspace rule forbids the post; ask the Slack administrator"
_GONE = "unarchive the channel or name another"
_FIXES: Mapping[str, str] = {
    "channel_not_found": "check the channel name or id, and invite the app to it",
    "not_in_channel": "invite the app to the channel",
    "is_archived": _GONE,
    "channel_is_archived": _GONE,
    "messages_tab_disabled": "this app takes no direct messages; name a channel",
    "user_not_found": "check the name or id of the person, or name a channel",
    "invalid_auth": _UNUSABLE,
    "not_authed": _UNUSABLE,
    "not_allowed_token_type": "set a bot token; it begins with xoxb-",
    "token_revoked": "reinstall the Slack app and set its new token",
    "token_expired": "set a fresh bot token",
    "account_inactive": "the app's user was deactivated; reinstall the app",
    "missing_scope": "give the app the chat:write scope",
    "no_permission": "give the app the chat:write scope",
    "access_denied": _RULE,
    "accesslimited": "the workspace refuses this network; allow its address in Slack's settings",
    "action_prohibited": _RULE,
    "ekm_access_denied": "the Slack administrator suspended posting; contact them",
    "enterprise_is_restricted": "an Enterprise token cannot post; use one of a workspace",
    "posting_to_general_channel_denied": _RULE,
    "restricted_action": _RULE,
    "restricted_action_read_only_channel": _RULE,
    "restricted_action_thread_only_channel": "the channel accepts replies in threads only; choose another",
    "team_access_not_granted": "grant the app access to the workspace",
    "team_disabled": "the workspace is disabled; name another",
    "team_not_found": "the workspace is gone; name another",
    "two_factor_setup_required": "set up two-factor authentication for the account of the token",
    "no_active_hooks": _WEBHOOK,
    "no_service": _WEBHOOK,
    "no_service_id": _WEBHOOK,
    "no_team": "the workspace of the webhook is gone; create a webhook in another",
    "invalid_token": _WEBHOOK,
}
"""What is wrong with the destination, and the fix."""


_ANSWERED = "Slack answered"


def slack_outcome(error: str, header: str | None, now: datetime) -> Outcome:
    """Classify an error that Slack names; an unknown one is dead for this message only.

    Args:
        error: its name; "" when the answer was none of Slack's.
        header: the Retry-After header, if any.
        now: when it was received (UTC).
    """
    if not error:
        return Outcome(status="retry", detail="the answer was not one of Slack's; is a proxy in the way?")
    detail = f"{_ANSWERED} {error}"
    if error in RETRY:
        wait = retry_after(header, now)
        return Outcome(status="retry", detail=detail, retry_after=wait, whole="limit" in error)
    if error in _FIXES:
        return Outcome(status="dead", detail=f"{detail}: {_FIXES[error]}", whole=True)
    return Outcome(status="dead", detail=detail)


def is_about_the_message(outcome: Outcome) -> bool:
    """True for a refusal that plain text may avoid: neither the destination nor Slack itself is at fault."""
    return outcome.status == "dead" and not outcome.whole and outcome.detail.startswith(_ANSWERED)
