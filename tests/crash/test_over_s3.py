"""A cluster whose durable bytes are in S3, which fails: nothing acknowledged is lost, nothing is
there twice or in part, wrong rows are never returned, and errors say what failed."""

import concurrent.futures
import gzip
import random
import signal
import threading
import time

import psycopg
import pytest

import mixed
from conftest import MODES, SCALE, Server, figure, new_seed, scaled
from faulty_s3 import BUCKET, FaultyS3
from test_damage import DAMAGED, said, starts
from test_fencing import FENCED
from test_mixed import join, kill_loop, load, make_clients, sweeper, verify

SHAPE = ["--nodes", "2", "--slices-per-node", "2"]
KILLS = 4
FAILING_S = 3
# Longer than any request is repeated.
AWAY_S = min(10, max(3, 4 * SCALE))
DAMAGED_TABLES = 40
DAMAGED_STARTS = 6
FENCINGS = 2
FAILED_STARTS = 4
# The store failed, or could not be reached.
STORE = {"58030", "08006"}
# The log's records, one put each: the commit point.
COMMIT = {"operations": ["put_object"], "key": "catalog/log/"}
# Every request fails with a probability of about 10 %, the commit point twice as often and worse.
FAILING = [
    {"fault": "delay", "delay_ms": 40, "probability": 0.05},
    {**COMMIT, "fault": "reset_after", "probability": 0.08},
    {**COMMIT, "fault": "error_after", "status": 500, "probability": 0.05},
    {**COMMIT, "fault": "late", "delay_ms": 400, "probability": 0.05},
    {**COMMIT, "fault": "error", "status": 409, "probability": 0.02},
    {"fault": "error", "status": 503, "probability": 0.04},
    {"fault": "error", "status": 500, "probability": 0.02},
    {"fault": "reset", "probability": 0.02},
    {"fault": "reset_after", "probability": 0.01},
    {"fault": "error_after", "status": 500, "probability": 0.01},
    {"fault": "cut_body", "operations": ["get_object"], "probability": 0.03},
]


@pytest.fixture
def s3(tmp_path):
    server = FaultyS3(tmp_path / "s3").start()
    (tmp_path / "files").mkdir()
    yield server
    server.close()


def test_the_leader_is_killed(s3, tmp_path):
    """With answers of the commit point lost now and then; every other time the store is killed
    too."""
    seed = new_seed()
    kills = scaled(KILLS)
    server = s3.cluster(tmp_path / "cluster", tmp_path / "files", SHAPE).start()
    restarts = 0

    def restart():
        nonlocal restarts
        restarts += 1
        if restarts % 2:
            s3.kill()
            s3.start()
            s3.faults({**COMMIT, "fault": "late", "delay_ms": 300, "probability": 0.1},
                      {**COMMIT, "fault": "reset_after", "probability": 0.1}, seed=seed + restarts)
        server.start()

    try:
        clients, slowest = kill_loop(server, tmp_path, kills, seed, restart)
        s3.check_log()
        figure("T3 on S3", kills=kills, acknowledged=sum(one.acknowledged for one in clients),
               aborted=sum(one.aborted for one in clients),
               in_doubt=sum(one.in_doubt for one in clients),
               lost=0, torn=0, slowest_restart_s=round(slowest, 2))
        server.stop()
    finally:
        server.close()


def failing(factor):
    """The rules of FAILING with other probabilities."""
    return [{**rule, "probability": rule["probability"] * factor} for rule in FAILING]


