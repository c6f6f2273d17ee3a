"""Transaction scripts: sessions, their steps, and the orders in which the steps are run.

    # What the script is about.
    levels snapshot serializable
    setup
      CREATE TABLE t (k INTEGER, v INTEGER)
    session s1
      b: BEGIN
      u: UPDATE t SET v = v + 1 WHERE k = 1
      c: COMMIT
    check
      SELECT * FROM t ORDER BY k
    permutation s1.b s2.b s1.u s2.u* s1.c s2.c
      differs same-row snapshot: s2.u=UPDATE 1; s2.c=COMMIT; check=[(1, 2)]

A step marked `*` may have to wait for another session; any other that does not end in time has
the outcome `waits`. `differs NAME LEVELS:` says where Blueshift's outcome is another than
PostgreSQL's and what it is; NAME is a heading of differences.md. `may differ` allows both.
A step whose name begins with `b` begins a transaction.
The same text runs against both servers; nothing in a script knows which one it is.
"""

import ast
import dataclasses
import pathlib
import queue
import re
import threading

import psycopg

WAIT_S = 20
MAY_WAIT_S = 0.5
LEVELS = ("snapshot", "serializable")


@dataclasses.dataclass
class Difference:
    name: str
    levels: tuple
    optional: bool
    outcomes: dict


@dataclasses.dataclass
class Permutation:
    steps: list
    line: int
    differences: list = dataclasses.field(default_factory=list)

    def __str__(self):
        return " ".join(session + "." + step + ("*" if waits else "")
                        for session, step, waits in self.steps)


@dataclasses.dataclass
class Script:
    name: str
    levels: tuple = LEVELS
    setup: list = dataclasses.field(default_factory=list)
    sessions: dict = dataclasses.field(default_factory=dict)
    checks: list = dataclasses.field(default_factory=list)
    permutations: list = dataclasses.field(default_factory=list)


