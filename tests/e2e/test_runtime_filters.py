"""Filters that joins publish while they run, for the scans below them."""

import re

import pytest

TABLES = """
CREATE TABLE stock (day INTEGER, item INTEGER, quantity INTEGER) DISTKEY (item) SORTKEY (day);
CREATE TABLE days (day INTEGER, month INTEGER) DISTSTYLE ALL;
CREATE TABLE prices (item INTEGER, price INTEGER) DISTKEY (item);
CREATE TABLE digits (d INTEGER) DISTSTYLE ALL;
INSERT INTO digits VALUES (0), (1), (2), (3), (4), (5), (6), (7), (8), (9);
INSERT INTO days SELECT a.d * 100 + b.d * 10 + c.d, a.d FROM digits a, digits b, digits c;
INSERT INTO prices SELECT a.d * 100 + b.d * 10 + c.d, b.d FROM digits a, digits b, digits c;
INSERT INTO stock SELECT day, item, 1 FROM days, prices;
ANALYZE;
"""
DATES_FIRST = "(days JOIN stock ON stock.day = days.day) JOIN prices ON prices.item = stock.item"
PRICES_FIRST = "days JOIN (prices JOIN stock ON prices.item = stock.item) ON stock.day = days.day"


@pytest.fixture(scope="module")
def stock(server):
    with server.connect() as connection:
        for statement in TABLES.split(";")[:-1]:
            connection.execute(statement)
        yield connection
        connection.execute("DROP TABLE stock, days, prices, digits")


@pytest.mark.parametrize("joined", [DATES_FIRST, PRICES_FIRST])
def test_those_of_both_joins_reach_the_scan(stock, joined):
    """No row and few blocks leave the scan that either join would drop."""
    text = f"SELECT count(*) FROM {joined} WHERE month = 7 AND price = 3"
    stock.execute("SET enable_join_reordering TO off")
    assert stock.execute(text).fetchone() == (100 * 100,)
    lines = [row[0] for row in stock.execute(f"EXPLAIN ANALYZE {text}")]
    start = lines.index("stock:") + 1
    slices = []
    for line in lines[start:]:
        if not line.startswith("  slice "):
            break
        slices.append({name: int(value) for name, value in re.findall(r"(\w+)=(\d+)", line)})
    plan = "\n".join(lines)
    assert sum(part["rows"] for part in slices) <= 2 * 100 * 100, plan
    assert sum(part["pruned"] for part in slices) > 0, plan