@pytest.mark.parametrize("mode, factor", [("embedded-2x2", 1.7), ("processes-3x2", 0.6)])
def test_requests_fail_at_random(s3, tmp_path, mode, factor):
    seed = new_seed()
    server = s3.cluster(tmp_path / "cluster", tmp_path / "files", MODES[mode]).start()
    try:
        clients = make_clients(server, tmp_path, random.Random(seed),
                               allowed=frozenset(mixed.ABORTS | STORE))
        with server.connect() as connection:
            mixed.create(connection)
        s3.faults(*failing(factor), seed=seed)
        stop, faults = threading.Event(), []
        threads = [*load(clients, stop), sweeper(server, stop, faults)]
        time.sleep(scaled(FAILING_S))
        stop.set()
        join(threads, clients, faults, seed)
        counts = s3.counts()
        s3.faults()
        verify(clients, server, seed)
        server.kill()
        server.start()
        verify(clients, server, seed)
        s3.check_log()
        server.stop()
    finally:
        server.close()
    acknowledged = sum(client.acknowledged for client in clients)
    assert acknowledged > FAILING_S, f"seed {seed}: only {acknowledged} transactions"
    assert any(count["fired"] for count in counts[1:4]), f"seed {seed}: {counts}"
    figure(f"S3 failing, {mode}", requests=counts[0]["matched"],
           failed=sum(count["fired"] for count in counts[1:]), acknowledged=acknowledged,
           aborted=sum(client.aborted for client in clients),
           in_doubt=sum(client.in_doubt for client in clients), lost=0, twice=0)


def test_a_commit_whose_answer_is_lost_is_found(s3, tmp_path):
    """The leader reads the slot back: the client of a record that won is told so."""
    server = s3.cluster(tmp_path / "cluster", tmp_path / "files", SHAPE).start()
    rows = []
    try:
        server.execute("CREATE TABLE t (n INTEGER)")
        for fault in ("reset_after", "error_after", "late", "reset", "error"):
            for _ in range(2):
                s3.faults({**COMMIT, "fault": fault, "delay_ms": 300, "times": 1})
                server.execute(f"INSERT INTO t VALUES ({len(rows)})")
                rows.append((len(rows),))
                assert s3.counts()[0]["fired"] == 1
        s3.faults()
        assert server.execute("SELECT n FROM t ORDER BY n") == rows
        server.kill()
        assert server.start().execute("SELECT n FROM t ORDER BY n") == rows
        s3.check_log()
        server.stop()
    finally:
        server.close()


def test_a_store_that_forgets_is_found(s3, tmp_path):
    """The accounting itself: the last records of the log are acknowledged and not kept."""
    server = s3.cluster(tmp_path / "cluster", tmp_path / "files", SHAPE).start()
    try:
        client = make_clients(server, tmp_path, random.Random(1), 1)[0]
        with server.connect() as connection:
            mixed.create(connection)
            client.connection = connection
            for _ in range(5):
                client.transaction()
            assert client.verify(connection) is None
            s3.faults({**COMMIT, "fault": "forget"})
            for _ in range(3):
                client.transaction()
            assert client.verify(connection) is None
        server.kill()
        s3.faults()
        with server.start().connect() as connection:
            assert "client 0" in client.verify(connection)
        server.stop()
    finally:
        server.close()


@pytest.mark.parametrize("compressed", [False, True])
def test_copy_reads_all_or_fails(s3, tmp_path, compressed):
    """An object that arrives in pieces is read to its end; one that is shorter than its list entry
    says is an error, not fewer rows."""
    client = s3.client()
    rows = 30_000
    for part in range(2):
        text = "".join(f"{k}|row {k}\n" for k in range(part * rows, (part + 1) * rows)).encode()
        client.put_object(Bucket=BUCKET, Key=f"load/{part}",
                          Body=gzip.compress(text) if compressed else text)
    server = s3.cluster(tmp_path / "cluster", tmp_path / "files", SHAPE).start()
    copy = (f"COPY t FROM 's3://{BUCKET}/load/' ACCESS_KEY_ID 'test' SECRET_ACCESS_KEY 'test' "
            f"REGION 'us-east-1' {'GZIP' if compressed else ''}")
    source = {"operations": ["get_object"], "key": "load/"}
    count = 0
    try:
        server.execute("CREATE TABLE t (n INTEGER, note VARCHAR(20))")
        for rule in ({"fault": "cut_body", "times": 2}, {"fault": "error", "times": 2},
                     {"fault": "reset", "times": 1}, {"fault": "truncate_body", "times": 1}):
            s3.faults({**source, **rule}, seed=7)
            try:
                server.execute(copy)
                count += 2 * rows
            except psycopg.Error as error:
                assert rule["fault"] == "truncate_body", f"{rule}: {error.sqlstate} {error}"
                assert error.sqlstate == "55000" and "load/" in said(error), said(error)
            assert s3.counts()[0]["fired"] == rule["times"]
            assert server.execute("SELECT count(*) FROM t") == [(count,)], rule
        server.stop()
    finally:
        server.close()


