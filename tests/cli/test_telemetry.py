"""`exd-dagster telemetry`: exd's questions, result fields, codes and exit codes, on real logs."""

import gzip
import json
import shutil
import sys

import duckdb
import pytest
from click.testing import CliRunner

from exd_dagster.cli import main
from tests.cli.records import WINDOW, write_log
from tests.telemetry.manifests import rollout

HALF = ("--expected", "control=.5,treatment=.5")
FLAG = ("--flag", "new-checkout")


def ask(*arguments: object, code: int = 0):
    result = CliRunner().invoke(main, ["telemetry", *map(str, arguments)])
    assert result.exit_code == code, result.output
    return result


def answer(*arguments: object, code: int = 0) -> dict:
    result = ask(*arguments, *WINDOW, "--format", "json", code=code)
    assert result.stderr == ""
    return json.loads(result.stdout, parse_constant=pytest.fail)


@pytest.fixture
def log(tmp_path):
    """Write a log of the given units per variant and return its `--source` arguments."""

    def write(name: str = "log.parquet", /, **counts_and_options):
        options = {
            key: counts_and_options.pop(key)
            for key in ("flag", "per_unit", "versions", "environment", "reason")
            if key in counts_and_options
        }
        return ("--source", write_log(tmp_path / name, counts_and_options, **options))

    return write


VECTORS = [
    ("control=5100,treatment=4900", "control=.5,treatment=.5", 4.0, 0.04550026389635857, "pass"),
    ("control=5164,treatment=4836", "control=.5,treatment=.5", 10.7584, 0.0010380708664139455, "pass"),
    ("control=5165,treatment=4835", "control=.5,treatment=.5", 10.89, 0.0009668482847675553, "fail"),
    ("control=52,treatment=48", "control=.5,treatment=.5", 0.16, 0.6891565167793516, "pass"),
    ("a=3350,b=3270,c=3380", "a=.33,b=.33,c=.34", 1.147950089126565, 0.5632819118927137, "pass"),
    ("a=3500,b=3200,c=3300", "a=.33,b=.33,c=.34", 18.092691622103413, 0.00011782079067135072, "fail"),
    ("a=91008,b=90521,c=16903", "a=.333,b=.333,c=.334", 55228.82535455993, 0.0, "fail"),
]


@pytest.mark.parametrize(("counts", "expected", "chi_square", "p", "verdict"), VECTORS)
def test_srm_gives_the_documented_vectors(log, counts, expected, chi_square, p, verdict):
    units = {name: int(count) for name, count in (pair.split("=") for pair in counts.split(","))}
    result = answer("srm", *FLAG, "--expected", expected, *log(**units))["result"]
    assert result["chi_square"] == pytest.approx(chi_square, rel=1e-12)
    assert result["p_value"] == pytest.approx(p, rel=1e-9, abs=1e-300)
    assert (result["verdict"], result["observed"]) == (verdict, units)


def test_srm_result_has_exactly_exds_fields(log):
    result = answer("srm", *FLAG, *HALF, *log(control=500, treatment=500))["result"]
    assert set(result) == {"expected", "observed", "n", "chi_square", "p_value", "verdict", "threshold"}
    assert result["expected"] == {"control": 0.5, "treatment": 0.5}
    assert (result["n"], result["threshold"]) == (1000, 0.001)


def test_units_count_once_and_evaluations_are_exds_own_number(log):
    source = log(control=500, treatment=500, per_unit=3)
    by_unit, by_evaluation = (
        answer("srm", *FLAG, *HALF, *source, "--count", count) for count in ("units", "evaluations")
    )
    assert (by_unit["result"]["n"], by_evaluation["result"]["n"]) == (1000, 3000)
    assert "counts are evaluations, as exd counts them" in by_evaluation["notes"][0]


def test_evaluations_count_every_reason_as_exd_does(log):
    source = log(control=500, treatment=500, reason="off")
    assert answer("srm", *FLAG, *HALF, *source)["result"]["n"] == 0
    assert answer("srm", *FLAG, *HALF, *source, "--count", "evaluations")["result"]["n"] == 1000


