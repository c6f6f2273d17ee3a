"""Generated expressions, queries and changes on Blueshift and on PostgreSQL 15: the same values,
types and classes of errors, but for what `accepted.py` lists.

`BLUESHIFT_DIFFERENTIAL_CASES` is how many cases there are (4,000 without it), `BLUESHIFT_SEED` the
seed of another run than the fixed one."""

import os
import pathlib

import pytest

import accepted
import tables
from comparing import Comparison
from conftest import MODES, ROOT, Server, figure
from postgres import PROGRAMS, Postgres

SEED = int(os.environ.get("BLUESHIFT_SEED", 20240229))
CASES = int(os.environ.get("BLUESHIFT_DIFFERENTIAL_CASES", 4_000))
# Failures that a report shows; each has its smallest statement.
SHOWN = 20


@pytest.fixture(scope="module")
def connections(tmp_path_factory):
    if not PROGRAMS.exists():
        pytest.skip("PostgreSQL 15 is not installed")
    own = Server(tmp_path_factory.mktemp("differential") / "cluster",
                 tmp_path_factory.mktemp("load"), MODES["embedded-2x2"]).start()
    other = Postgres().start()
    # Letters beyond ASCII are letters, and text is ordered by its bytes.
    other.execute("CREATE DATABASE shared TEMPLATE template0 "
                  "LC_COLLATE 'C.utf8' LC_CTYPE 'C.utf8'")
    with own.connect() as ours, other.connect(dbname="shared") as theirs:
        tables.prepare(ours, theirs)
        yield ours, theirs
    other.close()
    own.close()


def run(connections, kind, share):
    comparison = Comparison(*connections, f"{SEED} {kind}")
    getattr(comparison, kind)(max(1, int(CASES * share)))
    figure(f"differential {kind}", cases=comparison.cases, errors=comparison.errors,
           accepted=sum(comparison.accepted.values()), differences=len(comparison.failures))
    assert not comparison.failures, report(comparison)


def report(comparison):
    lines = [f"{len(comparison.failures)} differences, BLUESHIFT_SEED={SEED}"]
    for text, (ours, theirs, why) in list(comparison.failures.items())[:SHOWN]:
        lines += [f"\n{why}: {text};", f"  Blueshift:  {ours}", f"  PostgreSQL: {theirs}"]
    return "\n".join(lines)


def test_expressions(connections):
    run(connections, "expressions", 0.75)


def test_queries(connections):
    run(connections, "queries", 0.22)


def test_changes(connections):
    run(connections, "changes", 0.03)


def test_every_entry_is_explained():
    text = (ROOT / "docs/reference/postgresql-differences.md").read_text()
    for entry in accepted.ACCEPTED + accepted.GAPS:
        assert f"`{entry.name}`" in text, entry.name
