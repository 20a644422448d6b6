"""A manifest gives one FlagAudit per flag; one broken file never hides the others."""

import logging
import os
import tarfile
from datetime import datetime, timezone

import pytest

from exd_dagster.errors import ConfigError
from exd_dagster.telemetry.manifest.read import flags_from_manifest, read_manifest
from tests.telemetry.manifests import US, flag, rollout, rules, segment, write


def utc(day: int, hour: int = 0) -> datetime:
    return datetime(2026, 3, day, hour, tzinfo=timezone.utc)


def pack(root, version: int):
    archive = root.parent / f"{root.name}-v{version}.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        for file in sorted(root.rglob("*.toml")):
            tar.add(file, f"./{file.relative_to(root)}")
    return archive


def test_flag_carries_namespace_environment_split_and_start(tmp_path):
    (audit,) = flags_from_manifest(
        rollout(tmp_path / "checkout"), environment="production", start="2026-03-01"
    )
    assert str(audit.id) == "checkout/production/new-checkout"
    assert audit.split == {"on": 0.1, "off": 0.9}
    assert audit.start == utc(1)


@pytest.mark.parametrize("packed", [False, True])
def test_without_a_start_flags_count_from_the_last_change_and_a_warning_says_so(tmp_path, caplog, packed):
    root = rollout(tmp_path / "checkout")
    for file in root.rglob("*.toml"):
        os.utime(file, (0, utc(5, 13).timestamp()))
    (audit,) = flags_from_manifest(pack(root, 1) if packed else root, environment="production")
    assert audit.start == utc(5, 13)
    assert "pass start='2026-03-05T13:00:00Z'" in caplog.text


def test_namespace_slug_comes_from_its_file(tmp_path):
    write(tmp_path / "dir", {"namespace.toml": 'schema_version = "0.1"\n[namespace]\nslug = "payments"\n'})
    (manifest,) = read_manifest(rollout(tmp_path / "dir"))
    assert (manifest.namespace, manifest.environments) == ("payments", None)


def test_environment_that_no_namespace_declares_is_refused_with_the_nearest(tmp_path):
    slug = '[namespace]\nslug = "c"\n[namespace.environments]\nproduction = {}\n'
    write(tmp_path / "c", {"namespace.toml": f'schema_version = "0.1"\n{slug}'})
    with pytest.raises(ConfigError, match=r"'prodution' is not declared\. Did you mean 'production'\?"):
        flags_from_manifest(rollout(tmp_path / "c"), environment="prodution", start="2026-03-01")


def test_folder_of_namespaces_gives_the_flags_of_all(tmp_path):
    rollout(tmp_path / "a")
    rollout(tmp_path / "b")
    audits = flags_from_manifest(tmp_path, environment="production", start="2026-03-01")
    assert [audit.namespace for audit in audits] == ["a", "b"]


def test_archive_reads_as_its_directory_and_names_its_version(tmp_path):
    archive = pack(rollout(tmp_path / "checkout"), 42)
    (packed,), (plain,) = read_manifest(archive), read_manifest(tmp_path / "checkout")
    assert (packed.version, packed.namespace, packed.flags) == (42, "checkout", plain.flags)


def test_changed_split_is_a_phase(tmp_path):
    v1, v2 = pack(rollout(tmp_path / "checkout", 999), 1), pack(rollout(tmp_path / "checkout", 4999), 2)
    (audit,) = flags_from_manifest({"2026-03-01": v1, "2026-03-08T12:00Z": v2}, environment="production")
    assert [(p.start, p.split, p.rerandomized) for p in audit.schedule] == [
        (utc(1), {"on": 0.1, "off": 0.9}, False),
        (utc(8, 12), {"on": 0.5, "off": 0.5}, False),
    ]


def test_changed_salt_is_a_phase_of_units_assigned_afresh(tmp_path):
    v1, v2 = pack(rollout(tmp_path / "c", salt="s"), 1), pack(rollout(tmp_path / "c", salt="t"), 2)
    (audit,) = flags_from_manifest({"2026-03-01": v1, "2026-03-08": v2}, environment="production")
    assert audit.iterations == (utc(1), utc(8))


def test_version_that_leaves_the_split_alone_is_no_phase(tmp_path):
    place = rollout(tmp_path / "checkout")
    (audit,) = flags_from_manifest({"2026-03-01": place, "2026-03-08": place}, environment="production")
    assert audit.phases == ()


def test_start_inside_the_history_begins_with_the_version_in_effect(tmp_path):
    v1, v2 = pack(rollout(tmp_path / "checkout", 999), 1), pack(rollout(tmp_path / "checkout", 4999), 2)
    (audit,) = flags_from_manifest(
        {"2026-03-01": v1, "2026-03-08": v2}, environment="production", start="2026-03-10"
    )
    assert audit.schedule[0].split == {"on": 0.5, "off": 0.5}
    assert (audit.start, audit.phases) == (utc(10), ())