def test_a_segment_whose_answer_is_lost_is_found(s3, tmp_path):
    server = s3.cluster(tmp_path / "cluster", tmp_path / "files", SHAPE).start()
    (tmp_path / "files/rows.csv").write_text("".join(f"{k}\n" for k in range(2_000)))
    segments = {"operations": ["put_object"], "key": "/data/", "times": 1}
    try:
        server.execute("CREATE TABLE t (n INTEGER)")
        # The client of the store repeats the put, which finds itself.
        s3.faults({**segments, "fault": "error_after", "status": 500},
                  {"operations": ["get_object"], "key": "/data/", "times": 1, "fault": "error",
                   "status": 503})
        server.execute(f"COPY t FROM '{tmp_path}/files/rows.csv' CSV")
        assert s3.counts()[0]["fired"] == 1
        # Another put of the same name may still be on its way.
        s3.faults({**segments, "fault": "error", "status": 409})
        server.execute(f"COPY t FROM '{tmp_path}/files/rows.csv' CSV")
        assert s3.counts()[0]["fired"] == 1
        assert server.execute("SELECT count(*), sum(n) FROM t") == [(4_000, 3_998_000)]
        s3.check_log()
        server.stop()
    finally:
        server.close()


def test_a_start_whose_requests_fail(s3, tmp_path):
    """Any one request of a start fails, whether it had its effect or not: the start goes on."""
    seed = new_seed()
    dice = random.Random(seed)
    server = s3.cluster(tmp_path / "cluster", tmp_path / "files", SHAPE).start()
    server.execute("CREATE TABLE t (n INTEGER)")
    server.execute("INSERT INTO t VALUES (1), (2)")
    server.stop()
    s3.faults({"fault": "delay"})
    server.start()
    server.execute("SELECT count(*) FROM t")
    server.stop()
    requests = s3.counts()[0]["matched"]
    kinds = [{"fault": "reset_after"}, {"fault": "error_after", "status": 500}, {"fault": "reset"},
             {"fault": "late", "delay_ms": 200}, {"fault": "error", "status": 409}]
    # A conflict is an answer to puts alone; the self-test is what a start begins with.
    first = [{**kind, "operations": ["put_object"], "skip": skip, "times": 1}
             for kind in kinds for skip in (0, 1)]
    cases = first + [{**dice.choice(kinds[:4]), "skip": dice.randrange(requests), "times": 1}
                     for _ in range(scaled(FAILED_STARTS))]
    refused = []
    try:
        for case in cases:
            s3.faults(case, seed=seed)
            started, _ = starts(server)
            s3.faults()
            if started:
                assert server.execute("SELECT count(*) FROM t") == [(2,)], f"seed {seed}: {case}"
            else:
                refused.append(f"{case}: {server.log.read_text()[-500:]}")
            server.close()
        assert not refused, f"seed {seed}: " + "\n".join(refused)
        s3.check_log()
        figure("S3 failing at start", starts=len(cases), refused=0)
    finally:
        server.close()


