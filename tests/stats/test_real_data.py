"""A published finding, reproduced from the archive's own counts."""

from pathlib import Path

import pytest

from exd_dagster.stats import srm_test

DATA = Path(__file__).parents[2].parent / "shared" / "data" / "upworthy_impressions.parquet"


@pytest.mark.skipif(not DATA.exists(), reason="upworthy_impressions.parquet is not beside the repository")
def test_srm_finds_the_faulty_cache_of_the_upworthy_archive():
    """Between two weeks of 2013 and 2014 a cache served one arm at a time; before and after it did not.

    Upworthy Research Archive (Matias, Munger, Le Quere, Ebersole 2021) and its correction of 2024: every test
    declares equal shares of its arms.
    """
    import duckdb

    rows = duckdb.execute(
        "SELECT test_id, test_week, map(list(variant_key), list(impressions)) FROM read_parquet(?) "
        "GROUP BY ALL HAVING count(*) >= 2",
        [str(DATA)],
    ).fetchall()
    during, otherwise = [], []
    for _, week, observed in rows:
        verdict = srm_test(observed, dict.fromkeys(observed, 1 / len(observed)))
        if 201326 <= week <= 201402:
            during.append(verdict.failed)
        elif week != 201325:  # the week in which it began
            otherwise.append(verdict.failed)
    assert 0.60 <= sum(during) / len(during) <= 0.75
    assert sum(otherwise) / len(otherwise) < 0.01
