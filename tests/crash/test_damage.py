"""Flipped bits and truncated files: segments, deleted-row files, log records, checkpoints. Damage
is named in the error or does nothing; wrong rows are never returned."""

import os
import random
import shutil
import subprocess

import psycopg
import pytest

from conftest import PASSWORD, PROGRAM, Server, figure, new_seed, scaled

DATA_DAMAGES = 1_800
CATALOG_DAMAGES = 200
TABLES = 40
ROWS = 400
SHAPE = ["--nodes", "1", "--slices-per-node", "2"]
# Damage, or a file that is too short to be what it says.
DAMAGED = {"XX001", "58030"}


def check_text(table):
    return (f"SELECT count(*), sum(k), sum(length(t)), min(t), max(t), sum(d), min(at), max(at) "
            f"FROM {table}")


def make(data, files, tables, statements):
    """A cluster, stopped, and what each table's check must give."""
    files.mkdir(exist_ok=True)
    dice = random.Random(7)
    server = Server(data, files, SHAPE).start()
    try:
        with server.connect() as connection:
            for number in range(tables):
                rows = ROWS * (60 if number < 4 else 1)
                path = files / f"{number}.csv"
                path.write_text("".join(
                    f"{k},{'xyz'[k % 3] * (k % 11)}{dice.randrange(10 ** 6)},{k}.25,"
                    f"2024-01-01 00:00:{k % 60:02}\n" for k in range(rows)))
                table = f"t{number}"
                connection.execute(f"CREATE TABLE {table} (k INTEGER, t VARCHAR(40), "
                                   "d DECIMAL(12, 2), at TIMESTAMP) DISTKEY (k) SORTKEY (k)")
                connection.execute(f"COPY {table} FROM '{path}' CSV")
                for statement in statements:
                    connection.execute(statement.format(table=table))
            expected = {f"t{number}": connection.execute(check_text(f"t{number}")).fetchall()
                        for number in range(tables)}
        server.stop()
        return expected
    finally:
        server.close()


def copy_cluster(template, to):
    """A copy whose store shares its files with the template: damage puts a new file in place."""
    shutil.rmtree(to, ignore_errors=True)
    shutil.copytree(template, to, ignore=lambda directory, names: ["store"] if
                    directory == str(template) else [])
    shutil.copytree(template / "store", to / "store", copy_function=os.link)


def damage(path, dice):
    """Spoils a file; says how."""
    data = bytearray(path.read_bytes())
    roll = dice.random()
    if roll < 0.15:
        size = dice.randrange(len(data))
        data, how = data[:size], f"truncated to {size} of {len(data)} bytes"
    elif roll < 0.3:
        at, length = dice.randrange(len(data)), dice.randint(1, 64)
        old = bytes(data[at:at + length])
        data[at:at + length] = bytes(dice.randrange(256) for _ in old)
        how = f"{length} bytes at {at} overwritten"
    else:
        at, bit = dice.randrange(len(data)), dice.randrange(8)
        data[at] ^= 1 << bit
        how = f"bit {bit} of byte {at} of {len(data)} flipped"
    path.unlink()
    path.write_bytes(data)
    return how


def starts(server):
    """True when the server starts; else what it said."""
    try:
        server.start()
        return True, ""
    except AssertionError as error:
        server.process.wait(timeout=20)
        assert server.process.returncode not in (0, -6, -11), f"it ended by a signal: {error}"
        return False, str(error)


def said(error):
    diag = error.diag
    return " ".join(filter(None, (diag.message_primary, diag.message_detail, diag.message_hint)))


def data_files(data, table_oids):
    """The files of each table, by table."""
    return {table: sorted(path for path in (data / "store/data" / str(oid)).rglob("*")
                          if path.is_file()) for table, oid in table_oids.items()}


def oids(data, files):
    server = Server(data, files, SHAPE).start()
    try:
        return dict(server.execute(
            "SELECT relname, c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace "
            "WHERE nspname = 'public' AND relname LIKE 't%'"))
    finally:
        server.close()


def judge(server, table, expected, path, how, context):
    """One table of a damaged cluster: True when the damage was seen, False when it is harmless."""
    try:
        with server.connect() as connection:
            found = connection.execute(check_text(table)).fetchall()
    except psycopg.Error as error:
        assert error.sqlstate in DAMAGED, f"{context}: {error.sqlstate} {error} ({path.name} {how})"
        assert path.name in said(error), (
            f"{context}: {said(error)} does not name {path.name} ({how})")
        return True
    assert found == expected, f"{context}: wrong rows {found}, not {expected} ({path} {how})"
    return False


