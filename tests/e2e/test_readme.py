"""README's first command, as it is written there."""

import os
import pathlib
import re
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]
# What an outer cargo tells about its package would make an inner one compile build scripts again.
OF_A_PACKAGE = ("CARGO_BIN_", "CARGO_CRATE_", "CARGO_MANIFEST_", "CARGO_PKG_", "CARGO_PRIMARY_")


def test_the_first_command_runs_the_demo():
    readme = (ROOT / "README.md").read_text()
    block = re.search(r"```sh\n(.*?)```", readme, re.DOTALL).group(1)
    command = block.splitlines()[0].split("#")[0].split()
    environment = {name: value for name, value in os.environ.items()
                   if not name.startswith(OF_A_PACKAGE)}
    ran = subprocess.run([*command, "--exit", "--scale", "0.01"], cwd=ROOT, env=environment,
                         capture_output=True, text=True, timeout=600)
    assert ran.returncode == 0, ran.stderr
    queries = re.findall(r"^  Q(\d+) +\d+ rows +[\d.]+ s$", ran.stdout, re.MULTILINE)
    assert queries == [str(number) for number in range(1, 23)]
    assert "XN Hash Join DS_DIST_NONE" in ran.stdout
