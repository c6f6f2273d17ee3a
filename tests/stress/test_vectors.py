"""Random aggregations and joins: with operators on vectors, without them, and in DuckDB."""

import decimal
import random
import re

import duckdb
import psycopg

from conftest import MODES, Server, figure, new_seed, scaled

STATEMENTS = 400
# Statements after which the tables are made anew.
ROUND = 200
OFF = ("enable_vector_pipelines", "enable_vector_joins")

# Column, type, and what DuckDB makes its values of; `v` is a random number that few or many
# other rows have too, `x` is true in a row with an extreme value.
COLUMNS = (
    ("id", "BIGINT NOT NULL", "n"),
    ("k", "INTEGER", "v - 20"),
    ("i", "SMALLINT", "v % 9 - 4"),
    ("big", "BIGINT", "CASE WHEN x THEN 9223372036854775807 WHEN y THEN -9223372036854775808"
                      " ELSE v * 3 END"),
    ("d", "DECIMAL(15, 2) NOT NULL", "(v * 7919 % 100000) / 100"),
    ("e", "DECIMAL(15, 2)", "CASE WHEN x THEN 9999999999999.99 WHEN y THEN -9999999999999.99"
                            " ELSE v / 4 END"),
    ("w", "DECIMAL(38, 4)", "CASE WHEN x THEN 1000000000000000000000000000000.5 ELSE v * 1.0001"
                            " END"),
    ("t", "DATE", "DATE '1992-01-01' + (v * 37 % 9000)::INTEGER"),
    ("ts", "TIMESTAMP", "TIMESTAMP '2001-02-03 04:05:06' + INTERVAL 1 SECOND * (v % 20000 * 86399)"),
    # Halves add up to the same in every order.
    ("f", "DOUBLE PRECISION", "v / 2"),
    ("b", "BOOLEAN", "v % 3 = 0"),
    ("s", "VARCHAR(100)", "CASE v % 5 WHEN 0 THEN '' WHEN 1 THEN 'A' WHEN 2 THEN"
                          " 'a longer text, number ' || v ELSE 't' || v END"),
    ("c", "VARCHAR(20) NOT NULL", "'c' || v % 4"),
)

# Rows of each table and its distribution.
TABLES = {"r0": (70_000, "DISTKEY (id) SORTKEY (t)"), "r1": (4_000, "DISTKEY (id)"),
          "r2": (500, "DISTSTYLE EVEN SORTKEY (k)"), "r3": (60, "DISTSTYLE ALL")}

KEYS = (
    "@id", "@k", "@i", "@big", "@d", "@e", "@w", "@t", "@ts", "@b", "@s", "@c", "@d * 2.5",
    "@k IS NULL", "CASE WHEN @i > 0 THEN @s ELSE 'none of these' END", "upper(@c)",
    "date_part('year', @t)", "coalesce(@k, 0)", "@b AND @k > 3", "@i + 1", "@k % 7",
    "CASE @i WHEN 1 THEN 'one' WHEN 2 THEN 'two' END", "date_trunc('month', @ts)",
)

# What is asked, with DuckDB's words where they differ, and what its result is to be divided by.
RESULTS = (
    "count(*)", "count(@k)", "count(@s)", "count(@b)", "sum(@k)", "sum(@i)", "sum(@big)", "sum(@d)",
    "sum(@e)", "sum(@w)", "sum(@f)", "min(@k)", "max(@k)", "min(@big)", "max(@big)", "min(@d)",
    "max(@e)", "min(@w)", "max(@w)", "min(@t)", "max(@ts)", "min(@s)", "max(@f)",
    "count(DISTINCT @k)", "count(DISTINCT @s)", "sum(DISTINCT @i)", "sum(@f * 2 + 1)", "sum(-@d)",
    "sum(@d * (1 - @e / 8))", "sum(@d * (1 - @e))", "sum(@k + 1)", "sum(@k * @k)",
    "sum((@d + @e) * (@d - cast(1.5 AS decimal(3, 1))))", "sum(CASE WHEN @b THEN @d ELSE 0 END)",
    "count(CASE WHEN @s = 'A' OR @b THEN 1 END)", "sum(cast(@k AS decimal(12, 2)))",
    "sum(cast(@i AS double precision))", "bool_or(@b)",
    ("avg(@k)", "sum(@k) // count(@k)", 1),
    ("avg(@i)", "sum(@i) // count(@i)", 1),
    ("avg(@d)", "sum((@d * 100)::BIGINT) // count(@d)", 100),
    ("avg(@e)", "sum((@e * 100)::BIGINT) // count(@e)", 100),
    ("avg(@f)", "avg(@f)", 1),
)
# Division has other types in DuckDB.
OURS_ALONE = ("sum(@d * (1 - @e / 8))",)

