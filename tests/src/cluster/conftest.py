"""The cluster of this tier, see running.py."""
import os

import pytest
from harness import kubernetes as k
from images import MINIO, NODE, OPERATOR
from running import running


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    programs = [(NODE, os.environ["QUIVER_NODE"]), (OPERATOR, os.environ["QUIVER_OPERATOR"]), (MINIO, k.tool("minio"))]
    with running(tmp_path_factory.mktemp("images"), programs) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def minio(cluster):
    """An S3 server in the cluster; gives a client of this machine, with an empty bucket `snapshots`."""
    from s3 import Server

    return Server()