def test_envelope_has_exds_provenance_under_our_own_name(log):
    envelope = answer("srm", *FLAG, *HALF, *log(control=500, treatment=500, versions=(42, 43)))
    assert (envelope["query"], envelope["query_version"], envelope["schema_version"]) == (
        "telemetry.srm",
        1,
        1,
    )
    assert envelope["producer"]["name"] == "exd-dagster"
    assert "exd_version" not in envelope
    provenance = envelope["provenance"]
    assert provenance["time_range"] == {"from": "2026-03-01T00:00:00Z", "to": "2026-03-04T00:00:00Z"}
    assert provenance["manifest_versions_observed"] == [42, 43]
    assert (provenance["engine"], provenance["record_count"], provenance["thresholds_source"]) == (
        "duckdb",
        1000,
        "builtin",
    )
    assert provenance["tool_invocation"].startswith("exd-dagster telemetry srm --flag new-checkout")


def test_two_findings_over_the_same_input_differ_only_in_executed_at(log):
    source = log(control=500, treatment=480)
    one, two = (answer("srm", *FLAG, *HALF, *source) for _ in range(2))
    for envelope in (one, two):
        del envelope["provenance"]["executed_at"]
    assert one == two


def test_mismatch_is_t001_with_the_documented_likely_causes(log):
    (diagnostic,) = answer("srm", *FLAG, *HALF, *log(control=5165, treatment=4835))["diagnostics"]
    assert (diagnostic["code"], diagnostic["severity"]) == ("T001", "warning")
    assert [
        word in " ".join(diagnostic["likely_causes"]) for word in ("cache", "mid-flight", "version-skew")
    ] == [
        True,
        True,
        True,
    ]


def test_human_srm_has_title_table_and_verdict(log):
    window = "2026-03-01 00:00 to 2026-03-04 00:00 UTC"
    text = ask("srm", *FLAG, *HALF, *log(control=5165, treatment=4835), *WINDOW).stdout
    assert text.splitlines()[:7] == [
        f"SRM check for 'new-checkout' ({window}, n=10,000, threshold p=0.001)",
        "",
        "variant    expected  observed  observed_pct",
        "control       50.0%     5,165         51.6%",
        "treatment     50.0%     4,835         48.4%",
        "",
        "chi-square = 10.9   p = 0.0009668   verdict: FAIL",
    ]
    assert "T001 warning: " in text


def test_tiny_p_value_is_printed_as_a_bound(log):
    text = ask("srm", *FLAG, *HALF, *log(control=9000, treatment=5000), *WINDOW).stdout
    assert "chi-square = 1,142.9   p < 1e-10   verdict: FAIL" in text.splitlines()


@pytest.mark.parametrize(("asked", "shown"), [((), "last 24h"), (("--since", "90m"), "last 90m")])
def test_human_srm_shows_the_window_as_it_was_asked_for(log, asked, shown):
    text = ask("srm", *FLAG, *HALF, *log(control=500, treatment=500), *asked).stdout
    assert text.splitlines()[0] == f"SRM check for 'new-checkout' ({shown}, n=0, threshold p=0.001)"


def test_few_units_are_t002_for_information(log):
    source = log(control=60, treatment=39)
    envelope = answer("srm", *FLAG, *HALF, *source, "--fail-on-error")
    assert envelope["result"]["verdict"] == "insufficient"
    assert [(d["code"], d["severity"]) for d in envelope["diagnostics"]] == [("T002", "info")]


def test_undeclared_variant_is_named_outside_the_statistic(log):
    envelope = answer("srm", *FLAG, *HALF, *log(control=500, treatment=500, ghost=50))
    assert (envelope["result"]["verdict"], envelope["result"]["n"]) == ("fail", 1000)
    assert "ghost" in envelope["diagnostics"][0]["message"]
    assert envelope["diagnostics"][0]["code"] is None


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (("srm", *HALF), 1),
        (("sequential", *HALF), 1),
        (("version-skew",), 1),
        (("summary",), 0),
    ],
)
def test_fail_on_error_exits_1_for_a_warning_or_worse_and_0_without_it(log, command, code):
    name, *rest = command
    arguments = (name, *FLAG, *rest, *log(control=6000, treatment=4000, versions=(20, 3)), *WINDOW)
    ask(*arguments, code=0)
    ask(*arguments, "--fail-on-error", code=code)


