"""The life of a server: start, stop, a second start, processes, lost nodes, large results."""

import os
import pathlib
import signal
import subprocess
import threading
import time

import psycopg
import pytest
import redshift_connector

from conftest import MODES, PASSWORD, PROGRAM, Server, load_tpch, wait_until


@pytest.fixture(scope="module")
def processes(tmp_path_factory, tpch_files):
    server = Server(tmp_path_factory.mktemp("processes") / "cluster", tpch_files,
                    MODES["processes-3x2"]).start()
    load_tpch(server, tpch_files)
    yield server
    server.close()


def test_a_second_start_continues_and_a_third_is_refused(tmp_path):
    server = Server(tmp_path / "cluster", tmp_path, []).start()
    server.execute("CREATE TABLE kept (id INTEGER, note VARCHAR(10))")
    server.execute("INSERT INTO kept VALUES (1, 'one'), (2, 'two')")
    second = subprocess.run([PROGRAM, "start", "--port", "0", "--data", str(server.data)],
                            capture_output=True, text=True)
    assert second.returncode != 0 and "in use" in second.stderr
    server.stop()
    server.start()
    assert server.execute("SELECT * FROM kept ORDER BY id") == [(1, "one"), (2, "two")]
    server.stop()


def test_a_stop_right_after_the_start_is_orderly(tmp_path):
    for mode in ("embedded-1x1", "processes-3x2"):
        server = Server(tmp_path / mode, tmp_path, MODES[mode])
        try:
            for _ in range(3):
                server.start().stop()
        finally:
            server.close()


def test_a_generated_password_is_in_a_private_file(tmp_path):
    process = subprocess.Popen([PROGRAM, "start", "--port", "0", "--data", str(tmp_path / "c")],
                               stdout=subprocess.PIPE, text=True)
    try:
        line = process.stdout.readline()
        file = tmp_path / "c" / "admin-password"
        assert str(file) in line and file.stat().st_mode & 0o777 == 0o600
        port = int(line.split("@")[1].split("/")[0].rsplit(":", 1)[1])
        with psycopg.connect(host="127.0.0.1", port=port, user="awsuser", dbname="dev",
                             password=file.read_text().strip()) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0


def test_ready_within_two_seconds_and_200_mb(tmp_path):
    started = time.monotonic()
    server = Server(tmp_path / "cluster", tmp_path, []).start()
    try:
        assert time.monotonic() - started < 2
        server.execute("SELECT 1")
        assert server.resident_kb() < 200_000
    finally:
        server.close()


def test_the_leader_opens_no_segment(processes):
    """While compute processes scan, the leader holds no segment file open."""
    opened = set()
    stop = threading.Event()

    def watch():
        while not stop.is_set():
            for link in pathlib.Path(f"/proc/{processes.process.pid}/fd").iterdir():
                try:
                    target = os.readlink(link)
                except OSError:
                    continue
                if target.endswith(".seg"):
                    opened.add(target)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        processes.execute("CREATE TABLE copied DISTKEY (l_partkey) AS SELECT * FROM lineitem")
        for text in ("SELECT sum(l_quantity) FROM lineitem", "SELECT count(*) FROM nation",
                     "SELECT count(*) FROM lineitem JOIN orders ON l_orderkey = o_orderkey",
                     "SELECT max(l_comment) FROM copied", "SELECT * FROM region"):
            processes.execute(text)
        processes.execute("DROP TABLE copied")
    finally:
        stop.set()
        watcher.join()
    assert opened == set()


def test_strace_sees_no_segment_opened_by_the_leader(processes, tmp_path):
    trace = tmp_path / "trace"
    strace = subprocess.Popen(["strace", "-f", "-e", "trace=openat,open", "-o", str(trace),
                               "-p", str(processes.process.pid)], stderr=subprocess.PIPE, text=True)
    try:
        assert "attached" in strace.stderr.readline()
        processes.execute("SELECT count(*), max(l_comment) FROM lineitem")
        processes.execute("SELECT * FROM nation")
        processes.execute("CREATE TABLE strace_copy AS SELECT * FROM orders")
        processes.execute("DROP TABLE strace_copy")
    finally:
        strace.terminate()
        strace.wait()
    assert ".seg" not in trace.read_text()


def test_a_compute_process_killed_during_a_query(processes):
    text = ("SELECT l_returnflag, count(*), sum(l_extendedprice), count(DISTINCT l_comment) "
            "FROM lineitem JOIN orders ON l_orderkey = o_orderkey GROUP BY 1 ORDER BY 1")
    expected = processes.execute(text)
    right, clean = 0, 0
    for delay_s in (0.02, 0.1, 0.2, 0.4):
        nodes = processes.children()
        wait_until(lambda: len(processes.children()) == 3, what="all nodes")
        threading.Timer(delay_s, os.kill, (processes.children()[-1], signal.SIGKILL)).start()
        try:
            assert processes.execute(text) == expected
            right += 1
        except psycopg.Error as error:
            assert error.sqlstate in ("08006", "57P02", "40001", "58000"), error
            clean += 1
        time.sleep(delay_s)
        assert processes.execute(text) == expected, nodes
    assert right + clean == 4


def test_twenty_million_rows_stream(processes):
    """The leader's memory does not grow with the result."""
    server = processes
    server.execute("DROP TABLE IF EXISTS twenty_million")
    server.execute("CREATE TABLE twenty_million AS SELECT o_orderkey AS n FROM orders, "
                   "(SELECT s_suppkey FROM supplier WHERE s_suppkey <= 134) s")
    count = server.execute("SELECT count(*) FROM twenty_million")[0][0]
    assert count >= 20_000_000
    peak = [0]
    stop = threading.Event()

    def watch():
        while not stop.is_set():
            peak[0] = max(peak[0], server.resident_kb())
            time.sleep(0.05)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        with server.connect(autocommit=False) as connection:
            with connection.cursor(name="stream") as cursor:
                cursor.itersize = 100_000
                cursor.execute("SELECT n FROM twenty_million")
                rows = 0
                while batch := cursor.fetchmany(100_000):
                    rows += len(batch)
        assert rows == count
        with redshift_connector.connect(host="127.0.0.1", port=server.port, database="dev",
                                        user="awsuser", password=PASSWORD,
                                        ssl=False) as connection:
            cursor = connection.cursor()
            cursor.execute("SELECT n FROM twenty_million")
            rows = sum(1 for _ in cursor)
        assert rows == count
    finally:
        stop.set()
        watcher.join()
        server.execute("DROP TABLE twenty_million")
    assert peak[0] < 500_000, f"the leader reached {peak[0]} kB"
