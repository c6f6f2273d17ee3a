"""UPDATE, DELETE, MERGE and single-row INSERTs: this server beside DuckDB on a file, the same rows,
equal threads, warm, in one run, turn about; answers are compared. Prints ratios: below 1 is faster.

    cargo xtask bench dml --rows 10000000 --runs 3
"""

import argparse
import datetime
import decimal
import json
import pathlib
import shutil
import statistics
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests")]

import duckdb  # noqa: E402

from conftest import Server  # noqa: E402
from measure import cache, processor_s, timed  # noqa: E402

COLUMNS = ("k BIGINT, a INTEGER, b DECIMAL(12, 2), c VARCHAR(24), d DATE, f DOUBLE PRECISION")
KEYS = {"base": " DISTKEY (k) SORTKEY (k)", "stage": " DISTKEY (k) SORTKEY (k)"}
SCANS = (
    "SELECT count(*), sum(a), sum(b), max(d), min(c) FROM {table}",
    "SELECT a % 100 AS g, count(*), sum(b) FROM {table} GROUP BY 1 ORDER BY 1",
    "SELECT count(*), sum(f) FROM {table} WHERE c LIKE 'item 7%' AND a < 500000",
)
CHECK = "SELECT count(*), sum(k), sum(a), sum(b), min(c), max(d) FROM {table}"
CHANGES = {
    # Scattered over all blocks: the hardest place for 10 % of the rows.
    "update 10 %": "UPDATE {target} SET a = a + 1, b = b * 2 WHERE k % 10 = 3",
    "delete 10 %": "DELETE FROM {target} WHERE k % 10 = 7",
    "merge 1 in 10": "MERGE INTO {target} USING stage ON {target}.k = stage.k "
                     "WHEN MATCHED THEN UPDATE SET a = stage.a, b = stage.b "
                     "WHEN NOT MATCHED THEN INSERT (k, a, b, c, d, f) VALUES "
                     "(stage.k, stage.a, stage.b, stage.c, stage.d, stage.f)",
}
# The table that each change is made to, and the one that sees all of them in turn.
TARGETS = {"update 10 %": "updated", "delete 10 %": "deleted", "merge 1 in 10": "merged",
           "all": "changed"}
LIMITS = {"change": 2.0, "scan after update": 1.15, "scan after delete": 1.15,
          "scan after merge": 1.15, "scan after compaction": 1.02, "scan after inserts": 1.1,
          "inserts a second, 1 client": 300,
          "inserts a second, 16 clients": 1_000}


def make_data(directory, rows):
    """Parquet files of the base table and of a tenth as many rows to merge, half of them new."""
    if (directory / "done").exists():
        return
    directory.mkdir(parents=True, exist_ok=True)
    connection = duckdb.connect()
    item = ("range AS k, (hash(range) % 1000000)::INTEGER AS a, "
            "((hash(range + 1) % 10000000) / 100)::DECIMAL(12, 2) AS b, "
            "'item ' || (hash(range + 2) % 100000)::VARCHAR AS c, "
            "DATE '2020-01-01' + (hash(range + 3) % 1500)::INTEGER AS d, "
            "(hash(range + 4) % 1000000)::DOUBLE AS f")
    shape = "(FORMAT parquet, COMPRESSION lz4_raw, ROW_GROUP_SIZE 262144)"
    connection.execute(f"COPY (SELECT {item} FROM range({rows})) TO '{directory}/base.parquet' "
                       f"{shape}")
    step = 20
    connection.execute(
        f"COPY (SELECT * REPLACE (CASE WHEN k < {rows // 20} THEN k * {step} "
        f"ELSE k + {rows} END AS k) FROM (SELECT {item} FROM range({rows // 10}))) "
        f"TO '{directory}/stage.parquet' {shape}")
    (directory / "done").touch()


def normal(rows):
    """Values as both systems give them: numbers as floats of nine digits."""
    def one(value):
        if isinstance(value, (int, float, decimal.Decimal)):
            return float(f"{float(value):.9g}")
        return value.isoformat() if isinstance(value, datetime.date) else value
    return [tuple(map(one, row)) for row in rows]


