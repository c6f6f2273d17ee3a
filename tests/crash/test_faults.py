"""Every fault point of the source, each with every kind of fault, in a whole server: what was
acknowledged is there after a restart, what was refused is not, and nothing is there in part."""

import concurrent.futures
import re

import psycopg
import pytest

from conftest import ROOT, Server, figure
from test_damage import copy_cluster

# At once, which is often while the server starts, and after the two records that a start writes.
FAULTS = ("kill", "error(58030)", "kill@2", "panic@2", "error(53100)@2", "error(58030)@2",
          "delay(50)@2")
# A point that is passed only when a put's answer was an error.
IN_DOUBT = [f"commit.after_put=error(58030)@2;commit.in_doubt={fault}"
            for fault in ("kill", "panic", "delay(50)")]
SHAPE = ["--nodes", "1", "--slices-per-node", "2"]
AT_ONCE = 3
ROWS = 3_000
STATE = """
    SELECT (SELECT count(*) FROM loaded), (SELECT sum(v) FROM loaded),
           (SELECT count(*) FROM changed), (SELECT sum(v) FROM changed)"""
CHANGES = ("COPY loaded FROM '{files}/rows.csv' CSV",
           "UPDATE changed SET v = v + 1 WHERE k % 3 = 0",
           "DELETE FROM changed WHERE k % 5 = 1",
           "INSERT INTO changed VALUES (-1, -1), (-2, -2)",
           "CREATE TABLE made AS SELECT k FROM changed")


def fault_points():
    """The names that the source passes to `fault::point`, tests left out."""
    names = set()
    for path in (ROOT / "crates").glob("*/src/**/*.rs"):
        if path.name == "fault.rs" or "test" in str(path.relative_to(ROOT)):
            continue
        names.update(re.findall(r'fault::point\(\s*"([a-z_.]+)"', path.read_text()))
    return sorted(names)


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """A stopped cluster with two tables, and the states before and after the transaction."""
    directory = tmp_path_factory.mktemp("faults")
    files = directory / "files"
    files.mkdir()
    (files / "rows.csv").write_text("".join(f"{k},{k}\n" for k in range(ROWS)))
    server = Server(directory / "template", files, SHAPE).start()
    try:
        server.execute("CREATE TABLE loaded (k INTEGER, v BIGINT) DISTKEY (k)")
        server.execute("CREATE TABLE changed (k INTEGER, v BIGINT) DISTKEY (k)")
        server.execute(f"COPY changed FROM '{files}/rows.csv' CSV")
        server.execute("INSERT INTO loaded VALUES (0, 0)")
        before = state(server)
        server.stop()
        copy_cluster(directory / "template", directory / "reference")
        reference = Server(directory / "reference", files, SHAPE).start()
        with reference.connect() as connection:
            transact(connection, files)
        after = state(reference)
        reference.stop()
        return directory, before, after
    finally:
        server.close()


def transact(connection, files):
    connection.execute("BEGIN")
    for text in CHANGES:
        connection.execute(text.format(files=files))
    connection.execute("COMMIT")


def state(server):
    return server.execute(STATE), server.execute(
        "SELECT count(*) FROM pg_tables WHERE tablename = 'made'")


def attempt(server, files):
    """Runs the transaction under the fault: acknowledged, refused, or in doubt."""
    try:
        server.start()
    except AssertionError:
        return "refused"
    try:
        with server.connect() as connection:
            at_commit = False
            try:
                connection.execute("BEGIN")
                for text in CHANGES:
                    connection.execute(text.format(files=files))
                at_commit = True
                connection.execute("COMMIT")
                return "acknowledged"
            except psycopg.Error as error:
                lost = connection.closed or error.sqlstate == "40003"
                return "in doubt" if at_commit and lost else "refused"
    except psycopg.OperationalError:
        return "refused"
    finally:
        server.kill()


def one(number, faults, template):
    """One fault; gives what is wrong, or None, and what the client was told."""
    directory, before, after = template
    files, data = directory / "files", directory / f"case-{number}"
    copy_cluster(directory / "template", data)
    told = attempt(Server(data, files, SHAPE, {"BLUESHIFT_FAULTS": faults}), files)
    server = Server(data, files, SHAPE)
    try:
        server.start()
        found = state(server)
        allowed = {"acknowledged": [after], "refused": [before], "in doubt": [before, after]}[told]
        wrong = None if found in allowed else f"{faults}: {told}, then {found}"
        server.execute("INSERT INTO loaded VALUES (-5, -5)")
        server.stop()
        return wrong, told
    except (AssertionError, psycopg.Error) as error:
        return f"{faults}: {told}, then {error}", told
    finally:
        server.close()


def test_every_fault_at_every_point(template):
    points = fault_points()
    assert {"commit.before_put", "segment.before_put", "start.before_epoch"} <= set(points)
    cases = [f"{point}={fault}" for point in points for fault in FAULTS] + IN_DOUBT
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        results = list(pool.map(lambda case: one(*case, template), enumerate(cases)))
    wrong = [message for message, _ in results if message]
    assert not wrong, "\n".join(wrong)
    told = [outcome for _, outcome in results]
    assert {"acknowledged", "refused", "in doubt"} <= set(told)
    figure("T4", points=len(points), faults=len(cases), **{
        kind.replace(" ", "_"): told.count(kind)
        for kind in ("acknowledged", "refused", "in doubt")}, between=0)