def test_removed_flag_ends_where_it_was_removed(tmp_path):
    write(tmp_path / "a" / "c", {"flags/other.toml": flag('[flag.environments._]\nvariant = "off"')})
    versions = {"2026-03-01": rollout(tmp_path / "c"), "2026-03-08": tmp_path / "a" / "c"}
    audits = {audit.key: audit for audit in flags_from_manifest(versions, environment="production")}
    assert (audits["new-checkout"].end, audits["other"].start) == (utc(8), utc(8))


def test_shared_predicate_counts_only_matched_records(tmp_path):
    root = write(
        tmp_path / "c",
        {
            "flags/f.toml": flag('[flag.environments._]\nvariant = "off"\n' + rules("x -> on", "y -> off")),
            "segments/x.toml": segment(0, 2499, predicate=US),
            "segments/y.toml": segment(2500, 4999, predicate=US),
        },
    )
    (audit,) = flags_from_manifest(root, environment="production", start="2026-03-01")
    assert audit.split == {"on": 0.5, "off": 0.5}
    assert audit.include == {"evaluation_reason": ["matched_rule", "rule_matched"]}


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("not toml", "is not TOML"),
        ('schema_version = "9.0"\n[flag]\ntype = "string"', "E001"),
        (flag('[flag.environments._]\nvariant = "of"'), "E004 flag.environments._.variant"),
        (flag('[flag.environments.production]\nvariant = "off"'), "E037"),
        (flag("[flag.environments._]\nrules = []"), "E038"),
        (flag('[flag.environments._]\nvariant = "off"\ntesting = true'), "E039"),
        (flag('[flag.environments._]\nvariant = "off"').replace('"string"', '"text"'), "E014"),
        (flag('[flag.environments._]\nvariant = "off"').replace("[flag]", "[flag]\nenabled = true"), "E016"),
        (
            flag('[flag.environments._]\nvariant = "off"\n[[flag.environments._.rules]]\nvariant = "on"'),
            "E036",
        ),
    ],
)
def test_faulty_flag_is_kept_without_a_split_and_named(tmp_path, caplog, text, word):
    root = write(rollout(tmp_path / "checkout"), {"flags/broken.toml": text})
    with caplog.at_level(logging.WARNING):
        audits = flags_from_manifest(root, environment="production", start="2026-03-01")
    assert [(audit.key, audit.split is None) for audit in audits] == [
        ("broken", True),
        ("new-checkout", False),
    ]
    assert "no split declared: flags/broken.toml: " in caplog.text
    assert word in caplog.text


def test_file_name_that_is_no_key_is_reported_and_left_out(tmp_path, caplog):
    root = write(rollout(tmp_path / "c"), {"flags/New.toml": flag('[flag.environments._]\nvariant = "off"')})
    audits = flags_from_manifest(root, environment="production", start="2026-03-01")
    assert [audit.key for audit in audits] == ["new-checkout"]
    assert "flags/New.toml: 'New' is not a key" in caplog.text


def test_symbolic_link_is_refused_by_code(tmp_path):
    root = rollout(tmp_path / "c")
    (root / "flags" / "copy.toml").symlink_to(root / "flags" / "new-checkout.toml")
    (manifest,) = read_manifest(root)
    assert manifest.faults[0].startswith("flags/copy.toml: E018")


def test_exdignore_leaves_files_out_and_takes_them_back(tmp_path):
    root = rollout(tmp_path / "c")
    for name in ("draft-a", "draft-b"):
        write(root, {f"flags/{name}.toml": flag('[flag.environments._]\nvariant = "off"')})
    (root / ".exdignore").write_text("# drafts\nflags/draft-*\n!draft-b.toml\n")
    (manifest,) = read_manifest(root)
    assert list(manifest.flags) == ["draft-b", "new-checkout"]


@pytest.mark.parametrize(
    ("path", "fix"),
    [
        ("https://host/m.tar.gz", "only local manifests"),
        ("nowhere", "does not exist"),
        (".", "has no flags/ folder"),
    ],
)
def test_place_without_a_manifest_says_what_to_pass(tmp_path, monkeypatch, path, fix):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=fix):
        read_manifest(path)


def test_damaged_archive_is_named(tmp_path):
    (tmp_path / "c-v1.tar.gz").write_bytes(b"\x1f\x8bnot gzip")
    with pytest.raises(ConfigError, match="not a readable gzip tar"):
        read_manifest(tmp_path / "c-v1.tar.gz")
