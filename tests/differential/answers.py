"""What a statement gave, as values that can be compared over servers that print differently."""

import dataclasses
import decimal
import math
import re

import psycopg

# Type OIDs by family. Text of another length is the same value.
FAMILIES = {
    16: "boolean", 20: "whole", 21: "whole", 23: "whole", 700: "real", 701: "double",
    1700: "decimal", 25: "text", 18: "text", 19: "text", 705: "text", 1042: "char", 1043: "text",
    1082: "date", 1083: "time", 1266: "timetz", 1114: "timestamp", 1184: "timestamptz",
    1186: "interval", 1188: "interval", 1190: "interval", 2205: "text",
}
NUMBERS = {"whole", "decimal", "real", "double"}


@dataclasses.dataclass
class Answer:
    """Rows of texts with the families of their columns, or the SQLSTATE of an error."""

    families: list = None
    rows: list = None
    state: str = None
    message: str = ""
    tag: str = ""

    def __str__(self):
        if self.state:
            return f"{self.state} {self.message}"
        return f"{self.tag} {' '.join(self.families)}: {self.rows}".strip()


def ask(connection, text):
    try:
        cursor = connection.execute(text)
    except psycopg.Error as error:
        if error.sqlstate is None:
            raise AssertionError(f"the connection was lost by {text}: {error}") from error
        return Answer(state=error.sqlstate, message=error.diag.message_primary)
    if not cursor.description:
        return Answer([], [], tag=cursor.statusmessage)
    families = [FAMILIES.get(column.type_code, str(column.type_code))
                for column in cursor.description]
    result = cursor.pgresult
    rows = [tuple(None if (value := result.get_value(row, column)) is None else value.decode()
                  for column in range(result.nfields)) for row in range(result.ntuples)]
    return Answer(families, rows)


UNITS = {"year": (12, 0), "mon": (1, 0), "day": (0, 86_400_000_000), "hour": (0, 3_600_000_000),
         "min": (0, 60_000_000), "sec": (0, 1_000_000), "week": (0, 7 * 86_400_000_000)}


def interval(text):
    """Months, days and microseconds."""
    months = days = micros = 0
    for number, unit in re.findall(r"([-+]?[\d.]+) (year|mon|week|day|hour|min|sec)[a-z]*", text):
        number = decimal.Decimal(number)
        if unit in ("year", "mon"):
            months += int(number) * UNITS[unit][0]
        elif unit in ("day", "week"):
            days += int(number) * (7 if unit == "week" else 1)
        else:
            micros += int(number * UNITS[unit][1])
    if clock := re.search(r"([-+]?)(\d+):(\d\d):(\d\d(?:\.\d+)?)", text):
        sign, hours, minutes, seconds = clock.groups()
        total = (int(hours) * 3600 + int(minutes) * 60) * 1_000_000
        total += int(decimal.Decimal(seconds) * 1_000_000)
        micros += -total if sign == "-" else total
    return months, days, micros


def close(a, b, tolerance):
    a, b = float(a), float(b)
    if math.isnan(a) or math.isnan(b):
        return math.isnan(a) and math.isnan(b)
    return a == b or math.isclose(a, b, rel_tol=tolerance, abs_tol=1e-12)


def exponent(number):
    return number.as_tuple().exponent


def same_decimal(ours, theirs, exact):
    ours, theirs = decimal.Decimal(ours), decimal.Decimal(theirs)
    if not (ours.is_finite() and theirs.is_finite()):
        return str(ours) == str(theirs)
    if exact:
        return ours == theirs and exponent(ours) == exponent(theirs)
    # Quotients have another number of digits: equal to the last one that both have.
    unit = decimal.Decimal(1).scaleb(max(exponent(ours), exponent(theirs)))
    return abs(ours - theirs) <= unit


def same_value(family, ours, theirs, exact=True):
    if ours is None or theirs is None:
        return ours is theirs
    if ours == theirs and (family != "decimal" or exact):
        return True
    if family == "decimal":
        return same_decimal(ours, theirs, exact)
    if family == "double":
        return close(ours, theirs, 1e-12)
    if family == "real":
        return close(ours, theirs, 1e-5)
    if family == "interval":
        return interval(ours) == interval(theirs)
    if family == "char":
        return ours.rstrip(" ") == theirs.rstrip(" ")
    return False


def rounded(family, value):
    """What rows are sorted by when their order is not told."""
    if value is None:
        return (1, "")
    if family in NUMBERS:
        number = float(value) + 0.0
        return (0, f"{number:+.6e}" if not math.isnan(number) else "nan")
    if family == "interval":
        return (0, str(interval(value)))
    return (0, value.rstrip(" "))


def difference(ours, theirs, exact=True, ordered=True):
    """Why two answers are not the same, or nothing."""
    if ours.state or theirs.state:
        if not (ours.state and theirs.state):
            return "an error of one"
        return None if ours.state[:2] == theirs.state[:2] else "other errors"
    if ours.tag != theirs.tag:
        return "other counts of rows"
    kinds = [{"char": "text"}.get(family, family) for family in theirs.families]
    if [{"char": "text"}.get(family, family) for family in ours.families] != kinds:
        return "other types"
    if len(ours.rows) != len(theirs.rows):
        return "another number of rows"
    # Of one type may be CHAR, and blank-padded.
    families = ["char" if "char" in pair else pair[0]
                for pair in zip(ours.families, theirs.families)]
    a, b = ours.rows, theirs.rows
    if not ordered:
        key = lambda row: [rounded(*pair) for pair in zip(families, row)]
        a, b = sorted(a, key=key), sorted(b, key=key)
    for mine, other in zip(a, b):
        if not all(same_value(family, x, y, exact) for family, x, y in zip(families, mine, other)):
            return "other values"
    return None
