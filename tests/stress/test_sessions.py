"""Fifty sessions write and read ten tables: nothing but documented conflicts, and all that is read
adds up."""

import os
import random
import threading
import time

import psycopg

from conftest import Server, figure, new_seed, scaled

SECONDS = int(os.environ.get("BLUESHIFT_SESSIONS_SECONDS", 40))
TABLES = 10
WRITERS, READERS = 25, 25
ABORTS = {"40001", "40P01", "55P03"}
TOTAL = " UNION ALL ".join(f"SELECT sum(v) AS v FROM pairs_{n}" for n in range(TABLES))


class Sessions:
    """What all sessions of one run share."""

    def __init__(self, connect, seconds, seed):
        self.connect, self.seed = connect, seed
        self.deadline = time.monotonic() + seconds
        self.faults = []
        self.lock = threading.Lock()
        self.commits = self.aborts = self.reads = 0
        self.slowest_s = 0

    def running(self):
        return time.monotonic() < self.deadline and not self.faults

    def guarded(self, work, number):
        try:
            with self.connect() as connection:
                work(connection, number, random.Random(self.seed * 100 + number))
        except BaseException as error:
            self.faults.append(error)

    def write(self, connection, number, dice):
        mine, serial = [], 0
        while self.running():
            first, second = dice.sample(range(TABLES), 2)
            serial += 1
            key, kind, taken = number * 1_000_000 + serial, dice.random(), None
            if kind < 0.4 or kind >= 0.7 and not mine:
                taken = (key, first, second)
                texts = [f"INSERT INTO pairs_{first} VALUES ({key}, {serial})",
                         f"INSERT INTO pairs_{second} VALUES ({key}, {-serial})"]
            elif kind < 0.7:
                texts = [f"UPDATE pairs_{first} SET v = v + {serial} WHERE k = 0",
                         f"UPDATE pairs_{second} SET v = v - {serial} WHERE k = 0"]
            else:
                old, first, second = mine[-1]
                texts = [f"DELETE FROM pairs_{first} WHERE k = {old}",
                         f"DELETE FROM pairs_{second} WHERE k = {old}"]
            if self.commit(connection, texts):
                if taken:
                    mine.append(taken)
                elif "DELETE" in texts[0]:
                    mine.pop()

    def commit(self, connection, texts):
        started = time.monotonic()
        try:
            connection.execute("BEGIN")
            for text in texts:
                done = connection.execute(text)
                assert done.rowcount == 1, f"{text}: {done.rowcount} rows"
            connection.execute("COMMIT")
        except psycopg.Error as error:
            if error.sqlstate not in ABORTS:
                raise
            connection.rollback()
            with self.lock:
                self.aborts += 1
            return False
        with self.lock:
            self.commits += 1
            self.slowest_s = max(self.slowest_s, time.monotonic() - started)
        return True

    def read(self, connection, number, dice):
        while self.running():
            total = connection.execute(f"SELECT sum(v) FROM ({TOTAL}) t").fetchone()[0]
            assert total == 0, f"the tables add up to {total}"
            table = dice.randrange(TABLES)
            connection.execute("BEGIN")
            counts = [connection.execute(f"SELECT count(*), sum(v) FROM pairs_{table}").fetchone()
                      for _ in range(2)]
            connection.execute("COMMIT")
            assert counts[0] == counts[1], f"pairs_{table} changed within a snapshot: {counts}"
            with self.lock:
                self.reads += 2
            time.sleep(0.01)


def run(connect, seconds, seed):
    with connect() as connection:
        for number in range(TABLES):
            connection.execute(f"CREATE TABLE pairs_{number} (k BIGINT, v BIGINT)")
            connection.execute(f"INSERT INTO pairs_{number} VALUES (0, 0)")
    sessions = Sessions(connect, seconds, seed)
    jobs = [sessions.write] * WRITERS + [sessions.read] * READERS
    threads = [threading.Thread(target=sessions.guarded, args=(job, number + 1), daemon=True)
               for number, job in enumerate(jobs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=seconds + 120)
        assert not thread.is_alive(), f"seed {seed}: a session hangs"
    if sessions.faults:
        raise AssertionError(f"seed {seed}: {sessions.faults[0]}") from sessions.faults[0]
    return sessions


def test_fifty_sessions(tmp_path):
    seed = new_seed()
    seconds = scaled(SECONDS)
    server = Server(tmp_path / "cluster", tmp_path,
                    ["--nodes", "2", "--slices-per-node", "2"]).start()
    try:
        sessions = run(server.connect, seconds, seed)
        assert sessions.commits > seconds and sessions.reads > seconds
        figure("fifty sessions", seconds=seconds, commits=sessions.commits, aborted=sessions.aborts,
               reads=sessions.reads, slowest_commit_s=round(sessions.slowest_s, 1),
               resident_mb=server.resident_kb() // 1000)
        server.stop()
    finally:
        server.close()
