"""The tables that generated statements read, the same on both servers."""

# Name, type, and values: the first ones as ordinary as can be, so that most expressions over them
# have a value.
VALUES = [
    ("i2", "smallint", [7, -3, 0, 1, 12, -25, 100, 2, None, 5]),
    ("i4", "integer", [1, 40, -17, 0, 365, 3, None, -100, 9, 2]),
    ("i8", "bigint", [11, -6, 1000, 0, 2, 77, -1, None, 31, 4]),
    ("x2", "smallint", [32767, -32768, 1, 0, None, -1, 300, 181, -182, 32766]),
    ("x4", "integer", [2147483647, -2147483648, 0, 1, -1, None, 46341, 65536, 2147483646, 100000]),
    ("x8", "bigint", [9223372036854775807, -9223372036854775808, 1, 0, None, -1, 3037000500,
                      4294967296, 9223372036854775806, 123456789012]),
    ("d1", "decimal(5,2)", ["1.25", "-0.50", "0.00", "99.99", None, "12.30", "-7.05", "3.00",
                            "0.01", "45.67"]),
    ("d2", "decimal(9,4)", ["100.0001", "-2.5000", None, "0.0000", "1.0001", "333.3333", "-0.0001",
                            "88.1250", "2.0000", "-19.9999"]),
    ("d0", "decimal(6,0)", ["1", "-4", "0", "250", "17", "-999", None, "6", "2", "30"]),
    ("xd", "decimal(18,2)", ["9999999999999999.99", "-9999999999999999.99", "0.00", "0.01", None,
                             "-0.01", "1.00", "5.55", "123456789.12", "-42.00"]),
    ("f4", "real", ["1.5", "-2.25", "0", None, "100.125", "3", "0.5", "-8", "1e10", "1e-3"]),
    ("f8", "double precision", ["2.5", "-1.125", "0", "3.14159", None, "1e6", "0.001", "-40", "7",
                                "12.75"]),
    ("xf", "double precision", ["1e300", "-1e300", "1e-300", "0", "-0.5", None, "NaN", "Infinity",
                                "-Infinity", "4.5"]),
    ("b", "boolean", ["t", "f", None, "t", "f", "t", None, "f", "t", "f"]),
    ("b2", "boolean", ["f", "f", "t", None, "t", "t", "f", None, "f", "t"]),
    ("c", "char(6)", ["abc", "", "ABC", "xyz", None, "a", "b%c", "Zebra", "abcdef", "9"]),
    ("s", "varchar(30)", ["hello", "World", "", "abc", None, "aXbXc", "foo_bar", "100%", "a.b.c",
                          "Zz"]),
    ("s2", "varchar(30)", ["lo", "W", "", "b", "x", None, "foo", "%", ".", "zZ"]),
    ("u", "varchar(40)", ["äöü", "日本語", "naïve", "plain", "", None, "é", "Strand", "ñandú", "x😀y"]),
    ("w", "varchar(40)", ["two words", "  lead", "trail  ", " both ", "", None, "a  b", "Mixed Case Here",
                          "x-y z", "one"]),
    ("n", "varchar(20)", ["12", "-7", "0", "350", None, "8", "1", "99", "-1000", "42"]),
    ("dt", "date", ["2024-02-29", "2023-12-31", "2000-01-01", "1999-07-04", None, "2024-01-31",
                    "1970-01-01", "2021-03-28", "2019-11-03", "2008-06-15"]),
    ("xdt", "date", ["0001-01-01", "9999-12-31", "1582-10-04", "1582-10-15", "1900-02-28", None,
                     "1969-12-31", "2100-03-01", "2000-02-29", "1752-09-14"]),
    ("tm", "time", ["00:00:00", "23:59:59.999999", "12:30:00", "06:05:04.5", None, "01:00:00",
                    "18:45:30.123456", "11:59:59", "12:00:00", "09:09:09"]),
    ("tz", "timetz", ["00:00:00+00", "23:59:59+00", "12:30:00+02", "06:05:04.5-05", None,
                      "01:00:00+05:30", "18:45:30.123456+00", "11:59:59-08", "12:00:00+00",
                      "09:09:09+01"]),
    ("ts", "timestamp", ["2024-02-29 12:34:56.789", "2023-12-31 23:59:59.999999",
                         "2000-01-01 00:00:00", "1999-07-04 06:00:01", None, "2024-01-31 18:30:00",
                         "1970-01-01 00:00:00", "2021-03-28 01:30:00", "2019-11-03 01:30:00",
                         "1969-12-31 23:59:59.5"]),
    ("ts2", "timestamp", ["2024-03-01 00:00:00", "2024-01-01 00:00:00.000001", None,
                          "1999-07-04 06:00:00", "2010-10-10 10:10:10.101", "2024-01-30 19:00:00",
                          "1960-05-05 05:05:05.05", "2021-03-28 03:30:00", "2019-11-02 23:00:00",
                          "1970-01-01 00:00:00"]),
    ("tt", "timestamptz", ["2024-02-29 12:34:56.789+00", "2023-12-31 23:59:59.999999+00",
                           "2000-01-01 00:00:00+02", "1999-07-04 06:00:01-07", None,
                           "2024-01-31 18:30:00+05:30", "1970-01-01 00:00:00+00",
                           "2021-03-28 01:30:00+00", "2019-11-03 05:30:00+00",
                           "1969-12-31 23:59:59.5+00"]),
]
ROWS = 10

