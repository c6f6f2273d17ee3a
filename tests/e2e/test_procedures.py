"""Stored procedures: the same bodies as in PostgreSQL 15 where both have them, and what Redshift
does its own way."""

import pathlib
import re
import threading

import psycopg
import pytest

from conftest import MODES, PASSWORD, Server
from postgres import PROGRAMS, Postgres

CASES = pathlib.Path(__file__).parent / "procedures"


def cases(name):
    found = []
    for part in re.split(r"^-- case: ", (CASES / name).read_text(), flags=re.M)[1:]:
        title, body = part.split("\n", 1)
        statements = [s.strip() for s in re.split(r"^/$", body, flags=re.M)]
        found.append((title.strip(), [s for s in statements if s]))
    return found


SHARED = cases("shared.sql")


def run(connection, statements):
    """What each statement gave: messages, rows, or the error."""
    notices = []
    connection.add_notice_handler(
        lambda diag: notices.append((diag.severity, diag.message_primary)))
    gave = []
    for statement in statements:
        notices.clear()
        try:
            cursor = connection.execute(statement)
            rows = [tuple(map(str, row)) for row in cursor.fetchall()] if cursor.description else []
            names = [column.name for column in cursor.description or []]
            end = (names, rows)
        except psycopg.Error as error:
            said = error.diag
            end = ("error", error.sqlstate)
            if error.sqlstate == "P0001" or error.sqlstate == "AB123":
                end += (said.message_primary, said.message_detail, said.message_hint)
        gave.append((statement.replace(" NONATOMIC", ""), [n for n in notices if not re.search("skipping|drop cascades", n[1])], end))
    return gave


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    running = Server(tmp_path_factory.mktemp("procedures") / "cluster",
                     tmp_path_factory.mktemp("load"), MODES["embedded-2x2"]).start()
    yield running
    running.close()


@pytest.fixture(scope="module")
def postgres():
    if not PROGRAMS.exists():
        pytest.skip("PostgreSQL 15 is not installed")
    running = Postgres().start()
    yield running
    running.close()


def in_schema(server, number, prefix):
    connection = server.connect()
    connection.execute(f"CREATE SCHEMA {prefix}{number}")
    connection.execute(f"SET search_path TO {prefix}{number}")
    return connection


def test_there_are_enough():
    made = sum(s.upper().startswith(("CREATE PROCEDURE", "CREATE OR REPLACE PROCEDURE"))
               for _, statements in SHARED for s in statements)
    assert made >= 60, made


@pytest.mark.parametrize("number", range(len(SHARED)), ids=[name for name, _ in SHARED])
def test_as_postgresql(own, postgres, number):
    _, statements = SHARED[number]
    with in_schema(postgres, number, "s") as theirs:
        # There a handler always ends the error.
        expected = run(theirs, [s.replace(" NONATOMIC", "") for s in statements])
    with in_schema(own, number, "s") as ours:
        assert run(ours, statements) == expected


# What Redshift does its own way.


@pytest.fixture
def session(own, request):
    name = re.sub(r"\W", "_", request.node.name)[:50]
    with own.connect() as connection:
        connection.execute(f"CREATE SCHEMA {name}")
        connection.execute(f"SET search_path TO {name}")
        connection.schema = name
        yield connection


def make(connection, body, head="p()", tail=""):
    connection.execute(f"CREATE OR REPLACE PROCEDURE {head} AS $$ {body} $$ LANGUAGE plpgsql {tail}")


def fails(connection, text, state):
    with pytest.raises(psycopg.Error) as caught:
        connection.execute(text)
    assert caught.value.sqlstate == state, (caught.value.sqlstate, str(caught.value))
    return caught.value.diag


def rows(connection, text):
    return connection.execute(text).fetchall()


def said(connection, text):
    messages = []
    handler = lambda diag: messages.append(diag.message_primary)
    connection.add_notice_handler(handler)
    try:
        connection.execute(text)
    finally:
        connection.remove_notice_handler(handler)
    return messages


def test_a_handler_runs_and_the_error_goes_on(session):
    session.execute("CREATE TABLE t (a int); CREATE TABLE log (m varchar(100))")
    make(session, """
        BEGIN
          INSERT INTO t VALUES (1);
          INSERT INTO t VALUES (1 / 0);
        EXCEPTION WHEN OTHERS THEN
          INSERT INTO log VALUES (SQLSTATE || ' ' || SQLERRM);
          RAISE INFO 'handled';
        END""")
    fails(session, "CALL p()", "22012")
    # The work is gone, that of the handler stays.
    assert rows(session, "SELECT count(*) FROM t") == [(0,)]
    assert rows(session, "SELECT m FROM log") == [("22012 division by zero",)]


