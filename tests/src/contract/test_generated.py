"""Requests made from the contract's schemas, to every endpoint that is served: no answer says that the node went wrong, and none has another
form than the contract says. 500 requests or so; 20,000 with --full. The same ones at every run."""
import math
import re
from collections import Counter

import pytest
import requests
from harness import contract, limits
from harness.cache import ROOT
from harness.node import Node
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis import GenerationMode, openapi
from schemathesis.checks import CHECKS, load_all_checks

REQUESTS = limits.pick(500, 20_000)
SEED = 20_260_101
SCHEMA = openapi.from_dict(contract.document())
# Numbers by their formats, which generators don't know.
RANGES = {"float": (-1000, 1000), "double": (-1000, 1000), "uint": (0, 2**64 - 1), "uint64": (0, 2**64 - 1), "uint32": (0, 2**32 - 1), "int32": (-(2**31), 2**31 - 1), "int64": (-(2**63), 2**63 - 1)}
NOT_SERVED = re.compile(r"^\| `(\w+) (\S+)` \| \*\*no\*\* \|", re.M).findall((ROOT / "docs/compatibility.md").read_text())
# Answers that the contract documents in another form than the protocol has; `docs/compatibility.md` says why.
TEXT = {("GET", "/metrics"), ("GET", "/healthz"), ("GET", "/livez"), ("GET", "/readyz")}
# What a generator can't know: names of the collection, its vectors and its indexed keys. By the name of the field, in turns.
NAMES = {
    "using": ["", "s", "none"], "key": ["n", "k", "t", "a[].b", "g"], "group_by": ["n", "k"], "collection": ["c"], "has_vector": ["", "s"],
    "field_name": ["n", "k", "other"], "model": ["bm25", "none"], "shard_key": [None],
    # The node may fetch from nowhere but its own machine, where nobody listens or no snapshot is.
    "location": ["http://127.0.0.1:1/none.snapshot", "file:///none/none.snapshot", "none"],
}
VECTORS = {"vector", "query", "nearest", "positive", "negative", "target", "default", "vectors"}
SIZE = 4
# Requests that take the collection away or change how it answers are about others.
ELSEWHERE = {("DELETE", "/collections/{collection_name}"), ("PATCH", "/collections/{collection_name}"), ("PUT", "/collections/{collection_name}"), ("PUT", "/collections/{collection_name}/snapshots/recover"), ("POST", "/collections/{collection_name}/snapshots/upload")}
LARGEST = {"shard_number": 4, "replication_factor": 1, "limit": 1000, "sample": 200, "size": 64, "group_size": 20}


