"""Differences that are Redshift's documented behaviour, or undefined in SQL, each as narrow as it
can be told. `docs/reference/postgresql-differences.md` explains them; a test holds the names equal.

Beside them GAPS: what Blueshift still does otherwise without a document that says so."""

import dataclasses
import re


@dataclasses.dataclass
class Entry:
    """`pattern` is searched in the smallest statement that differs, `answers` in what both gave:
    `ours ‖ theirs`."""

    name: str
    pattern: str
    answers: str = ""

    def covers(self, text, ours, theirs):
        return (re.search(self.pattern, text, re.DOTALL) is not None
                and re.search(self.answers, f"{ours} ‖ {theirs}", re.DOTALL) is not None)


ACCEPTED = [
    Entry("to-date-rolls-over", r"^SELECT to_date\('2023-02-30', 'YYYY-MM-DD'\) FROM",
          r"2023-03-02.* ‖ 22008"),
    Entry("no-nan-in-decimal", r"^SELECT CAST\(xf AS decimal\(18,2\)\) FROM", r"^22003 .*‖ .*'NaN'"),
    Entry("like-without-wildcards", r"^SELECT \(('abc'::char\(\d\)|c|CAST\(.* AS char\(6\)\)|.*::char\(\d\)) LIKE '[^']*'\) FROM"),
    Entry("ceil-keeps-real", r"^SELECT (ceil|floor)\(.*\) FROM", r"^real: .* ‖ double: "),
    Entry("currency-symbol", r"^SELECT to_char\(.*, 'L999'\) FROM", r"\$"),
    Entry("order-of-evaluation", r"^SELECT \(.* (AND|OR|IN|BETWEEN|=|<>|<|>=) ",
          r"^22\w{3} [^‖]* ‖ boolean: "),
    # PostgreSQL makes an operator with a NULL that is written out NULL before it runs, and
    # computes what is constant before a CASE that may not need it.
    Entry("order-of-evaluation", r"NULL::", r"^22\w{3} [^‖]* ‖ \w+: \[(\(None,\)(, )?)+\]$"),
    Entry("order-of-evaluation", r"(CASE|COALESCE|AND|OR) .*CAST\('", r"^[a-z]+: [^‖]* ‖ 22"),
]

GAPS = [
    Entry("float-overflow", r" [*+-] ", r"Infinity.* ‖ 22003 value out of range: overflow"),
    Entry("float-underflow", r" \* |pow\(", r"^(double|real): .* ‖ 22003 value out of range: underflow"),
    Entry("compact-time", r"'20240102 030405'|'10:11 AM\+02'", r"^22007 "),
    Entry("recursive-literals", r"^WITH RECURSIVE .* sum\(n\) FROM r$", r"^whole decimal: .* ‖ whole whole: "),
    Entry("timetz-plus-interval", r"timetz.* \+ interval|tz \+ interval", r"^42\w{3} "),
    Entry("char-float-overflow", r"^SELECT to_char\(.*\) FROM", r"#\.#.*‖.*#\.'"),
    Entry("roman-of-bigint", r"^SELECT to_char\(.*, '(FM)?RN'\) FROM", r"#{15}.* ‖ 22003 integer out"),
    Entry("cast-before-comparison",
          r"^SELECT \(.*(::|CAST\().* (=|!=|<>|<|>=|IN|BETWEEN) |^SELECT \(.* (=|!=|<>|<|>=) .*(::|CAST\()",
          r"^boolean: [^‖]* ‖ 22003 "),
    Entry("sign-of-real", r"^SELECT sign\(.*\) FROM", r"^real: .* ‖ double: "),
    Entry("nullif-scale", r"^SELECT NULLIF\(", r"^decimal: .* ‖ decimal: "),
    Entry("keys-of-two-widths", r"JOIN .*ON t\d+\.k = t\d+\.k",
          r"^XX000 [^‖]*(Invalid comparison operation|compare arrays of different types)"),
    Entry("derived-outer-join", r"FROM \(SELECT .* GROUP BY .*\) s (LEFT|FULL|RIGHT) JOIN",
          r"^XX000 [^‖]*UnKnownColumn"),
    Entry("plan-too-deep-to-send", r"\(SELECT .*\(SELECT ", r"^XX000 Error decoding expr as protobuf"),
]


def covering(entries, text, ours, theirs):
    return next((entry for entry in entries if entry.covers(text, ours, theirs)), None)
