"""The background never makes a transaction fail, however old its snapshot is; and sessions that
are idle for too long are told so."""

import pathlib
import threading

import psycopg
import pytest

from conftest import MODES, Server, wait_until


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    directory = tmp_path_factory.mktemp("upkeep")
    running = Server(directory / "cluster", directory, MODES["embedded-2x2"]).start()
    yield running
    running.close()


def compacted(server, table):
    """The segments that rewrites have made of a table."""
    oid = server.execute(f"SELECT '{table}'::regclass::oid")[0][0]
    return {p.name for p in pathlib.Path(server.data).glob(f"**/data/{oid}/*compact*.seg")}


def trickle(session, table, first, count):
    for n in range(first, first + count):
        session.execute(f"INSERT INTO {table} VALUES ({n}, 0)")


@pytest.mark.parametrize("own_rows", [False, True], ids=["reader", "writer"])
@pytest.mark.parametrize("change", ["DELETE FROM {t} WHERE id < 50",
                                    "UPDATE {t} SET v = 1 WHERE id < 50"], ids=["delete", "update"])
def test_old_snapshots_change_rows_that_were_rewritten(server, own_rows, change):
    table = f"old_{'w' if own_rows else 'r'}_{change.split()[0].lower()}"
    with server.connect() as other, server.connect(autocommit=False) as old:
        other.execute(f"CREATE TABLE {table} (id INTEGER, v INTEGER) DISTKEY (id)")
        trickle(other, table, 0, 60)
        old.execute("SELECT 1 FROM pg_class LIMIT 1")
        if own_rows:
            old.execute(f"INSERT INTO {table} VALUES (1000, 7)")
        else:
            assert old.execute(f"SELECT count(*) FROM {table}").fetchone() == (60,)
        # Rows that the snapshot does not show come, and the background rewrites both kinds.
        for turn in range(1, 4):
            before = compacted(server, table)
            trickle(other, table, turn * 100, 70)
            wait_until(lambda: compacted(server, table) > before, timeout_s=40, what="a rewrite")
        old.execute("SAVEPOINT s")
        assert old.execute(change.format(t=table)).rowcount == 50
        assert old.execute(f"SELECT count(*) FROM {table} WHERE v = 0").fetchone() == (10,)
        old.execute("ROLLBACK TO s")
        assert old.execute(f"SELECT count(*) FROM {table}").fetchone() == (60 + own_rows,)
        assert old.execute(change.format(t=table)).rowcount == 50
        old.commit()
        kept = 0 if change.startswith("DELETE") else 50
        assert other.execute(f"SELECT count(*), sum(v) FROM {table} WHERE v <> 7").fetchone() == (
            10 + 210 + kept, kept)
        other.execute(f"DROP TABLE {table}")


def test_a_conflict_shows_at_the_statement(server):
    with server.connect() as other, server.connect(autocommit=False) as old:
        other.execute("CREATE TABLE met (id INTEGER, v INTEGER) DISTSTYLE ALL")
        other.execute("INSERT INTO met VALUES (1, 0), (2, 0)")
        old.execute("SELECT count(*) FROM met").fetchone()
        other.execute("UPDATE met SET v = 1 WHERE id = 1")
        with pytest.raises(psycopg.errors.SerializationFailure):
            old.execute("UPDATE met SET v = 2 WHERE id = 1")
        old.rollback()
        assert other.execute("SELECT max(v) FROM met").fetchone() == (1,)
        other.execute("DROP TABLE met")


@pytest.mark.parametrize("block, setting, code, message", [
    (True, "idle_in_transaction_session_timeout", "25P03", "idle-in-transaction timeout"),
    (False, "idle_session_timeout", "57P05", "idle-session timeout"),
])
def test_idle_sessions_are_told_why_they_end(server, block, setting, code, message):
    session = server.connect()
    session.execute(f"SET {setting} TO '300ms'")
    if block:
        session.execute("BEGIN")
        session.execute("SELECT 1")
    waited = threading.Event()
    waited.wait(1.5)
    with pytest.raises(psycopg.Error) as caught:
        session.execute("SELECT 1")
    assert caught.value.sqlstate == code
    assert f"terminating connection due to {message}" in str(caught.value)


def test_an_administrator_ends_a_session(server):
    session = server.connect()
    pid = session.execute("SELECT pg_backend_pid()").fetchone()[0]
    server.execute(f"SELECT pg_terminate_backend({pid})")
    with pytest.raises(psycopg.OperationalError, match="administrator command"):
        session.execute("SELECT 1")