CONDITIONS = (
    "@i > 0", "@s = 'A'", "@s <> 'a longer text, number 7'", "@d BETWEEN 10.00 AND 500.00",
    "@t >= DATE '1999-01-01'", "@b", "NOT @b", "@k IN (1, 2, 3, 5, 8, 13, 21, 34, 55, 89)",
    "@s NOT IN ('A', 'a longer text, number 2')", "@d * 2 > @e", "@k IS NULL OR @i IS NOT NULL",
    "@s LIKE '%1%'", "@f < 3.5", "@k + @i > 2", "@id % 7 = 3", "NOT (@b AND @i < 2)", "@k < 0",
    "@ts < TIMESTAMP '2001-03-01 00:00:00'", "@w > 10", "@big = 9223372036854775807",
)

JOIN_KEYS = ("id", "k", "i", "big", "d", "e", "w", "t", "ts", "s")
JOINS = ("JOIN", "JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN")


def make(duck, files, dice):
    """Makes the tables in DuckDB and their rows as files."""
    for name, (rows, _) in TABLES.items():
        spread = dice.choice((3, 60, 3_000, 1_000_000))
        extremes = dice.choice((0, 0, 40))
        salt = dice.randrange(1 << 30)
        def value(at, column):
            name, kind, words = column
            draw = f"hash(n, {salt + at * 3 + 1}) % 1000"
            words = re.sub(r"\bv\b", f"(hash(n, {salt + at * 3}) % {spread})::BIGINT", words)
            words = re.sub(r"\bx\b", f"{draw} < {extremes}", words)
            words = re.sub(r"\by\b", f"{draw} >= {1000 - extremes}", words)
            if "NOT NULL" not in kind:
                words = f"CASE WHEN hash(n, {salt + at * 3 + 2}) % 6 > 0 THEN {words} END"
            kind = kind.replace(" NOT NULL", "").replace(" PRECISION", "")
            return f"CAST({words} AS {kind}) AS {name}"
        columns = ", ".join(value(at, column) for at, column in enumerate(COLUMNS))
        duck.execute(f"CREATE OR REPLACE TABLE {name} AS SELECT {columns}"
                     f" FROM range({rows}) AS numbers(n)")
        duck.execute(f"COPY {name} TO '{files}/{name}.parquet' (FORMAT PARQUET)")


def load(ours, duck, files):
    """The same tables in the warehouse; some rows are deleted everywhere."""
    definition = ", ".join(f"{name} {kind}" for name, kind, _ in COLUMNS)
    for name, (_, style) in TABLES.items():
        ours.execute(f"DROP TABLE IF EXISTS {name}")
        ours.execute(f"CREATE TABLE {name} ({definition}) {style}")
        ours.execute(f"COPY {name} FROM '{files}/{name}.parquet' FORMAT AS PARQUET")
        for connection in (ours, duck):
            connection.execute(f"DELETE FROM {name} WHERE id % 11 = 3")