def test_a_handler_may_raise_another_error(session):
    make(session, """
        BEGIN RAISE EXCEPTION 'first';
        EXCEPTION WHEN OTHERS THEN RAISE EXCEPTION 'second after %', SQLERRM; END""")
    assert fails(session, "CALL p()", "P0001").message_primary == "second after first"


def test_the_callers_handler_sees_the_error(session):
    make(session, "BEGIN RAISE EXCEPTION 'inner'; END", "q()")
    make(session, """
        BEGIN CALL q();
        EXCEPTION WHEN OTHERS THEN RAISE INFO 'caught %', SQLERRM; END""")
    messages = []
    session.add_notice_handler(lambda diag: messages.append(diag.message_primary))
    fails(session, "CALL p()", "P0001")
    assert messages == ["caught inner"]


def test_nonatomic_statements_commit_one_by_one(session):
    session.execute("CREATE TABLE t (a int)")
    make(session, "BEGIN INSERT INTO t VALUES (1); INSERT INTO t VALUES (2); "
                  "INSERT INTO t VALUES (1 / 0); INSERT INTO t VALUES (4); END", "p() NONATOMIC")
    fails(session, "CALL p()", "22012")
    assert rows(session, "SELECT a FROM t ORDER BY a") == [(1,), (2,)]
    # In a block it is part of that.
    session.execute("DELETE FROM t")
    session.execute("BEGIN")
    fails(session, "CALL p()", "22012")
    session.execute("ROLLBACK")
    assert rows(session, "SELECT count(*) FROM t") == [(0,)]


def test_nonatomic_handlers_end_the_error(session):
    session.execute("CREATE TABLE t (a int)")
    make(session, """
        BEGIN
          FOR i IN 1..3 LOOP
            BEGIN
              INSERT INTO t VALUES (10 / (i - 2));
            EXCEPTION WHEN OTHERS THEN
              RAISE INFO '% failed: %', i, SQLERRM;
            END;
          END LOOP;
        END""", "p() NONATOMIC")
    assert said(session, "CALL p()") == ["2 failed: division by zero"]
    assert rows(session, "SELECT a FROM t ORDER BY a") == [(-10,), (10,)]


def test_nonatomic_blocks(session):
    session.execute("CREATE TABLE t (a int)")
    make(session, "BEGIN INSERT INTO t VALUES (1); START TRANSACTION; INSERT INTO t VALUES (2); "
                  "ROLLBACK; INSERT INTO t VALUES (3); END", "p() NONATOMIC")
    session.execute("CALL p()")
    assert rows(session, "SELECT a FROM t ORDER BY a") == [(1,), (3,)]
    make(session, "BEGIN START TRANSACTION; END", "q()")
    fails(session, "CALL q()", "0A000")


def test_a_handler_in_a_loop_over_rows_keeps_the_loop(session):
    session.execute("CREATE TABLE t (a int); INSERT INTO t VALUES (1), (0), (2)")
    make(session, """
        DECLARE r record;
        BEGIN
          FOR r IN SELECT a FROM t ORDER BY a LOOP
            BEGIN RAISE INFO '%', 10 / r.a; EXCEPTION WHEN OTHERS THEN RAISE INFO 'none'; END;
          END LOOP;
        END""", "p() NONATOMIC")
    assert said(session, "CALL p()") == ["none", "10", "5"]


def test_errors_tell_where(session):
    make(session, "\nDECLARE\n  a int;\nBEGIN\n  a := 1;\n  a := a / 0;\nEND;", "p(x int, y varchar(5))")
    diag = fails(session, "CALL p(1, 'a')", "22012")
    assert diag.context == ('PL/pgSQL procedure "p(integer, character varying)" line 6 at assignment')
    make(session, "BEGIN\n  CALL p(1, 'a');\nEND", "q()")
    diag = fails(session, "CALL q()", "22012")
    assert diag.context.splitlines() == [
        'PL/pgSQL procedure "p(integer, character varying)" line 6 at assignment',
        'PL/pgSQL procedure "q()" line 2 at CALL']
    make(session, "BEGIN INSERT INTO nowhere VALUES (1); END", "r()")
    diag = fails(session, "CALL r()", "42P01")
    assert diag.internal_query == "INSERT INTO nowhere VALUES (1)"
    assert diag.internal_position == "13" and diag.statement_position is None
    text = "CREATE PROCEDURE s() AS $x$\nBEGIN\n  y := 1;\nEND $x$ LANGUAGE plpgsql"
    assert fails(session, text, "42601").statement_position == str(text.index("y :=") + 1)
    assert fails(session, "CALL  nothere(1)", "42883").statement_position == "7"


