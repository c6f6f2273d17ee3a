"""Subqueries that a statement has several times run once."""

import pytest

TABLES = """
CREATE TABLE figure (d INTEGER) DISTSTYLE ALL;
INSERT INTO figure VALUES (0), (1), (2), (3), (4), (5), (6), (7), (8), (9);
CREATE TABLE visit (id BIGINT, page INTEGER, ms INTEGER, agent VARCHAR(40)) DISTKEY (id);
INSERT INTO visit SELECT n, n % 97, n % 1009, 'agent number ' || n
    FROM (SELECT a.d + 10 * b.d + 100 * c.d + 1000 * e.d + 10000 * f.d AS n
          FROM figure a, figure b, figure c, figure e, figure f);
CREATE TABLE page (page INTEGER, topic INTEGER) DISTSTYLE ALL;
INSERT INTO page SELECT DISTINCT page, page % 5 FROM visit;
ANALYZE;
"""
TOTALS = "WITH total AS (SELECT page, sum(ms) AS ms, count(*) AS n FROM visit GROUP BY page) "
PAIRS = TOTALS + ("SELECT count(*), sum(a.ms - b.ms), sum(a.n * b.n) FROM total a JOIN total b "
                  "ON a.page = b.page + 1")


@pytest.fixture(scope="module")
def visits(server):
    with server.connect() as connection:
        for statement in TABLES.split(";")[:-1]:
            connection.execute(statement)
        yield connection
        connection.execute("DROP TABLE visit, page, figure")


def explained(connection, text):
    return [row[0] for row in connection.execute(f"EXPLAIN {text}")]


def both_ways(connection, text):
    """The rows with sharing, which must be those without."""
    connection.execute("SET enable_shared_subplans TO off")
    try:
        apart = connection.execute(text).fetchall()
        assert not any("Shared Subplan" in line for line in explained(connection, text))
    finally:
        connection.execute("RESET enable_shared_subplans")
    shared = connection.execute(text).fetchall()
    assert shared == apart
    return shared


def test_explain_shows_the_subplan_once(visits):
    lines = explained(visits, PAIRS)
    assert sum("XN Shared Subplan 1 " in line for line in lines) == 2, lines
    assert sum("Computed once, used 2 times" in line for line in lines) == 2, lines
    assert sum("Seq Scan on visit" in line for line in lines) == 1, lines
    assert both_ways(visits, PAIRS)[0][0] == 96


def test_explain_analyze_counts_the_subplan(visits):
    lines = [row[0] for row in visits.execute(f"EXPLAIN ANALYZE {PAIRS}")]
    at = lines.index("Shared Subplan 1:")
    scans = [line for line in lines[at:] if "Seq Scan on visit" in line]
    assert len(scans) == 1 and "rows=100000 q-error" in scans[0], lines
    assert "rows: 1" in lines


def test_other_conditions_are_not_shared(visits):
    text = ("SELECT count(*) FROM (SELECT page, max(ms) AS v FROM visit WHERE ms < 500 "
            "GROUP BY page) a JOIN (SELECT page, max(ms) AS v FROM visit WHERE ms < 501 "
            "GROUP BY page) b ON a.page = b.page AND a.v <> b.v")
    assert not any("Shared Subplan" in line for line in explained(visits, text))
    assert both_ways(visits, text) == both_ways(visits, text)


def test_a_place_that_needs_little_reads_for_itself(visits):
    """Both places ask for one page of 97, which the scans hear of."""
    text = TOTALS + ("SELECT sum(a.ms), sum(b.ms) FROM total a JOIN page p ON a.page = p.page "
                     "AND p.topic = 4 AND p.page = 9, total b JOIN page q ON b.page = q.page "
                     "AND q.topic = 3 AND q.page = 8")
    assert not any("Shared Subplan" in line for line in explained(visits, text))
    both_ways(visits, text)


def test_shared_inside_shared(visits):
    text = TOTALS + (", top AS (SELECT count(*) AS many, max(ms) AS most FROM total "
                     "WHERE ms > (SELECT avg(ms) FROM total)) "
                     "SELECT a.many, b.most, (SELECT min(ms) FROM total) FROM top a, top b "
                     "WHERE a.many = b.many")
    lines = explained(visits, text)
    assert sum("Seq Scan on visit" in line for line in lines) == 1, lines
    assert len(both_ways(visits, text)) == 1


def test_too_many_rows_run_without_sharing(visits):
    """Row numbers are estimated to be few; these are more than the leader keeps."""
    numbers = range(12)
    wide = ", ".join(f"max(agent || '{number}{'x' * 60}') AS c{number}" for number in numbers)
    lengths = " + ".join(f"len(a.c{number}) + len(b.c{number})" for number in numbers)
    text = (f"WITH t AS (SELECT r, {wide} FROM (SELECT agent, row_number() OVER (ORDER BY id) AS r "
            f"FROM visit) GROUP BY r) SELECT count(*), sum({lengths}) FROM t a JOIN t b "
            "ON a.r = b.r")
    assert any("Shared Subplan" in line for line in explained(visits, text))
    assert both_ways(visits, text)[0][0] == 100_000
    visits.execute(f"CREATE TEMP TABLE wide AS {text.replace('count(*), ', 'count(*) AS n, ')}")
    assert visits.execute("SELECT n FROM wide").fetchone() == (100_000,)


def test_rows_of_one_snapshot(visits):
    """A transaction's own rows are seen by both places."""
    with visits.transaction(force_rollback=True):
        visits.execute("INSERT INTO visit VALUES (-1, 1000, 7, 'new')")
        text = TOTALS + "SELECT a.ms, b.n FROM total a JOIN total b ON a.page = b.page " \
                        "WHERE a.page = 1000"
        assert visits.execute(text).fetchall() == [(7, 1)]
        everywhere = TOTALS + "SELECT max(a.page), max(b.page) FROM total a, total b " \
                              "WHERE a.ms = b.ms"
        assert visits.execute(everywhere).fetchone() == (1000, 1000)


def test_parameters(visits):
    text = TOTALS + ("SELECT count(*) FROM total a JOIN total b ON a.page = b.page + %s "
                     "WHERE a.n > %s")
    first = visits.execute(text, (1, 0)).fetchone()
    second = visits.execute(text, (2, 0)).fetchone()
    assert (first, second) == ((96,), (95,))
