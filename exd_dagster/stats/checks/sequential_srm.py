"""The check `sequential_srm`: did the split break at any hour?"""

from dataclasses import replace

from exd_dagster.bins.model import HOUR
from exd_dagster.stats import words
from exd_dagster.stats.checks.check import Case, Check, Wording
from exd_dagster.stats.checks.split import NO_SPLIT, of_iteration, with_change
from exd_dagster.stats.dead_arms import with_dead_arms
from exd_dagster.stats.methods.change_point import ChangePoint
from exd_dagster.stats.sequential.sequential import DEFAULT_ALPHA, SequentialSrmVerdict, judge_sequence
from exd_dagster.stats.window import Window


def _judge(case: Case) -> SequentialSrmVerdict:
    return with_dead_arms(_compared(case), case.window, level=case.thresholds.srm.significance_level)


def _compared(case: Case) -> SequentialSrmVerdict:
    window, limits = case.window, case.thresholds.sequential_srm
    if not window.periods:
        return SequentialSrmVerdict(
            check="sequential_srm", verdict="skipped", reason="no_split_declared", sentence=NO_SPLIT
        )
    alpha = DEFAULT_ALPHA[limits.method] if limits.alpha is None else limits.alpha
    verdict = judge_sequence(
        window.counts,
        window.periods,
        window.names,
        method=limits.method,
        alpha=alpha,
        delta=limits.delta,
        carried=case.carried,
    )
    if verdict.change is None or verdict.first_crossing is None:
        return of_iteration(verdict, window)
    change = verdict.change.at(window.start, HOUR)
    verdict = replace(
        with_change(verdict, change, window),
        change_point=change.hour,
        change=change,
        detected_at=window.instant(verdict.first_crossing + 1),
        sentence=_in_hours(verdict.sentence, change, window),
    )
    return of_iteration(verdict, window)


def _in_hours(sentence: str, change: ChangePoint, window: Window) -> str:
    """Name the fault's bins by their instants."""
    first = words.instant(window.instant(change.bin))
    if change.until is None:
        since = f"since about {first}" if change.bin else "from the start"
        return sentence.replace(f"since bin {change.bin}", since)
    last = words.instant(window.instant(change.until))
    return sentence.replace(f"in bins {change.bin} to {change.until - 1}", f"from {first} to {last}")


SEQUENTIAL_SRM = Check(
    name="sequential_srm",
    question="Did the split break at any hour? Anytime-valid: may be evaluated every hour.",
    judge=_judge,
    alert_type="SEQUENTIAL_SRM_TRIGGERED",
    wording=Wording(
        title="SRM",
        heading="Split over time",
        meaning="The split drifts from the declared one; results of this flag would be wrong.",
    ),
    verdict=SequentialSrmVerdict,
    blocks="by default",
    evidence="split",
    shutoff=True,
)