def test_an_older_leader_acknowledges_nothing(s3, tmp_path):
    """Also when its puts arrive after the newer leader has begun."""
    seed = new_seed()
    rounds = scaled(FENCINGS)
    total = 0
    for number in range(rounds):
        older = s3.cluster(tmp_path / f"older-{number}", tmp_path, SHAPE)
        newer = s3.cluster(tmp_path / f"newer-{number}", tmp_path, SHAPE)
        try:
            total += fence(s3, older, newer, seed + number)
        finally:
            older.close()
            newer.close()
    s3.check_log()
    figure("fencing on S3", leaders=2 * rounds, acknowledged=total, lost=0)


def test_of_leaders_that_start_at_once_one_leads(s3, tmp_path):
    leaders = [s3.cluster(tmp_path / f"leader-{number}", tmp_path, SHAPE) for number in range(3)]

    def insert(number):
        try:
            leaders[number].execute(f"INSERT INTO t VALUES ({number})")
            return number
        except psycopg.Error as error:
            assert error.sqlstate in FENCED, error

    try:
        leaders[0].start().execute("CREATE TABLE t (n INTEGER)")
        leaders[0].stop()
        with concurrent.futures.ThreadPoolExecutor(len(leaders)) as pool:
            list(pool.map(Server.start, leaders))
            acknowledged = [(n,) for n in pool.map(insert, range(len(leaders))) if n is not None]
        assert len(acknowledged) == 1
        leader = leaders[acknowledged[0][0]]
        assert leader.execute("SELECT n FROM t") == acknowledged
        leader.stop()
        s3.check_log()
    finally:
        for leader in leaders:
            leader.close()


def fence(s3, older, newer, seed):
    acknowledged, refused = set(), []
    started = threading.Event()

    def write():
        try:
            with older.connect() as connection:
                for number in range(100_000):
                    connection.execute(f"INSERT INTO numbers VALUES ({number})")
                    acknowledged.add(number)
                    if number == 20:
                        started.set()
        except psycopg.Error as error:
            refused.append(error.sqlstate)

    older.start()
    older.execute("DROP TABLE IF EXISTS numbers")
    older.execute("CREATE TABLE numbers (n INTEGER)")
    s3.faults({**COMMIT, "fault": "late", "delay_ms": 700, "probability": 0.1},
              {**COMMIT, "fault": "reset_after", "probability": 0.1}, seed=seed)
    writer = threading.Thread(target=write)
    writer.start()
    assert started.wait(60), f"seed {seed}: {refused}"
    newer.start()
    writer.join(timeout=60)
    assert not writer.is_alive(), "the older leader neither acknowledges nor refuses"
    assert refused and refused[0] in FENCED, f"seed {seed}: {refused}"
    s3.faults()
    found = [n for n, in newer.execute("SELECT n FROM numbers")]
    assert acknowledged <= set(found), f"seed {seed}: lost {sorted(acknowledged - set(found))[:9]}"
    assert len(found) == len(set(found)), f"seed {seed}: rows more than once"
    assert len(set(found) - acknowledged) <= 1, f"seed {seed}: more than the one in doubt"
    newer.execute("INSERT INTO numbers VALUES (-1)")
    assert newer.execute("SELECT count(*) FROM numbers") == [(len(found) + 1,)]
    newer.stop()
    return len(acknowledged)


def check_text(table):
    return f"SELECT count(*), sum(k), sum(length(t)), min(t), max(t), sum(d) FROM {table}"