def test_unsupported_is_refused_by_name(session):
    for body, part in [("BEGIN VACUUM; END", "VACUUM"), ("BEGIN PREPARE x AS SELECT 1; END", "PREPARE"),
                       ("DECLARE c SCROLL CURSOR FOR SELECT 1; BEGIN NULL; END", "scrollable"),
                       ("BEGIN NULL; EXCEPTION WHEN division_by_zero THEN NULL; END", "OTHERS")]:
        diag = fails(session, f"CREATE PROCEDURE p() AS $$ {body} $$ LANGUAGE plpgsql", "0A000")
        assert part in diag.message_primary
    for statement in ("CREATE DATABASE d", "SET LOCAL query_group TO x", "COMMIT",
                      "SET SESSION AUTHORIZATION DEFAULT", "SAVEPOINT s", "VACUUM"):
        make(session, f"BEGIN EXECUTE '{statement}'; END", "q()")
        fails(session, "CALL q()", "0A000")
    fails(session, "CREATE FUNCTION f(a float) RETURNS float IMMUTABLE AS $$ return a $$ "
                   "LANGUAGE plpythonu", "0A000")
    fails(session, "CREATE EXTERNAL FUNCTION f(int) RETURNS varchar VOLATILE LAMBDA 'x' "
                   "IAM_ROLE default", "0A000")


def test_no_commit_with_settings_or_in_a_block(session):
    make(session, "BEGIN COMMIT; END", "p()", "SET query_group TO x")
    fails(session, "CALL p()", "2D000")
    make(session, "BEGIN COMMIT; END", "q()")
    session.execute("BEGIN")
    fails(session, "CALL q()", "2D000")
    session.execute("ROLLBACK")
    session.execute("CALL q()")


def test_truncate_commits_where_commit_may(session):
    session.execute("CREATE TABLE t (a int); CREATE TABLE u (a int); INSERT INTO t VALUES (1)")
    make(session, "BEGIN INSERT INTO u VALUES (1); TRUNCATE t; RAISE EXCEPTION 'stop'; END")
    session.execute("BEGIN")
    fails(session, "CALL p()", "2D000")
    session.execute("ROLLBACK")
    assert rows(session, "SELECT (SELECT count(*) FROM t), (SELECT count(*) FROM u)") == [(1, 0)]
    fails(session, "CALL p()", "P0001")
    assert rows(session, "SELECT (SELECT count(*) FROM t), (SELECT count(*) FROM u)") == [(0, 1)]
    make(session, "BEGIN TRUNCATE t; END", "q()", "SET query_group TO x")
    fails(session, "CALL q()", "2D000")


def test_settings_end_with_the_procedure(session):
    session.execute("SET query_group TO outside")
    make(session, "BEGIN RAISE INFO '%', current_setting('query_group'); IF d = 0 THEN "
                  "RAISE EXCEPTION 'stop'; END IF; END", "p(d int)", "SET query_group TO inside")
    assert said(session, "CALL p(1)") == ["inside"]
    assert rows(session, "SHOW query_group") == [("outside",)]
    fails(session, "CALL p(0)", "P0001")
    assert rows(session, "SHOW query_group") == [("outside",)]
    make(session, "BEGIN CALL p(0); EXCEPTION WHEN OTHERS THEN "
                  "RAISE INFO '%', current_setting('query_group'); END", "q() NONATOMIC")
    assert said(session, "CALL q()") == ["inside", "outside"]
    fails(session, "CREATE PROCEDURE r() NONATOMIC AS $$ BEGIN NULL; END $$ LANGUAGE plpgsql "
                   "SET query_group TO x", "0A000")


def test_a_handler_in_a_read_only_block_cannot_write(session):
    session.execute("CREATE TABLE t (a int)")
    make(session, "BEGIN PERFORM 1 / 0; EXCEPTION WHEN OTHERS THEN INSERT INTO t VALUES (1); END")
    session.execute("BEGIN READ ONLY")
    fails(session, "CALL p()", "25006")
    session.execute("ROLLBACK")
    assert rows(session, "SELECT count(*) FROM t") == [(0,)]


def test_a_block_of_a_nonatomic_procedure_holds_for_those_it_calls(session):
    session.execute("CREATE TABLE t (a int)")
    make(session, "BEGIN INSERT INTO t VALUES (2); END", "q() NONATOMIC")
    make(session, "BEGIN START TRANSACTION; INSERT INTO t VALUES (1); CALL q(); ROLLBACK; CALL q(); "
                  "INSERT INTO t VALUES (3); INSERT INTO t VALUES (1 / 0); END", "p() NONATOMIC")
    fails(session, "CALL p()", "22012")
    assert rows(session, "SELECT a FROM t ORDER BY a") == [(2,), (3,)]


