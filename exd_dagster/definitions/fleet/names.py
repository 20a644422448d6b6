"""The Dagster names of a fleet, unique in its code location."""

from dataclasses import dataclass
from re import fullmatch, sub

import dagster as dg

from exd_dagster.errors import ConfigError

DEFAULT_FLEET = "exd"
"""The fleet of a project that names none; its assets bear plain names."""


@dataclass(frozen=True, slots=True)
class FleetNames:
    """Every name of one fleet.

    Jobs, schedules, sensors and the store of a fleet are prefixed with its name. So are its assets other
    than bins, except for the default fleet: `flag_trust` there, `search_flag_trust` in the fleet "search".

    Attributes:
        fleet: the `name` given to `build_flag_audit_defs`.
    """

    fleet: str = DEFAULT_FLEET

    def __post_init__(self) -> None:
        if not fullmatch(r"[A-Za-z0-9_]+", self.fleet):
            near = sub(r"[^A-Za-z0-9_]", "_", self.fleet) or DEFAULT_FLEET
            fault = f"name: '{self.fleet}' has other signs than letters, digits and _; write {near}"
            raise ConfigError("the fleet", [fault])

    def own(self, noun: str) -> str:
        """Return what this fleet calls something that every fleet has one of."""
        return noun if self.fleet == DEFAULT_FLEET else f"{self.fleet}_{noun}"

    @property
    def store(self) -> str:
        """Resource key of the bin store."""
        return f"{self.fleet}_store"

    @property
    def bins_op(self) -> str:
        """Op that builds the bins."""
        return f"{self.fleet}_variant_bins"

    @property
    def audit_job(self) -> str:
        """Job that builds the bins and runs their checks."""
        return f"{self.fleet}_audit"

    @property
    def records_sensor(self) -> str:
        """Sensor that audits when the records were loaded."""
        return f"{self.fleet}_records_audit"

    @property
    def alert_sensor(self) -> str:
        """Alert sensor; also the key of the alerting state."""
        return f"{self.fleet}_check_alerts"

    @property
    def monitoring(self) -> str:
        """Sensor that publishes metrics."""
        return f"{self.fleet}_monitoring"

    @property
    def decision_checks(self) -> str:
        """Job and sensor that repeat the checks a decision touches."""
        return f"{self.fleet}_decision_checks"

    @property
    def decision_job(self) -> str:
        """Job that records a decision."""
        return self.own("flag_decision")

    @property
    def trust_job(self) -> str:
        """Job that refreshes `flag_trust`; Dagster allows no job the name of an asset's op."""
        return "exd_flag_trust" if self.fleet == DEFAULT_FLEET else f"{self.fleet}_flag_trust_job"

    @property
    def trust_sensor(self) -> str:
        """Sensor that runs it after each audit."""
        return f"{self.fleet}_flag_trust_sensor"

    @property
    def decisions(self) -> dg.AssetKey:
        """Asset of the decisions."""
        return dg.AssetKey(self.own("flag_decisions"))

    @property
    def trust(self) -> dg.AssetKey:
        """Asset that lists which flags may be used."""
        return dg.AssetKey(self.own("flag_trust"))

    @property
    def ledger(self) -> dg.AssetKey:
        """Asset of what became of incidents."""
        return dg.AssetKey(self.own("incident_ledger"))

    @property
    def ledger_page(self) -> str:
        """HTML file of `incident_ledger`, in the folder of the store."""
        return self.own("incident_ledger.html")

    @property
    def trust_page(self) -> str:
        """HTML file of `flag_trust`, in the folder of the store."""
        return self.own("flag_trust.html")

    @property
    def alerting(self) -> dg.AssetKey:
        """Asset of the deliveries."""
        return dg.AssetKey(self.own("alerting"))

    def schedule(self, *, hourly: bool) -> str:
        """Return the name of the schedule of the audit."""
        return f"{self.fleet}_hourly_audit" if hourly else f"{self.fleet}_nightly_audit"
