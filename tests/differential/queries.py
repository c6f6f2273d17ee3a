"""Random queries over the small tables: joins, subqueries, sets, groups, windows, WITH."""

import grammar
from expressions import Expressions
from trees import Node
import tables

# Columns of the small tables by type.
TYPES = {
    "ta": {"int": ["k", "n", "p"], "text": ["g"], "dec": ["d"], "ts": ["t"]},
    "tb": {"int": ["k", "m", "q"], "text": ["h"], "dec": ["e"]},
    "tc": {"int": ["k", "r"], "text": ["g"], "float": ["v"]},
    "te": {"int": ["k", "z"], "text": ["g"]},
}
KEYS = {"ta": "p", "tb": "q", "tc": "r", "te": "z"}
grammar.DIGITS.update({"d": (5, 2), "e": (4, 1)})


class Queries:
    def __init__(self, dice):
        self.dice = dice
        self.names = 0

    def chance(self, probability):
        return self.dice.random() < probability

    def table(self):
        return self.dice.choices(list(TYPES), [6, 5, 3, 1])[0]

    def alias(self):
        self.names += 1
        return f"t{self.names}"

    def scope(self, *sources):
        """Columns by type of tables under their aliases."""
        columns = {}
        for table, alias in sources:
            for kind, names in TYPES[table].items():
                columns.setdefault(kind, []).extend(f"{alias}.{name}" for name in names)
        return columns

    def expressions(self, columns):
        return Expressions(self.dice, {**{kind: [] for kind in grammar.COLUMNS}, **columns},
                           literals=0.15)

    # Expressions over the tables, tame ones: what they compute is the other test's subject.

    def int_value(self, columns):
        form = self.dice.choice(["{0}", "{0}", "{0} + {1}", "coalesce({0}, 0)", "{0} * 2", "-{0}"])
        a, b = self.dice.choice(columns["int"]), self.dice.choice(columns["int"])
        return form.format(a, b)

    def value(self, columns):
        kind = self.dice.choice(sorted(columns))
        if kind == "int":
            return self.int_value(columns)
        name = self.dice.choice(columns[kind])
        forms = {"text": ["{}", "upper({})", "{} || '!'", "coalesce({}, 'none')"],
                 "dec": ["{}", "{} * 2", "{} + 1.5", "-{}"],
                 "float": ["{}", "{} * 2", "abs({})"],
                 "ts": ["{}", "date_trunc('month', {})", "{} + interval '1 day'", "{}::date"]}
        return self.dice.choice(forms[kind]).format(name)

    def condition(self, columns, depth=2):
        """A condition over the columns of one or more tables, by text."""
        if depth and self.chance(0.25):
            joined = self.dice.choice([" AND ", " OR "])
            return Node("condition", ["(", self.condition(columns, depth - 1), joined,
                                      self.condition(columns, depth - 1), ")"])
        if depth and self.chance(0.08):
            return Node("condition", ["NOT (", self.condition(columns, depth - 1), ")"])
        kind = self.dice.choice(sorted(columns))
        name = self.dice.choice(columns[kind])
        compared = self.dice.choice(["=", "<>", "<", ">", "<=", ">="])
        if kind == "int":
            a = self.int_value(columns)
            text = self.dice.choice([
                f"{a} {compared} {self.dice.randint(-7, 12)}", f"{name} IS NULL",
                f"{a} {compared} {self.int_value(columns)}", f"{name} IS NOT NULL",
                f"{name} IN (1, 2, {self.dice.choice(['3', '10', 'NULL'])})",
                f"{name} NOT IN (1, 10)", f"{name} BETWEEN 1 AND {self.dice.randint(2, 10)}",
                f"coalesce({name}, {self.dice.randint(0, 3)}) {compared} 2",
                f"({name}, {self.dice.choice(columns['int'])}) {self.dice.choice(['=', '<', '<>'])} (2, 10)"])
        elif kind == "text":
            text = self.dice.choice([
                f"{name} {compared} '{self.dice.choice('wxyz')}'", f"{name} LIKE '%{self.dice.choice('xyz')}%'",
                f"{name} IN ('x', 'y')", f"{name} IS NULL", f"coalesce({name}, 'x') = 'x'"])
        elif kind == "ts":
            text = self.dice.choice([f"{name} {compared} '2024-01-01'", f"{name} IS NULL",
                                     f"date_part('year', {name}) = 2024"])
        else:
            text = self.dice.choice([f"{name} {compared} {self.dice.choice(['0', '1.5', '0.5', '3'])}",
                                     f"{name} IS NULL", f"abs({name}) > 1"])
        return Node("condition", [text])

    # FROM

    def joined(self, count=None):
        """FROM items, and their tables with aliases; unsuitable ones for USING are left out."""
        first, count = (self.table(), self.alias()), count or self.dice.choices([1, 2, 3], [2, 5, 3])[0]
        sources, parts = [first], [f"{first[0]} {first[1]}"]
        for _ in range(count - 1):
            table, alias = self.table(), self.alias()
            kind = self.dice.choices(["JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN", "CROSS JOIN",
                                      ","], [5, 5, 3, 3, 1, 1])[0]
            left_table, left = self.dice.choice(sources)
            if kind == ",":
                # A join binds closer than a comma: only the last item may be joined on.
                kind = "CROSS JOIN"
            sources.append((table, alias))
            if kind == "CROSS JOIN":
                parts.append(f" {kind} {table} {alias}")
                continue
            on = self.join_condition(kind, (left_table, left), (table, alias))
            parts.append(Node("join", [f" {kind} {table} {alias} ON ", on]))
        return Node("from", parts), sources

    def join_condition(self, kind, left, right):
        parts = [f"{left[1]}.k = {right[1]}.k"]
        if self.chance(0.15):
            a = self.dice.choice(TYPES[left[0]]["text"])
            b = self.dice.choice(TYPES[right[0]]["text"])
            parts = [f"{left[1]}.{a} = {right[1]}.{b}"]
        elif kind != "FULL JOIN" and self.chance(0.1):
            parts = [f"{left[1]}.k {self.dice.choice(['<', '>=', '<>'])} {right[1]}.k"]
        if self.chance(0.25):
            extra = self.condition(self.scope(right) if self.chance(0.6) else self.scope(left, right), 1)
            parts.append(Node("extra", [" AND ", extra], optional=True))
        return Node("condition", parts)

    def merged(self):
        """A join by USING or NATURAL, and the columns that it gives without a table's name."""
        left, right = self.dice.sample(["ta", "tb", "tc"], 2)
        kind = self.dice.choice(["JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN"])
        common = [name for name in ("k", "g") if all(
            name in sum(TYPES[table].values(), []) for table in (left, right))]
        if self.chance(0.4):
            text, names = f"{left} NATURAL {kind} {right}", common
        else:
            names = common if self.chance(0.5) else ["k"]
            text = f"{left} {kind} {right} USING ({', '.join(names)})"
        columns = {"int": ["k"]} | ({"text": ["g"]} if "g" in names else {})
        others = {}
        for table in (left, right):
            for type_, own in TYPES[table].items():
                others.setdefault(type_, []).extend(
                    f"{table}.{name}" for name in own if name not in names)
        for type_, own in others.items():
            columns.setdefault(type_, []).extend(own)
        return text, columns

    # Subqueries

    def inner(self, outer=None):
        """FROM and WHERE of a subquery over one or two tables, and their columns. With columns of
        an outer query it is correlated."""
        table, alias = self.table(), self.alias()
        sources = [(table, alias)]
        text = f"FROM {table} {alias}"
        if self.chance(0.15):
            other, second = self.table(), self.alias()
            text += f" {self.dice.choice(['JOIN', 'LEFT JOIN'])} {other} {second} ON {alias}.k = {second}.k"
            sources.append((other, second))
        columns = self.scope(*sources)
        conditions = []
        if outer:
            compared = self.dice.choices(["=", "<", ">=", "<>"], [7, 1, 1, 1])[0]
            key = self.dice.choice(["k", "k", KEYS[table]])
            column = self.dice.choice(outer["int"])
            conditions.append(f"{alias}.{key} {compared} {column}")
            if self.chance(0.2):
                conditions.append(f"{self.dice.choice(columns['int'])} {self.dice.choice(['<', '>', '='])} "
                                  f"{self.dice.choice(outer['int'])}")
        parts = [text]
        if self.chance(0.3):
            condition = self.condition(columns, 1)
            conditions.append(condition)
        for number, condition in enumerate(conditions):
            parts.append(Node("where", [" WHERE " if number == 0 else " AND ", condition],
                              optional=number == len(conditions) - 1))
        return parts, columns

    def exists(self, outer):
        parts, _ = self.inner(outer)
        word = self.dice.choice(["EXISTS", "NOT EXISTS"])
        return Node("condition", [f"{word} (SELECT 1 ", *parts, ")"])

    def membership(self, outer, correlated):
        parts, columns = self.inner(outer if correlated else None)
        value = self.dice.choice(outer["int"])
        word = self.dice.choice(["IN", "NOT IN", "= ANY", "<> ALL", "> ALL", "< ANY", "<= SOME"])
        if not correlated and self.chance(0.1):
            other = self.dice.choice(outer["int"])
            return Node("condition", [
                f"({value}, {other}) {self.dice.choice(['IN', 'NOT IN'])} "
                f"(SELECT {self.dice.choice(columns['int'])}, {self.dice.choice(columns['int'])} ", *parts, ")"])
        return Node("condition", [f"{value} {word} (SELECT {self.dice.choice(columns['int'])} ",
                                  *parts, ")"])

    def scalar(self, outer, correlated):
        parts, columns = self.inner(outer if correlated else None)
        if self.chance(0.85):
            value = self.dice.choice(columns["int"])
            call = self.dice.choice(["max", "min", "sum", "count", "count"])
            value = f"{call}({value})" if self.chance(0.85) else "count(*)"
            if self.chance(0.15):
                value = f"coalesce({value}, -1)"
            return Node("scalar", [f"(SELECT {value} ", *parts, ")"])
        # One row at most by its key.
        table, alias = self.table(), self.alias()
        value = self.dice.choice(TYPES[table]["int"])
        right = self.dice.choice(outer["int"]) if correlated else str(self.dice.randint(1, 9))
        return Node("scalar", [f"(SELECT {alias}.{value} FROM {table} {alias} "
                               f"WHERE {alias}.{KEYS[table]} = {right})"])

    def subquery_condition(self, columns):
        pick = self.dice.random()
        if pick < 0.35:
            return self.exists(columns)
        if pick < 0.7:
            return self.membership(columns, self.chance(0.4))
        compared = self.dice.choice(["=", "<", ">", "<>"])
        return Node("condition", [f"{self.dice.choice(columns['int'])} {compared} ",
                                  self.scalar(columns, self.chance(0.6))])

    # Whole queries

    def any(self):
        self.names = 0
        made = self.dice.choices(
            [self.plain, self.subqueries, self.grouped, self.windowed, self.sets, self.withs,
             self.using, self.derived, self.distinct, self.recursive],
            [14, 20, 16, 14, 10, 8, 12, 8, 4, 2])[0]()
        return made

    def where(self, columns, probability=0.5):
        if not self.chance(probability):
            return []
        return [Node("where", [" WHERE ", self.condition(columns)], optional=True)]

    def ordered(self, count, limit=True):
        """ORDER BY all columns by number, and LIMIT."""
        keys = []
        for number in self.dice.sample(range(1, count + 1), count):
            keys.append(f"{number}" + self.dice.choice(["", " ASC", " DESC"]) +
                        self.dice.choice(["", "", " NULLS FIRST", " NULLS LAST"]))
        parts = [" ORDER BY " + ", ".join(keys)]
        if limit and self.chance(0.4):
            parts.append(Node("limit", [f" LIMIT {self.dice.choice([0, 1, 3, 5, 20])}"], optional=True))
            if self.chance(0.4):
                parts.append(Node("limit", [f" OFFSET {self.dice.choice([0, 1, 2, 50])}"], optional=True))
        return [Node("order", parts, optional=True)]

    def items(self, texts):
        parts = []
        for number, text in enumerate(texts):
            parts.append(Node("item", [", " if number else "", text], optional=number > 0))
        return parts

    def plain(self):
        source, sources = self.joined()
        columns = self.scope(*sources)
        items = [self.value(columns) for _ in range(self.dice.randint(1, 4))]
        return Node("query", ["SELECT ", *self.items(items), " FROM ", source,
                              *self.where(columns), *self.ordered(len(items))])

    def distinct(self):
        source, sources = self.joined(2)
        columns = self.scope(*sources)
        items = [self.dice.choice(columns["int"]), self.dice.choice(columns["text"])][:self.dice.randint(1, 2)]
        return Node("query", ["SELECT DISTINCT ", *self.items(items), " FROM ", source,
                              *self.where(columns), *self.ordered(len(items))])

    def using(self):
        text, columns = self.merged()
        items = ["*"] if self.chance(0.2) else [self.value(columns) for _ in range(self.dice.randint(1, 3))]
        tail = self.ordered(len(items)) if items != ["*"] else []
        where = self.where(columns, 0.6)
        if items != ["*"] and self.chance(0.25):
            key = self.dice.choice([k for k in ("k", "g") if k in sum(columns.values(), [])])
            return Node("query", [f"SELECT {key}, count(*) FROM {text}", *where, f" GROUP BY {key}",
                                  *self.ordered(2)])
        return Node("query", ["SELECT ", *self.items(items), f" FROM {text}", *where, *tail])

    def subqueries(self):
        source, sources = self.joined(self.dice.choices([1, 2], [3, 1])[0])
        columns = self.scope(*sources)
        items = [f"{alias}.{KEYS[table]}" for table, alias in sources]
        items = [Node("scalar", [item]) for item in items]
        if self.chance(0.45):
            items.append(self.scalar(columns, self.chance(0.75)))
        if self.chance(0.1):
            items.append(Node("case", ["CASE WHEN ", self.subquery_condition(columns),
                                       " THEN 1 ELSE 0 END"]))
        conditions = [self.subquery_condition(columns) for _ in range(self.dice.choices([0, 1, 2], [3, 6, 1])[0])]
        if self.chance(0.3):
            conditions.append(self.condition(columns, 1))
        where = []
        if conditions:
            whole = conditions[0]
            for condition in conditions[1:]:
                word = self.dice.choices([" AND ", " OR "], [4, 1])[0]
                whole = Node("condition", ["(", whole, word, condition, ")"])
            where = [Node("where", [" WHERE ", whole], optional=True)]
        return Node("query", ["SELECT ", *self.items(items), " FROM ", source, *where,
                              *self.ordered(len(items))])

    AGGREGATES = ["count(*)", "count({any})", "count(DISTINCT {any})", "sum({int})", "min({any})",
                  "max({any})", "sum(DISTINCT {int})", "sum({dec})", "min({text})", "max({text})",
                  "avg({float})", "bool_and({int} > 1)", "bool_or({int} > 5)",
                  "sum(CASE WHEN {int} > 2 THEN 1 ELSE 0 END)", "count(CASE WHEN {int} > 2 THEN 1 END)",
                  "stddev({float})", "var_samp({float})", "stddev_pop({float})", "var_pop({float})",
                  "bit_and({int})", "bit_or({int})", "every({int} < 100)",
                  "max({int}) - min({int})", "coalesce(sum({int}), 0) + count(*)",
                  "min({ts})", "max({ts})", "sum({float})", "count({int} + {int})"]

    def aggregate(self, columns):
        text = self.dice.choice(self.AGGREGATES)
        for kind in ("any", "int", "dec", "float", "text", "ts"):
            while "{" + kind + "}" in text:
                if kind == "any":
                    name = self.dice.choice([name for type_, names in columns.items() for name in names
                                             if type_ != "bool"])
                elif kind == "float" and "float" not in columns:
                    name = f"CAST({self.dice.choice(columns['int'])} AS double precision)"
                elif kind not in columns:
                    return "count(*)"
                else:
                    name = self.dice.choice(columns[kind])
                text = text.replace("{" + kind + "}", name, 1)
        return text

    def grouped(self):
        source, sources = self.joined()
        columns = self.scope(*sources)
        keys = list(dict.fromkeys(self.dice.choice(columns[self.dice.choice(["int", "text"])])
                                  for _ in range(self.dice.choices([0, 1, 2], [2, 5, 4])[0])))
        shape = self.dice.random()
        items = list(keys)
        group = ""
        if keys and shape < 0.65:
            if self.chance(0.2) and len(keys) == 1:
                keys = [f"coalesce({keys[0]}, {0 if keys[0] in columns['int'] else repr('q')})"]
                items = list(keys)
            group = ", ".join(keys if self.chance(0.7) else [str(n + 1) for n in range(len(keys))])
        elif keys:
            call = self.dice.choice(["ROLLUP ({})", "CUBE ({})", "GROUPING SETS (({}), ())"])
            group = call.format(", ".join(keys))
            if len(keys) == 2 and self.chance(0.4):
                group = self.dice.choice([f"GROUPING SETS (({keys[0]}), ({keys[1]}))",
                                          f"GROUPING SETS (({keys[0]}, {keys[1]}), ({keys[1]}), ())"])
            if self.chance(0.5):
                items.append(f"grouping({keys[0]})")
        fixed = len(items)
        items += [self.aggregate(columns) for _ in range(self.dice.randint(1, 3))]
        having = []
        if self.chance(0.3):
            text = self.dice.choice([f"{self.aggregate(columns)} IS NOT NULL", "count(*) > 1",
                                     f"max({self.dice.choice(columns['int'])}) > 2",
                                     f"count({self.dice.choice(columns['int'])}) < 3"])
            having = [Node("having", [f" HAVING {text}"], optional=True)]
        parts = ["SELECT ", *[", " * (n > 0) + item for n, item in enumerate(items[:fixed])],
                 *[Node("item", [", " * (fixed + n > 0), item], optional=n > 0)
                   for n, item in enumerate(items[fixed:])],
                 " FROM ", source, *self.where(columns)]
        if group:
            parts.append(f" GROUP BY {group}")
        return Node("query", [*parts, *having, *self.ordered(len(items))])

    def windowed(self):
        table, alias = self.table(), self.alias()
        columns, key = self.scope((table, alias)), f"{alias}.{KEYS[table]}"
        items = [key] + [self.window(columns, key) for _ in range(self.dice.randint(1, 3))]
        return Node("query", ["SELECT ", *self.items(items), f" FROM {table} {alias}",
                              *self.where(columns, 0.3), *self.ordered(len(items), limit=False)])

    def window(self, columns, key):
        partition = ""
        if self.chance(0.6):
            names = [self.dice.choice(columns[self.dice.choice(["int", "text"])])]
            partition = "PARTITION BY " + ", ".join(names) + " "
        nulls = lambda: self.dice.choice(["", "", " NULLS FIRST", " NULLS LAST"])
        way = lambda: self.dice.choice(["", " DESC"])
        name = self.dice.choice(columns[self.dice.choice(["int", "text"])])
        order = f"ORDER BY {name}{way()}{nulls()}, {key}{way()}"
        value = self.dice.choice(columns["int"])
        pick = self.dice.random()
        if pick < 0.15:
            return f"row_number() OVER ({partition}{order})"
        if pick < 0.35:
            # Peers matter: without the key.
            call = self.dice.choice(["rank()", "dense_rank()", "cume_dist()", "percent_rank()"])
            return f"{call} OVER ({partition}ORDER BY {name}{way()}{nulls()})"
        if pick < 0.42:
            return f"ntile({self.dice.randint(1, 4)}) OVER ({partition}{order})"
        if pick < 0.58:
            call = self.dice.choice(["lag({0})", "lead({0})", "lag({0}, 2)", "lead({0}, 1)", "lag({0}, 0)"])
            return f"{call.format(value)} OVER ({partition}{order})"
        if pick < 0.66:
            call = self.dice.choice(["sum({0})", "count(*)", "max({0})", "min({0})", "count({0})"])
            return f"{call.format(value)} OVER ({partition.strip()})"
        call = self.dice.choice(["sum({0})", "count({0})", "min({0})", "max({0})", "first_value({0})",
                                 "last_value({0})", "nth_value({0}, 2)", "count(*)",
                                 "avg({0}::float8)"])
        start = self.dice.choice(["UNBOUNDED PRECEDING", "2 PRECEDING", "1 PRECEDING", "CURRENT ROW",
                                  "1 FOLLOWING"])
        end = self.dice.choice(["UNBOUNDED FOLLOWING", "2 FOLLOWING", "1 FOLLOWING"] +
                               ["CURRENT ROW"] * (start != "1 FOLLOWING") +
                               ["1 PRECEDING"] * (start in ("UNBOUNDED PRECEDING", "2 PRECEDING", "1 PRECEDING")))
        frame = f"ROWS BETWEEN {start} AND {end}"
        if start in ("UNBOUNDED PRECEDING", "2 PRECEDING", "CURRENT ROW") and self.chance(0.2):
            frame = f"ROWS {start}"
        return f"{call.format(value)} OVER ({partition}{order} {frame})"

    def branch(self, kinds):
        table, alias = self.table(), self.alias()
        columns = self.scope((table, alias))
        items = [self.dice.choice(columns.get(kind, columns["int"])) for kind in kinds]
        return Node("branch", ["SELECT " + ", ".join(items) + f" FROM {table} {alias}",
                               *self.where(columns, 0.4)])

    def sets(self):
        kinds = self.dice.choice([["int"], ["text"], ["int", "text"]])
        parts = [self.branch(kinds)]
        for _ in range(self.dice.randint(1, 2)):
            word = self.dice.choice(["UNION", "UNION ALL", "INTERSECT", "EXCEPT", "UNION"])
            branch = self.branch(kinds)
            parts.append(Node("set", [f" {word} ", branch], optional=len(parts) > 1))
        whole = Node("query", [*parts, *self.ordered(len(kinds))])
        if self.chance(0.2):
            return Node("query", ["SELECT count(*) FROM (", *parts, ") s"])
        return whole

    def derived(self):
        source, sources = self.joined(1)
        columns = self.scope(*sources)
        inner_key = self.dice.choice(columns["int"])
        inner = f"SELECT {inner_key} AS a, count(*) AS c, max({self.dice.choice(columns['int'])}) AS x FROM "
        table, alias = self.table(), self.alias()
        kind = self.dice.choice(["JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN"])
        outer = {"int": ["s.a", "s.c", "s.x", f"{alias}.k"]}
        items = [self.int_value(outer) for _ in range(self.dice.randint(1, 3))]
        return Node("query", ["SELECT ", *self.items(items), f" FROM ({inner}", source,
                              *self.where(columns, 0.3), f" GROUP BY {inner_key}) s {kind} {table} {alias} "
                              f"ON s.a = {alias}.k", *self.where(outer, 0.4), *self.ordered(len(items))])

    def withs(self):
        source, sources = self.joined()
        columns = self.scope(*sources)
        inner = [self.int_value(columns), self.int_value(columns)]
        body = Node("cte", [f"SELECT {inner[0]} AS a, {inner[1]} AS b FROM ", source, *self.where(columns)])
        if self.chance(0.5):
            outer = {"int": ["x.a", "x.b", "y.a", "y.b"]}
            items = [self.int_value(outer) for _ in range(2)]
            kind = self.dice.choice(["JOIN", "LEFT JOIN", "FULL JOIN"])
            return Node("query", ["WITH w AS (", body, ") SELECT ", *self.items(items),
                                  f" FROM w x {kind} w y ON x.a = y.b", *self.where(outer, 0.3),
                                  *self.ordered(2)])
        outer = {"int": ["w.a", "w.b"]}
        return Node("query", ["WITH w AS (", body, "), w2 AS (SELECT a, count(b) AS n FROM w GROUP BY a) "
                              "SELECT w.a, w2.n FROM w, w2 WHERE w.a = w2.a",
                              Node("where", [" AND ", self.subquery_condition(outer)], optional=True),
                              *self.ordered(2)])

    def recursive(self):
        limit = self.dice.randint(3, 12)
        step = self.dice.choice(["n + 1", "n + 2", "n * 2 + 1"])
        tail = self.dice.choice([
            "SELECT n FROM r ORDER BY n", "SELECT count(*), sum(n) FROM r",
            "SELECT r.n, ta.g FROM r LEFT JOIN ta ON r.n = ta.k ORDER BY 1, 2, ta.p",
            "SELECT n FROM r WHERE n IN (SELECT k FROM tb) ORDER BY 1"])
        return Node("query", [f"WITH RECURSIVE r(n) AS (SELECT {self.dice.randint(0, 2)} UNION ALL "
                              f"SELECT {step} FROM r WHERE n < {limit}) {tail}"])

    # Changes: a copy of a table is changed and read.

    def change(self):
        self.names = 0
        table = self.dice.choice(["ta", "tb"])
        number, text = ("n", "g") if table == "ta" else ("m", "h")
        columns = {"int": [f"x.{name}" for name in TYPES[table]["int"]],
                   "text": [f"x.{name}" for name in TYPES[table]["text"]]}
        columns = {kind: [name.replace("x.", "changed.") for name in names] for kind, names in columns.items()}
        pick = self.dice.random()
        if pick < 0.3:
            change = Node("change", [f"UPDATE changed SET {number} = {self.int_value(columns)}, "
                                     f"{text} = {self.dice.choice(['NULL', repr('new'), text])}",
                                     *self.where(columns, 0.8)])
        elif pick < 0.5:
            # One row of the other table for each row.
            other = {"ta": "tb", "tb": "ta"}[table]
            key = KEYS[other]
            change = Node("change", [
                f"UPDATE changed SET {number} = {other}.k FROM {other} WHERE changed.k = {other}.{key}",
                Node("where", [" AND ", self.condition(columns, 1)], optional=True)])
        elif pick < 0.7:
            change = Node("change", ["DELETE FROM changed", *self.where(columns, 0.9)])
        elif pick < 0.85:
            other = {"ta": "tb", "tb": "ta"}[table]
            change = Node("change", [f"DELETE FROM changed USING {other} WHERE changed.k = {other}.k",
                                     Node("where", [" AND ", self.condition(self.scope((other, other)), 1)],
                                          optional=True)])
        else:
            change = Node("change", [
                self.dice.choice(["DELETE FROM changed", f"UPDATE changed SET {number} = 99"]),
                " WHERE ", self.subquery_condition(columns)])
        return table, change