def test_cursors_stay_open_while_single_statements_commit(session):
    session.execute("CREATE TABLE t (a int); INSERT INTO t VALUES (1), (0), (2); CREATE TABLE u (a int)")
    loop = """
        DECLARE c CURSOR FOR SELECT a FROM t ORDER BY a; v int;
        BEGIN
          OPEN c;
          LOOP
            FETCH c INTO v;
            EXIT WHEN NOT FOUND;
            BEGIN INSERT INTO u VALUES (10 / v); EXCEPTION WHEN OTHERS THEN RAISE INFO 'none'; END;
            {}
          END LOOP;
        END"""
    make(session, loop.format(""), "p() NONATOMIC")
    assert said(session, "CALL p()") == ["none"]
    assert rows(session, "SELECT a FROM u ORDER BY a") == [(5,), (10,)]
    fails(session, "FETCH 1 FROM c", "34000")
    make(session, loop.format("COMMIT;"), "q() NONATOMIC")
    fails(session, "CALL q()", "34000")


def test_nonatomic_statements_see_what_others_commit(own, session):
    session.execute("CREATE TABLE t (a int)")
    make(session, "BEGIN WHILE (SELECT count(*) FROM t) = 0 LOOP NULL; END LOOP; END", "p() NONATOMIC")
    session.execute("SET statement_timeout TO 20000")
    with own.connect() as other:
        timer = threading.Timer(0.3, lambda: other.execute(f"INSERT INTO {session.schema}.t VALUES (1)"))
        timer.start()
        session.execute("CALL p()")
        timer.join()


def test_a_loop_over_rows_that_are_taken_back(session):
    session.execute("CREATE TABLE t (a int); INSERT INTO t VALUES (1), (2)")
    loop = "DECLARE r record; BEGIN {} FOR r IN SELECT a FROM t ORDER BY a LOOP " \
           "INSERT INTO t VALUES (r.a + 10); RAISE INFO '%', r.a; ROLLBACK; END LOOP; END"
    make(session, loop.format(""))
    assert said(session, "CALL p()") == ["1", "2"]
    make(session, loop.format("INSERT INTO t VALUES (0);"))
    fails(session, "CALL p()", "34000")
    assert rows(session, "SELECT count(*) FROM t") == [(2,)]


def test_a_failed_handler_is_an_error_of_its_own(session):
    make(session, """
        BEGIN
          BEGIN
            BEGIN RAISE EXCEPTION 'first'; EXCEPTION WHEN OTHERS THEN RAISE EXCEPTION 'second'; END;
          EXCEPTION WHEN OTHERS THEN RAISE INFO 'caught %', SQLERRM;
          END;
          RAISE;
        END""", "p() NONATOMIC")
    fails(session, "CALL p()", "0Z002")


def test_variables_of_every_type(session):
    for sql_type, value in [("real", "0.5"), ("float", "1.0::float / 3"), ("time", "'12:30:01.5'"),
                            ("timetz", "'12:30:01.25-03:30'"), ("timestamptz", "'2024-01-01 10:00:00+03'"),
                            ("varbyte", "to_varbyte('abff', 'hex')"), ("bigint", "9223372036854775807"),
                            ("decimal(38,10)", "1234567890123456789012345678.0123456789"),
                            ("varchar(max)", "repeat('x', 65535)"), ("char(5)", "'ab'"), ("boolean", "false")]:
        make(session, f"DECLARE v {sql_type} := {value}; w {sql_type}; n int; "
                      "BEGIN w := v; SELECT CASE WHEN v = w THEN 1 ELSE 0 END INTO n; "
                      f"IF v = cast({value} AS {sql_type}) AND v = w THEN RAISE INFO '%', n; END IF; END")
        assert said(session, "CALL p()") == ["1"], sql_type
    make(session, "DECLARE v timetz := '12:30:01.25-03:30'; BEGIN RAISE INFO '%', v; END")
    assert said(session, "CALL p()") == ["12:30:01.25-03:30"]
    make(session, "DECLARE v interval := '1 day'; BEGIN NULL; END")
    fails(session, "CALL p()", "0A000")
    fails(session, "CREATE PROCEDURE i(v interval) AS $$ BEGIN NULL; END $$ LANGUAGE plpgsql", "0A000")


def test_messages_are_bounded(session):
    make(session, "DECLARE m varchar(max) := repeat('x', 65000); BEGIN "
                  "FOR i IN 1..2000 LOOP RAISE INFO '%', m; END LOOP; END")
    assert fails(session, "CALL p()", "54000")
    session.execute("SET client_min_messages TO error")
    make(session, "DECLARE m varchar(max) := repeat('x', 65000); BEGIN "
                  "FOR i IN 1..2000 LOOP RAISE WARNING '%', m; END LOOP; END")
    session.execute("CALL p()")


