# SPDX-License-Identifier: Apache-2.0
"""docker-compose.yml is valid, where Docker is there to say so, and stays on the loopback."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
COMPOSE = REPOSITORY / "docker-compose.yml"


def compose_command():
    """The compose command of this machine, or None."""
    for command in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(command[0]) and subprocess.run(
                [*command, "version"], capture_output=True).returncode == 0:
            return command
    return None


def test_docker_accepts_the_file():
    command = compose_command()
    if command is None:
        pytest.skip("neither `docker compose` nor docker-compose is installed")
    done = subprocess.run([*command, "-f", COMPOSE, "config", "-q"], capture_output=True,
                          text=True)
    assert done.returncode == 0, done.stderr


def test_ports_are_published_on_the_loopback_only():
    published = [port for line in COMPOSE.read_text().splitlines() if "ports:" in line
                 for port in re.findall(r'"([^"]+)"', line)]
    assert published
    assert [port for port in published if not port.startswith("127.0.0.1:")] == []


def test_what_the_bridge_needs_is_in_the_tree():
    text = COMPOSE.read_text()
    dockerfile = re.search(r"dockerfile: (\S+)", text)[1]
    assert (REPOSITORY / dockerfile).is_file()
    mounted = re.search(r'"\./(\S+):/etc/mbridge:ro"', text)[1]
    assert (REPOSITORY / mounted / "bridge.conf").is_file()