@pytest.fixture
def tables(s3, tmp_path):
    """A stopped cluster, and what each table's check must give."""
    server = s3.cluster(tmp_path / "cluster", tmp_path / "files", SHAPE).start()
    try:
        with server.connect() as connection:
            for number in range(DAMAGED_TABLES):
                rows = 20_000 if number < 4 else 600
                path = tmp_path / "files" / f"{number}.csv"
                path.write_text("".join(
                    f"{k},{'xyz'[k % 3] * (k % 11)}{k * 7919 % 10 ** 6},{k}.25\n"
                    for k in range(rows)))
                connection.execute(f"CREATE TABLE t{number} (k INTEGER, t VARCHAR(40), "
                                   "d DECIMAL(12, 2)) DISTKEY (k) SORTKEY (k)")
                connection.execute(f"COPY t{number} FROM '{path}' CSV")
            # Too many rows for the log: their numbers go to files.
            for number in range(4):
                connection.execute(f"DELETE FROM t{number} WHERE k * 7919 % 17 < 5")
            expected = {f"t{number}": connection.execute(check_text(f"t{number}")).fetchall()
                        for number in range(DAMAGED_TABLES)}
        server.stop()
        yield server, expected
    finally:
        server.close()


def test_damaged_answers_are_seen(s3, tables):
    """Segments that arrive with another bit or too short: the query fails and names the segment,
    or gives the right rows; afterwards it gives the right rows."""
    seed = new_seed()
    server, expected = tables
    seen = {"flip_bit": 0, "truncate_body": 0}
    harmless = 0
    for number in range(scaled(1)):
        server.start()
        with server.connect() as connection:
            for at, table in enumerate(expected):
                fault = "flip_bit" if at % 2 else "truncate_body"
                s3.faults({"fault": fault, "operations": ["get_object"], "key": "/data/",
                           "skip": at // 2 % 3, "times": 1}, seed=seed + number)
                before = s3.mark()
                try:
                    found = connection.execute(check_text(table)).fetchall()
                    assert found == expected[table], f"seed {seed}: {table}: wrong rows {found}"
                    harmless += 1
                except psycopg.Error as error:
                    spoiled = s3.spoiled(before)
                    assert error.sqlstate in DAMAGED, f"seed {seed}: {error.sqlstate} {error}"
                    assert any(name in said(error) for name in spoiled), (
                        f"seed {seed}: {said(error)} names none of {spoiled}")
                    seen[fault] += 1
                s3.faults()
                found = connection.execute(check_text(table)).fetchall()
                assert found == expected[table], f"seed {seed}: {table}: kept {found}"
        server.stop()
    assert all(seen.values()), seen
    figure("T10 on S3", **seen, harmless=harmless, wrong_rows=0)


def test_a_damaged_log_keeps_the_leader_from_starting(s3, tables):
    seed = new_seed()
    server, expected = tables
    refused = passed = 0
    for number in range(scaled(DAMAGED_STARTS)):
        fault = ("flip_bit", "truncate_body", "cut_body")[number % 3]
        s3.faults({"fault": fault, "operations": ["get_object"], "key": "/catalog/",
                   "skip": number * 5, "times": 1}, seed=seed + number)
        before = s3.mark()
        try:
            started, message = starts(server)
            spoiled = s3.spoiled(before)
            s3.faults()
            if started:
                passed += 1
                table = random.Random(seed).choice(sorted(expected))
                assert server.execute(check_text(table)) == expected[table], f"seed {seed}"
                server.stop()
            else:
                refused += 1
                assert any(name in message for name in spoiled), f"seed {seed}: {message}"
        finally:
            server.close()
    assert refused, f"seed {seed}: no damage was seen"
    # What was wrong was the answer, not the object.
    server.start()
    for table in ("t0", "t5"):
        assert server.execute(check_text(table)) == expected[table]
    server.stop()
    figure("T10 on S3, start", refused=refused, harmless=passed)


@pytest.mark.parametrize("how", ["killed", "stopped"])
def test_the_store_is_away_for_a_while(s3, tmp_path, how):
    """Statements wait or say that the store failed; the sessions live, and so does what they were
    told."""
    # Nearly nothing of the table stays in memory.
    server = s3.cluster(tmp_path / "cluster", tmp_path / "files",
                        [*SHAPE, "--block-cache", "64KB"]).start()
    (tmp_path / "files/rows.csv").write_text("".join(
        f"{k},{k * 7919 % 10 ** 9}\n" for k in range(300_000)))
    away_s = AWAY_S if how == "killed" else AWAY_S / 2
    try:
        server.execute("CREATE TABLE read (k INTEGER, v INTEGER)")
        server.execute(f"COPY read FROM '{tmp_path}/files/rows.csv' CSV")
        server.execute("CREATE TABLE written (k INTEGER)")
        check = "SELECT count(*), sum(k), sum(v) FROM read"
        expected = server.execute(check)
        told, acknowledged, stop = [], set(), threading.Event()

        def session(statement):
            with server.connect() as connection:
                number = 0
                while not stop.is_set():
                    number += 1
                    try:
                        rows = statement(connection, number)
                        assert rows in (None, expected), f"wrong rows: {rows}"
                    except psycopg.Error as error:
                        if error.sqlstate not in STORE:
                            told.append(f"{error.sqlstate} {error}")
                            return
                        told.append(error.sqlstate)
                        connection.rollback()
                    except AssertionError as error:
                        told.append(str(error))
                        return
                    stop.wait(0.05)
                # The session is as good as it was.
                assert connection.execute(check).fetchall() == expected
                told.append("good")

        def read(connection, number):
            return connection.execute(check).fetchall()

        def write(connection, number):
            connection.execute(f"INSERT INTO written VALUES ({number})")
            acknowledged.add(number)

        sessions = [threading.Thread(target=session, args=(statement,))
                    for statement in (read, write)]
        for thread in sessions:
            thread.start()
        time.sleep(0.5)
        before = len(acknowledged)
        if how == "killed":
            s3.kill()
            time.sleep(away_s)
            s3.start()
        else:
            s3.process.send_signal(signal.SIGSTOP)
            time.sleep(away_s)
            s3.process.send_signal(signal.SIGCONT)
        time.sleep(1)
        stop.set()
        for thread in sessions:
            thread.join(timeout=60)
            assert not thread.is_alive(), f"a session hangs: {told}"
        assert told.count("good") == 2 and set(told) <= STORE | {"good"}, told
        assert len(acknowledged) > before > 0, "writing did not go on"
        assert how == "stopped" or told.count("good") < len(told), "nothing was read meanwhile"
        found = [k for k, in server.execute("SELECT k FROM written")]
        assert len(found) == len(set(found)) and acknowledged <= set(found)
        server.kill()
        server.start()
        assert sorted(found) == [k for k, in server.execute("SELECT k FROM written ORDER BY k")]
        s3.check_log()
        figure(f"S3 {how} for {away_s} s", errors=len(told) - 2, acknowledged=len(acknowledged),
               lost=0)
        server.stop()
    finally:
        server.close()


@pytest.mark.skipif(SCALE < 2, reason="it takes as long as a leader tries to find out: a minute")
def test_the_store_is_away_for_too_long(s3, tmp_path):
    """The writer is told that nobody knows; the leader writes nothing more, and says what to do."""
    server = s3.cluster(tmp_path / "cluster", tmp_path / "files", SHAPE).start()
    try:
        server.execute("CREATE TABLE t (n INTEGER)")
        server.execute("INSERT INTO t VALUES (1)")
        with server.connect() as connection:
            s3.kill()
            with pytest.raises(psycopg.Error) as caught:
                connection.execute("INSERT INTO t VALUES (2)")
            assert caught.value.sqlstate == mixed.IN_DOUBT
            s3.start()
            with pytest.raises(psycopg.Error) as caught:
                connection.execute("INSERT INTO t VALUES (3)")
            assert caught.value.sqlstate == "57P03" and "Restart" in said(caught.value)
            assert connection.execute("SELECT n FROM t").fetchall() == [(1,)]
        server.kill()
        assert server.start().execute("SELECT n FROM t") == [(1,)]
        server.execute("INSERT INTO t VALUES (3)")
        server.stop()
    finally:
        server.close()