def test_cancel_leaves_commits_whole(own, session):
    session.execute("CREATE TABLE t (a int)")
    make(session, "DECLARE i int := 0; BEGIN LOOP i := i + 1; INSERT INTO t VALUES (i); COMMIT; "
                  "RAISE INFO '%', i; END LOOP; END")
    for timeout in (100, 130, 170, 210, 250):
        session.execute("TRUNCATE t")
        session.execute(f"SET statement_timeout TO {timeout}")
        fails(session, "CALL p()", "57014")
        session.execute("RESET statement_timeout")
        [(count, most)] = rows(session, "SELECT count(*), max(a) FROM t")
        assert count == (most or 0)
        # Nothing of it comes later, and nothing is locked.
        session.execute("INSERT INTO t VALUES (0)")
        assert rows(session, "SELECT count(*) FROM t") == [(count + 1,)]


def test_out_arguments_are_left_out_of_the_call(session):
    make(session, "BEGIN b := a * 2; c := 'x'; END", "p(a IN int, b OUT int, c OUT varchar(3))")
    cursor = session.execute("CALL p(4)")
    assert [c.name for c in cursor.description] == ["b", "c"] and cursor.fetchall() == [(8, "x")]


def test_parameters_of_a_call(session):
    make(session, "BEGIN b := b || a; END", "p(a int, INOUT b varchar(20))")
    assert session.execute("CALL p(%s, %s)", (7, "n")).fetchall() == [("n7",)]
    assert session.execute("CALL p(%s, %s)", (None, "n")).fetchall() == [(None,)]


def test_nesting_is_bounded(session):
    make(session, "BEGIN IF n > 0 THEN CALL p(n - 1); END IF; END", "p(n int)")
    session.execute("CALL p(15)")
    diag = fails(session, "CALL p(16)", "54001")
    assert "16 levels" in diag.message_detail
    fails(session, "CALL p(1000000)", "54001")
    session.execute("CALL p(3)")


def test_a_variable_wins_over_a_column(session):
    session.execute("CREATE TABLE t (a int); INSERT INTO t VALUES (1), (2), (3)")
    make(session, "DECLARE n int; BEGIN SELECT count(*) INTO n FROM t WHERE t.a = a; "
                  "RAISE INFO '%', n; END", "p(a int)")
    assert said(session, "CALL p(2)") == ["1"]


def test_words_of_dates_are_no_variables(session):
    make(session, "DECLARE day int := 5; BEGIN RAISE INFO '%', "
                  "datediff(day, '2024-02-27'::date, '2024-03-01'::date) + day; END")
    assert said(session, "CALL p()") == ["8"]


def test_cancel_ends_a_loop(own, session):
    make(session, "BEGIN LOOP NULL; END LOOP; END")
    session.execute("SET statement_timeout TO 300")
    fails(session, "CALL p()", "57014")
    make(session, "BEGIN LOOP BEGIN PERFORM 1; EXCEPTION WHEN OTHERS THEN NULL; END; END LOOP; END")
    fails(session, "CALL p()", "57014")
    session.execute("RESET statement_timeout")
    assert rows(session, "SELECT 1") == [(1,)]


def test_who_may_call(own, session):
    schema = session.schema
    session.execute("CREATE TABLE secret (a int); INSERT INTO secret VALUES (42)")
    session.execute("CREATE USER proc_caller PASSWORD 'Proc-caller-1'")
    session.execute(f"GRANT USAGE ON SCHEMA {schema} TO proc_caller")
    body = "DECLARE n int; BEGIN SELECT a INTO n FROM secret; RAISE INFO '% %', n, current_user; END"
    make(session, body, "invoker()")
    make(session, body, "definer()", "SECURITY DEFINER")
    make(session, "BEGIN PERFORM 1 / 0; END", "failing()", "SECURITY DEFINER")
    make(session, "BEGIN LOOP NULL; END LOOP; END", "endless()", "SECURITY DEFINER")
    with psycopg.connect(host="127.0.0.1", port=own.port, user="proc_caller", dbname="dev",
                         password="Proc-caller-1", autocommit=True) as other:
        other.execute(f"SET search_path TO {schema}")
        fails(other, "CALL definer()", "42501")
        fails(other, "DROP PROCEDURE definer()", "42501")
        fails(other, "ALTER PROCEDURE definer() RENAME TO x", "42501")
        fails(other, "CREATE PROCEDURE mine() AS $$ BEGIN NULL; END $$ LANGUAGE plpgsql", "42501")
        session.execute("GRANT EXECUTE ON PROCEDURE definer(), invoker(), endless() TO proc_caller")
        assert said(other, "CALL definer()") == ["42 awsuser"]
        fails(other, "CALL invoker()", "42501")
        assert rows(other, "SELECT current_user") == [("proc_caller",)]
        fails(other, "CALL failing()", "42501")
        session.execute(f"GRANT EXECUTE ON ALL PROCEDURES IN SCHEMA {schema} TO proc_caller")
        fails(other, "CALL failing()", "22012")
        assert rows(other, "SELECT current_user") == [("proc_caller",)]
        # A statement that is cut short leaves nobody else's rights behind.
        other.execute("SET statement_timeout TO 200")
        fails(other, "CALL endless()", "57014")
        assert rows(other, "SELECT current_user") == [("proc_caller",)]
        fails(other, "SELECT * FROM secret", "42501")
        session.execute("REVOKE EXECUTE ON PROCEDURE definer() FROM proc_caller")
        fails(other, "CALL definer()", "42501")
    # Nobody runs a body of his own with the rights of another.
    session.execute(f"GRANT CREATE ON SCHEMA {schema} TO proc_caller")
    with psycopg.connect(host="127.0.0.1", port=own.port, user="proc_caller", dbname="dev",
                         password="Proc-caller-1", autocommit=True) as other:
        other.execute(f"SET search_path TO {schema}")
        make(other, body, "mine()", "SECURITY DEFINER")
        fails(other, "CALL mine()", "42501")
        fails(other, "ALTER PROCEDURE mine() OWNER TO awsuser", "42501")
        other.execute("ALTER PROCEDURE mine() OWNER TO proc_caller")
        other.execute("DROP PROCEDURE mine()")
    fails(session, "DROP USER proc_caller", "2BP01")
    session.execute(f"REVOKE ALL ON ALL PROCEDURES IN SCHEMA {schema} FROM proc_caller")
    session.execute(f"REVOKE ALL ON SCHEMA {schema} FROM proc_caller")
    session.execute("ALTER PROCEDURE invoker() OWNER TO proc_caller")
    fails(session, "DROP USER proc_caller", "55006")
    session.execute("DROP PROCEDURE invoker()")
    session.execute("DROP USER proc_caller")