# Small tables with few keys, so that rows meet, and NULLs everywhere. The last column has them
# in the order of the table below.
SMALL = {
    "ta": ("k int, g varchar(5), n int, d decimal(7,2), t timestamp, p int", "DISTKEY(k)", [
        (1, "x", 10, "1.50", "2024-01-01 10:00:00", 1), (1, "y", None, "2.25", None, 2),
        (2, "x", 30, None, "2024-01-03 00:00:00", 3), (None, "z", 5, "-3.00", "2023-05-05 05:05:05", 4),
        (3, None, -7, "0.00", "2024-01-01 10:00:00", 5), (4, "y", 10, "10.75", "2022-02-02 02:02:02", 6),
        (None, None, None, None, None, 7), (5, "x", 0, "1.50", "2024-06-30 12:00:00", 8),
        (2, "z", 30, "99.99", "2024-01-03 00:00:00", 9), (7, "w", 12, "-0.01", "2021-12-31 23:59:59", 10)]),
    "tb": ("k int, h varchar(5), m int, e decimal(5,1), q int", "DISTSTYLE EVEN", [
        (1, "x", 4, "0.5", 1), (2, "y", None, "1.5", 2), (2, "x", 8, "-2.0", 3), (3, "z", 10, None, 4),
        (None, "x", 30, "7.7", 5), (6, None, 5, "0.5", 6), (8, "w", -7, "3.3", 7), (1, "y", 10, "0.0", 8)]),
    "tc": ("k bigint, g varchar(5), v double precision, r int", "DISTSTYLE ALL", [
        (1, "x", "0.5", 1), (3, "y", "2.5", 2), (None, "x", None, 3), (5, None, "-1.25", 4), (9, "z", "8", 5)]),
    "te": ("k int, g varchar(5), z int", "DISTSTYLE EVEN", []),
}


def literal(value):
    if value is None:
        return "NULL"
    return str(value) if isinstance(value, int) else "'" + value.replace("'", "''") + "'"


def insert(name, rows):
    rows = ", ".join("(" + ", ".join(map(literal, row)) + ")" for row in rows)
    return f"INSERT INTO {name} VALUES {rows}"


def prepare(ours, theirs):
    """Makes the tables on both connections, and the settings equal."""
    for connection in (ours, theirs):
        # Statements are not prepared: a table of one name has other columns later.
        connection.prepare_threshold = None
        connection.execute("SET timezone TO 'UTC'")
    theirs.execute("SET standard_conforming_strings TO off")
    theirs.execute("SET escape_string_warning TO off")
    theirs.execute("SET backslash_quote TO on")
    theirs.execute("SET extra_float_digits TO 1")
    columns = [("id", "int", list(range(1, ROWS + 1))), *VALUES]
    rows = list(zip(*(values for _, _, values in columns)))
    for connection in (ours, theirs):
        connection.execute("CREATE TABLE v (" + ", ".join(f"{n} {t}" for n, t, _ in columns) + ")")
        connection.execute(insert("v", rows))
    for name, (definition, style, rows) in SMALL.items():
        ours.execute(f"CREATE TABLE {name} ({definition}) {style}")
        theirs.execute(f"CREATE TABLE {name} ({definition})")
        if rows:
            for connection in (ours, theirs):
                connection.execute(insert(name, rows))
