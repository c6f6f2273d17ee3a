"""A disk without space: 53100, a session that goes on, nothing acknowledged lost, and work again
once there is space."""

import contextlib
import os
import pathlib
import subprocess

import psycopg
import pytest

from conftest import Server, figure

DISK_BYTES = 96 << 20
FULL = "53100"


@contextlib.contextmanager
def small_disk(directory):
    """A file system of its own of DISK_BYTES. Needs root, or sudo without a password."""
    sudo = [] if os.geteuid() == 0 else ["sudo", "-n"]
    directory.mkdir()
    subprocess.run([*sudo, "mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES},mode=777", "tmpfs",
                    str(directory)], check=True)
    try:
        yield directory
    finally:
        subprocess.run([*sudo, "umount", "-l", str(directory)], check=True)


def fill(path, leave):
    """A file that leaves so many bytes of the disk free."""
    space = os.statvfs(path.parent)
    with open(path, "wb") as ballast:
        os.posix_fallocate(ballast.fileno(), 0, space.f_bavail * space.f_frsize - leave)


def outcome(connection, text):
    try:
        connection.execute(text)
        return "done"
    except psycopg.Error as error:
        assert not connection.closed, f"the session is lost by {text[:80]}: {error}"
        return error.sqlstate


@pytest.mark.parametrize("leave", [4 << 20, 1 << 20, 64 << 10, 0])
def test_the_disk_is_full(leave, tmp_path):
    files = tmp_path / "files"
    files.mkdir()
    (files / "rows.csv").write_text("".join(f"{n},{n * 7919 % 100003}\n" for n in range(100_000)))
    with small_disk(tmp_path / "disk") as disk:
        server = Server(disk / "cluster", files, ["--nodes", "2", "--slices-per-node", "2"])
        server.log = tmp_path / "log"
        server.start()
        try:
            check(server, files, pathlib.Path(disk), leave)
        finally:
            server.close()


def check(server, files, disk, leave):
    with server.connect() as connection:
        connection.execute("CREATE TABLE big (k INTEGER, v INTEGER) DISTKEY (k)")
        connection.execute("CREATE TABLE few (k INTEGER, v INTEGER)")
        connection.execute(f"COPY big FROM '{files}/rows.csv' CSV")
        connection.execute("INSERT INTO few VALUES (0, 0)")
        fill(disk / "ballast", leave)
        inserted, copies, met = 1, 1, {}
        statements = {
            "copy": f"COPY big FROM '{files}/rows.csv' CSV",
            "insert": "INSERT INTO few VALUES (1, 1)",
            "create as": "CREATE TABLE more AS SELECT k, v, k::BIGINT * v AS w FROM big",
            "update": "UPDATE big SET v = v + 0",
            "delete": "DELETE FROM big WHERE k < 0",
            "delete some": "DELETE FROM few WHERE k = 2",
            "vacuum": "VACUUM big",
            "create": "CREATE TABLE empty_one (k INTEGER)",
        }
        for _ in range(40):
            for name, text in statements.items():
                result = outcome(connection, text)
                assert result in ("done", FULL, "42P07"), f"{name}: {result}"
                met[name, result] = met.get((name, result), 0) + 1
                inserted += name == "insert" and result == "done"
                copies += name == "copy" and result == "done"
                counts = connection.execute("SELECT (SELECT count(*) FROM few), "
                                            "(SELECT count(*) FROM big)").fetchone()
                assert counts == (inserted, copies * 100_000), f"after {name}: {result}"
            if met.get(("copy", FULL), 0) > 1:
                break
        assert met.get(("copy", FULL)), f"the disk never filled: {met}"
        block = [outcome(connection, text) for text in
                 ("BEGIN", "INSERT INTO few VALUES (9, 9)", statements["copy"], "ROLLBACK")]
        assert block[2] == FULL or block[1] == FULL, block
        (disk / "ballast").unlink()
        for name, text in statements.items():
            result = outcome(connection, text)
            assert result in ("done", "42P07"), f"with space again, {name}: {result}"
        inserted, copies = inserted + 1, copies + 1
    expected = [(inserted, copies * 100_000)]
    counts = "SELECT (SELECT count(*) FROM few), (SELECT count(*) FROM big)"
    assert server.execute(counts) == expected
    server.kill()
    server.start()
    assert server.execute(counts) == expected
    assert server.execute("SELECT sum(v) FROM big") == [(copies * sum(
        n * 7919 % 100003 for n in range(100_000)),)]
    figure("disk full", refused=sum(n for (_, result), n in met.items() if result == FULL),
           acknowledged=sum(n for (_, result), n in met.items() if result == "done"), lost=0)
    server.stop()