def test_system_tables_tell_of_procedures(session):
    make(session, "BEGIN b := 1; END", "p(a int, INOUT b decimal(10,2), OUT c varchar(5))",
         "SECURITY DEFINER")
    make(session, "BEGIN NULL; END", "q()")
    schema = session.schema
    assert rows(session, "SELECT proname, pronargs, prosecdef, prokind, prosrc FROM pg_proc_info p "
                f"JOIN pg_namespace n ON n.oid = pronamespace WHERE nspname = '{schema}' "
                "ORDER BY 1") == [("p", 2, True, "p", " BEGIN b := 1; END "),
                                  ("q", 0, False, "p", " BEGIN NULL; END ")]
    found = rows(session, f"SHOW PROCEDURES FROM SCHEMA dev.{schema}")
    assert [(r[2], r[3], r[4]) for r in found] == [
        ("p", 3, "a integer, INOUT b numeric, OUT c character varying"), ("q", 0, "")]
    found = rows(session, "SHOW PARAMETERS OF PROCEDURE p(int, decimal(10,2))")
    assert [tuple(r[3:]) for r in found] == [
        ("a", 1, "IN", "integer", None, 32, 0), ("b", 2, "INOUT", "numeric", None, 10, 2),
        ("c", 3, "OUT", "character varying", 5, None, None)]
    text = rows(session, "SHOW PROCEDURE p(int, decimal)")[0][0]
    session.execute("DROP PROCEDURE p(int, decimal)")
    session.execute(text)
    assert rows(session, "SHOW PROCEDURE p")[0][0] == text
    assert rows(session, "SELECT routine_name, routine_type FROM information_schema.routines "
                f"WHERE routine_schema = '{schema}' ORDER BY 1") == [
                    ("p", "PROCEDURE"), ("q", "PROCEDURE")]
    fails(session, "SHOW PROCEDURE nothing", "42883")


def test_the_statements_of_redshifts_manual(session):
    session.execute("""
        CREATE OR REPLACE PROCEDURE test_sp1(f1 int, f2 varchar(20)) AS $$
        DECLARE min_val int;
        BEGIN
          DROP TABLE IF EXISTS tmp_tbl;
          CREATE TEMP TABLE tmp_tbl(id int);
          INSERT INTO tmp_tbl values (f1),(10001),(10002);
          SELECT INTO min_val MIN(id) FROM tmp_tbl;
          RAISE INFO 'min_val = %, f2 = %', min_val, f2;
        END;
        $$ LANGUAGE plpgsql""")
    assert said(session, "CALL test_sp1(3, 'book')")[-1] == "min_val = 3, f2 = book"
    session.execute("""
        CREATE OR REPLACE PROCEDURE test_sp2(f1 IN int, f2 INOUT varchar(256), out_var OUT varchar(256)) AS $$
        DECLARE loop_var int;
        BEGIN
          IF f1 is null OR f2 is null THEN
            RAISE EXCEPTION 'input cannot be null';
          END IF;
          DROP TABLE if exists my_etl;
          CREATE TEMP TABLE my_etl(a int, b varchar);
          FOR loop_var IN 1..f1 LOOP
            insert into my_etl values (loop_var, f2);
            f2 := f2 || '+' || f2;
          END LOOP;
          SELECT INTO out_var count(*) from my_etl;
        END;
        $$ LANGUAGE plpgsql""")
    assert rows(session, "CALL test_sp2(2, '2019')") == [("2019+2019+2019+2019", "2")]
    assert fails(session, "CALL test_sp2(NULL, '2019')", "P0001").message_primary == "input cannot be null"