def test_damaged_data_files(tmp_path):
    seed = new_seed()
    dice = random.Random(seed)
    files = tmp_path / "files"
    template, victim = tmp_path / "template", tmp_path / "victim"
    expected = make(template, files, TABLES, [
        "DELETE FROM {table} WHERE k % 7 = 3 OR length(t) % 3 = 1",
        "UPDATE {table} SET d = d + 1 WHERE k % 5 = 2"])
    table_oids = {table: oid for table, oid in oids(template, files).items() if table in expected}
    assert len(table_oids) == TABLES
    damaged = seen = 0
    kinds = {}
    while damaged < scaled(DATA_DAMAGES):
        copy_cluster(template, victim)
        done = {}
        for table, paths in data_files(victim, table_oids).items():
            # Small files in their own right: otherwise nearly every choice is a segment.
            kind = dice.choice(sorted({path.suffix for path in paths}))
            path = dice.choice([path for path in paths if path.suffix == kind])
            done[table] = path, damage(path, dice)
        server = Server(victim, files, SHAPE)
        try:
            started, message = starts(server)
            assert started, f"seed {seed}: damaged data keeps the server from starting: {message}"
            for table, (path, how) in done.items():
                found = judge(server, table, expected[table], path, how, f"seed {seed}")
                seen += found
                damaged += 1
                kinds[path.suffix] = kinds.get(path.suffix, 0) + 1
        finally:
            server.close()
    assert kinds.get(".del"), f"no file of deleted rows was damaged: {kinds}"
    assert seen > damaged // 2, f"only {seen} of {damaged} were seen"
    figure("T10 data files", damaged=damaged, detected=seen, harmless=damaged - seen, wrong_rows=0,
           kinds=" ".join(f"{count} {kind}" for kind, count in sorted(kinds.items())))


def test_damaged_catalog_files(tmp_path):
    """A damaged record or checkpoint keeps the server from starting, and is named; or an older
    checkpoint stands in for it, and then every row is there."""
    seed = new_seed()
    dice = random.Random(seed)
    files = tmp_path / "files"
    template, victim = tmp_path / "template", tmp_path / "victim"
    expected = make(template, files, 3, ["DELETE FROM {table} WHERE k % 7 = 3"])
    server = Server(template, files, SHAPE).start()
    with server.connect() as connection:
        # Beyond a checkpoint, with records after it.
        for number in range(1_020):
            connection.execute(f"COMMENT ON TABLE t0 IS 'number {number}'")
        connection.execute("INSERT INTO t0 VALUES (1000000, 'last', 1, '2024-02-02')")
        expected["t0"] = connection.execute(check_text("t0")).fetchall()
    server.stop()
    catalog = template / "store/catalog"
    checkpoints = sorted((catalog / "ckpt").iterdir())
    assert checkpoints, "there is no checkpoint"
    newest = int(checkpoints[-1].name)
    records = sorted((catalog / "log").iterdir())
    after = [path for path in records if int(path.name) > newest]
    assert after
    refused = passed_over = 0
    for _ in range(scaled(CATALOG_DAMAGES)):
        copy_cluster(template, victim)
        choice = dice.random()
        source = (dice.choice(after) if choice < 0.6 else dice.choice(checkpoints) if choice < 0.85
                  else catalog / "CKPT" if choice < 0.9 else dice.choice(records))
        path = victim / source.relative_to(template)
        how = damage(path, dice)
        context = f"seed {seed}: {path.relative_to(victim)} {how}"
        server = Server(victim, files, SHAPE)
        try:
            started, message = starts(server)
            if started:
                passed_over += 1
                for table in expected:
                    found = server.execute(check_text(table))
                    assert found == expected[table], f"{context}: wrong rows {found}"
            else:
                refused += 1
                assert path.name in message, f"{context}: not named by {message[-500:]}"
        finally:
            server.close()
    assert refused and passed_over
    figure("T10 catalog", damaged=refused + passed_over, refused=refused, harmless=passed_over,
           wrong_rows=0)


def test_a_missing_segment_is_named(tmp_path):
    files = tmp_path / "files"
    expected = make(tmp_path / "cluster", files, 2, [])
    table_oids = oids(tmp_path / "cluster", files)
    path = data_files(tmp_path / "cluster", table_oids)["t1"][0]
    path.unlink()
    server = Server(tmp_path / "cluster", files, SHAPE).start()
    try:
        with pytest.raises(psycopg.Error) as caught:
            server.execute(check_text("t1"))
        assert caught.value.sqlstate in DAMAGED
        assert path.name in said(caught.value), said(caught.value)
        assert server.execute(check_text("t0")) == expected["t0"]
    finally:
        server.close()


def test_a_start_with_a_damaged_record_says_so_at_once(tmp_path):
    """The operator sees which file, from the program itself."""
    files = tmp_path / "files"
    make(tmp_path / "cluster", files, 1, [])
    record = sorted((tmp_path / "cluster/store/catalog/log").iterdir())[2]
    data = bytearray(record.read_bytes())
    data[-1] ^= 1
    record.write_bytes(data)
    run = subprocess.run([PROGRAM, "start", "--port", "0", "--data", str(tmp_path / "cluster"),
                          "--admin-password", PASSWORD], capture_output=True, text=True, timeout=30)
    assert run.returncode != 0 and record.name in run.stderr, run.stderr
