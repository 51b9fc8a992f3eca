"""Tests of client packages' own suites that are not run against the node: pattern of a test's name, or of a file's, and the reason.

A pattern that nothing matches fails the run, and so does a test that is skipped without being named here.
"""
_LANGCHAIN = {
    "*::*:memory:*": "the same test runs with the node's address",
    "tests/integration_tests/fastembed/*.py": "fetches a model while it runs",
    "tests/integration_tests/test_compile.py": "tests nothing: it only asks whether the files can be compiled",
}
DESELECTED = {
    "langchain-oldest": _LANGCHAIN,
    "langchain-newest": {
        **_LANGCHAIN,
        "tests/integration_tests/test_*.py": "the class Qdrant calls what this client no longer has; langchain-oldest runs them",
        "tests/integration_tests/async_api/*.py": "the same",
    },
    "haystack-newest": {"*::test_missing_top_level_operator_key": "has no body, and is always skipped by the suite itself"},
}