def test_procedures_outlive_the_server(tmp_path):
    server = Server(tmp_path / "cluster", tmp_path, MODES["embedded-1x1"]).start()
    try:
        with server.connect() as connection:
            make(connection, "BEGIN b := a + 1; END", "p(a int, INOUT b int)")
            make(connection, "BEGIN NULL; END", "gone()")
            connection.execute("DROP PROCEDURE gone()")
        server.kill()
        server.start()
        assert server.execute("CALL p(1, 0)") == [(2,)]
        with server.connect() as connection:
            fails(connection, "CALL gone()", "42883")
            connection.execute("ALTER PROCEDURE p(int, int) RENAME TO q")
        server.stop()
        server.start()
        assert server.execute("CALL q(2, 0)") == [(3,)]
        server.stop()
    finally:
        server.close()


# Functions in SQL.


def test_functions_are_expressions(session):
    session.execute("CREATE FUNCTION f_greater(float, float) RETURNS float STABLE AS $$ "
                    "SELECT CASE WHEN $1 > $2 THEN $1 ELSE $2 END $$ LANGUAGE sql")
    session.execute("CREATE TABLE t (a int, b float); INSERT INTO t VALUES (1, 2.5), (7, 3), (NULL, 1)")
    cursor = session.execute("SELECT a, f_greater(a, b) FROM t ORDER BY a")
    assert [c.name for c in cursor.description] == ["a", "f_greater"]
    assert cursor.fetchall() == [(1, 2.5), (7, 7.0), (None, 1.0)]
    assert rows(session, "SELECT f_greater(f_greater(1, 2), 3) + 1") == [(4.0,)]
    assert rows(session, "SELECT count(*) FROM t WHERE f_greater(a, b) > 2") == [(2,)]
    assert rows(session, "SELECT f_greater(a, 2), count(*) FROM t GROUP BY f_greater(a, 2) "
                         "ORDER BY 1") == [(2.0, 2), (7.0, 1)]
    session.execute("UPDATE t SET b = f_greater(b, 2.75) WHERE f_greater(a, 0) < 5")
    session.execute("INSERT INTO t VALUES (f_greater(10, 20), f_greater(1, 2))")
    session.execute("CREATE TABLE u AS SELECT f_greater(a, b) AS g FROM t")
    assert rows(session, "SELECT g FROM u ORDER BY g") == [(2.75,), (2.75,), (7.0,), (20.0,)]
    session.execute("DELETE FROM t WHERE f_greater(a, b) >= 7")
    assert rows(session, "SELECT count(*) FROM t") == [(2,)]
    # Redshift names arguments by their number; a name beside a type is taken too.
    session.execute(f"SELECT {session.schema}.f_greater(1, 2)")


def test_functions_use_functions_and_procedures_use_them(session):
    session.execute("CREATE FUNCTION f_double(int) RETURNS int IMMUTABLE AS $$ SELECT $1 * 2 $$ LANGUAGE sql")
    session.execute("CREATE FUNCTION f_four(int) RETURNS int IMMUTABLE AS $$ "
                    "SELECT f_double(f_double($1)) $$ LANGUAGE sql")
    assert rows(session, "SELECT f_four(3)") == [(12,)]
    make(session, "BEGIN a := f_four(a); END", "p(INOUT a int)")
    assert rows(session, "CALL p(5)") == [(20,)]
    assert session.execute("SELECT f_four(%s)", (2,)).fetchall() == [(8,)]
    session.execute("CREATE OR REPLACE FUNCTION f_double(int) RETURNS int IMMUTABLE AS $$ "
                    "SELECT f_double($1) $$ LANGUAGE sql")
    assert fails(session, "SELECT f_double(1)", "54001")
    fails(session, "SELECT f_four(1)", "54001")


def test_functions_are_bounded(session):
    many = ", ".join(["$1"] * 500)
    for name in ("f_a", "f_b", "f_c"):
        session.execute(f"CREATE FUNCTION {name}(bigint) RETURNS bigint IMMUTABLE AS $$ "
                        f"SELECT coalesce({many}) $$ LANGUAGE sql")
    assert rows(session, "SELECT f_a(2)") == [(2,)]
    fails(session, "SELECT f_a(f_b(f_c(1)))", "54001")


