"""Evaluation reasons as vendors write them, and which of them say that no assignment took place.

`ERROR`, `error` and `Error` are one reason, and so are `PREREQUISITE_FAILED` and `prerequisiteFailed`: case
and separators say nothing. LaunchDarkly's reason is an object, `{"kind": "ERROR", "errorKind": "..."}`: its
`kind` is the reason, whether the log has it as JSON, as text of a struct, or as a struct.
"""

import re
from collections.abc import Iterable

NOT_ASSIGNED = "not_assigned"
"""The reason of a row whose values, by the preset of its log, say that the unit was given no variant."""

EXCLUDED_REASONS = ("off", "error", "sdk_default", "prerequisite_failed", "disabled", "default", NOT_ASSIGNED)
"""Evaluation reasons that are counted separately by default: no assignment took place.

| reason | who writes it | meaning |
|---|---|---|
| off, error, prerequisite_failed | exd, LaunchDarkly; error: OpenFeature too | nothing was evaluated |
| sdk_default | exd | the caller's default was served |
| disabled | OpenFeature | the flag is disabled where it is managed |
| default | OpenFeature | a pre-configured value: nothing was evaluated, or without a result |
| not_assigned | a preset | a variant or reason by which the vendor says "in no variant" |

OpenFeature's STATIC, CACHED, STALE, SPLIT, TARGETING_MATCH and UNKNOWN, and LaunchDarkly's FALLTHROUGH,
RULE_MATCH and TARGET_MATCH count: a unit was given its variant, however fresh the answer.
"""

_OBJECT_KIND = r"""^\s*\{(?:.*,)?\s*["']?kind["']?\s*[:=]\s*["']?([A-Za-z_ -]+)"""


def reason_form(reason: str) -> str:
    """Return what a reason is compared by: in lower case, without separators; of an object its kind."""
    kind = re.match(_OBJECT_KIND, reason, re.DOTALL)
    return re.sub(r"[ _-]", "", (kind[1] if kind else reason).lower())


def reason_form_sql(reason: str) -> str:
    """Return SQL for `reason_form` of an expression that is never NULL."""
    pattern = "'" + _OBJECT_KIND.replace("'", "''") + "'"
    kind = f"regexp_extract({reason}, {pattern}, 1, 's')"
    text = (
        f"CASE WHEN ltrim({reason}) LIKE '{{%' THEN coalesce(nullif({kind}, ''), {reason}) ELSE {reason} END"
    )
    return f"translate(lower({text}), ' _-', '')"


def is_reason(column: str, reasons: Iterable[str]) -> str:
    """Return SQL for "the column, NULL or not, has one of these reasons"."""
    forms = ", ".join("'" + form.replace("'", "''") + "'" for form in sorted(set(map(reason_form, reasons))))
    written = reason_form_sql(f"coalesce({column}, '')")
    return f"({written} IN ({forms}))" if forms else "false"
