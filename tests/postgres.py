"""A private PostgreSQL 15: the server whose documented behaviour the tests compare with."""

import os
import pathlib
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time

import psycopg

PROGRAMS = pathlib.Path(os.environ.get("BLUESHIFT_POSTGRES", "/usr/lib/postgresql/15/bin"))
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "fsync": "off",
    "max_connections": "100",
    # Long enough to form a cycle before anyone looks, so that its last member is the victim.
    "deadlock_timeout": "50ms",
}


class Postgres:
    """One server on a directory of its own; `awsuser` is its superuser."""

    def __init__(self):
        self.home = pathlib.Path(tempfile.mkdtemp(prefix="blueshift-postgres-"))
        self.data = self.home / "data"
        self.port = None
        self.process = None
        # PostgreSQL refuses to run as root.
        self.account = pwd.getpwnam("postgres") if os.geteuid() == 0 else None
        if self.account:
            os.chown(self.home, self.account.pw_uid, self.account.pw_gid)
        self._run(PROGRAMS / "initdb", "-D", self.data, "-U", "awsuser", "-A", "trust",
                  "-E", "UTF8", "--locale=C", "--no-sync")

    def _run(self, *words):
        subprocess.run([str(word) for word in words], check=True, stdout=subprocess.DEVNULL,
                       cwd=self.home, **self._identity())

    def _identity(self):
        if not self.account:
            return {}
        return {"user": self.account.pw_uid, "group": self.account.pw_gid, "extra_groups": []}

    def start(self):
        if self.port is None:
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                self.port = free.getsockname()[1]
        settings = [word for name, value in SETTINGS.items() for word in ("-c", f"{name}={value}")]
        self.process = subprocess.Popen(
            [str(PROGRAMS / "postgres"), "-D", str(self.data), "-p", str(self.port),
             "-k", str(self.home), *settings],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=open(self.home / "log", "ab"), cwd=self.home, **self._identity())
        for _ in range(600):
            try:
                self.connect().close()
                return self
            except psycopg.OperationalError:
                if self.process.poll() is not None:
                    break
                time.sleep(0.05)
        raise AssertionError("PostgreSQL did not start: " + (self.home / "log").read_text()[-2000:])

    def connect(self, dbname="postgres", **options):
        return psycopg.connect(host="127.0.0.1", port=self.port, user="awsuser", dbname=dbname,
                               **{"autocommit": True, **options})

    def connect_patiently(self, **options):
        for _ in range(600):
            try:
                return self.connect(**options)
            except psycopg.OperationalError:
                time.sleep(0.05)
        raise AssertionError("PostgreSQL did not come back")

    def execute(self, text):
        with self.connect() as connection:
            cursor = connection.execute(text)
            return cursor.fetchall() if cursor.description else None

    def kill(self):
        """Ends every process at once without a checkpoint."""
        self.process.send_signal(signal.SIGQUIT)
        self.process.wait()

    def close(self):
        if self.process and self.process.poll() is None:
            self.kill()
        shutil.rmtree(self.home, ignore_errors=True)
