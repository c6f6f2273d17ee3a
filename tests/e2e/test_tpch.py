"""The 22 TPC-H answers equal DuckDB's in every cluster shape."""

import datetime
import decimal
import math
import re

import duckdb
import pytest

from conftest import MODES, ROOT, Server, load_tpch

TABLES = ("region", "nation", "supplier", "customer", "part", "partsupp", "orders", "lineitem")


def query(number):
    return (ROOT / f"tests/tpch/queries/q{number:02}.sql").read_text()


@pytest.fixture(scope="module")
def answers(tpch_files):
    connection = duckdb.connect()
    for table in TABLES:
        connection.execute((ROOT / f"tests/tpch/schema/{table}.sql").read_text()
                           .split(") DIST")[0] + ")")
        connection.execute(
            f"COPY {table} FROM '{tpch_files}/{table}/part-*.csv' (FORMAT csv, HEADER)")
    return {n: connection.execute(exact_decimals(query(n))).fetchall() for n in range(1, 23)}


# Dividend and divisor of each quotient. Of sums they have a scale of four digits in Redshift.
QUOTIENTS = (
    ("sum(case when nation = 'BRAZIL' then volume else 0 end)", "sum(volume)"),
    ("100.00 * sum(case when p_type like 'PROMO%' then l_extendedprice * (1 - l_discount) "
     "else 0 end)", "sum(l_extendedprice * (1 - l_discount))"),
    ("sum(l_extendedprice)", "7.0"),
)


def exact_decimals(text):
    """AVG and quotients of decimals as Redshift has them: decimals, cut off. AVG of a
    DECIMAL(15, 2) has the digits of its argument. DuckDB's are doubles."""
    text = " ".join(re.sub(r"--.*", "", text).split())
    for dividend, divisor in QUOTIENTS:
        text = text.replace(
            f"{dividend} / {divisor}",
            f"(({dividend} * 100000000)::hugeint // ({divisor} * 10000)::hugeint)"
            "::decimal(36, 0) * 0.0001")
    return re.sub(r"avg\((\w+)\)",
                  r"((sum(\1) * 100)::hugeint // count(\1))::decimal(36, 0) * 0.01", text)


def plain(value):
    if isinstance(value, (decimal.Decimal, float, int)) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, datetime.datetime):
        return value.date().isoformat()
    if isinstance(value, datetime.date):
        return value.isoformat()
    return value.rstrip(" ") if isinstance(value, str) else value


def assert_same(ours, theirs):
    key = lambda row: tuple(str(round(v, 2)) if isinstance(v, float) else str(v) for v in row)
    ours = sorted((tuple(map(plain, row)) for row in ours), key=key)
    theirs = sorted((tuple(map(plain, row)) for row in theirs), key=key)
    assert len(ours) == len(theirs)
    for mine, other in zip(ours, theirs):
        assert len(mine) == len(other)
        for a, b in zip(mine, other):
            if isinstance(a, float) and isinstance(b, float):
                assert math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-6), (mine, other)
            else:
                assert a == b, (mine, other)


@pytest.mark.parametrize("mode", MODES)
def test_answers_equal_duckdb(mode, tmp_path, tpch_files, answers):
    server = Server(tmp_path / "cluster", tpch_files, MODES[mode]).start()
    try:
        load_tpch(server, tpch_files)
        with server.connect() as connection:
            for number in range(1, 23):
                ours = connection.execute(query(number)).fetchall()
                try:
                    assert_same(ours, answers[number])
                except AssertionError as error:
                    raise AssertionError(f"Q{number} in {mode}: {error}") from error
        server.stop()
    finally:
        server.close()


def test_rows_are_in_the_order_asked_for(server, answers):
    """Queries whose ORDER BY is total come back in exactly DuckDB's order."""
    with server.connect() as connection:
        for number in (1, 4, 5, 7, 8, 9, 12, 22):
            ours = [tuple(map(plain, row)) for row in connection.execute(query(number)).fetchall()]
            theirs = [tuple(map(plain, row)) for row in answers[number]]
            for mine, other in zip(ours, theirs, strict=True):
                texts = lambda row: [v for v in row if not isinstance(v, float)]
                assert texts(mine) == texts(other), f"Q{number}"


@pytest.mark.parametrize("table, on, label", [
    ("orders", "l_orderkey = o_orderkey", "DS_DIST_NONE"),
    ("orders", "l_shipdate = o_orderdate AND l_orderkey = o_orderkey", "DS_DIST_NONE"),
    ("supplier", "l_suppkey = s_suppkey", "DS_DIST_ALL_NONE"),
])
def test_placed_joins_move_nothing(server, table, on, label):
    text = f"SELECT count(*), sum(l_quantity) FROM lineitem JOIN {table} ON {on}"
    plan = "\n".join(row[0] for row in server.execute(f"EXPLAIN {text}"))
    assert label in plan, plan
    assert "DS_BCAST" not in plan and "DS_DIST_INNER" not in plan and "DS_DIST_BOTH" not in plan
    analyzed = "\n".join(row[0] for row in server.execute(f"EXPLAIN ANALYZE {text}"))
    assert "moved between nodes: 0 bytes" in analyzed, analyzed


def test_estimates_of_joins_are_near(server):
    """What the last join gives, against what was estimated from ANALYZE's findings."""
    for table in TABLES:
        server.execute(f"ANALYZE {table}")
    for number in (5, 8, 9, 12, 14, 16, 19):
        lines = server.execute(f"EXPLAIN ANALYZE {query(number).strip().removesuffix(';')}")
        join = next(row[0] for row in lines if "Join" in row[0] and "q-error" in row[0])
        q_error = float(join.rsplit("q-error=", 1)[1].rstrip(")"))
        assert q_error < 5, f"Q{number}: {join}"
