"""Tables as they were: AT by time and by number, clones, dropped tables that come back, and what
is kept for all that."""

import pathlib
import time

import psycopg
import pytest

from conftest import MODES, Server, wait_until

ROWS = 3000


@pytest.fixture(scope="module", params=["embedded-2x2", "processes-3x2"])
def server(request, tmp_path_factory):
    directory = tmp_path_factory.mktemp("history")
    running = Server(directory / "cluster", directory, MODES[request.param]).start()
    running.execute("ALTER SYSTEM SET time_travel_retention = 3600")
    yield running
    running.close()


@pytest.fixture
def session(server):
    with server.connect() as connection:
        yield connection


def moment(session):
    """What AT takes for now: by time and by number."""
    time.sleep(0.002)
    row = session.execute("SELECT sysdate, current_snapshot()").fetchone()
    time.sleep(0.002)
    return f"AT (TIMESTAMP => '{row[0]}')", f"AT (SNAPSHOT => {row[1]})"


def fill(session, table, columns="id INTEGER, k INTEGER, s VARCHAR(20)", style="DISTKEY (id)"):
    session.execute(f"DROP TABLE IF EXISTS {table} CASCADE")
    session.execute(f"CREATE TABLE {table} ({columns}) {style}")
    rows = ", ".join(f"({i}, {i % 10}, 's{i}')" for i in range(1, ROWS + 1))
    session.execute(f"INSERT INTO {table} (id, k, s) VALUES {rows}")


def totals(session, source):
    return session.execute(f"SELECT count(*), sum(k), min(id), max(s) FROM {source} x").fetchone()


def error_of(session, text):
    with pytest.raises(psycopg.Error) as caught:
        session.execute(text)
    diag = caught.value.diag
    return diag.sqlstate, " ".join(filter(None, (diag.message_primary, diag.message_detail,
                                                 diag.message_hint)))


def files(server, table):
    oid = server.execute(f"SELECT '{table}'::regclass::oid")[0][0]
    return set(pathlib.Path(server.data).glob(f"**/data/{oid}/*"))