class System:
    """One of the two servers."""

    def __init__(self, name, execute, clock=lambda: 1):
        self.name, self.execute, self.clock = name, execute, clock
        self.times, self.slower = {}, {}

    def time(self, label, text):
        seconds, _ = timed(lambda: self.execute(text))
        self.times.setdefault(label, []).append(seconds)
        return seconds

    def scan(self, label, table, control=None, runs=5):
        """The sum of the medians of the scans, the first turn not counted. With a control, a table
        of the same rows that nothing was done to, its scans run turn about with these: what else
        the machine does then slows both, and only their ratio is of interest."""
        tables = [table] + ([control] if control else [])
        sums = {name: [0, 0] for name in tables}
        for text in SCANS:
            samples = {name: [] for name in tables}
            for _ in range(runs + 1):
                for name in tables:
                    used = self.clock()
                    seconds, _ = timed(lambda: self.execute(text.format(table=name)))
                    samples[name].append((seconds, self.clock() - used))
            for name in tables:
                for measure in (0, 1):
                    sums[name][measure] += statistics.median(
                        sample[measure] for sample in samples[name][1:])
        self.times.setdefault(label, []).append(sums[table][0])
        if control:
            self.slower.setdefault(label, []).append(
                [mine / other for mine, other in zip(sums[table], sums[control])])

    def median(self, label):
        return statistics.median(self.times[label])


def load(ours, duck, directory):
    for table in ("base", "stage"):
        ours.execute(f"CREATE TABLE {table} ({COLUMNS}){KEYS[table]}")
        ours.time(f"load {table}", f"COPY {table} FROM '{directory}/{table}.parquet' "
                                   "FORMAT AS PARQUET")
        duck.execute(f"CREATE TABLE {table} ({COLUMNS})")
        duck.time(f"load {table}", f"INSERT INTO {table} SELECT * FROM '{directory}/{table}.parquet'")


def same_rows(systems, table, after):
    answers = [normal(system.execute(CHECK.format(table=table))) for system in systems]
    assert answers[0] == answers[1], f"after {after}: {answers[0]} and {answers[1]}"
    return int(answers[0][0][0])


def copy(system, table, source):
    """A table of the same rows, laid out afresh."""
    system.execute(f"DROP TABLE IF EXISTS {table}")
    keys = KEYS["base"] if system.name == "ours" else ""
    system.execute(f"CREATE TABLE {table} ({COLUMNS}){keys}")
    system.execute(f"INSERT INTO {table} SELECT * FROM {source}")


def change_once(systems, ours, server, options):
    """One run: each change to a copy of the base table of its own, then all in turn to one."""
    for label in (*CHANGES, "all"):
        for system in systems:
            copy(system, TARGETS[label], "base")
            system.scan("scan before", TARGETS[label])
    for label, text in CHANGES.items():
        for system in systems:
            system.time(label, text.format(target=TARGETS[label]))
        same_rows(systems, TARGETS[label], label)
        for system in systems:
            system.scan(f"scan after {label}", TARGETS[label], "base" if system is ours else None)
    for text in CHANGES.values():
        for system in systems:
            system.execute(text.format(target=TARGETS["all"]))
    same_rows(systems, TARGETS["all"], "all in turn")
    ours.scan("scan after all three", TARGETS["all"], "base")
    waited = wait_for_compaction(server, options.compaction_s)
    for label, target in TARGETS.items():
        rows = same_rows(systems, target, f"compaction after {label}")
        copy(ours, "fresh", target)
        ours.scan(f"scan after compaction, {label}", target, "fresh")
    return waited, rows


def wait_for_compaction(server, seconds_max):
    """Waits until no file of the store has come or gone for ten seconds; gives the seconds."""
    started, seen, since = time.monotonic(), None, time.monotonic()
    while time.monotonic() - started < seconds_max:
        files = {str(path) for path in (server.data / "store/data").rglob("*")}
        if files != seen:
            seen, since = files, time.monotonic()
        elif time.monotonic() - since > 10:
            break
        time.sleep(0.5)
    return time.monotonic() - started


def insert_rows(server, clients, total):
    """Single-row INSERTs in autocommit; gives rows a second."""
    each = total // clients
    ready = threading.Barrier(clients + 1)

    def work(number):
        with server.connect() as connection:
            ready.wait()
            for row in range(each):
                connection.execute(
                    f"INSERT INTO trickle VALUES ({number * each + row}, {row}, 1.50, 'item', "
                    "'2024-01-01', 0.5)")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    ready.wait()
    seconds, _ = timed(lambda: [thread.join() for thread in threads])
    return each * clients / seconds


