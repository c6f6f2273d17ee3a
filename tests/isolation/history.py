"""Histories of list-append transactions by concurrent clients, for a checker that did not write them.

A list is a row (k, v) whose text v gets `,n` appended by UPDATE; n is unique. The rows lie in
several tables, so that writers do not all wait for one lock. A history is Elle's: invoke, then ok,
fail (certainly aborted) or info (unknown), one JSON object a line.
"""

import json
import os
import pathlib
import random
import shutil
import subprocess
import threading
import time

import psycopg

TABLES = 4
KEYS_ACTIVE = 8
APPENDS_PER_KEY = 40
CHECKER = pathlib.Path(os.environ.get(
    "BLUESHIFT_ADYA", pathlib.Path.home() / ".cache/blueshift/adya-0.1.0/bin/adya"))
ABORTS = {"40001", "40P01", "55P03"}


def table(key):
    return f"lists_{key % TABLES}"


def create(connection, transactions):
    """Makes the lists that so many transactions may need, all empty."""
    keys = KEYS_ACTIVE + 2 * transactions // APPENDS_PER_KEY + 1
    for number in range(TABLES):
        connection.execute(f"DROP TABLE IF EXISTS lists_{number}")
        connection.execute(f"CREATE TABLE lists_{number} (k INTEGER, v VARCHAR(2000))")
        rows = ", ".join(f"({key}, '')" for key in range(keys) if key % TABLES == number)
        connection.execute(f"INSERT INTO lists_{number} VALUES {rows}")
    return keys


class Workload:
    """Gives transactions to clients until enough have been given, and keeps the history."""

    def __init__(self, transactions, keys, seed):
        self.dice = random.Random(seed)
        self.left = transactions
        self.keys = keys
        self.first = 0
        self.appended = {}
        self.lock = threading.Lock()
        self.history = []
        self.processes = 0
        self.next_element = 0

    def process(self):
        with self.lock:
            self.processes += 1
            return self.processes - 1

    def next(self, process):
        """The next transaction, recorded as invoked; None at the end."""
        with self.lock:
            if self.left == 0:
                return None
            self.left -= 1
            operations = [self._operation() for _ in range(self.dice.randint(1, 4))]
            if self.dice.random() < 0.5:
                # Reads, then an append elsewhere: the shape that write skew needs.
                operations.sort(key=lambda operation: operation[0] == "append")
            self._record("invoke", process, operations)
            return operations

    def _operation(self):
        key = self.first + self.dice.randrange(KEYS_ACTIVE)
        if self.dice.random() < 0.5:
            return ["r", key, None]
        self.next_element += 1
        self.appended[key] = self.appended.get(key, 0) + 1
        if self.appended[key] >= APPENDS_PER_KEY and self.first + KEYS_ACTIVE + 1 < self.keys:
            self.first += 1
        return ["append", key, self.next_element]

    def end(self, kind, process, operations, error=None):
        with self.lock:
            self._record(kind, process, operations, error)

    def _record(self, kind, process, operations, error=None):
        entry = {"index": len(self.history), "type": kind, "process": process,
                 "time": time.monotonic_ns(), "f": "txn", "value": operations}
        if error:
            entry["error"] = error
        self.history.append(entry)

    def count(self, kind):
        return sum(entry["type"] == kind for entry in self.history)

    def write(self, path):
        path.write_text("".join(json.dumps(entry) + "\n" for entry in self.history))


def run_one(connection, operations):
    """Runs a transaction; gives its operations with what was read."""
    done = []
    connection.execute("BEGIN")
    for kind, key, value in operations:
        if kind == "r":
            row = connection.execute(f"SELECT v FROM {table(key)} WHERE k = {key}").fetchone()
            done.append(["r", key, [int(word) for word in row[0].split(",") if word]])
        else:
            cursor = connection.execute(
                f"UPDATE {table(key)} SET v = v || ',{value}' WHERE k = {key}")
            assert cursor.rowcount == 1, f"UPDATE of list {key} changed {cursor.rowcount} rows"
            done.append(["append", key, value])
    return done


def client(workload, connect, faults):
    process = workload.process()
    connection = None
    while operations := workload.next(process):
        at_commit, done = False, operations
        try:
            connection = connection or connect()
            done = run_one(connection, operations)
            at_commit = True
            connection.execute("COMMIT")
            workload.end("ok", process, done)
            continue
        except psycopg.Error as error:
            code = error.sqlstate
            lost = connection is None or connection.closed
            in_doubt = at_commit and (lost or code == "40003")
            if code and not lost and not in_doubt and code not in ABORTS:
                faults.append(error)
            workload.end("info" if in_doubt else "fail", process, operations,
                         code or type(error).__name__)
        except Exception as error:
            faults.append(error)
            workload.end("info", process, operations, str(error))
        if not (connection and usable(connection)):
            connection = None
            # A process whose last transaction may still be running does nothing more.
            process = workload.process()
    if connection:
        connection.close()


def usable(connection):
    """Whether the session goes on, outside of any transaction."""
    try:
        connection.rollback()
        return not connection.closed
    except psycopg.Error:
        return False


def record(connect, transactions, clients, seed, keys, beside=None):
    """Runs a workload and gives it with its history. Faults are raised.

    `connect` waits until the server takes connections again. `beside(workload)`, if given, runs
    beside the clients; it may end the workload by setting `left` to 0.
    """
    workload = Workload(transactions, keys, seed)
    faults = []
    threads = [threading.Thread(target=client, args=(workload, connect, faults), daemon=True)
               for _ in range(clients)]
    for thread in threads:
        thread.start()
    if beside:
        beside(workload)
    for thread in threads:
        thread.join()
    if faults:
        raise faults[0]
    return workload


def check(path, model):
    """The checker's verdict: True with [], or False with the kinds of anomalies.

    # Errors
    AssertionError when the checker cannot tell.
    """
    program = str(CHECKER) if CHECKER.exists() else shutil.which("adya")
    assert program, f"{CHECKER} is missing: cargo xtask install"
    run = subprocess.run([program, "check", "--model", "list-append",
                          "--consistency-models", model, "--cycle-search-timeout", "20000",
                          "--json", str(path)], capture_output=True, text=True)
    assert run.returncode in (0, 1), run.stdout[-2000:] + run.stderr[-2000:]
    report = json.loads(run.stdout)
    assert report["valid"] == (run.returncode == 0), report
    return report["valid"], report["anomaly_types"]