@pytest.mark.parametrize("style", ["DISTKEY (id) SORTKEY (k)", "DISTSTYLE ALL", "DISTSTYLE EVEN"])
def test_rows_are_those_of_the_moment(session, style):
    fill(session, "t", style=style)
    known = []

    def remember():
        known.append((moment(session), totals(session, "t")))

    remember()
    for change in ("DELETE FROM t WHERE id % 3 = 0", "UPDATE t SET k = k + 100 WHERE id % 2 = 0",
                   "INSERT INTO t VALUES (5000, 1, 'x'), (5001, NULL, NULL)",
                   "DELETE FROM t WHERE k > 104", "VACUUM FULL t TO 100 PERCENT", "TRUNCATE t",
                   "INSERT INTO t VALUES (1, 1, 'again')"):
        session.execute(change)
        remember()
    assert len({row for _, row in known}) == 7
    for moments, expected in known:
        for at in moments:
            assert totals(session, f"t {at}") == expected, at
            assert totals(session, f"(SELECT * FROM public.t {at} WHERE id > 0)") == expected
    # Several moments in one statement, and now.
    (first, _), (second, _), (_, last) = known[0][0], known[1][0], known[5][0]
    rows = session.execute(
        f"SELECT count(*), count(b.id), count(c.id), count(t.id) FROM t {first} a "
        f"LEFT JOIN t {second} b ON a.id = b.id LEFT JOIN t {last} c ON c.id = a.id "
        f"LEFT JOIN t ON t.id = a.id").fetchone()
    assert rows == (ROWS, ROWS - ROWS // 3, known[5][1][0] - 2, 1)
    gone = session.execute(f"SELECT count(*) FROM (SELECT id FROM t {first} EXCEPT "
                           f"SELECT id FROM t {second}) x").fetchone()
    assert gone == (ROWS // 3,)


def test_the_past_goes_where_queries_go(session):
    fill(session, "t")
    (by_time, by_number), expected = moment(session), totals(session, "t")
    session.execute("DELETE FROM t WHERE id > 10")
    session.execute("DROP TABLE IF EXISTS copy")
    session.execute(f"CREATE TABLE copy AS SELECT * FROM t {by_time}")
    assert totals(session, "copy") == expected
    session.execute(f"INSERT INTO copy SELECT id + 10000, k, s FROM t {by_number} WHERE id <= 5")
    assert totals(session, "copy")[0] == ROWS + 5
    # Back to where it was.
    session.execute(f"MERGE INTO t USING (SELECT * FROM t {by_number}) o ON t.id = o.id "
                    "WHEN MATCHED THEN UPDATE SET s = o.s "
                    "WHEN NOT MATCHED THEN INSERT VALUES (o.id, o.k, o.s)")
    assert totals(session, "t") == expected
    session.execute(f"DELETE FROM t WHERE id IN (SELECT id FROM t {by_time} WHERE k = 0)")
    assert totals(session, "t")[0] == ROWS - ROWS // 10
    with session.transaction():
        session.execute(f"DECLARE c CURSOR FOR SELECT id FROM t {by_time} ORDER BY id")
        assert session.execute("FETCH 2 FROM c").fetchall() == [(1,), (2,)]
        session.execute("INSERT INTO t VALUES (-1, 1, 'mine')")
        assert totals(session, f"t {by_time}") == expected
        assert session.execute("FETCH ALL FROM c").fetchall()[-1] == (ROWS,)
    session.execute("DROP VIEW IF EXISTS earlier")
    session.execute(f"CREATE VIEW earlier AS SELECT id, k, s FROM t {by_number}")
    assert totals(session, "earlier") == expected
    for _ in range(7):
        # Prepared by the driver after some executions.
        assert session.execute(f"SELECT count(*) FROM t {by_number} WHERE id > %s",
                               (10,)).fetchone() == (ROWS - 10,)
    plan = "\n".join(row[0] for row in session.execute(f"EXPLAIN SELECT * FROM t {by_time}"))
    assert "Seq Scan on t" in plan


def test_columns_are_those_of_the_moment(session):
    fill(session, "t")
    (before, _) = moment(session)
    session.execute("ALTER TABLE t DROP COLUMN s")
    session.execute("ALTER TABLE t ADD COLUMN n BIGINT DEFAULT 7")
    session.execute("ALTER TABLE t RENAME COLUMN k TO kk")
    (after, _) = moment(session)
    session.execute("ALTER TABLE t RENAME TO u")
    try:
        row = session.execute(f"SELECT * FROM u {before} WHERE id = 12").fetchone()
        assert row == (12, 2, "s12")
        assert session.execute(f"SELECT * FROM u {after} WHERE id = 12").fetchone() == (12, 2, 7)
        assert error_of(session, f"SELECT n FROM u {before}")[0] == "42703"
        assert error_of(session, f"SELECT s FROM u {after}")[0] == "42703"
        assert error_of(session, f"SELECT 1 FROM t {before}")[0] == "42P01"
        row = session.execute(f"SELECT a.s, b.n FROM u {before} a JOIN u b ON a.id = b.id "
                              "WHERE b.kk = 3 ORDER BY a.id LIMIT 1").fetchone()
        assert row == ("s3", 7)
    finally:
        session.execute("DROP TABLE u")


def test_moments_that_cannot_be_read(session):
    early, first = moment(session)
    fill(session, "t")
    session.execute("DROP VIEW IF EXISTS shown")
    session.execute("CREATE VIEW shown AS SELECT id FROM t")
    for at in (early, first):
        code, text = error_of(session, f"SELECT * FROM t {at}")
        assert code == "42P01" and "created at" in text, text
    for at, code, part in (
            ("AT (TIMESTAMP => '2100-01-01')", "22023", "future"),
            ("AT (SNAPSHOT => 100000000)", "22023", "newest snapshot"),
            ("AT (SNAPSHOT => 0)", "22023", "no snapshot"),
            ("AT (SNAPSHOT => 'x')", "22023", "number"),
            ("AT (TIMESTAMP => '2001-01-01')", "22023", "oldest moment"),
            ("AT (TIMESTAMP '2001-01-01')", "22023", "oldest moment"),
            ("AT (TIMESTAMP => NULL)", "22023", "NULL"),
            ("AT (TIMESTAMP => id)", "42703", "id"),
            ("AT (OFFSET => 5)", "0A000", "AT (TIMESTAMP")):
        got = error_of(session, f"SELECT * FROM t {at}")
        assert got[0] == code and part in got[1], (at, got)
    (now, _) = moment(session)
    for other in ("shown", "pg_class"):
        assert error_of(session, f"SELECT * FROM {other} {now}")[0] == "42809"
    assert totals(session, "t")[0] == ROWS


def test_privileges_are_those_of_now(server, session):
    fill(session, "t")
    (before, _) = moment(session)
    session.execute("DROP USER IF EXISTS reader")
    session.execute("CREATE USER reader PASSWORD 'Reader-pass-1'")
    as_reader = dict(user="reader", password="Reader-pass-1", host="127.0.0.1", port=server.port,
                     dbname="dev", autocommit=True)
    with psycopg.connect(**as_reader) as reader:
        assert error_of(reader, f"SELECT * FROM t {before}")[0] == "42501"
        assert error_of(reader, "CREATE TABLE mine CLONE t")[0] == "42501"
        assert error_of(reader, "ALTER SYSTEM SET time_travel_retention = 1")[0] == "42501"
        session.execute("GRANT SELECT ON t TO reader")
        assert totals(reader, f"t {before}")[0] == ROWS
        reader.execute("CREATE TABLE mine CLONE t")
        reader.execute("DELETE FROM mine WHERE id > 5")
        assert totals(session, "t")[0] == ROWS
        session.execute("DROP TABLE t")
        assert error_of(reader, "UNDROP TABLE t")[0] == "42501"
    session.execute("UNDROP TABLE t")
    with psycopg.connect(**as_reader) as reader:
        # Grants come back with their table.
        assert totals(reader, "t")[0] == ROWS
    session.execute("DROP TABLE mine")
    session.execute("REVOKE ALL ON t FROM reader")
    session.execute("DROP USER reader")


def test_clones_go_their_own_way(server, session):
    fill(session, "t", "id INTEGER, k INTEGER, s VARCHAR(20), n INTEGER IDENTITY(1, 1)")
    session.execute("DELETE FROM t WHERE id % 3 = 0")
    (_, before), expected = moment(session), totals(session, "t")
    for clone in ("c", "old"):
        session.execute(f"DROP TABLE IF EXISTS {clone}")
    session.execute("CREATE TABLE c CLONE t")
    assert totals(session, "c") == expected
    assert not files(server, "c"), "a clone writes no file"
    assert error_of(session, "CREATE TABLE c CLONE t")[0] == "42P07"
    # Each changes for itself.
    session.execute("UPDATE t SET k = 0")
    session.execute("DELETE FROM c WHERE id % 2 = 0")
    session.execute("INSERT INTO c (id, k, s) VALUES (9000, 1, 'new')")
    session.execute("ALTER TABLE c DROP COLUMN s")
    assert totals(session, "t")[1] == 0 and totals(session, "t")[0] == expected[0]
    count = session.execute("SELECT count(*) FROM c").fetchone()[0]
    assert count == sum(1 for i in range(1, ROWS + 1) if i % 3 and i % 2) + 1
    # Numbers go on where the source's stood.
    top = session.execute("SELECT max(n) FROM t").fetchone()[0]
    assert session.execute("SELECT n FROM c WHERE id = 9000").fetchone()[0] > top
    session.execute(f"CREATE TABLE old CLONE t {before}")
    assert totals(session, "old") == expected
    # Vacuum of one leaves the other's files alone; dropping either does, too.
    session.execute("VACUUM FULL t TO 100 PERCENT")
    session.execute("DROP TABLE t")
    assert totals(session, "old") == expected
    assert session.execute("SELECT count(*) FROM c").fetchone() == (count,)
    with session.transaction(force_rollback=True):
        session.execute("CREATE TEMP TABLE scratch CLONE old")
        session.execute("DELETE FROM scratch")
    session.execute("DROP TABLE c")
    assert totals(session, "old") == expected


def test_dropped_tables_come_back(session):
    fill(session, "t", "id INTEGER PRIMARY KEY, k INTEGER DEFAULT 5, s VARCHAR(20)")
    session.execute("COMMENT ON TABLE t IS 'precious'")
    session.execute("DELETE FROM t WHERE id % 7 = 0")
    expected = totals(session, "t")
    (before, _) = moment(session)
    session.execute("DROP TABLE t")
    assert error_of(session, f"SELECT * FROM t {before}")[0] == "42P01"
    session.execute("CREATE TABLE t (other INTEGER)")
    code, text = error_of(session, "UNDROP TABLE t")
    assert code == "42P07" and "RENAME" in text
    session.execute("ALTER TABLE t RENAME TO younger")
    session.execute("UNDROP TABLE t")
    assert totals(session, "t") == expected
    assert totals(session, f"t {before}") == expected
    assert session.execute("SELECT obj_description('t'::regclass::oid, 'pg_class')").fetchone() == (
        "precious",)
    session.execute("INSERT INTO t (id) VALUES (100000)")
    assert session.execute("SELECT k FROM t WHERE id = 100000").fetchone() == (5,)
    code, text = error_of(session, "UNDROP TABLE never_there")
    assert code == "42P01" and "time_travel_retention" in text
    with session.transaction(force_rollback=True):
        session.execute("DROP TABLE t")
        assert error_of(session, "UNDROP TABLE t")[0] == "42P01"
    assert totals(session, "t")[0] == expected[0] + 1
    # Two of one name: the last one first.
    session.execute("DROP TABLE t")
    session.execute("CREATE TABLE t (id INTEGER)")
    session.execute("DROP TABLE t")
    session.execute("UNDROP TABLE t")
    assert session.execute("SELECT count(*) FROM t").fetchone() == (0,)
    session.execute("DROP TABLE younger")


def test_only_what_is_kept_can_be_read(tmp_path):
    server = Server(tmp_path / "cluster", tmp_path, MODES["embedded-2x2"]).start()
    try:
        with server.connect() as session:
            assert session.execute("SHOW time_travel_retention").fetchone() == ("0",)
            assert error_of(session, "SET time_travel_retention = 5")[0] == "55P02"
            assert error_of(session, "ALTER SYSTEM SET time_travel_retention = -1")[0] == "22023"
            assert error_of(session, "ALTER SYSTEM SET timezone = 'UTC'")[0] == "55P02"
            fill(session, "t")
            (early, _) = moment(session)
            session.execute("DROP TABLE t")
            assert error_of(session, "UNDROP TABLE t")[0] == "42P01"
            fill(session, "t")
            session.execute("ALTER SYSTEM SET time_travel_retention = 3600")
            assert session.execute("SHOW time_travel_retention").fetchone() == ("3600",)
            code, text = error_of(session, f"SELECT * FROM t {early}")
            assert code == "22023" and "oldest moment" in text, text
            (kept, _), expected = moment(session), totals(session, "t")
            session.execute("DELETE FROM t WHERE id % 2 = 0")
            session.execute("VACUUM FULL t TO 100 PERCENT")
        # A restart keeps it, though no record of the head names its files.
        server.kill()
        server.start()
        with server.connect() as session:
            assert totals(session, f"t {kept}") == expected
            session.execute("CREATE TABLE c CLONE t " + kept)
            session.execute("ALTER SYSTEM SET time_travel_retention = 0")
            assert error_of(session, f"SELECT * FROM t {kept}")[0] == "22023"
        server.stop()
        server.start()
        with server.connect() as session:
            # What the clone names stays; the rest of the past goes with time.
            assert totals(session, "c") == expected
            session.execute("DROP TABLE t")
            session.execute("DROP TABLE c")
        data = pathlib.Path(server.data)
        left = lambda: [p for p in data.glob("**/data/*/*") if p.is_file()]
        server.stop()
        server.start()
        wait_until(lambda: not left(), timeout_s=60, what="an empty store")
        server.stop()
    finally:
        server.close()
