"""TPC-DS: load and the 99 queries, this server beside DuckDB on its own tables of the same rows.
Query by query interleaved in one run, equal threads, warm, medians and processor seconds; answers
are compared. Prints ratios: below 1 is faster. Queries that fail or differ are listed at the end,
and the run then fails.

The queries are those of DuckDB's TPC-DS extension, which also makes the data: each template with
one fixed substitution. Ties in an ORDER BY are broken by further columns, so that a query has one
answer.

    cargo xtask bench tpcds --scale 1 --runs 3
"""

import argparse
import datetime
import decimal
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests")]

import duckdb  # noqa: E402
import psycopg  # noqa: E402

from conftest import Server  # noqa: E402
from measure import cache, interleaved, processor_s, report, timed, without_keys  # noqa: E402

# A table comes after those that it refers to.
TABLES = ("date_dim", "time_dim", "customer_address", "customer_demographics", "income_band",
          "household_demographics", "customer", "item", "promotion", "store", "call_center",
          "catalog_page", "web_site", "web_page", "warehouse", "ship_mode", "reason", "inventory",
          "store_sales", "store_returns", "catalog_sales", "catalog_returns", "web_sales",
          "web_returns")

# Later wheels of DuckDB come without the TPC-DS extension, and fetch it from elsewhere.
GENERATOR = "duckdb==1.1.3"
GENERATE = """
import sys, duckdb
scale, directory, threads = sys.argv[1:]
connection = duckdb.connect(f"{directory}/raw.db", config={"threads": threads})
connection.execute(f"CALL dsdgen(sf={scale})")
for (table,) in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall():
    connection.execute(f"COPY {table} TO '{directory}/{table}.raw.parquet' (FORMAT parquet)")
"""


# How many units of its last digit a quotient may be off, one unless it is summed or multiplied.
CUT_OFF = {58: 300, 61: 100, 66: 20, 83: 100}


def schema(table):
    return (ROOT / f"bench/tpcds/schema/{table}.sql").read_text()


def query(number):
    return (ROOT / f"bench/tpcds/{number:02}.sql").read_text()


def make_data(directory, scale, threads):
    """Parquet files of the schema's types, from the generator's of its own."""
    if (directory / "done").exists():
        return
    directory.mkdir(parents=True, exist_ok=True)
    tools = cache() / GENERATOR
    if not tools.exists():
        subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target",
                        tools, GENERATOR], check=True)
    for file in directory.glob("raw.db*"):
        file.unlink()
    subprocess.run([sys.executable, "-c", GENERATE, str(scale), directory, str(threads)],
                   env={**os.environ, "PYTHONPATH": str(tools)}, check=True)
    connection = duckdb.connect(config={"threads": threads})
    for table in TABLES:
        connection.execute(without_keys(schema(table)))
        connection.execute(f"INSERT INTO {table} SELECT * FROM '{directory}/{table}.raw.parquet'")
        connection.execute(f"COPY {table} TO '{directory}/{table}.parquet' "
                           "(FORMAT parquet, COMPRESSION lz4_raw, ROW_GROUP_SIZE 262144)")
        connection.execute(f"DROP TABLE {table}")
    for file in [*directory.glob("raw.db*"), *directory.glob("*.raw.parquet")]:
        file.unlink()
    (directory / "done").touch()


def load_duckdb(directory, file, threads):
    """DuckDB with NULLs sorted and integers divided as Redshift does, and seconds by table."""
    duck = duckdb.connect(str(file), config={"threads": threads})
    duck.execute("SET default_null_order = 'nulls_last_on_asc_first_on_desc'")
    times = {}
    for table in TABLES:
        duck.execute(without_keys(schema(table)))
        times[table], _ = timed(lambda: duck.execute(
            f"INSERT INTO {table} SELECT * FROM '{directory}/{table}.parquet'"))
    duck.execute("CHECKPOINT")
    return duck, times


def load_ours(server, directory):
    times = {}
    for table in TABLES:
        server.execute(schema(table))
        times[table], _ = timed(lambda: server.execute(
            f"COPY {table} FROM '{directory}/{table}.parquet' FORMAT AS PARQUET"))
    times["analyze"], _ = timed(lambda: server.execute("ANALYZE"))
    return times


def closing(text, start):
    """The place after the parenthesis that closes the first one from `start` on."""
    depth = 0
    for place in range(text.index("(", start), len(text)):
        depth += {"(": 1, ")": -1}.get(text[place], 0)
        if depth == 0:
            return place + 1
    raise ValueError("a parenthesis is not closed")


def exact_averages(text):
    """AVG for DuckDB as Redshift has it, cut off at the scale of its argument: an integer for
    integers, else a decimal, in TPC-DS of scale 2. DuckDB's is a double."""
    found = re.search(r"\bavg\s*\(", text, re.IGNORECASE)
    if not found:
        return text
    end = closing(text, found.start())
    argument = exact_averages(text[found.end():end - 1])
    window = re.match(r"\s*OVER\s*\(", text[end:], re.IGNORECASE)
    over = text[end:closing(text, end)] if window else ""
    total, count = f"sum({argument}) {over}", f"count({argument}) {over}"
    whole = f"typeof({total}) = 'HUGEINT'"
    mean = (f"(({total} * 100)::hugeint // ({count} * CASE WHEN {whole} THEN 100 ELSE 1 END))"
            f"::decimal(36, 0) * CASE WHEN {whole} THEN 1.00 ELSE 0.01 END")
    return f"{text[:found.start()]}({mean}){exact_averages(text[end + len(over):])}"


