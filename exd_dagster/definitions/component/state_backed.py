"""The component whose flags come from a vendor's API, by way of Dagster's state: loading never waits."""

import json
import logging
from pathlib import Path
from typing import ClassVar

import dagster as dg
from dagster.components import DefsStateConfig, DefsStateConfigArgs
from pydantic import Field, PrivateAttr

from exd_dagster.config import FlagAudit
from exd_dagster.config.instants import utc_now
from exd_dagster.definitions.component.component import FlagAuditComponent, FlagAuditScaffolder
from exd_dagster.definitions.component.fetch import copies_as_json, copies_from_json, fetch

_log = logging.getLogger(__name__)


@dg.scaffold_with(FlagAuditScaffolder)
class StateBackedFlagAuditComponent(dg.StateBackedComponent, FlagAuditComponent):
    """A `FlagAuditComponent` whose flags come from a vendor's API, by `flags_from: [{url: ...}]`.

    `dg utils refresh-defs-state` asks the API, `dagster dev` does so at its start. Definitions load from the
    state alone.
    """

    defs_state: DefsStateConfigArgs = Field(
        default_factory=DefsStateConfigArgs.local_filesystem,
        description="Where Dagster keeps the state: management_type, key, refresh_if_dev.",
    )

    _fetched: list[FlagAudit] = PrivateAttr(default_factory=list)

    _urls_allowed: ClassVar[bool] = True

    @property
    def defs_state_config(self) -> DefsStateConfig:
        """Return how the state is kept; its key is that of the fleet."""
        return DefsStateConfig.from_args(self.defs_state, default_key=f"{type(self).__name__}[{self.name}]")

    def write_state_to_path(self, state_path: Path) -> None:
        """Ask every API, and write what it answers with the copies kept before.

        Raises:
            ConfigError: when one does not answer with flags.
        """
        now = utc_now()
        state = {source.url: copies_as_json(fetch(source, now)) for source in self.flags_from if source.url}
        state_path.parent.mkdir(parents=True, exist_ok=True)
        state_path.write_text(json.dumps(state), encoding="utf-8")

    def build_defs_from_state(
        self, context: dg.ComponentLoadContext, state_path: Path | None
    ) -> dg.Definitions:
        """Build the definitions of the flags in the state; none before the first refresh.

        Raises:
            ConfigError: as `FlagAuditComponent.build_defs`.
        """
        if state_path is None:
            _log.warning("%s has no state yet: run `dg utils refresh-defs-state`", type(self).__name__)
            return dg.Definitions()
        state = json.loads(state_path.read_text(encoding="utf-8"))
        self._fetched = [
            flag
            for source in self.flags_from
            if source.url in state
            for flag in source.of_copies(copies_from_json(state[source.url]))
        ]
        return FlagAuditComponent.build_defs(self, context)

    def vendor_flags(self) -> list[FlagAudit]:
        """Return the flags of exports and of the state."""
        return [*super().vendor_flags(), *self._fetched]
