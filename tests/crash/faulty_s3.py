"""The S3 server of tests/faulty-s3, and a cluster whose store is in it."""

import collections
import json
import os
import pathlib
import subprocess
import urllib.request

import boto3
from botocore.config import Config

from conftest import ROOT, Server

PROGRAM = os.environ.get("BLUESHIFT_FAULTY_S3", str(ROOT / "target/release/faulty-s3"))
KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": "us-east-1"}
BUCKET = "warehouse"


class FaultyS3:
    """One server process over a directory that outlives it."""

    def __init__(self, directory):
        self.directory = pathlib.Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.log_path = self.directory / "requests.jsonl"
        self.process = None
        self.url = None

    def start(self):
        port = self.url.rsplit(":", 1)[1] if self.url else "0"
        self.process = subprocess.Popen(
            [PROGRAM, "--data", self.directory / "objects", "--log", self.log_path,
             "--bucket", BUCKET, "--port", port],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        assert line.startswith("faulty-s3 ready: "), f"it did not start: {line}"
        self.url = line.split()[-1]
        return self

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def close(self):
        if self.process and self.process.poll() is None:
            self.kill()

    def faults(self, *rules, seed=1):
        """Replaces the rules: dicts as tests/faulty-s3/src/faults.rs describes them."""
        body = json.dumps({"seed": seed, "rules": rules}).encode()
        request = urllib.request.Request(f"{self.url}/_control/faults", body, method="PUT")
        urllib.request.urlopen(request, timeout=10).read()

    def counts(self):
        """How often each rule matched and fired."""
        return json.load(urllib.request.urlopen(f"{self.url}/_control/faults", timeout=10))

    def mark(self):
        """Where the byte log ends now."""
        return self.log_path.stat().st_size

    def requests(self, since=0):
        """The byte log from a mark on: one dict a request."""
        with open(self.log_path, "rb") as lines:
            lines.seek(since)
            return [json.loads(line) for line in lines]

    def spoiled(self, since):
        """The last parts of the keys that met a fault since a mark."""
        return {request["key"].rsplit("/", 1)[1] for request in self.requests(since)
                if request["fault"]}

    def client(self):
        """boto3, which does not repeat requests here."""
        return boto3.client(
            "s3", endpoint_url=self.url, region_name="us-east-1", aws_access_key_id="test",
            aws_secret_access_key="test",
            config=Config(retries={"total_max_attempts": 1}, max_pool_connections=64,
                          s3={"addressing_style": "path"}))

    def cluster(self, data, files, shape, environment=None):
        """A cluster that is not started yet. All on one server have the same store."""
        store = ["--store", f"s3://{BUCKET}/cluster", "--s3-endpoint", self.url]
        return Server(data, files, [*shape, *store], {**KEYS, **(environment or {})})

    def check_log(self):
        """What requests must never have done, whatever failed: written a name of the log or of
        the data twice."""
        written = collections.Counter(
            request["key"] for request in self.requests()
            if request["operation"] in ("put_object", "complete_upload", "copy_object")
            and request["effect"] == 200)
        twice = [key for key, count in written.items()
                 if count > 1 and ("/catalog/log/" in key or "/data/" in key)]
        assert not twice, f"written twice: {twice[:5]}"