def narrow(schema: object) -> object:
    """A schema without fields that nobody knows, behind which the known ones would hardly be seen, with numbers that fit their formats, and
    without the variant that says "or null", which allows everything."""
    if isinstance(schema, list):
        return [narrow(s) for s in schema if s != {"nullable": True}]
    if not isinstance(schema, dict):
        return schema
    made = {k: narrow(v) for k, v in schema.items()}
    if isinstance(made.get("properties"), dict):
        made.setdefault("additionalProperties", False)
    least, most = RANGES.get(made.get("format"), (None, None)) if made.get("type") in ("number", "integer") else (None, None)
    return made if least is None else {"minimum": least, "maximum": most} | made


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A node with a collection of dense and sparse vectors, and payloads of every type."""
    node = Node(tmp_path_factory.mktemp("node")).start()
    made = {"vectors": {"": {"size": SIZE, "distance": "Dot"}}, "sparse_vectors": {"s": {}}, "shard_number": 2}
    assert node.request("PUT", "/collections/c", made)[0] == 200
    for key, kind in {"n": "integer", "k": "keyword", "t": "text", "g": "geo", "f": "float", "d": "datetime"}.items():
        assert node.request("PUT", "/collections/c/index?wait=true", {"field_name": key, "field_schema": kind})[0] == 200
    points = [{"id": i, "vector": {"": [i, 1, 0, -i], "s": {"indices": [i], "values": [1.0]}}, "payload": {"n": i % 5, "k": f"k{i % 3}", "t": "some words", "f": i / 2, "g": {"lat": 1, "lon": i}, "d": "2024-01-01", "a": [{"b": i}]}} for i in range(40)]
    assert node.request("PUT", "/collections/c/points?wait=true", {"points": points})[0] == 200
    yield node
    node.kill()


def known(value: object, field: str, turn: list[int]) -> object:
    """The value with names that the collection knows, vectors of its size, and counts that a small machine can bear."""
    turn[0] += 1
    if field in NAMES and isinstance(value, str):
        return NAMES[field][turn[0] % len(NAMES[field])]
    if field in LARGEST and isinstance(value, int):
        return min(value, LARGEST[field])
    if isinstance(value, dict):
        return {k: known(v, k, turn) for k, v in value.items()}
    if isinstance(value, list):
        if field in VECTORS and value and all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in value) and turn[0] % 4:
            return [float(v) if abs(v) < 1e30 else 1.0 for v in (value * SIZE)[:SIZE]]
        return [known(v, field, turn) for v in value]
    return value


def wrong(case, answer, method: str, path: str) -> str | None:
    """What is wrong with an answer."""
    kind = (answer.headers.get("content-type") or [""])[0]
    if answer.status_code >= 500:
        return f"{answer.status_code}: {answer.text[:300]}"
    if answer.status_code >= 400:
        if answer.status_code == 404 and not answer.content:
            return "404 without a body" if "%2F" not in answer.request.url and "%2f" not in answer.request.url else None
        if kind.startswith("application/json"):
            decoded = answer.json()
            if not isinstance(decoded.get("status"), dict) or not isinstance(decoded["status"].get("error"), str) or not isinstance(decoded.get("time"), float) or "result" in decoded:
                return f"no envelope of errors: {answer.text[:300]}"
            return None
        # Where a segment of a path is no name or number at all, the protocol's servers answer in plain text.
        return None if path.endswith(("{snapshot_name}", "{peer_id}")) and answer.status_code == 404 else f"an error that is not JSON: {answer.status_code} {answer.text[:200]!r}"
    if (method, path) in TEXT:
        return None
    try:
        SCHEMA[path][method.lower()].Case(method=method, path_parameters=case.path_parameters).validate_response(answer, checks=[CHECKS.get_one("response_schema_conformance"), CHECKS.get_one("content_type_conformance"), CHECKS.get_one("status_code_conformance")])
    except AssertionError as failure:
        return str(failure)[:1500]
    except BaseExceptionGroup as failures:
        return "; ".join(f"{type(e).__name__}: {e}" for e in failures.exceptions)[:1500]
    return None


def ask(node, session, operation, count: int, mode: GenerationMode, number: int, findings: Counter, codes: Counter) -> None:
    """`number` starts the generator."""
    method, path, turn = operation.method.upper(), operation.path, [0]

    @seed(number)
    @settings(max_examples=count, database=None, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy(generation_mode=mode))
    def one(case):
        turn[0] += 1
        if "collection_name" in (case.path_parameters or {}):
            case.path_parameters["collection_name"] = "other" if (method, path) in ELSEWHERE else "none" if turn[0] % 16 == 0 else "c"
        if isinstance(case.body, (dict, list)):
            case.body = known(case.body, "", turn)
        if method == "PATCH":
            session.put(f"{node.url}/collections/other", json={"vectors": {"size": SIZE, "distance": "Dot"}})
        try:
            answer = case.call(base_url=node.url, session=session, timeout=30)
        except requests.RequestException as error:
            findings[f"{method} {path}: no answer: {type(error).__name__}: {str(error)[:200]} to {str(case.body)[:300]}"] += 1
            assert node.process.poll() is None, node.log.read_text()[-2000:]
            return
        codes[answer.status_code] += 1
        if what := wrong(case, answer, method, path):
            body = answer.request.body
            findings[f"{method} {answer.request.url.removeprefix(node.url)} {(body if isinstance(body, (str, bytes)) else b'')[:400]!r}: {what}"] += 1
        if path == "/collections/{collection_name}":
            session.delete(f"{node.url}/collections/other")

    one()


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["valid", "invalid"])
def test_no_answer_is_outside_the_contract(shared, mode):
    load_all_checks()
    narrowed = openapi.from_dict(narrow(contract.document()))
    operations = [o for o in (r.ok() for r in narrowed.get_all_operations()) if (o.method.upper(), o.path) not in NOT_SERVED]
    if mode == GenerationMode.NEGATIVE:
        operations = [o for o in operations if o.body or o.query]
    findings, codes, number = Counter(), Counter(), SEED
    with requests.Session() as session:
        # Some endpoints have less to be asked than their share; what is left goes to those with a body.
        while (missing := REQUESTS // 2 - codes.total()) > 0:
            # Endpoints with a body have more to say.
            weights = [6 if o.body else 1 for o in operations]
            for operation, weight in zip(operations, weights):
                ask(shared, session, operation, math.ceil(missing * weight / sum(weights)), mode, number, findings, codes)
            assert REQUESTS // 2 - codes.total() < missing, "no request of a whole round was answered"
            operations, number = [o for o in operations if o.body], number + 1
    print(f"{codes.total()} requests: {dict(sorted(codes.items()))}")
    assert not findings, "\n".join(f"{n} x {what}" for what, n in findings.items())
    assert shared.request("GET", "/readyz", decode=False)[0] == 200