def test_split_comes_from_the_manifest_by_documented_resolution(log, tmp_path):
    manifest = rollout(tmp_path / "checkout", end=999)
    envelope = answer(
        "srm", *FLAG, *log(on=100, off=900), "--manifest", manifest, "--environment", "production"
    )
    assert envelope["result"]["expected"] == {"on": 0.1, "off": 0.9}
    assert envelope["result"]["verdict"] == "pass"


def test_manifest_in_the_working_directory_is_found(log, tmp_path, monkeypatch):
    monkeypatch.chdir(rollout(tmp_path / "checkout", end=999))
    assert answer("srm", *FLAG, *log(on=100, off=900))["result"]["verdict"] == "pass"


def test_allocation_is_judged_on_records_of_its_own_version(log, tmp_path):
    before, after = (
        log("a.parquet", on=900, off=100, versions=(42,)),
        log("b.parquet", on=100, off=900, versions=(43,)),
    )
    arguments = ("srm", *FLAG, *before, *after, "--manifest", rollout(tmp_path / "checkout", end=999))
    both, one = answer(*arguments), answer(*arguments, "--manifest-version", 43)
    assert both["result"]["verdict"] == "fail"
    assert "count one of them with --manifest-version" in " ".join(both["notes"])
    assert (one["result"]["verdict"], one["provenance"]["manifest_versions_observed"]) == ("pass", [43])


def test_thresholds_file_sets_the_level_and_is_recorded(log, tmp_path):
    levels = tmp_path / "thresholds.toml"
    levels.write_text("[srm]\nsignificance_level = 0.01\n[smr]\nx = 1\n")
    envelope = answer("srm", *FLAG, *HALF, *log(control=5164, treatment=4836), "--thresholds", levels)
    assert (envelope["result"]["verdict"], envelope["result"]["threshold"]) == ("fail", 0.01)
    assert envelope["provenance"]["thresholds_source"] == str(levels)
    assert "unknown table [smr]" in envelope["notes"][0]


def test_window_is_half_open(tmp_path):
    log = tmp_path / "edge.csv"
    rows = "\n".join(
        f"{at},new-checkout,control,{at}" for at in ("2026-03-01T00:00:00Z", "2026-03-04T00:00:00Z")
    )
    log.write_text(f"timestamp,flag_key,variant_key,unit_id_hash\n{rows}\n")
    assert answer("srm", *FLAG, *HALF, "--source", log)["result"]["observed"]["control"] == 1


def test_several_environments_ask_for_one(log):
    sources = (*log(control=10), *log("b.parquet", control=10, environment="staging"))
    result = ask("srm", *FLAG, *HALF, *sources, *WINDOW, code=2)
    assert "2 environments: 'production', 'staging'; name one with --environment" in result.stderr


def test_file_without_any_known_column_says_which_it_lacks(tmp_path):
    (tmp_path / "bad.csv").write_text("time,flag,variant\n1,2,3\n")
    result = ask("srm", *FLAG, *HALF, "--source", tmp_path / "bad.csv", code=2)
    assert "it has no column 'variant_key' for variant_key. Did you mean 'variant'?" in result.stderr


def test_sources_of_several_kinds_are_merged(log, tmp_path):
    parquet, ndjson = log(control=500), log("more.ndjson", treatment=480)
    database = tmp_path / "logs.duckdb"
    with duckdb.connect(str(database)) as connection:
        connection.execute(f"CREATE TABLE flag_evaluations AS FROM '{parquet[1]}'")
        connection.execute(
            "UPDATE flag_evaluations SET unit_id_hash = unit_id_hash || 'x', evaluation_id = NULL"
        )
    envelope = answer("srm", *FLAG, *HALF, *parquet, *ndjson, "--source", database)
    assert envelope["result"]["observed"] == {"control": 1000, "treatment": 480}


