"""DELETE, UPDATE and MERGE that must fail: each with its SQLSTATE, nothing changed, the session
usable, inside of a transaction and outside."""

import psycopg
import pytest

ROWS = [(1, "one", 100), (2, "two", 200), (3, "three", 300)]


@pytest.fixture
def items(server):
    server.execute("DROP TABLE IF EXISTS items")
    server.execute("DROP TABLE IF EXISTS news")
    server.execute("CREATE TABLE items (k INTEGER NOT NULL, t VARCHAR(5), n SMALLINT NOT NULL) "
                   "DISTKEY (k)")
    server.execute("CREATE TABLE news (k INTEGER, t VARCHAR(20), n BIGINT)")
    server.execute("INSERT INTO items VALUES " + ", ".join(map(str, ROWS)))
    server.execute("INSERT INTO news VALUES (1, 'uno', 1), (9, 'new', 9)")
    yield server
    server.execute("DROP TABLE IF EXISTS items")
    server.execute("DROP TABLE IF EXISTS news")


FAULTS = {
    "UPDATE items SET n = NULL": ("23502", "n"),
    "UPDATE items SET k = NULL WHERE k = 2": ("23502", "k"),
    "UPDATE items SET t = 'too long' WHERE k = 1": ("22001", "character varying(5)"),
    "UPDATE items SET n = 40000 WHERE k = 3": ("22003", ""),
    "UPDATE items SET n = n * 200": ("22003", ""),
    "UPDATE items SET k = 2147483647 + k": ("22003", ""),
    "UPDATE items SET n = n / (k - 2)": ("22012", ""),
    "UPDATE items SET n = 'x'": ("22P02", ""),
    "UPDATE items SET nothing = 1": ("42703", "nothing"),
    "UPDATE items SET k = 1, k = 2": ("42601", "k"),
    "UPDATE nowhere SET k = 1": ("42P01", "nowhere"),
    "UPDATE items SET n = count(*)": ("42803", ""),
    "DELETE FROM nowhere": ("42P01", "nowhere"),
    "DELETE FROM items WHERE nothing = 1": ("42703", "nothing"),
    "DELETE FROM items WHERE n / (k - 2) > 0": ("22012", ""),
    "DELETE FROM items USING nowhere WHERE items.k = nowhere.k": ("42P01", "nowhere"),
    "INSERT INTO items SELECT k, t, NULL FROM news": ("23502", "n"),
    "INSERT INTO items (k) VALUES (4)": ("23502", "n"),
    "MERGE INTO items USING (SELECT 1 AS k UNION ALL SELECT 1) s ON items.k = s.k "
    "WHEN MATCHED THEN UPDATE SET n = 7 WHEN NOT MATCHED THEN INSERT (k, n) VALUES (s.k, 1)":
        ("21000", ""),
    "MERGE INTO items USING news ON items.k = news.k WHEN MATCHED THEN UPDATE SET n = 100000 "
    "WHEN NOT MATCHED THEN INSERT (k, n) VALUES (news.k, 1)": ("22003", ""),
    "MERGE INTO items USING news ON items.k = news.k WHEN MATCHED THEN UPDATE SET n = 1 "
    "WHEN NOT MATCHED THEN INSERT (k, t) VALUES (news.k, news.t)": ("23502", "n"),
    "MERGE INTO items USING news ON items.k = news.k WHEN MATCHED THEN UPDATE SET nothing = 1 "
    "WHEN NOT MATCHED THEN INSERT (k) VALUES (news.k)": ("42703", "nothing"),
    "MERGE INTO nowhere USING news ON nowhere.k = news.k WHEN MATCHED THEN DELETE "
    "WHEN NOT MATCHED THEN INSERT (k) VALUES (news.k)": ("42P01", "nowhere"),
}


def said(error):
    diag = error.diag
    return " ".join(filter(None, (diag.message_primary, diag.message_detail, diag.message_hint,
                                  diag.column_name)))


