"""Real drivers connect, describe and query."""

import datetime
import decimal
import os
import shutil
import subprocess

import psycopg
import pyodbc
import pytest
import redshift_connector

from conftest import PASSWORD

URL = "postgresql://awsuser@127.0.0.1:{port}/dev"


@pytest.fixture(scope="module")
def types(server):
    """A table with one column of each type."""
    server.execute("DROP TABLE IF EXISTS every_type")
    server.execute("""
        CREATE TABLE every_type (
            id INTEGER NOT NULL PRIMARY KEY, s SMALLINT, b BIGINT, d DECIMAL(20, 4), r REAL,
            f DOUBLE PRECISION, t BOOLEAN, c CHAR(5), v VARCHAR(20), da DATE, ti TIME,
            ts TIMESTAMP, tz TIMESTAMPTZ, vb VARBYTE(8)
        ) DISTKEY (id) SORTKEY (id)""")
    server.execute("""
        INSERT INTO every_type VALUES
        (1, -2, 9223372036854775807, -1234567890.5, 1.5, 2.25, true, 'ab', 'grün',
         '2024-02-29', '12:34:56.789', '2024-02-29 12:34:56', '2024-02-29 12:34:56+00', 'abc'),
        (2, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)""")
    return server


def psql(server, *commands, expect=0):
    words = ["psql", URL.format(port=server.port), "-X", "-v", "ON_ERROR_STOP=1"]
    for command in commands:
        words += ["-c", command]
    done = subprocess.run(words, capture_output=True, text=True,
                          env={**os.environ, "PGPASSWORD": PASSWORD})
    assert done.returncode == expect, done.stderr
    return done.stdout + done.stderr


def test_psql_describes_and_queries(types):
    assert "every_type" in psql(types, "\\dt")
    described = psql(types, "\\d every_type")
    assert "character varying(20)" in described and "not null" in described
    assert "dev" in psql(types, "\\l")
    assert "public" in psql(types, "\\dn")
    assert "awsuser" in psql(types, "\\du")
    assert "(2 rows)" in psql(types, "select * from every_type order by id")
    error = psql(types, "select nope from every_type", expect=1)
    assert "column \"nope\" does not exist" in error and "LINE 1:" in error


@pytest.mark.parametrize("binary", [False, True])
def test_psycopg_reads_every_type(types, binary):
    with types.connect() as connection:
        cursor = connection.cursor(binary=binary)
        row = cursor.execute("SELECT * FROM every_type ORDER BY id").fetchone()
        assert row[:5] == (1, -2, 9223372036854775807, decimal.Decimal("-1234567890.5000"), 1.5)
        assert row[5:10] == (2.25, True, "ab   ", "grün", datetime.date(2024, 2, 29))
        assert row[10:12] == (datetime.time(12, 34, 56, 789000),
                              datetime.datetime(2024, 2, 29, 12, 34, 56))
        assert row[12] == datetime.datetime(2024, 2, 29, 12, 34, 56, tzinfo=datetime.timezone.utc)
        assert cursor.fetchone()[1:] == (None,) * 13
        names = [column.name for column in cursor.description]
        assert names[:3] == ["id", "s", "b"] and cursor.description[8].type_code == 1043


def test_psycopg_parameters(types):
    with types.connect() as connection:
        assert connection.execute("SELECT %s::int + 1", (41,)).fetchone() == (42,)
        row = connection.execute("SELECT v FROM every_type WHERE id = %s AND da = %s",
                                 (1, datetime.date(2024, 2, 29))).fetchone()
        assert row == ("grün",)
        with pytest.raises(psycopg.errors.UndefinedTable):
            connection.execute("SELECT * FROM no_such_table WHERE id = %s", (1,))
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_psycopg_pipelines_and_row_limits(types):
    with types.connect() as connection:
        with connection.pipeline():
            cursors = [connection.execute("SELECT %s::int", (n,)) for n in range(20)]
        assert [cursor.fetchone()[0] for cursor in cursors] == list(range(20))
        with connection.transaction():
            with connection.cursor(name="walk") as cursor:
                cursor.execute("SELECT l_orderkey FROM lineitem")
                assert len(cursor.fetchmany(1000)) == 1000
                assert len(cursor.fetchmany(500)) == 500