def parse(path):
    """Reads a script.

    # Errors
    ValueError names the file and line.
    """
    script = Script(pathlib.Path(path).stem)
    section = None
    for number, raw in enumerate(pathlib.Path(path).read_text().splitlines(), 1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        try:
            if raw.startswith(" "):
                _entry(script, section, line)
            else:
                section = _heading(script, line, number)
        except (ValueError, KeyError, SyntaxError) as error:
            raise ValueError(f"{path}:{number}: {error}") from error
    if not script.permutations:
        raise ValueError(f"{path}: no permutation")
    return script


def _heading(script, line, number):
    word, _, rest = line.partition(" ")
    if word == "levels":
        script.levels = tuple(rest.split())
        if not set(script.levels) <= set(LEVELS):
            raise ValueError(f"levels are {LEVELS}")
    elif word == "session":
        script.sessions[rest] = {}
        return rest
    elif word == "permutation":
        steps = []
        for item in rest.split():
            session, step = item.removesuffix("*").split(".")
            if step not in script.sessions[session]:
                raise ValueError(f"no step {item}")
            steps.append((session, step, item.endswith("*")))
        script.permutations.append(Permutation(steps, number))
    elif word not in ("setup", "check"):
        raise ValueError(f"{word} is not a section")
    return word


def _entry(script, section, line):
    if section == "setup":
        script.setup.append(line)
    elif section == "check":
        script.checks.append(line)
    elif section == "permutation":
        match = re.fullmatch(r"(may differ|differs) (\S+) ([a-z ]+): (.*)", line)
        if not match:
            raise ValueError("expected `differs NAME LEVELS: step=outcome; ...`")
        outcomes = dict(item.strip().split("=", 1) for item in match[4].split(";"))
        script.permutations[-1].differences.append(Difference(
            match[2], tuple(match[3].split()), match[1] == "may differ",
            {step: _outcome(text) for step, text in outcomes.items()}))
    elif section in script.sessions:
        name, _, text = line.partition(": ")
        script.sessions[section][name] = text
    else:
        raise ValueError(f"a line outside of a section: {line}")


def _outcome(text):
    return str(ast.literal_eval(text)) if text.startswith("[") else text


class Player:
    """One session: a connection and the thread that runs its steps in order."""

    def __init__(self, connection):
        self.connection = connection
        self.tasks = queue.Queue()
        self.thread = threading.Thread(target=self._work, daemon=True)
        self.thread.start()

    def _work(self):
        while (task := self.tasks.get()) is not None:
            text, outcomes, key, done = task
            outcomes[key] = execute(self.connection, text)
            done.set()

    def send(self, text, outcomes, key):
        done = threading.Event()
        self.tasks.put((text, outcomes, key, done))
        return done

    def close(self):
        self.tasks.put(None)
        self.thread.join(timeout=WAIT_S)
        self.connection.close()


def execute(connection, text):
    """Rows, a command's tag, or an SQLSTATE; of several statements, all."""
    try:
        cursor = connection.execute(text)
        results = []
        while True:
            if cursor.description:
                results.append(str(cursor.fetchall()))
            else:
                results.append(cursor.statusmessage)
            if not cursor.nextset():
                return " + ".join(results)
    except psycopg.Error as error:
        return error.sqlstate or type(error).__name__


def play(server, script, permutation, schema):
    """Runs one permutation in a schema of its own; gives the outcome of each step by name.

    `server(schema)` opens a connection whose search path is that schema.
    """
    with server(None) as setup:
        setup.execute(f"CREATE SCHEMA {schema}")
    with server(schema) as setup:
        for text in script.setup:
            setup.execute(text)
    used = dict.fromkeys(session for session, _, _ in permutation.steps)
    players = {session: Player(server(schema)) for session in used}
    outcomes, pending = {}, {}
    try:
        for key, session, step, may_wait in numbered(permutation):
            earlier = pending.pop(session, None)
            if earlier and not earlier[1].wait(WAIT_S):
                raise AssertionError(f"{script.name}:{permutation.line}: {session}.{step} comes "
                                     f"while {earlier[0]} still waits")
            done = players[session].send(script.sessions[session][step], outcomes, key)
            if not done.wait(MAY_WAIT_S if may_wait else WAIT_S):
                if may_wait:
                    pending[session] = (key, done)
                else:
                    outcomes.setdefault(key, "waits")
                    break
        for key, done in pending.values():
            if not done.wait(WAIT_S):
                outcomes.setdefault(key, "waits")
        with server(schema) as check:
            rows = [execute(check, text) for text in script.checks]
        outcomes["check"] = " + ".join(rows)
    finally:
        for player in players.values():
            if player.connection.pgconn.transaction_status == 1:
                player.connection.cancel()
            player.close()
    return outcomes


def numbered(permutation):
    """The steps with their names; a step that comes again is `s1.r'2`."""
    seen = {}
    for session, step, may_wait in permutation.steps:
        name = f"{session}.{step}"
        seen[name] = seen.get(name, 0) + 1
        yield name + (f"'{seen[name]}" if seen[name] > 1 else ""), session, step, may_wait


def expected(postgres, permutation, level):
    """What Blueshift may give: a list of outcome tables, the first the one to show."""
    variants = [dict(postgres)]
    for difference in permutation.differences:
        if level in difference.levels:
            changed = [{**variant, **difference.outcomes} for variant in variants]
            variants = variants + changed if difference.optional else changed
    return variants


def same(left, right, permutation):
    """Whether two outcome tables agree.

    A transaction that ends with a serialization failure may learn of it from its statement or
    from its COMMIT: what it was told between its first write and its end is not compared then.
    """
    left, right = dict(left), dict(right)
    for session in {session for session, _, _ in permutation.steps}:
        for keys in _transactions(permutation, session):
            if any(left.get(k) == "40001" for k in keys) and any(
                    right.get(k) == "40001" for k in keys):
                _forget_failed(left, right, keys)
    return left == right


def _transactions(permutation, session):
    """The steps of each transaction of a session, in order: from BEGIN to COMMIT by name."""
    keys = []
    for key, other, step, _ in numbered(permutation):
        if other != session:
            continue
        if step.startswith("b") and keys:
            yield keys
            keys = []
        keys.append(key)
    yield keys


def _forget_failed(left, right, keys):
    """Drops a failed transaction's outcomes from its earliest failure on."""
    first = min(keys.index(next(key for key in keys if side.get(key) == "40001"))
                for side in (left, right))
    for key in keys[first:]:
        left.pop(key, None)
        right.pop(key, None)
