"""Objects of a cluster, read over one connection that is kept. Tests ask for some of them twice a second, and a kubectl for each question
would take a third of a processor from what is tested."""
import atexit
import json
import os
import subprocess
from functools import cache
from urllib.parse import urlencode

import urllib3

QUIVER = "apis/quiver.dev/v1alpha1", {"vc": "vectorcollections", "vs": "vectorshards", "vectorshards": "vectorshards", "vsnap": "vectorsnapshots", "vectorsnapshots": "vectorsnapshots"}
CORE = "api/v1", {"pods": "pods"}
KINDS = {short: (api, plural) for api, kinds in (QUIVER, CORE) for short, plural in kinds.items()}


class Failed(Exception):
    """What the API server said, or why it said nothing."""


@cache
def server(kubectl: str, _kubeconfig: str | None) -> urllib3.HTTPConnectionPool:
    """A proxy that signs in to the API server, as long as this process lives."""
    proxy = subprocess.Popen([kubectl, "proxy", "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    atexit.register(proxy.kill)
    said = proxy.stdout.readline()  # Starting to serve on 127.0.0.1:PORT
    if ":" not in said:
        raise Failed(f"kubectl proxy doesn't start: {said!r}")
    return urllib3.HTTPConnectionPool("127.0.0.1", int(said.rsplit(":", 1)[1]), maxsize=8, timeout=30, retries=False)


def read(kubectl: str, kind: str, name: str | None, namespace: str | None, labels: dict[str, str]) -> dict:
    """One object, or the list as the server gives it."""
    api, plural = KINDS[kind]
    path = "/".join(["", api, *(["namespaces", namespace] if namespace else []), plural, *([name] if name else [])])
    selector = "?" + urlencode({"labelSelector": ",".join(f"{k}={v}" for k, v in labels.items())}) if labels else ""
    try:
        answer = server(kubectl, os.environ.get("KUBECONFIG")).request("GET", path + selector)
    except urllib3.exceptions.HTTPError as error:
        raise Failed(f"GET {path}: {error!r}") from None
    if answer.status != 200:
        raise Failed(f"GET {path}: {answer.status} {answer.data[:300].decode(errors='replace')}")
    return json.loads(answer.data)
