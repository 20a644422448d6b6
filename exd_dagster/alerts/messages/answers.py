"""Answers to a notification: addresses of the launchpad with a decision filled in."""

import glob
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import quote

from exd_dagster.alerts.messages.message import Answer
from exd_dagster.config import FlagId
from exd_dagster.stats.checks import check_of

LONGEST = 3000
"""Characters of an address that Slack takes in a button."""
LISTED = 1000
"""Characters of flags that are listed in an answer; longer lists are named by their message."""
MESSAGE = "message:"
"""Begins the field `flags` of a decision about every flag of a message."""
ANSWERS: Mapping[str, tuple[str, str, timedelta]] = {
    "Acknowledge": ("acknowledge", "looking into it", timedelta(days=1)),
    "Silence 24 h": ("silence", "", timedelta(days=1)),
    "Waive 7 days": ("waive", "", timedelta(days=7)),
    "End the audit": ("end", "", timedelta(days=30)),
}
"""Label of each answer: its decision, a reason to begin with, and until when."""
ASKS_WHY = ("waive", "end")
"""Decisions for which a person must say why: in Slack their buttons open a form."""
WAS_IT_REAL = "Was it real?"
CLOSES: Mapping[str, str] = {"Real": "real", "False alarm": "false", "Expected": "expected"}
"""Label of each answer to "was it real?": the verdict it fills in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Launchpad:
    """The job that records decisions, in one code location.

    Attributes:
        base_url: of the Dagster UI; "" for addresses below it.
        location: name of the code location; "" where it is not known: there are no addresses then.
        job: name of the job.
        op: name of its op.
    """

    base_url: str = ""
    location: str = ""
    job: str = "flag_decision"
    op: str = "flag_decisions"

    def answers(
        self, flags: Sequence[FlagId], checks: str, now: datetime, message: str = ""
    ) -> tuple[Answer, ...]:
        """Return each answer to a failure; who decides, and why, is left to fill in.

        The audit of several flags is not ended by one press.

        Args:
            flags: the failing flags.
            checks: the failing check, or "*".
            now: the time from which an answer holds (UTC).
            message: id of the message, which stands for flags that are too many to be listed.
        """
        if not self.location:
            return ()
        about, found = self._about(flags, message), []
        for label, (kind, reason, _) in ANSWERS.items():
            if (len(flags) > 1 and kind == "end") or (kind == "waive" and check_of(checks).sent):
                continue
            values = {"kind": kind, "flags": about, "checks": checks, "reason": reason, "by": ""}
            address = self.filled_in({**values, "until": until_of(kind, now)})
            found.append(
                Answer(
                    label=label if len(flags) == 1 else f"{label}, all {len(flags)}",
                    address=address,
                    kind=kind,
                    flags=about,
                    checks=checks,
                    location=self.location,
                    job=self.job,
                    op=self.op,
                    count=len(flags),
                )
            )
        return tuple(answer for answer in found if len(answer.address) <= LONGEST)

    def closes(
        self, flags: Sequence[FlagId], checks: str, incident: str, message: str = ""
    ) -> tuple[tuple[str, str], ...]:
        """Return (label, address) of each answer to "was it real?"; cause and name are left to fill in.

        Args:
            flags: the flags.
            checks: the check that failed, or "*".
            incident: id of the incident; "": the latest of each flag.
            message: id of a message about these flags alone, which stands for too many to be listed.
        """
        about = self._about(flags, message)
        found = [
            (
                label if len(flags) == 1 else f"{label}, all {len(flags)}",
                self._close(about, checks, incident, verdict),
            )
            for label, verdict in CLOSES.items()
        ]
        return tuple((label, address) for label, address in found if 0 < len(address) <= LONGEST)

    def close(self, flag: FlagId, checks: str, incident: str) -> tuple[tuple[str, str], ...]:
        """Return the one link that leaves the answer open too, for lists of flags; none without address."""
        address = self._close(named([flag]), checks, incident, "")
        return ((WAS_IT_REAL, address),) if 0 < len(address) <= LONGEST else ()

    def _close(self, about: str, checks: str, incident: str, verdict: str) -> str:
        known = {"kind": "close", "flags": about, "checks": checks, "by": "", "cause": ""}
        return self.filled_in({**known, "verdict": verdict, "incident": incident}) if self.location else ""

    def _about(self, flags: Sequence[FlagId], message: str) -> str:
        """Return the field `flags`: the flags, or the message that stands for them."""
        listed = named(flags)
        return f"{MESSAGE}{message}" if message and len(listed) > LISTED else listed

    def filled_in(self, values: Mapping[str, str]) -> str:
        """Return the address of the launchpad with these values; they can only be read as text.

        Args:
            values: of the decision, by field.
        """
        lines = [f"      {name}: {_quoted(value)}" for name, value in values.items()]
        config = "\n".join(["ops:", f"  {self.op}:", "    config:", *lines, ""])
        place = quote(self.location, safe="")
        job = quote(self.job, safe="")
        base = self.base_url.rstrip("/")
        return f"{base}/locations/{place}/jobs/{job}/playground/setup?config={quote(config, safe='')}"


def named(flags: Sequence[FlagId]) -> str:
    """Return globs that name these flags and no others, as the field `flags` of a decision takes them."""
    return ",".join(glob.escape(str(flag)).replace(",", "[,]") for flag in flags)


def until_of(kind: str, now: datetime) -> str:
    """Return when a decision of a kind, made `now` (UTC), ends by default, as the job takes it."""
    span = next(span for known, _, span in ANSWERS.values() if known == kind)
    return f"{(now + span).replace(minute=0, second=0, microsecond=0):%Y-%m-%dT%H:%MZ}"


def _quoted(text: str) -> str:
    """Return text as a double-quoted YAML scalar: nothing in it can end it."""
    return '"' + "".join(map(_shown, text)) + '"'


def _shown(char: str) -> str:
    if char in '"\\':
        return f"\\{char}"
    if char.isprintable():
        return char
    return f"\\u{ord(char):04x}" if ord(char) < 0x10000 else f"\\U{ord(char):08x}"