@pytest.mark.parametrize("text", FAULTS)
def test_a_wrong_change(text, items):
    state, part = FAULTS[text]
    whole = "SELECT k, t, n FROM items ORDER BY k"
    with items.connect() as connection:
        with pytest.raises(psycopg.Error) as caught:
            connection.execute(text)
        assert caught.value.sqlstate == state, said(caught.value)
        assert part in said(caught.value), said(caught.value)
        assert connection.execute(whole).fetchall() == ROWS
        connection.execute("BEGIN")
        connection.execute("INSERT INTO items VALUES (5, 'five', 5)")
        with pytest.raises(psycopg.Error) as caught:
            connection.execute(text)
        assert caught.value.sqlstate == state
        with pytest.raises(psycopg.errors.InFailedSqlTransaction):
            connection.execute(whole)
        connection.execute("ROLLBACK")
        assert connection.execute(whole).fetchall() == ROWS
        connection.execute("UPDATE items SET n = n + 1 WHERE k = 1")
        assert connection.execute("SELECT n FROM items WHERE k = 1").fetchone() == (101,)


def test_a_read_only_transaction_changes_nothing(items):
    with items.connect() as connection:
        for text in ("UPDATE items SET n = 1", "DELETE FROM items", "TRUNCATE TABLE items",
                     "DROP TABLE items", "VACUUM items",
                     "MERGE INTO items USING news ON items.k = news.k WHEN MATCHED THEN DELETE "
                     "WHEN NOT MATCHED THEN INSERT (k, n) VALUES (news.k, 1)"):
            connection.execute("BEGIN READ ONLY")
            with pytest.raises(psycopg.Error) as caught:
                connection.execute(text)
            # VACUUM is refused in any transaction block.
            expected = "25001" if text.startswith("VACUUM") else "25006"
            assert caught.value.sqlstate == expected, f"{text}: {said(caught.value)}"
            connection.execute("ROLLBACK")
        assert connection.execute("SELECT count(*) FROM items").fetchone() == (3,)


@pytest.mark.parametrize("text", ["DROP TABLE items", "ALTER TABLE items ADD COLUMN w INTEGER",
                                  "TRUNCATE TABLE items", "UPDATE items SET n = 2",
                                  "ALTER TABLE items RENAME TO other"])
def test_a_definition_under_a_lock_gives_up_in_time(text, items):
    with items.connect() as holder, items.connect() as other:
        holder.execute("BEGIN")
        holder.execute("UPDATE items SET n = 1 WHERE k = 1")
        other.execute("SET lock_timeout TO 300")
        with pytest.raises(psycopg.Error) as caught:
            other.execute(text)
        assert caught.value.sqlstate == "55P03", said(caught.value)
        assert "items" in said(caught.value), said(caught.value)
        assert other.execute("SELECT k, t, n FROM items ORDER BY k").fetchall() == ROWS
        holder.execute("COMMIT")
        other.execute("SET lock_timeout TO 5000")
        other.execute(text)


def test_one_that_waits_for_a_lock_can_be_cancelled(items):
    import threading
    with items.connect() as holder, items.connect() as other:
        holder.execute("BEGIN")
        holder.execute("DELETE FROM items WHERE k = 1")
        timer = threading.Timer(0.3, other.cancel)
        timer.start()
        with pytest.raises(psycopg.errors.QueryCanceled):
            other.execute("DELETE FROM items WHERE k = 2")
        timer.join()
        holder.execute("COMMIT")
        assert other.execute("DELETE FROM items").rowcount == 2


def test_a_terminated_session_leaves_nothing(items):
    with items.connect() as holder, items.connect() as other:
        holder.execute("BEGIN")
        holder.execute("DELETE FROM items")
        pid = holder.info.backend_pid
        assert other.execute(f"SELECT pg_terminate_backend({pid})").fetchone()[0] in (True, 1)
        with pytest.raises(psycopg.OperationalError):
            holder.execute("SELECT 1")
        assert other.execute("DELETE FROM items WHERE k = 1").rowcount == 1


def test_a_session_that_vanishes_leaves_no_lock(items):
    holder = items.connect()
    holder.execute("BEGIN")
    holder.execute("UPDATE items SET n = 1")
    holder.close()
    with items.connect() as other:
        other.execute("SET lock_timeout TO 5000")
        assert other.execute("UPDATE items SET n = 2").rowcount == 3
