"""`exd-dagster protect`: which assets downstream of audited flags a failing flag does not stop."""

import importlib
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from exd_dagster.cli.protect import protect
from exd_dagster.definitions.fleet import plan as audit_plan

PROJECT = """
import dagster as dg
from dagster_duckdb import DuckDBResource

import exd_dagster as exd

BINS = {key: ["experiments", f"{key}_bins"] for key in ("checkout", "search")}

@dg.asset(deps=[BINS["checkout"], BINS["search"]])
def bare() -> None: ...


@dg.asset(deps=[BINS["checkout"]], automation_condition=exd.gate_condition(BINS["checkout"]))
def gated() -> None: ...


@dg.asset(deps=[BINS["search"]])
@exd.blocked_by(BINS["search"])
def guarded() -> None: ...


@dg.asset(deps=[guarded])
def weekly() -> None: ...


@dg.asset(deps=["flag_evaluations"])
def staging() -> None: ...


@dg.asset(deps=[staging])
def mart() -> None: ...


@dg.asset(deps=["elsewhere"])
def unrelated() -> None: ...


@dg.definitions
def project():
    audit = exd.build_flag_audit_defs(
        flags=[exd.FlagAudit(key=key, start="2026-03-01") for key in BINS],
        records="log/*.parquet",
        store=DuckDBResource(database="bins.duckdb"),
    )
    cloud = dg.AssetSpec("cloud", deps=[mart])
    assets = [bare, gated, guarded, weekly, staging, mart, unrelated, cloud]
    return {wrap}(dg.Definitions.merge(audit, dg.Definitions(assets=assets)))
"""
AS_IT_IS = PROJECT.replace("{wrap}", "")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(audit_plan, "_PLANS", {})
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    return tmp_path


def run(folder: Path, project: str, *options: str) -> tuple[int, str]:
    sys.modules.pop("shop_project", None)
    (folder / "shop_project.py").write_text(project)
    importlib.invalidate_caches()
    result = CliRunner().invoke(protect, ["-m", "shop_project", *options], catch_exceptions=False)
    return result.exit_code, result.output


def test_the_list_says_of_each_asset_downstream_what_it_builds_on_and_whether_it_is_protected(
    folder: Path,
) -> None:
    _, said = run(folder, AS_IT_IS, "--list")
    assert said.splitlines()[:9] == [
        "asset    builds on",
        "bare     checkout, search  NOT PROTECTED",
        "cloud    records only      not built by Dagster",
        "gated    checkout          NOT PROTECTED: only automation waits",
        "guarded  search            protected",
        "mart     records only      NOT PROTECTED",
        "staging  records only      NOT PROTECTED",
        "weekly   search            behind protected assets",
        "4 of 7 assets downstream of audited flags are not protected.",
    ]


def test_the_call_it_prints_protects_everything_that_was_not(folder: Path) -> None:
    _, said = run(folder, AS_IT_IS)
    call = said.partition("exd.protect(defs, ")[2].rpartition(")")[0]
    wrapped = PROJECT.replace("{wrap}", "(lambda defs: exd.protect(defs, " + call + "))")
    assert run(folder, wrapped, "--fail-on-error") == (
        0,
        "All 7 assets downstream of audited flags are protected.\n",
    )


@pytest.mark.parametrize(("options", "code"), [((), 0), (("--fail-on-error",), 1)])
def test_an_unprotected_asset_fails_the_command_only_when_asked(
    folder: Path, options: tuple[str, ...], code: int
) -> None:
    assert run(folder, AS_IT_IS, *options)[0] == code