def inserts(ours, duck, server, options):
    """Trickle inserts into a table of a tenth of the rows, and what they do to its scans."""
    ours.execute(f"CREATE TABLE trickle ({COLUMNS})")
    ours.execute("INSERT INTO trickle SELECT * FROM stage")
    ours.execute(f"CREATE TABLE calm ({COLUMNS})")
    ours.execute("INSERT INTO calm SELECT * FROM stage")
    duck.execute(f"CREATE TABLE trickle ({COLUMNS})")
    rates = {}
    for clients in (1, 16):
        rates[f"inserts a second, {clients} client{'s' * (clients > 1)}"] = insert_rows(
            server, clients, options.inserts)
        ours.scan(f"scan after {clients * options.inserts // clients} inserts by {clients}",
                  "trickle", "calm", 9)
    count = ours.execute("SELECT count(*) FROM trickle")[0][0]
    base = ours.execute("SELECT count(*) FROM stage")[0][0]
    assert count == base + options.inserts + options.inserts // 16 * 16, count
    seconds, _ = timed(lambda: [duck.execute(
        f"INSERT INTO trickle VALUES ({row}, 1, 1.50, 'item', '2024-01-01', 0.5)")
        for row in range(options.inserts)])
    rates["duckdb inserts a second, 1 client"] = options.inserts / seconds
    ours.scan("scan after inserts", "trickle", "calm", 9)
    return rates


def report(ours, duck, rates, waited, rows):
    result = {"rows after": rows, "seconds": {}, "ratios": {}, "misses": []}
    print(f"{'':34}{'ours s':>10}{'duckdb s':>10}{'ratio':>8}")
    for label in ours.times:
        mine = ours.median(label)
        theirs = duck.median(label) if label in duck.times else None
        result["seconds"][label] = {"ours": mine, "duckdb": theirs}
        print(f"{label:34}{mine:10.3f}" + (f"{theirs:10.3f}{mine / theirs:8.2f}" if theirs else ""))
        if label in CHANGES:
            judge(result, f"{label} / duckdb", mine / theirs, LIMITS["change"])
    for label, samples in ours.slower.items():
        wall, processor = (statistics.median(sample) for sample in zip(*samples))
        limit = next((LIMITS[kind] for kind in LIMITS if label.startswith(kind)), None)
        judge(result, f"{label} / untouched", wall, limit)
        judge(result, f"{label} / untouched, cpu", processor, None)
    for label, rate in rates.items():
        judge(result, label, rate, LIMITS.get(label), at_least=True)
    result["compaction waited s"] = waited
    print(f"waited {waited:.0f} s for compaction; {rows} rows at the end")
    print(json.dumps(result))
    return result


def judge(result, label, value, limit, at_least=False):
    result["ratios"][label] = value
    missed = limit is not None and (value < limit if at_least else value > limit)
    if missed:
        result["misses"].append(label)
    wanted = "" if limit is None else f"asked at {'least' if at_least else 'most'} {limit:g}"
    print(f"{label:44}{value:10.2f}  {wanted}{'  MISSED' if missed else ''}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--inserts", type=int, default=1_000)
    parser.add_argument("--compaction-s", type=int, default=180,
                        help="longest wait for automatic compaction")
    options = parser.parse_args()
    directory = cache() / f"dml{options.rows}"
    make_data(directory, options.rows)
    work = pathlib.Path(tempfile.mkdtemp(prefix="blueshift-bench-"))
    server = Server(work / "cluster", directory, []).start()
    try:
        file = duckdb.connect(str(work / "duck.db"), config={"threads": options.threads})
        duck = System("duckdb", lambda text: file.execute(text).fetchall())
        with server.connect() as connection:
            def execute(text):
                cursor = connection.execute(text)
                return cursor.fetchall() if cursor.description else None
            ours = System("ours", execute, lambda: processor_s(server.process.pid))
            load(ours, duck, directory)
            waited, rows = 0, 0
            for _ in range(options.runs):
                waited, rows = change_once((ours, duck), ours, server, options)
            rates = inserts(ours, duck, server, options)
            report(ours, duck, rates, waited, rows)
        server.stop()
    finally:
        server.close()
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main()
