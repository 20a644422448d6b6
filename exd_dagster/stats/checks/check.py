"""The definition of a check: name, question, evaluation, and message texts."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any, Literal, TypeAlias

from exd_dagster.bins.model import FlagBins, FlagSegments, no_segments
from exd_dagster.config import FlagAudit, Thresholds
from exd_dagster.errors import InputError
from exd_dagster.stats.carried import Carried
from exd_dagster.stats.verdict import Verdict
from exd_dagster.stats.window import Window, counted, split_window

Blocks: TypeAlias = Literal["by default", "when asked", "never"]
Evidence: TypeAlias = Literal["split", "traffic", "segments", ""]


@dataclass(frozen=True)
class Case:
    """The input of a check.

    Attributes:
        flag: who is counted, and the declared split with its phases.
        bins: the flag's closed hourly bins.
        thresholds: the levels.
        judged: hours whose traffic alarms count, [start, end) in UTC; None: the last 24 closed ones.
        divided: the newly exposed units of the bins by segment; None: they are not divided.
        stages: the bins of the flag's other stages, by name.
        carried: states of earlier evaluations, and where those of this one are saved; None: all is computed
            from the first hour.
    """

    flag: FlagAudit
    bins: FlagBins
    thresholds: Thresholds
    judged: tuple[datetime, datetime] | None = None
    divided: FlagSegments | None = None
    stages: Mapping[str, FlagBins] = field(default_factory=dict)
    carried: Carried | None = None

    @property
    def segments(self) -> FlagSegments:
        """The units by segment; no segment where they are not divided."""
        return no_segments(self.bins) if self.divided is None else self.divided

    @cached_property
    def closed(self) -> FlagBins:
        """The bins up to the flag's end."""
        return counted(self.flag, self.bins)

    @cached_property
    def window(self) -> Window:
        """The current iteration, computed on first use.

        Raises:
            ExdError: when the bins cannot be compared with the declared split.
        """
        return split_window(self.flag, self.closed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wording:
    """The message texts of a failing check.

    Attributes:
        title: in front of a headline.
        heading: above its numbers.
        meaning: one sentence: what the failure means for results. Replaced if `alerts/messages/faults.py`
            knows the kind of the fault.
        step: one sentence: what to inspect; `{since}` is replaced by " since <instant>" or nothing.
        corrected: what closes the alert: "When <corrected> again".
    """

    title: str
    heading: str
    meaning: str = "This check fails; results of this flag may be wrong."
    step: str = ""
    corrected: str = "the records are corrected, materialize the bins"


def _not_of_bins(_: Case) -> Verdict:
    raise InputError("this check is not evaluated from the bins of a flag")


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One check of a flag. Its file declares it; `CHECKS` lists it; everything else derives from here.

    Attributes:
        name: of the Dagster check, in decisions, routes and metadata.
        question: description of the Dagster check.
        judge: returns the verdict. An error it raises becomes the verdict "not_checked". A check of a
            report or of a fleet has none of its own.
        alert_type: machine-readable type of its alerts.
        wording: the message texts of its failure.
        verdict: class of its verdicts, created without numbers if there is nothing to evaluate.
        blocks: whether a failure with severity ERROR blocks a flag in mode block: by default, when the flag
            names the check in `block_on`, or never.
        warns: whether a failure that does not block is a warning of the flag: shown by `trust`, its row and
            its page.
        sent: whether a failure is sent at once although it blocks nothing.
        evidence: contents of its chart and headline; "split" also has likely causes.
        shutoff: True when a blocking failure calls `on_shutoff`.
        declared: numbers of the verdict that are known before any unit is counted.
        needs: the field of a flag without which it has no such check; "" for every flag.
    """

    name: str
    question: str
    alert_type: str
    wording: Wording
    judge: Callable[[Case], Verdict] = field(default=_not_of_bins, repr=False)
    verdict: type[Verdict] = Verdict
    blocks: Blocks = "when asked"
    warns: bool = False
    sent: bool = False
    evidence: Evidence = ""
    shutoff: bool = False
    declared: Callable[[Case], Mapping[str, Any]] = field(default=lambda _: {}, repr=False)
    needs: str = ""
