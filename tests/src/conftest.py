"""Fixtures of every Python tier."""
import pytest
from harness.node import Node


@pytest.fixture
def node(tmp_path):
    """A fresh node; killed at the end, its log shown if the test failed."""
    n = Node(tmp_path / "node").start()
    yield n
    n.kill()


@pytest.fixture(scope="module")
def shared_node(tmp_path_factory):
    """One node for all tests of a file, which use collections of different names."""
    n = Node(tmp_path_factory.mktemp("node")).start()
    yield n
    n.kill()
