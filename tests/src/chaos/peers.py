"""The internal port of the nodes, with the certificate that the operator made for them."""
import base64
import http.client
import json
import ssl
import tempfile
from pathlib import Path

from field import NAME, SPACE
from harness import kubernetes as k

PORT = 6335
EVERYTHING = {"filter": None, "from": None, "limit": 1_000_000, "payload": True, "vectors": True}


class Peers:
    def __init__(self):
        secret = k.get("secret", f"{NAME}-peer-tls", SPACE)["data"]
        # Names in the certificates are those of pods; here they are reached by address.
        self.tls = ssl.create_default_context()
        self.tls.check_hostname, self.tls.verify_mode = False, ssl.CERT_NONE
        with tempfile.TemporaryDirectory() as folder:
            cert, key = Path(folder, "tls.crt"), Path(folder, "tls.key")
            for path in (cert, key):
                path.write_bytes(base64.b64decode(secret[path.name]))
            self.tls.load_cert_chain(cert, key)

    def points(self, address: str, shard: int) -> dict:
        """All points of a node's copy, by id."""
        body = {"timeout_ms": 20_000, "among": "All", "call": {"read": {"scroll": EVERYTHING}}}
        connection = http.client.HTTPSConnection(address, PORT, timeout=30, context=self.tls)
        connection.request("POST", f"/internal/shards/{shard}/call", json.dumps(body), {"Content-Type": "application/json", "Quiver-Protocol": "1"})
        response = connection.getresponse()
        answer = json.loads(response.read())
        connection.close()
        assert response.status == 200, answer
        return {json.dumps(p["id"]): p for p in answer["records"]["points"]}