def test_functions_cast_what_comes_and_goes(session):
    session.execute("CREATE FUNCTION f_text(varchar(3), decimal(10,2)) RETURNS varchar(20) STABLE "
                    "AS $$ SELECT $1 || ':' || $2 $$ LANGUAGE sql")
    assert rows(session, "SELECT f_text('abcdef', 1.234), f_text(NULL, 1)") == [("abc:1.23", None)]
    fails(session, "SELECT f_text(1)", "42883")
    fails(session, "SELECT f_text('a', 'x')", "22P02")


def test_functions_are_checked_when_they_are_made(session):
    for body, state in [("SELECT $2", "42P02"), ("SELECT 1, 2", "42P13"), ("SELECT nothing", "42703"),
                        ("SELECT a FROM t", "42P13"), ("SELECT 1 WHERE true", "42P13"),
                        ("SELEC 1", "42601"), ("SELECT no_such($1)", "42883"),
                        ("DELETE FROM t", "42601")]:
        fails(session, f"CREATE FUNCTION f_bad(int) RETURNS int STABLE AS $$ {body} $$ LANGUAGE sql", state)
    fails(session, "CREATE FUNCTION f_bad(int) STABLE AS $$ SELECT 1 $$ LANGUAGE sql", "42601")
    fails(session, "CREATE FUNCTION f_bad(a OUT int) RETURNS int AS $$ SELECT 1 $$ LANGUAGE sql", "0A000")
    fails(session, "CALL f_none(1)", "42883")


def test_views_stand_on_functions(session):
    session.execute("CREATE FUNCTION f_double(int) RETURNS int IMMUTABLE AS $$ SELECT $1 * 2 $$ LANGUAGE sql")
    session.execute("CREATE TABLE t (a int); INSERT INTO t VALUES (4)")
    session.execute("CREATE VIEW v AS SELECT f_double(a) AS d FROM t")
    session.execute("SET search_path TO public")
    assert rows(session, f"SELECT d FROM {session.schema}.v") == [(8,)]
    session.execute(f"SET search_path TO {session.schema}")
    diag = fails(session, "DROP FUNCTION f_double(int)", "2BP01")
    assert "view" in diag.message_detail
    session.execute("DROP FUNCTION f_double(int) CASCADE")
    fails(session, "SELECT * FROM v", "42P01")


def test_functions_are_told_apart_and_kept(own, session):
    session.execute("CREATE FUNCTION f_n(int) RETURNS int STABLE AS $$ SELECT 1 $$ LANGUAGE sql")
    session.execute("CREATE FUNCTION f_n(int, int) RETURNS int STABLE AS $$ SELECT 2 $$ LANGUAGE sql")
    assert rows(session, "SELECT f_n(0), f_n(0, 0)") == [(1, 2)]
    fails(session, "CREATE FUNCTION f_n(int) RETURNS int STABLE AS $$ SELECT 3 $$ LANGUAGE sql", "42723")
    fails(session, "CREATE OR REPLACE FUNCTION f_n(int) RETURNS bigint STABLE AS $$ SELECT 3 $$ "
                   "LANGUAGE sql", "42P13")
    fails(session, "CREATE OR REPLACE PROCEDURE f_n(a int) AS $$ BEGIN NULL; END $$ LANGUAGE plpgsql",
          "42809")
    fails(session, "CALL f_n(1)", "42809")
    found = rows(session, f"SHOW FUNCTIONS FROM SCHEMA {session.schema}")
    assert [(r[2], r[3], r[4], r[5]) for r in found] == [
        ("f_n", 1, "integer", "integer"), ("f_n", 2, "integer, integer", "integer")]
    session.execute("CREATE USER func_caller PASSWORD 'Func-caller-1'")
    session.execute(f"GRANT USAGE ON SCHEMA {session.schema} TO func_caller")
    with psycopg.connect(host="127.0.0.1", port=own.port, user="func_caller", dbname="dev",
                         password="Func-caller-1", autocommit=True) as other:
        other.execute(f"SET search_path TO {session.schema}")
        assert rows(other, "SELECT f_n(0)") == [(1,)]
        session.execute("REVOKE EXECUTE ON FUNCTION f_n(int) FROM PUBLIC")
        fails(other, "SELECT f_n(0)", "42501")
        assert rows(other, "SELECT f_n(0, 0)") == [(2,)]
        session.execute("GRANT EXECUTE ON FUNCTION f_n(int) TO func_caller")
        assert rows(other, "SELECT f_n(0)") == [(1,)]
        session.execute(f"REVOKE ALL ON ALL FUNCTIONS IN SCHEMA {session.schema} FROM func_caller")
    session.execute(f"REVOKE ALL ON SCHEMA {session.schema} FROM func_caller")
    session.execute("DROP USER func_caller")
    session.execute("ALTER FUNCTION f_n(int) RENAME TO f_one")
    assert rows(session, "SELECT f_one(0)") == [(1,)]
    session.execute("DROP FUNCTION f_one(int)")
    fails(session, "SELECT f_one(0)", "42883")
