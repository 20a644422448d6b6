"""The check `reconcile`: does a report hold the units that were exposed, of every arm alike?

It belongs to a report's asset and not to the bins of a flag, so it is not one of `CHECKS`.
"""

from exd_dagster.stats.checks.check import Check, Wording
from exd_dagster.stats.reports.reconcile import ReconcileVerdict

RECONCILE = Check(
    name="reconcile",
    question="Does the report hold the units that were exposed, of every arm alike?",
    alert_type="RECONCILE_FAILED",
    wording=Wording(
        title="Report",
        heading="Units in the report",
        meaning="A report holds other units than were exposed; its comparison of the arms is biased.",
        step="Compare unit ids: those exposed that the report lacks, and those that it holds more than once.",
        corrected="the report is corrected, build it",
    ),
    verdict=ReconcileVerdict,
    blocks="by default",
)