class Statements:
    """Gives statements: ours, and DuckDB's with the divisors of its results, if it has one."""

    def __init__(self, dice):
        self.dice = dice

    def next(self):
        source, aliases = self._source()
        pick = self.dice.choice
        keys = [self._on(pick(KEYS), aliases) for _ in range(self.dice.choice((0, 1, 1, 2, 3)))]
        results = [pick(RESULTS) for _ in range(self.dice.randint(1, 5))]
        asked = [[], []]
        divisors, known = [], True
        for result in results:
            ours, theirs, divisor = (result, result, 1) if isinstance(result, str) else result
            alias = pick(aliases)
            for words, text in zip(asked, (ours, theirs)):
                words.append(text.replace("@", f"{alias}."))
            divisors.append(divisor)
            known &= ours not in OURS_ALONE
        if self.dice.random() < 0.1 and keys:
            asked, divisors, known = [[], []], [], True
        conditions = [self._on(pick(CONDITIONS), aliases) for _ in range(self.dice.randint(0, 2))]
        where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        group = f" GROUP BY {', '.join(map(str, range(1, len(keys) + 1)))}" if keys else ""
        texts = [f"SELECT {', '.join(keys + words)} FROM {source}{where}{group}" for words in asked]
        return texts[0], (texts[1] if known else None), [1] * len(keys) + divisors

    def _on(self, text, aliases):
        return text.replace("@", f"{self.dice.choice(aliases)}.")

    def _source(self):
        dice = self.dice
        roll = dice.random()
        if roll < 0.35:
            return f"{dice.choice(('r0', 'r0', 'r1', 'r3'))} a", ["a"]
        tables = dice.sample(("r1", "r2", "r3"), 2)
        condition = " AND ".join(f"a.{key} = b.{key}"
                                 for key in dice.sample(JOIN_KEYS, dice.choice((1, 1, 2))))
        more = dice.choice(("", "", " AND a.d < b.d", " AND a.id < b.id + 40"))
        if roll < 0.5:
            test = dice.choice(("EXISTS", "NOT EXISTS"))
            inner = f"SELECT 1 FROM {tables[1]} b WHERE {condition}{more}"
            return f"(SELECT * FROM {tables[0]} a WHERE {test} ({inner})) a", ["a"]
        join = dice.choice(JOINS)
        # DuckDB and this server join in full by equalities alone.
        more = "" if join == "FULL JOIN" else more
        return f"{tables[0]} a {join} {tables[1]} b ON {condition}{more}", ["a", "b"]


def plain(value, divisor):
    """A value as both sides show it."""
    if isinstance(value, (int, float, decimal.Decimal)) and not isinstance(value, bool):
        with decimal.localcontext() as context:
            context.prec = 80
            return str((decimal.Decimal(value) / divisor).normalize())
    return str(value)


def rows_of(cursor, divisors):
    rows = cursor.fetchall()
    return sorted(tuple(map(plain, row, divisors)) for row in rows)


def outcome(connection, text):
    try:
        return sorted(map(repr, connection.execute(text).fetchall()))
    except psycopg.Error as error:
        assert error.sqlstate, f"the connection was lost by {text}: {error}"
        return error.sqlstate


def check(statement, on, off, duck, seed):
    """Runs a statement three times; true when DuckDB could be asked."""
    text, theirs, divisors = statement
    with_vectors, without = outcome(on, text), outcome(off, text)
    assert with_vectors == without, report(seed, text, without, with_vectors)
    if theirs is None or isinstance(with_vectors, str):
        return False
    try:
        expected = rows_of(duck.execute(theirs), divisors)
    except (duckdb.OutOfRangeException, duckdb.ConversionException):
        return False
    found = rows_of(on.execute(text), [1] * len(divisors))
    assert found == expected, report(seed, f"{text}\n{theirs}", expected, found)
    return True


def report(seed, text, expected, found):
    differ = [rows for rows in zip(expected, found) if rows[0] != rows[1]][:5]
    return (f"BLUESHIFT_SEED={seed}: {text}\n  expected {len(expected)}: {str(expected)[:400]}"
            f"\n  found {len(found)}: {str(found)[:400]}\n  first differences {differ}")


def test_vectors_and_duckdb_agree(tmp_path):
    seed = new_seed()
    dice = random.Random(seed)
    statements = Statements(dice)
    server = Server(tmp_path / "cluster", tmp_path, MODES["embedded-2x2"]).start()
    compared, total = 0, scaled(STATEMENTS)
    try:
        with server.connect() as on, server.connect() as off, duckdb.connect() as duck:
            for setting in OFF:
                off.execute(f"SET {setting} TO off")
            for number in range(total):
                if number % ROUND == 0:
                    make(duck, tmp_path, dice)
                    load(on, duck, tmp_path)
                compared += check(statements.next(), on, off, duck, seed)
        assert compared * 2 > total, f"DuckDB was asked {compared} times of {total}"
        figure("vectors", statements=total, compared_with_duckdb=compared, differences=0)
        server.stop()
    finally:
        server.close()
