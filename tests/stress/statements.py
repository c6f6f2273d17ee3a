"""Random statements over a few tables, most of them right, some wrong on purpose."""

import dataclasses

TABLES = ("ta", "tb", "tc", "td")
NAMES = ("a", "b", "c", "d", "e", "f")
TYPES = ("SMALLINT", "INTEGER", "BIGINT", "DECIMAL(10, 2)", "VARCHAR(8)", "DATE", "BOOLEAN")
NUMBERS = {"SMALLINT", "INTEGER", "BIGINT", "DECIMAL(10, 2)"}
ROWS_MAX = 300


@dataclasses.dataclass
class Column:
    name: str
    type: str
    not_null: bool


class Generator:
    """Gives statements. It knows the columns that tables have, and is told what succeeded."""

    def __init__(self, dice):
        self.dice = dice
        self.tables = {}
        self.rows = {}
        self.saved = None
        self.savepoints = []

    def next(self):
        """A statement and what to do to the generator's own tables when it succeeds."""
        roll = self.dice.random()
        if self.saved is not None and roll < 0.12:
            return self._end()
        if roll < 0.16:
            return self._begin()
        if roll < 0.26 or not self.tables:
            return self._definition()
        table = self.dice.choice(list(self.tables))
        if self.rows.get(table, 0) > ROWS_MAX:
            return f"DELETE FROM {table} WHERE {self._condition(table)}", self._unknown_rows(table)
        kinds = [(self._insert, 22), (self._insert_select, 6), (self._update, 16),
                 (self._update_from, 4), (self._delete, 9), (self._delete_using, 3),
                 (self._merge, 6), (self._aggregate, 5), (self._select, 12), (self._wrong, 8)]
        return self.dice.choices([k for k, _ in kinds], [w for _, w in kinds])[0](table)

    # Transactions

    def _begin(self):
        if self.saved is None:
            def begun():
                self.saved = ({name: list(columns) for name, columns in self.tables.items()},
                              dict(self.rows))
                self.savepoints = []
            return "BEGIN", begun
        name = self.dice.choice(("p", "q"))
        def marked():
            self.savepoints.append((name, {t: list(c) for t, c in self.tables.items()},
                                    dict(self.rows)))
        return f"SAVEPOINT {name}", marked

    def _end(self):
        roll = self.dice.random()
        if roll < 0.4 and self.savepoints:
            name = self.dice.choice(self.savepoints)[0]
            return f"ROLLBACK TO SAVEPOINT {name}", lambda: self._back_to(name)
        if roll < 0.5 and self.savepoints:
            name = self.dice.choice(self.savepoints)[0]
            def released():
                while self.savepoints.pop()[0] != name:
                    pass
            return f"RELEASE SAVEPOINT {name}", released
        if roll < 0.75:
            return "COMMIT", self.ended
        return "ROLLBACK", self.rolled_back

    def _back_to(self, name):
        while self.savepoints[-1][0] != name:
            self.savepoints.pop()
        _, tables, rows = self.savepoints[-1]
        self.tables = {t: list(c) for t, c in tables.items()}
        self.rows = dict(rows)

    def ended(self):
        self.saved, self.savepoints = None, []

    def rolled_back(self):
        self.tables, self.rows = self.saved
        self.ended()

    # Definitions

    def _definition(self):
        free = [name for name in TABLES if name not in self.tables]
        roll = self.dice.random()
        if free and (roll < 0.3 or not self.tables):
            return self._create(self.dice.choice(free))
        table = self.dice.choice(list(self.tables))
        columns = self.tables[table]
        unused = [name for name in NAMES if name not in {c.name for c in columns}]
        if roll < 0.45 and unused:
            column = Column(self.dice.choice(unused), self.dice.choice(TYPES), False)
            return (f"ALTER TABLE {table} ADD COLUMN {column.name} {column.type}",
                    lambda: columns_of(self, table).append(column))
        if roll < 0.55 and len(columns) > 2:
            gone = self.dice.choice(columns).name
            return (f"ALTER TABLE {table} DROP COLUMN {gone}",
                    lambda: self._set(table, [c for c in columns_of(self, table)
                                              if c.name != gone]))
        if roll < 0.65 and unused:
            old, new = self.dice.choice(columns).name, self.dice.choice(unused)
            return (f"ALTER TABLE {table} RENAME COLUMN {old} TO {new}",
                    lambda: self._set(table, [dataclasses.replace(c, name=new) if c.name == old
                                              else c for c in columns_of(self, table)]))
        if roll < 0.72 and free:
            new = self.dice.choice(free)
            def renamed():
                self.tables[new] = self.tables.pop(table)
                self.rows[new] = self.rows.pop(table, 0)
            return f"ALTER TABLE {table} RENAME TO {new}", renamed
        if roll < 0.82 and free:
            new = self.dice.choice(free)
            def copied():
                self.tables[new] = [dataclasses.replace(c, not_null=False)
                                    for c in self.tables[table]]
                self.rows[new] = self.rows.get(table, 0)
            return f"CREATE TABLE {new} AS SELECT * FROM {table}", copied
        if roll < 0.9 and self.saved is None:
            def emptied():
                self.rows[table] = 0
            return f"TRUNCATE TABLE {table}", emptied
        if roll < 0.97:
            return f"DROP TABLE {table}", lambda: self.tables.pop(table)
        return f"CREATE TABLE {table} (z INTEGER)", None

    def _create(self, name):
        columns = [Column(column, self.dice.choice(TYPES), self.dice.random() < 0.2)
                   for column in self.dice.sample(NAMES, self.dice.randint(2, 5))]
        if not any(column.type in NUMBERS for column in columns):
            columns[0].type = "INTEGER"
        text = ", ".join(f"{c.name} {c.type}{' NOT NULL' if c.not_null else ''}" for c in columns)
        def made():
            self.tables[name] = columns
            self.rows[name] = 0
        return f"CREATE TABLE {name} ({text})", made

    def _set(self, table, columns):
        self.tables[table] = columns

    # Values and conditions

    def _value(self, column):
        if not column.not_null and self.dice.random() < 0.1:
            return "NULL"
        return literal(self.dice, column.type)

    def _condition(self, table, prefix=""):
        column = self.dice.choice(self.tables[table])
        name = prefix + column.name
        roll = self.dice.random()
        if roll < 0.1:
            return f"{name} IS NULL"
        if roll < 0.2:
            return f"{name} IS NOT NULL"
        if column.type == "BOOLEAN":
            return f"{name} = {literal(self.dice, 'BOOLEAN')}"
        if roll < 0.3:
            values = ", ".join(literal(self.dice, column.type) for _ in range(3))
            return f"{name} IN ({values})"
        operator = self.dice.choice(("<", "<=", ">", ">=", "=", "<>"))
        return f"{name} {operator} {literal(self.dice, column.type)}"

    def _expression(self, column, table, prefix=""):
        """An expression that fits the column, as far as its size goes."""
        others = [c for c in self.tables[table] if c.type == column.type]
        other = prefix + self.dice.choice(others).name if others else literal(self.dice, column.type)
        roll = self.dice.random()
        if roll < 0.4:
            return self._value(column)
        if column.type in NUMBERS:
            return f"{other} {self.dice.choice('+-')} {self.dice.randint(0, 9)}"
        if column.type.startswith("VARCHAR") and roll < 0.6:
            return f"upper({other})"
        if column.type.startswith("VARCHAR") and roll < 0.65:
            return f"{other} || 'x'"
        return other

    def _unknown_rows(self, table):
        def fewer():
            self.rows[table] = self.rows.get(table, 0) // 2
        return fewer

    # Rows

    def _insert(self, table):
        columns = self.tables[table]
        some = [c for c in columns if c.not_null or self.dice.random() < 0.8] or columns[:1]
        count = self.dice.randint(1, 6)
        rows = ", ".join("(" + ", ".join(self._value(c) for c in some) + ")"
                         for _ in range(count))
        names = ", ".join(c.name for c in some)
        def added():
            self.rows[table] = self.rows.get(table, 0) + count
        return f"INSERT INTO {table} ({names}) VALUES {rows}", added

    def _insert_select(self, table):
        source = self.dice.choice(list(self.tables))
        items = ", ".join(self._expression(c, source) for c in self.tables[table])
        def added():
            self.rows[table] = self.rows.get(table, 0) + self.rows.get(source, 0)
        return f"INSERT INTO {table} SELECT {items} FROM {source} " \
               f"WHERE {self._condition(source)}", added

    def _update(self, table):
        columns = self.dice.sample(self.tables[table],
                                   min(len(self.tables[table]), self.dice.randint(1, 2)))
        sets = ", ".join(f"{c.name} = {self._expression(c, table)}" for c in columns)
        return f"UPDATE {table} SET {sets} WHERE {self._condition(table)}", None

    def _number(self, table):
        numbers = [c for c in self.tables[table] if c.type in NUMBERS]
        return self.dice.choice(numbers) if numbers else None

    def _update_from(self, table):
        source = self.dice.choice(list(self.tables))
        key, other = self._number(table), self._number(source)
        if key is None or other is None:
            return self._update(table)
        # One row for each key, so that what is written does not hang on the order of rows.
        changed = self.dice.choice(self.tables[table])
        grouped = (f"(SELECT {other.name} AS k, count(*) AS n FROM {source} "
                   f"GROUP BY {other.name}) s")
        value = "s.n" if changed.type in NUMBERS else self._value(changed)
        return (f"UPDATE {table} SET {changed.name} = {value} FROM {grouped} "
                f"WHERE {table}.{key.name} = s.k", None)

    def _delete(self, table):
        return f"DELETE FROM {table} WHERE {self._condition(table)}", self._unknown_rows(table)

    def _delete_using(self, table):
        source = self.dice.choice([name for name in self.tables if name != table] or [None])
        key, other = self._number(table), source and self._number(source)
        if not key or not other:
            return self._delete(table)
        return (f"DELETE FROM {table} USING {source} WHERE {table}.{key.name} = "
                f"{source}.{other.name} AND {self._condition(source, source + '.')}",
                self._unknown_rows(table))

    def _merge(self, table):
        source = self.dice.choice([name for name in self.tables if name != table] or [None])
        key, other = self._number(table), source and self._number(source)
        if not key or not other:
            return self._insert(table)
        unique = (f"(SELECT {other.name} AS k, count(*) AS n FROM {source} "
                  f"GROUP BY {other.name}) s")
        changed = self.dice.choice([c for c in self.tables[table] if c is not key] or [key])
        matched = "DELETE" if self.dice.random() < 0.3 else \
            f"UPDATE SET {changed.name} = {self._value(changed)}"
        some = [c for c in self.tables[table] if c.not_null or c is key]
        names = ", ".join(c.name for c in some)
        values = ", ".join("s.k" if c is key else self._value(c) for c in some)
        return (f"MERGE INTO {table} USING {unique} ON {table}.{key.name} = s.k "
                f"WHEN MATCHED THEN {matched} "
                f"WHEN NOT MATCHED THEN INSERT ({names}) VALUES ({values})", None)

    def _select(self, table):
        return f"SELECT * FROM {table} WHERE {self._condition(table)}", None

    def _aggregate(self, table):
        column = self._number(table) or self.tables[table][0]
        sums = f", min({column.name}), max({column.name})" if column.type in NUMBERS else ""
        return (f"SELECT count(*), count({column.name}), count(DISTINCT {column.name}){sums} "
                f"FROM {table} WHERE {self._condition(table)}", None)

    def _wrong(self, table):
        columns = self.tables[table]
        required = [c for c in columns if c.not_null]
        texts = [c for c in columns if c.type.startswith("VARCHAR")]
        small = [c for c in columns if c.type == "SMALLINT"]
        number = self._number(table)
        choices = [f"SELECT nothing FROM {table}", f"DELETE FROM missing_{table}",
                   f"INSERT INTO {table} (nothing) VALUES (1)", f"UPDATE {table} SET nothing = 1",
                   f"SELECT 1 / 0 FROM (SELECT 1 AS one) t", f"SELEC * FROM {table}",
                   f"DROP TABLE missing_{table}", f"CREATE TABLE {table} (z INTEGER)",
                   f"ALTER TABLE {table} ADD COLUMN {columns[0].name} INTEGER",
                   f"ALTER TABLE {table} DROP COLUMN nothing", "ROLLBACK TO SAVEPOINT nothing"]
        if required:
            choices.append(f"INSERT INTO {table} ({required[0].name}) VALUES (NULL)")
        if texts and not [c for c in required if c is not texts[0]]:
            choices.append(f"INSERT INTO {table} ({texts[0].name}) VALUES ('too long text')")
        if small and not [c for c in required if c is not small[0]]:
            choices.append(f"INSERT INTO {table} ({small[0].name}) VALUES (40000)")
        if number and number.type == "INTEGER" and not [c for c in required if c is not number]:
            choices.append(f"INSERT INTO {table} ({number.name}) VALUES (3000000000)")
        return self.dice.choice(choices), None


def columns_of(generator, table):
    return generator.tables[table]


def literal(dice, kind):
    if kind == "SMALLINT":
        return str(dice.randint(0, 40))
    if kind in ("INTEGER", "BIGINT"):
        return str(dice.randint(0, 60))
    if kind == "DECIMAL(10, 2)":
        return f"{dice.randint(0, 40)}.{dice.choice(('00', '25', '50'))}"
    if kind == "DATE":
        return f"DATE '2024-0{dice.randint(1, 9)}-1{dice.randint(0, 9)}'"
    if kind == "BOOLEAN":
        return dice.choice(("TRUE", "FALSE"))
    return "'" + "".join(dice.choice("abXy") for _ in range(dice.randint(0, 4))) + "'"