@pytest.mark.parametrize("form", ["glob", "folder", "file_uri", "gzip"])
def test_source_may_be(log, tmp_path, form):
    _, parquet = (
        log("logs/a.parquet")
        if (tmp_path / "logs").mkdir()
        else log("logs/a.parquet", control=500, treatment=500)
    )
    source = {
        "glob": tmp_path / "logs/*.parquet",
        "folder": tmp_path / "logs",
        "file_uri": f"file://{parquet}",
    }
    if form == "gzip":
        _, ndjson = log("a.ndjson", control=500, treatment=500)
        with ndjson.open("rb") as plain, gzip.open(tmp_path / "a.ndjson.gz", "wb") as packed:
            shutil.copyfileobj(plain, packed)
        source["gzip"] = tmp_path / "a.ndjson.gz"
    assert answer("srm", *FLAG, *HALF, "--source", source[form])["result"]["n"] == 1000


def test_log_with_other_names_is_read_by_mapping_them(tmp_path):
    log = tmp_path / "own.csv"
    rows = "\n".join(f"2026-03-02 10:00:00,{i},{'ab'[i % 2]}" for i in range(200))
    log.write_text(f"at,user,arm\n{rows}\n")
    columns = ("timestamp=at", "unit_id_hash=user", "variant_key=arm")
    mapping = [part for pair in columns for part in ("--column", pair)] + [
        "--constant",
        "flag_key=landing-page",
    ]
    result = answer("srm", "--flag", "landing-page", "--expected", "a=.5,b=.5", "--source", log, *mapping)[
        "result"
    ]
    assert result["observed"] == {"a": 100, "b": 100}


@pytest.fixture
def engine(log, tmp_path, monkeypatch):
    """An Ibis engine that holds the log; DuckDB stands for it, reached as any other."""
    ibis = pytest.importorskip("ibis")
    _, parquet = log(control=600, treatment=400, per_unit=2, versions=(20, 3))
    with duckdb.connect(str(tmp_path / "warehouse.db")) as connection:
        connection.execute(f"CREATE TABLE flag_evaluations AS FROM '{parquet}'")
    backend = ibis.duckdb.connect(str(tmp_path / "warehouse.db"), read_only=True)
    monkeypatch.setattr(ibis, "connect", lambda address: {"postgres://warehouse": backend}[address])
    return ("--engine", "postgres", "--source", "postgres://warehouse#flag_evaluations"), (
        "--source",
        parquet,
    )


@pytest.mark.parametrize(
    "command", [("srm", *HALF), ("sequential", *HALF), ("traffic",), ("summary",), ("version-skew",)]
)
def test_engine_answers_as_files_do(engine, command):
    name, *rest = command
    there, here = (answer(name, *FLAG, *rest, *source) for source in engine)
    if name == "summary":  # an engine tells instants to the second
        for envelope in (there, here):
            (flag,) = envelope["result"]["flags"]
            flag["first_evaluated_at"], flag["last_evaluated_at"] = (
                flag[f"{which}_evaluated_at"][:19] for which in ("first", "last")
            )
    assert there["result"] == here["result"]
    assert there["provenance"]["record_count"] == here["provenance"]["record_count"]


def test_sequential_names_where_the_split_broke(log):
    envelope = answer("sequential", *FLAG, *HALF, *log(control=6000, treatment=4000))
    assert (envelope["query"], envelope["result"]["verdict"]) == ("exd_dagster.sequential_srm", "fail")
    assert envelope["diagnostics"][0]["severity"] == "error"
    assert "Split broke" in envelope["diagnostics"][0]["message"]


def test_traffic_says_from_when_on_it_speaks(log):
    envelope = answer("traffic", *FLAG, *log(control=600, treatment=600))
    assert envelope["result"]["verdict"] == "insufficient"
    assert "tests from 2026-03-11" in envelope["result"]["sentence"]


