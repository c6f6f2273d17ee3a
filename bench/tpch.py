"""TPC-H: load and the 22 queries, this server beside DuckDB on its own tables and DataFusion on
Parquet files of the same rows. Query by query interleaved in one run, equal threads, warm,
medians; answers are compared. Prints ratios: below 1 is faster than the peer.

    cargo xtask bench --scale 1 --runs 5
"""

import argparse
import pathlib
import resource
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests/e2e")]

import datafusion  # noqa: E402
import duckdb  # noqa: E402

from conftest import PROGRAM, Server  # noqa: E402
from measure import cache, interleaved, report, timed, without_keys  # noqa: E402
from test_tpch import TABLES, assert_same, exact_decimals  # noqa: E402

SORTED_BY = {"lineitem": "l_shipdate", "orders": "o_orderdate", "customer": "c_custkey",
             "part": "p_partkey", "partsupp": "ps_partkey", "supplier": "s_suppkey"}


def schema(table):
    return (ROOT / f"tests/tpch/schema/{table}.sql").read_text()


def query(number):
    return (ROOT / f"tests/tpch/queries/q{number:02}.sql").read_text()


def make_data(directory, scale):
    """CSV by the generator, Parquet of the same rows sorted and lz4-packed by DuckDB."""
    done = directory / "done"
    if done.exists():
        return
    subprocess.run([PROGRAM, "admin", "tpch", "--scale", str(scale), str(directory)], check=True)
    connection = duckdb.connect()
    for table in TABLES:
        connection.execute(without_keys(schema(table)))
        connection.execute(f"COPY {table} FROM '{directory}/{table}/part-*.csv' (HEADER)")
        order = f"ORDER BY {SORTED_BY[table]}" if table in SORTED_BY else ""
        connection.execute(
            f"COPY (SELECT * FROM {table} {order}) TO '{directory}/{table}.parquet' "
            "(FORMAT parquet, COMPRESSION lz4_raw, ROW_GROUP_SIZE 262144)")
    done.touch()


def load_peers(directory, work, threads):
    duck = duckdb.connect(str(work / "duck.db"), config={"threads": threads})
    times = {}
    for table in TABLES:
        duck.execute(without_keys(schema(table)))
        times[table], _ = timed(lambda: duck.execute(
            f"COPY {table} FROM '{directory}/{table}/part-*.csv' (HEADER)"))
    duck.execute("CREATE TABLE from_parquet AS SELECT * FROM lineitem LIMIT 0")
    times["lineitem parquet"], _ = timed(lambda: duck.execute(
        f"INSERT INTO from_parquet SELECT * FROM '{directory}/lineitem.parquet'"))
    duck.execute("DROP TABLE from_parquet")
    duck.execute("CHECKPOINT")
    config = datafusion.SessionConfig().with_target_partitions(threads)
    fusion = datafusion.SessionContext(config)
    for table in TABLES:
        fusion.register_parquet(table, str(directory / f"{table}.parquet"))
    return duck, fusion, times


def load_ours(server, directory):
    times = {}
    for table in TABLES:
        server.execute(schema(table))
        times[table], _ = timed(lambda: server.execute(
            f"COPY {table} FROM '{directory}/{table}/part-' FORMAT AS CSV IGNOREHEADER 1"))
    server.execute(schema("lineitem").replace("CREATE TABLE lineitem", "CREATE TABLE parquet_copy"))
    times["lineitem parquet"], _ = timed(lambda: server.execute(
        f"COPY parquet_copy FROM '{directory}/lineitem.parquet' FORMAT AS PARQUET"))
    server.execute("DROP TABLE parquet_copy")
    return times


def bytes_per_row(server):
    oid, rows = server.execute("SELECT 'lineitem'::regclass::oid, (SELECT count(*) FROM lineitem)")[0]
    files = (server.data / "store" / "data" / str(oid)).rglob("*.seg")
    return sum(file.stat().st_size for file in files) / rows


def fusion_rows(context, text):
    batches = context.sql(text.strip().removesuffix(";")).collect()
    return [row for batch in batches for row in zip(*(column.to_pylist() for column in batch))]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--scale", type=float, default=1)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--queries", type=lambda text: list(map(int, text.split(","))),
                        default=list(range(1, 23)))
    parser.add_argument("--peers", type=lambda text: text.split(","),
                        default=["duckdb", "datafusion"], help="duckdb is always one")
    options = parser.parse_args()
    directory = cache() / f"sf{options.scale:g}"
    make_data(directory, options.scale)
    work = pathlib.Path(tempfile.mkdtemp(prefix="blueshift-bench-"))
    server = Server(work / "cluster", directory, [])
    try:
        started, _ = timed(server.start)
        server.execute("SELECT 1")
        print(f"start to ready {started:.2f} s, idle memory {server.resident_kb() / 1000:.0f} MB")
        duck, fusion, duck_loads = load_peers(directory, work, options.threads)
        our_loads = load_ours(server, directory)
        for table, seconds in our_loads.items():
            print(f"load {table:<17} ours {seconds:7.2f} s  duckdb {duck_loads[table]:7.2f} s  "
                  f"ratio {seconds / duck_loads[table]:.2f}")
        print(f"lineitem {bytes_per_row(server):.1f} bytes a row on disk")
        with server.connect() as connection:
            systems = {
                "ours": lambda text: connection.execute(text).fetchall(),
                "duckdb": lambda text: duck.execute(text).fetchall(),
                "datafusion": lambda text: fusion_rows(fusion, text),
            }
            systems = {name: system for name, system in systems.items()
                       if name in ("ours", "duckdb", *options.peers)}
            queries = {f"Q{number}": query(number) for number in options.queries}

            def compare(name, text, rows, theirs):
                exact = name == "ours"
                assert_same(rows, systems["duckdb"](exact_decimals(text)) if exact else theirs)

            medians = interleaved(systems, queries, options.runs, compare)
        report(medians, [name for name in systems if name != "ours"])
        print(f"server resident {server.resident_kb() / 1000:.0f} MB, bench "
              f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000:.0f} MB")
        server.stop()
    finally:
        server.close()
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main()