def same_number(mine, other, cut_off):
    """Whether two numbers are equal but for what was cut off where DuckDB has a double, at most
    `cut_off` units of our last digit."""
    if isinstance(mine, float) or isinstance(other, float):
        digit = 0.0
        if isinstance(mine, decimal.Decimal):
            digit = 10.0 ** mine.as_tuple().exponent
        mine, other = float(mine), float(other)
        return abs(mine - other) <= cut_off * digit + 1e-9 * max(abs(mine), abs(other))
    return mine == other


def same_value(mine, other, cut_off):
    numbers = (int, float, decimal.Decimal)
    if isinstance(mine, numbers) and isinstance(other, numbers):
        return same_number(mine, other, cut_off)
    if isinstance(mine, str) and isinstance(other, str):
        return mine.rstrip(" ") == other.rstrip(" ")
    if isinstance(mine, datetime.datetime):
        mine = mine.date() if mine.time() == datetime.time() else mine
    return mine == other


def assert_same_rows(ours, theirs, cut_off):
    """The same rows in the same order."""
    assert len(ours) == len(theirs), f"{len(ours)} rows, DuckDB has {len(theirs)}"
    for place, (mine, other) in enumerate(zip(ours, theirs)):
        assert len(mine) == len(other), f"{len(mine)} columns, DuckDB has {len(other)}"
        for column, (a, b) in enumerate(zip(mine, other), 1):
            assert same_value(a, b, cut_off), (
                f"row {place + 1}, column {column}: {a!r}, DuckDB has {b!r}")


class Session:
    """A connection that is made again after a query has ended it, and the server with it."""

    def __init__(self, server, timeout_s):
        self.server = server
        self.timeout_s = timeout_s
        self.connection = None

    def alive(self):
        """The server's process, started again when it has ended."""
        if self.server.process.poll() is not None:
            self.server.start()
        return self.server.process

    def rows(self, text):
        if self.connection is None or self.connection.closed:
            self.alive()
            try:
                self.connection = self.server.connect()
            except psycopg.OperationalError:
                # It was about to end.
                self.server.process.wait(timeout=30)
                self.alive()
                self.connection = self.server.connect()
            self.connection.execute(f"SET statement_timeout TO {1000 * self.timeout_s}")
        return self.connection.execute(text).fetchall()

    def processor_s(self):
        return processor_s(self.alive().pid)


def describe(problem):
    """One line of a query's problem: the SQLSTATE of a failure, or where the answers part."""
    if isinstance(problem, psycopg.Error):
        message = (problem.diag.message_primary or str(problem)).replace("\n", " ")
        return f"fails   {problem.sqlstate or 'no SQLSTATE'} {message}"
    if isinstance(problem, AssertionError):
        return f"differs {str(problem)[:300]}"
    return f"{type(problem).__name__} {problem}"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--scale", type=float, default=1)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--timeout-s", type=int, default=120, help="for a query of this server")
    parser.add_argument("--queries", type=lambda text: list(map(int, text.split(","))),
                        default=list(range(1, 100)))
    options = parser.parse_args()
    directory = cache() / f"tpcds-{options.scale:g}"
    make_data(directory, options.scale, options.threads)
    work = pathlib.Path(tempfile.mkdtemp(prefix="blueshift-tpcds-"))
    server = Server(work / "cluster", directory, []).start()
    problems = {}
    try:
        duck, their_loads = load_duckdb(directory, work / "duck.db", options.threads)
        our_loads = load_ours(server, directory)
        ours, theirs = sum(our_loads.values()), sum(their_loads.values())
        print(f"load and analyze: ours {ours:.2f} s  duckdb {theirs:.2f} s  "
              f"ratio {ours / theirs:.2f}", flush=True)
        session = Session(server, options.timeout_s)
        systems = {"ours": session.rows, "duckdb": lambda text: duck.execute(text).fetchall()}
        clocks = {"ours": session.processor_s, "duckdb": time.process_time}
        queries = {f"Q{number}": query(number) for number in options.queries}
        numbers = {query(number): number for number in options.queries}

        def compare(_name, text, rows, theirs):
            exact = exact_averages(text)
            if exact != text:
                theirs = systems["duckdb"](exact)
            assert_same_rows(rows, theirs, CUT_OFF.get(numbers[text], 1.001))

        medians = interleaved(systems, queries, options.runs, compare, clocks, problems)
        if medians:
            report(medians, ["duckdb"])
            report(medians, ["duckdb cpu"], mine="ours cpu")
        session.alive()
        print(f"{len(medians)} of {len(options.queries)} queries give DuckDB's answers; "
              f"server resident {server.resident_kb() / 1000:.0f} MB")
        server.stop()
    finally:
        server.close()
        shutil.rmtree(work, ignore_errors=True)
    if problems:
        sys.exit("\n".join(f"{label:<4} {describe(problem)}"
                           for label, problem in problems.items()))


if __name__ == "__main__":
    main()
