"""Flags of vendors in YAML: from an export, and from an API by way of Dagster's state."""

import asyncio
import json
from datetime import datetime, timezone
from pathlib import Path

import dagster as dg
import pytest
from dagster.components.testing import create_defs_folder_sandbox
from pytest_httpserver import HTTPServer

from exd_dagster.config import FlagAudit
from exd_dagster.definitions.component.component import FlagAuditComponent
from exd_dagster.definitions.component.fetch import copies_from_json, fetch
from exd_dagster.definitions.component.state_backed import StateBackedFlagAuditComponent
from exd_dagster.definitions.component.vendor_flags import VendorFlags
from exd_dagster.errors import ConfigError
from tests.definitions.test_component import asset_keys

BASE = "records: logs/*.parquet\nstore: bins.duckdb\n"
MARCH = "2026-03-01"


def flag(key: str, rollout: int = 50) -> dict:
    return {"key": key, "active": True, "filters": {"groups": [{"rollout_percentage": rollout}]}}


def answer(*flags: dict, following: str | None = None) -> dict:
    return {"count": len(flags), "next": following, "results": list(flags)}


def at(day: int):
    return datetime(2026, 3, day, tzinfo=timezone.utc)


def source(server: HTTPServer, **options) -> VendorFlags:
    return VendorFlags(url=server.url_for("/flags"), vendor="posthog", **options)


def test_an_export_in_yaml_gives_its_flags_with_the_defaults_of_the_file(tmp_path):
    file = tmp_path / "flags.json"
    file.write_text(json.dumps(answer(flag("checkout"), flag("search"))))
    text = f"flags_from: [{{path: {file}, keys: [check*], start: {MARCH}}}]\ndefaults: {{mode: observe}}\n"
    (audit,) = FlagAuditComponent.resolve_from_yaml(BASE + text).audits()
    assert (audit.key, audit.split, audit.mode) == ("checkout", {"true": 0.5, "false": 0.5}, "observe")


def test_a_listed_flag_replaces_that_of_the_export(tmp_path):
    file = tmp_path / "flags.json"
    file.write_text(json.dumps(answer(flag("checkout"))))
    listed = f"flags: [{{key: checkout, start: {MARCH}, split: {{a: .9, b: .1}}}}]\n"
    component = FlagAuditComponent.resolve_from_yaml(f"{BASE}flags_from: [{{path: {file}}}]\n{listed}")
    assert [audit.split for audit in component.audits()] == [{"a": 0.9, "b": 0.1}]


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ("{url: 'https://x.example'}", "StateBackedFlagAuditComponent"),
        ("{vendor: posthog}", "name either path or url"),
        ("{path: a, url: 'https://x.example'}", "name either path or url"),
        ("{path: a, history: b}", "headers and history belong to url"),
        ("{url: 'https://x.example', headers: {Authorization: secret}}", "a secret must not be written here"),
    ],
)
def test_what_cannot_be_is_refused_with_the_fix(entry, why):
    with pytest.raises(ConfigError, match=why):
        FlagAuditComponent.resolve_from_yaml(f"{BASE}flags_from: [{entry}]\n")


def test_every_page_is_asked_for_with_the_token_of_the_environment(httpserver, monkeypatch):
    monkeypatch.setenv("TOKEN", "phx_1")
    following = httpserver.url_for("/flags") + "?offset=1"
    for query, page in (("offset=1", answer(flag("b"))), ("", answer(flag("a"), following=following))):
        wanted = httpserver.expect_request(
            "/flags", query_string=query, headers={"Authorization": "Bearer phx_1"}
        )
        wanted.respond_with_json(page)
    (copy,) = fetch(source(httpserver, headers={"Authorization": "Bearer {{ env.TOKEN }}"}), at(1))
    assert [page["results"][0]["key"] for page in copy.documents.values()] == ["a", "b"]


def test_an_unset_variable_is_named(httpserver, monkeypatch):
    monkeypatch.delenv("TOKEN", raising=False)
    with pytest.raises(ConfigError, match="environment variable TOKEN is not set"):
        fetch(source(httpserver, headers={"Authorization": "{{ env.TOKEN }}"}), at(1))


def test_the_next_page_on_another_host_never_sees_the_token(httpserver):
    page = answer(flag("a"), following="https://elsewhere.example/flags?offset=1")
    httpserver.expect_request("/flags").respond_with_json(page)
    with pytest.raises(ConfigError, match=r"another host, elsewhere\.example"):
        fetch(source(httpserver), at(1))


