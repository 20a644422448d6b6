"""The stages of a flag: its units as assigned, exposed and activated, each counted by itself."""

from typing import Any

from exd_dagster.config import EXPOSED, FlagAudit, FlagId


class StageAudit(FlagAudit):
    """The units of a flag at another stage than exposure, counted from the same records under its name."""

    stage: str

    @property
    def id(self) -> FlagId:
        """That of the flag, with the stage behind its key."""
        return FlagId(self.namespace or "", self.environment or "", f"{self.key}@{self.stage}")


def stage_of(flag: FlagAudit) -> str:
    """Return the name of the stage at which a flag's units are counted, "" for exposure."""
    return flag.stage if isinstance(flag, StageAudit) else ""


def other_stages(flag: FlagAudit) -> dict[str, StageAudit]:
    """Return, by name of the stage, what counts the units of a flag at each stage but exposure."""
    given: dict[str, Any] = dict(flag)
    same = {name: value for name, value in given.items() if name not in ("stages", "dimensions", "layers")}
    return {
        stage: StageAudit(
            **{**same, "include": {**flag.include, flag.stage_column: list(values)}, "stage": stage}
        )
        for stage, values in flag.stages.items()
        if stage != EXPOSED
    }
