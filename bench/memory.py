"""Joins and aggregations that do not fit into memory, beside the same with memory enough: one
server after the other on the same tables. Answers have to be equal; prints how many times longer
each takes.

    cargo xtask bench memory --groups 100000000 --limit 1GB
"""

import argparse
import pathlib
import shutil
import tempfile

import duckdb

from measure import timed
from tpch import Server

# A join's build side takes 24 bytes a row in memory: a key, a value and its part of the table.
BUILD_ROW_BYTES = 24
UNITS = {"MB": 1 << 20, "GB": 1 << 30}

# The limit is a node's.
ONE_NODE = ["--nodes", "1", "--slices-per-node", "2"]

STATEMENTS = {
    "groups": "SELECT count(*), sum(c), sum(s), min(k), max(k) FROM"
              " (SELECT k, count(*) AS c, sum(v) AS s FROM groups GROUP BY k) g",
    "groups moved": "SELECT count(*), sum(c), sum(s), min(j), max(j) FROM"
                    " (SELECT j, count(*) AS c, sum(v) AS s FROM groups GROUP BY j) g",
    "join": "SELECT count(*), sum(p.v), sum(b.v) FROM probe p JOIN build b ON p.j = b.j",
    "left join": "SELECT count(*), sum(p.v), sum(b.v) FROM probe p LEFT JOIN build b ON p.j = b.j",
}


def size(text):
    return int(text[:-2]) * UNITS[text[-2:]]


def make(files, groups, build_rows):
    """`k` and `j` have each value once, in two orders: `k` is the distribution key."""
    duck = duckdb.connect()
    for name, rows, factor in (("groups", groups, 1), ("build", build_rows, 1),
                               ("probe", build_rows, 2)):
        # A prime that divides none of the counts: the product goes through all values.
        duck.execute(f"""COPY (SELECT n AS k, n * 999999937 % {rows} * {factor} AS j,
            (n % 1000)::INTEGER AS v FROM range({rows}) AS numbers(n))
            TO '{files}/{name}.parquet' (FORMAT PARQUET, COMPRESSION lz4_raw)""")


def load(server, files):
    for name in ("groups", "build", "probe"):
        server.execute(f"CREATE TABLE {name} (k BIGINT NOT NULL, j BIGINT NOT NULL,"
                       " v INTEGER NOT NULL) DISTKEY (k)")
        server.execute(f"COPY {name} FROM '{files}/{name}.parquet' FORMAT AS PARQUET")


def measured(server):
    """Seconds and rows by statement; the second of two runs counts."""
    with server.connect() as connection:
        results = {}
        for name, text in STATEMENTS.items():
            for _ in range(2):
                results[name] = timed(lambda: connection.execute(text).fetchall())
        return results


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--groups", type=int, default=100_000_000)
    parser.add_argument("--limit", type=str, default="1GB")
    options = parser.parse_args()
    work = pathlib.Path(tempfile.mkdtemp(prefix="blueshift-bench-"))
    build_rows = 4 * size(options.limit) // BUILD_ROW_BYTES
    print(f"{options.groups} groups; {build_rows} rows to build; limit {options.limit}", flush=True)
    server = Server(work / "cluster", work, ONE_NODE)
    try:
        make(work, options.groups, build_rows)
        server.start()
        load(server, work)
        free = measured(server)
        server.stop()
        limits = [*ONE_NODE, "--query-memory-limit", options.limit]
        server = Server(work / "cluster", work, limits).start()
        limited = measured(server)
        for name in STATEMENTS:
            (much_s, expected), (little_s, found) = free[name], limited[name]
            assert found == expected, f"{name}: {found} instead of {expected}"
            print(f"{name:<13} in memory {much_s:7.2f} s  limited {little_s:7.2f} s  "
                  f"{little_s / much_s:.2f} times", flush=True)
        server.stop()
    finally:
        server.close()
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main()
