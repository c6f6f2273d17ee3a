"""A built server for tests in Python: started on a directory of its own, killed at the end."""

import os
import pathlib
import random
import signal
import subprocess
import time

import psycopg
import pytest

PASSWORD = "Test-password-1"
ROOT = pathlib.Path(__file__).resolve().parent.parent
PROGRAM = os.environ.get("BLUESHIFT_PROGRAM", str(ROOT / "target/release/blueshift"))

# How much of the default amount of work the long tests do: `cargo xtask torture` sets it.
SCALE = float(os.environ.get("BLUESHIFT_SCALE", "1"))

MODES = {
    "embedded-1x1": ["--nodes", "1", "--slices-per-node", "1"],
    "embedded-2x2": ["--nodes", "2", "--slices-per-node", "2"],
    "processes-3x2": ["--nodes", "3", "--slices-per-node", "2", "--processes"],
    "tiny-memory": ["--nodes", "2", "--slices-per-node", "2",
                    "--memory-limit", "128MB", "--query-memory-limit", "32MB"],
}


def scaled(count):
    """The count of a test for this run."""
    return max(1, round(count * SCALE))


def figure(test, **numbers):
    """Reports what a long test did: to its output, and to the file that torture reads."""
    line = f"{test}: " + ", ".join(f"{name.replace('_', ' ')} {value}"
                                   for name, value in numbers.items())
    print(line)
    if file := os.environ.get("BLUESHIFT_FIGURES"):
        with open(file, "a") as figures:
            figures.write(line + "\n")


def new_seed():
    """The seed of a random test: a new one each time, or the one to repeat."""
    seed = int(os.environ.get("BLUESHIFT_SEED", 0)) or random.randrange(1, 1 << 32)
    print(f"BLUESHIFT_SEED={seed}")
    return seed


class Server:
    """One server process. `arguments` come after `blueshift start`."""

    def __init__(self, data, load_dir, arguments, environment=None):
        self.data = pathlib.Path(data)
        self.load_dir = pathlib.Path(load_dir)
        self.arguments = list(arguments)
        self.environment = {**os.environ, **(environment or {})}
        self.log = self.data.parent / f"{self.data.name}.log"
        self.process = None
        self.port = None

    def start(self):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [PROGRAM, "start", "--port", str(self.port or 0), "--data", str(self.data),
                 "--admin-password", PASSWORD, "--load-dir", str(self.load_dir), *self.arguments],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log,
                env=self.environment, text=True)
        line = self.process.stdout.readline()
        assert line.startswith("blueshift ready: postgresql://awsuser@"), (
            line + self.log.read_text()[-4000:])
        self.port = int(line.split("@")[1].split("/")[0].rsplit(":", 1)[1])
        return self

    def connect(self, **options):
        options = {"autocommit": True, "sslmode": "prefer", "password": PASSWORD,
                   "dbname": "dev", **options}
        return psycopg.connect(host="127.0.0.1", port=self.port, user="awsuser", **options)

    def execute(self, text, **options):
        with self.connect(**options) as connection:
            cursor = connection.execute(text)
            return cursor.fetchall() if cursor.description else None

    def children(self):
        """Process ids of the compute nodes."""
        listing = subprocess.run(["ps", "-o", "pid=", "--ppid", str(self.process.pid)],
                                 capture_output=True, text=True).stdout
        return [int(word) for word in listing.split()]

    def resident_kb(self):
        for line in open(f"/proc/{self.process.pid}/status"):
            if line.startswith("VmRSS"):
                return int(line.split()[1])
        raise AssertionError("the server has no VmRSS")

    def connect_patiently(self, timeout_s=30, **options):
        """Connects to a server that may be starting again."""
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                return self.connect(**options)
            except psycopg.OperationalError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        """SIGTERM must drain and exit 0."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(timeout=30) == 0, self.log.read_text()[-4000:]

    def close(self):
        if self.process and self.process.poll() is None:
            self.kill()


@pytest.fixture(scope="session")
def tpch_files(tmp_path_factory):
    """TPC-H at scale 0.1 as CSV files."""
    directory = tmp_path_factory.mktemp("tpch")
    subprocess.run([PROGRAM, "admin", "tpch", "--scale", "0.1", str(directory)], check=True)
    return directory


def load_tpch(server, files):
    for table in ("region", "nation", "supplier", "customer", "part", "partsupp", "orders",
                  "lineitem"):
        server.execute((ROOT / f"tests/tpch/schema/{table}.sql").read_text())
        server.execute(f"COPY {table} FROM '{files}/{table}/part-' FORMAT AS CSV IGNOREHEADER 1")


@pytest.fixture(scope="session")
def server(tmp_path_factory, tpch_files):
    """One embedded 2×2 server with TPC-H loaded, shared by tests that only read."""
    running = Server(tmp_path_factory.mktemp("server") / "cluster", tpch_files,
                     MODES["embedded-2x2"]).start()
    load_tpch(running, tpch_files)
    yield running
    running.close()


def wait_until(condition, timeout_s=20, what="condition"):
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError(f"{what} did not come within {timeout_s} s")