def test_cancel_is_prompt(types):
    with types.connect() as connection:
        text = ("SELECT count(DISTINCT a.l_comment || b.l_comment) FROM lineitem a "
                "JOIN lineitem b ON a.l_suppkey = b.l_suppkey")
        import threading
        threading.Timer(1.0, connection.cancel).start()
        with pytest.raises(psycopg.errors.QueryCanceled):
            connection.execute(text)
        assert connection.execute("SELECT 1").fetchone() == (1,)


@pytest.mark.parametrize("protocol", [0, 1, 2])
def test_redshift_connector(types, protocol):
    with redshift_connector.connect(host="127.0.0.1", port=types.port, database="dev",
                                    user="awsuser", password=PASSWORD, ssl=False,
                                    client_protocol_version=protocol) as connection:
        cursor = connection.cursor()
        cursor.execute("SELECT id, s, b, d, f, t, c, v, da, ts FROM every_type ORDER BY id")
        row = cursor.fetchone()
        assert row[:4] == [1, -2, 9223372036854775807, decimal.Decimal("-1234567890.5000")]
        assert row[4:9] == [2.25, True, "ab   ", "grün", datetime.date(2024, 2, 29)]
        cursor.execute("SELECT count(*) FROM lineitem WHERE l_quantity < %s", (10,))
        assert cursor.fetchone()[0] > 0
        with pytest.raises(redshift_connector.error.ProgrammingError):
            cursor.execute("SELECT nope")
        connection.rollback()
        cursor.execute("SELECT 1")
        assert cursor.fetchone() == [1]


def test_redshift_connector_over_tls(types, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(types.data / "tls" / "server.crt"))
    with redshift_connector.connect(host="127.0.0.1", port=types.port, database="dev",
                                    user="awsuser", password=PASSWORD, ssl=True,
                                    sslmode="verify-ca") as connection:
        cursor = connection.cursor()
        cursor.execute("SELECT 1")
        assert cursor.fetchone() == [1]


def test_pgjdbc(types, tmp_path):
    source = os.path.join(os.path.dirname(__file__), "Jdbc.java")
    done = subprocess.run(
        ["java", "-cp", "/usr/share/java/postgresql.jar", source,
         f"jdbc:postgresql://127.0.0.1:{types.port}/dev", "awsuser", PASSWORD],
        capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "jdbc ok" in done.stdout


def test_psqlodbc(types):
    driver = "/usr/lib/x86_64-linux-gnu/odbc/psqlodbcw.so"
    with pyodbc.connect(f"Driver={driver};Server=127.0.0.1;Port={types.port};Database=dev;"
                        f"Uid=awsuser;Pwd={PASSWORD};SSLmode=prefer", autocommit=True) as connection:
        cursor = connection.cursor()
        row = cursor.execute("SELECT id, d, v FROM every_type WHERE id = ?", 1).fetchone()
        assert row[0] == 1 and row[1] == decimal.Decimal("-1234567890.5") and row[2] == "grün"
        assert "every_type" in [table.table_name for table in cursor.tables(schema="public")]


def test_blueshift_sql(types):
    from conftest import PROGRAM
    run = lambda *words: subprocess.run(
        [PROGRAM, "sql", URL.format(port=types.port), *words], capture_output=True, text=True,
        env={**os.environ, "PGPASSWORD": PASSWORD})
    done = run("--format", "csv", "-c", "SELECT id, v FROM every_type ORDER BY id")
    assert done.stdout == "id,v\n1,grün\n2,\n", done.stderr
    assert '"v":"grün"' in run("--format", "json", "-c",
                               "SELECT v FROM every_type WHERE id = 1").stdout
    failed = run("-c", "SELECT idd FROM every_type")
    assert failed.returncode == 1 and "^" in failed.stderr and "Did you mean" in failed.stderr
    assert "varchar" in run("-c", "\\d every_type").stdout.replace("character varying", "varchar")
    assert shutil.which("psql")
