"""A real API server with its controllers and no nodes; the operator as a process with the rights that the chart gives it."""
import os
import subprocess

import pytest
from harness import cache
from harness import kubernetes as k
from harness.operator_process import SYSTEM, Operator, install


@pytest.fixture(scope="session")
def api_server():
    command = cache.TESTS / "cluster"
    up = subprocess.run([command, "up", "0"], check=True, stdout=subprocess.PIPE, text=True)
    os.environ["KUBECONFIG"] = up.stdout.strip().splitlines()[-1]
    yield os.environ["KUBECONFIG"]
    subprocess.run([command, "down"], check=True)


@pytest.fixture(scope="session")
def chart(api_server):
    """The chart, installed; its Deployment makes pods that no node runs."""
    k.apply(k.namespace(SYSTEM), k.namespace("search"))
    return install()


@pytest.fixture(scope="session")
def operator(chart, tmp_path_factory):
    running = Operator(chart, tmp_path_factory.mktemp("operator")).start()
    yield running
    running.stop()
    print(running.log.read_text()[-5000:])
