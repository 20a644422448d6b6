"""What a check is: its name, what it asks, how it judges, and what people read about it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any, Literal, TypeAlias

from exd_dagster.bins.model import FlagBins
from exd_dagster.config import FlagAudit, Thresholds
from exd_dagster.stats.verdict import Verdict
from exd_dagster.stats.window import Window, counted, split_window

Blocks: TypeAlias = Literal["by default", "when asked", "never"]
Evidence: TypeAlias = Literal["split", "traffic", ""]


@dataclass(frozen=True)
class Case:
    """What a check judges.

    Attributes:
        flag: who is counted, and the declared split with its phases.
        bins: the flag's closed hourly bins.
        thresholds: the levels.
        judged: hours whose traffic alarms count, [start, end) in UTC; None: the last 24 closed ones.
    """

    flag: FlagAudit
    bins: FlagBins
    thresholds: Thresholds
    judged: tuple[datetime, datetime] | None = None

    @cached_property
    def closed(self) -> FlagBins:
        """The bins up to the flag's end."""
        return counted(self.flag, self.bins)

    @cached_property
    def window(self) -> Window:
        """The current iteration, made by the check that asks first.

        Raises:
            ExdError: when the bins cannot be compared with the declared split.
        """
        return split_window(self.flag, self.closed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wording:
    """What messages say of a failing check.

    Attributes:
        title: in front of a headline.
        heading: above its numbers.
        meaning: one sentence: what the failure means for results. Where `alerts/messages/faults.py` knows the
            kind of the fault, it says so instead.
        step: one sentence: what to look at; `{since}` stands for " since <instant>" or nothing.
    """

    title: str
    heading: str
    meaning: str = "This check fails; results of this flag may be wrong."
    step: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One check of a flag. Its file declares it; `CHECKS` lists it; everything else derives from here.

    Attributes:
        name: of the Dagster check, in decisions, routes and metadata.
        question: what it asks; description of the Dagster check.
        judge: the verdict on a case. An error it raises becomes the answer "not_checked".
        alert_type: machine-readable type of its alerts.
        wording: what messages say of its failure.
        verdict: class of its verdicts, made without numbers where there is nothing to judge.
        blocks: whether a failure with severity ERROR blocks a flag in mode block: by default, when the flag
            names the check in `block_on`, or never.
        evidence: what its picture shows and what its headline counts; "split" also has causes to look for.
        shutoff: True when a failure that blocks asks for the assignment to be suspended.
        declared: numbers of the verdict that are known before any unit is counted.
    """

    name: str
    question: str
    judge: Callable[[Case], Verdict] = field(repr=False)
    alert_type: str
    wording: Wording
    verdict: type[Verdict] = Verdict
    blocks: Blocks = "when asked"
    evidence: Evidence = ""
    shutoff: bool = False
    declared: Callable[[Case], Mapping[str, Any]] = field(default=lambda _: {}, repr=False)