@pytest.mark.parametrize(("status", "why"), [(403, "check the token"), (404, "check the url")])
def test_an_api_that_refuses_is_reported_with_the_fix(httpserver, status, why):
    httpserver.expect_request("/flags").respond_with_data("no", status=status)
    with pytest.raises(ConfigError, match=f"the API answers {status}; {why}"):
        fetch(source(httpserver), at(1))


def test_history_keeps_a_copy_for_each_change_of_what_is_declared(httpserver, tmp_path):
    kept = source(httpserver, history=str(tmp_path / "kept"))
    for day, rollout in ((1, 10), (2, 10), (5, 50)):
        httpserver.clear()
        seen = {**flag("a", rollout), "updated_at": f"2026-03-0{day}T00:00:00Z"}
        httpserver.expect_request("/flags").respond_with_json(answer(seen))
        copies = fetch(kept, at(day))
    assert [copy.taken for copy in copies] == [at(1), at(5)]
    (audit,) = kept.of_copies(copies)
    assert (audit.start, [phase.start for phase in audit.phases]) == (at(1), [at(5)])


def test_definitions_load_from_the_state_while_the_api_is_away(httpserver, tmp_path):
    """A project of dg: the state is refreshed once; loading asks nobody."""
    httpserver.expect_request("/flags").respond_with_json(answer(flag("checkout"), flag("search")))
    attributes = {
        "records": "logs/*.parquet",
        "store": str(tmp_path / "bins.duckdb"),
        "flags_from": [{"url": httpserver.url_for("/flags"), "start": MARCH}],
    }
    with create_defs_folder_sandbox() as sandbox:
        place = sandbox.scaffold_component(
            component_cls=StateBackedFlagAuditComponent,
            defs_yaml_contents={
                "type": "exd_dagster.definitions.component.state_backed.StateBackedFlagAuditComponent",
                "attributes": attributes,
            },
        )
        with sandbox.load_component_and_build_defs(defs_path=place) as (component, before):
            assert not list(before.assets or ())
            asyncio.run(component.refresh_state(sandbox.project_root))
        httpserver.clear()
        with sandbox.load_component_and_build_defs(defs_path=place) as (_, defs):
            assert {"experiments/checkout_bins", "experiments/search_bins"} <= asset_keys(defs)


def test_the_state_holds_no_secret(httpserver, tmp_path, monkeypatch):
    monkeypatch.setenv("TOKEN", "phx_very_secret")
    httpserver.expect_request("/flags").respond_with_json(answer(flag("checkout")))
    url = httpserver.url_for("/flags")
    entry = f"{{url: '{url}', start: {MARCH}, headers: {{Authorization: 'Bearer {{{{ env.TOKEN }}}}'}}}}"
    component = StateBackedFlagAuditComponent.resolve_from_yaml(f"{BASE}flags_from: [{entry}]\n")
    component.write_state_to_path(tmp_path / "state" / "state.json")
    text = (tmp_path / "state" / "state.json").read_text()
    assert "phx_very_secret" not in text
    assert copies_from_json(json.loads(text)[url])


def test_the_state_is_kept_under_the_name_of_the_fleet():
    text = f"{BASE}name: pricing\nflags_from: [{{url: 'https://x.example'}}]\n"
    component = StateBackedFlagAuditComponent.resolve_from_yaml(text)
    assert component.defs_state_config.key == "StateBackedFlagAuditComponent[pricing]"
    assert isinstance(component, dg.StateBackedComponent)
    assert Path(component.store.database).name == "bins.duckdb"


def test_tags_of_a_flag_are_tags_of_its_bins_beside_those_of_all():
    text = (
        f"{BASE}flags: [{{key: checkout, start: {MARCH}, split: {{a: .5, b: .5}}, tags: {{growth: ''}}}}]\n"
    )
    component = FlagAuditComponent.resolve_from_yaml(f"{text}asset_attributes: {{tags: {{tier: one}}}}\n")
    graph = dg.component_defs(component=component).resolve_asset_graph()
    tags = graph.get(dg.AssetKey(["experiments", "checkout_bins"])).tags
    assert (tags["growth"], tags["tier"]) == ("", "one")


def test_a_tag_that_dagster_refuses_is_refused_with_what_it_takes():
    with pytest.raises(ConfigError, match=r"tags: check out: : Dagster takes letters"):
        FlagAudit(key="checkout", start=MARCH, tags={"check out": ""})