def test_version_skew_lists_versions_by_count_and_judges_them(log):
    envelope = answer("version-skew", *log(control=500, versions=(13, 13, 13, 12, 9)))
    versions = envelope["result"]["versions"]
    assert [(v["manifest_version"], v["count"], v["percent"]) for v in versions] == [
        (13, 300, 60.0),
        (12, 100, 20.0),
        (9, 100, 20.0),
    ]
    assert [d["code"] for d in envelope["diagnostics"]] == ["T004"]


def test_summary_lists_every_flag_of_the_log(log):
    first, second = log(control=10, treatment=20), log("b.parquet", flag="other", on=5)
    flags = answer("summary", *first, *second)["result"]["flags"]
    assert [(flag["flag_key"], flag["evaluations"]) for flag in flags] == [("new-checkout", 30), ("other", 5)]
    assert flags[0]["variants"][0] == {"variant_key": "control", "evaluations": 10, "units": 10}


@pytest.mark.parametrize(
    ("flag", "words"),
    [
        ("new-checkout", "Its records are from 2026-03-01 "),
        ("new-chekout", "The log has no flag 'new-chekout'. Did you mean 'new-checkout'?"),
    ],
)
def test_empty_window_says_where_the_records_are(log, flag, words):
    window = ("--from", "2020-01-01", "--to", "2020-01-02")
    text = ask("srm", "--flag", flag, *HALF, *log(control=500), *window).stdout
    assert f"note: no record is in the window. {words}" in text


@pytest.mark.parametrize(
    ("arguments", "fix"),
    [
        (("srm", *HALF, "--source", "x"), "Missing option '--flag'"),
        (("srm", *FLAG, *HALF), "--source 'logs/*.parquet'"),
        (("srm", *FLAG, *HALF, "--source", "none.parquet"), "no file matches none.parquet"),
        (("srm", *FLAG, "--source", "x"), "pass --expected"),
        (("srm", *FLAG, "--expected", "a=.5,b=.4", "--source", "x"), "sum to 0.9"),
        (("srm", *FLAG, "--expected", "a:1", "--source", "x"), "write for example"),
        (("srm", *FLAG, *HALF, "--source", "x", "--since", "1d", "--from", "2026-01-01"), "excludes"),
        (("srm", *FLAG, *HALF, "--source", "x", "--thresholds", "none.toml"), "cannot be read"),
        (("srm", *FLAG, *HALF, "--source", "x", "--column", "unit=user"), "Known: environment"),
        (
            ("srm", *FLAG, *HALF, "--source", "x", "--engine", "snowflake"),
            "--engine snowflake reads one table",
        ),
        (("srm", *FLAG, "--manifest", "none", "--source", "x"), "does not exist"),
    ],
)
def test_wrong_usage_and_unreadable_input_exit_2_with_the_fix(tmp_path, monkeypatch, arguments, fix):
    monkeypatch.chdir(tmp_path)
    result = ask(*arguments, code=2)
    assert (fix in result.stderr, result.stdout) == (True, "")
    as_json = json.loads(ask(*arguments, "--format", "json", code=2).stdout)
    assert fix in as_json["error"]["message"]


def test_engine_that_cannot_be_opened_keeps_its_secrets():
    pytest.importorskip("ibis")
    result = ask("summary", "--engine", "nosuch", "--source", "nosuch://user:secret@host/database", code=2)
    assert "nosuch://***@host/database cannot be opened" in result.stderr
    assert "secret" not in result.stderr


def test_engine_without_ibis_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ibis", None)
    result = ask("summary", "--engine", "postgres", "--source", "postgres://host/database", code=2)
    assert "install 'ibis-framework[postgres]'" in result.stderr


def test_secrets_of_an_address_do_not_leave_in_the_envelope(log, tmp_path):
    from exd_dagster.cli.telemetry.finding import redacted

    assert redacted("--source s3://key:secret@bucket/x") == "--source s3://***@bucket/x"
