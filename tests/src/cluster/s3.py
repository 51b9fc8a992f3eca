"""MinIO in the cluster, and what stands in its bucket."""
import json
import shutil

import urllib3
from harness import kubernetes as k
from harness.node import wait_until
from images import MINIO
from minio import Minio

SPACE, BUCKET, KEY, SECRET = "s3", "snapshots", "test-access-key", "test-secret-key"
LABELS = {"app": "minio"}
SECURITY = {"runAsNonRoot": True, "runAsUser": 65532, "allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "seccompProfile": {"type": "RuntimeDefault"}}
DEPLOYMENT = {
    "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "minio", "namespace": SPACE},
    "spec": {"selector": {"matchLabels": LABELS}, "template": {"metadata": {"labels": LABELS}, "spec": {
        "containers": [{
            "name": "minio", "image": MINIO, "imagePullPolicy": "IfNotPresent", "args": ["server", "/data", "--address", ":9000"], "ports": [{"containerPort": 9000}],
            "env": [{"name": "MINIO_ROOT_USER", "value": KEY}, {"name": "MINIO_ROOT_PASSWORD", "value": SECRET}, {"name": "HOME", "value": "/tmp"}],
            "readinessProbe": {"httpGet": {"path": "/minio/health/ready", "port": 9000}, "periodSeconds": 1},
            "volumeMounts": [{"name": "data", "mountPath": "/data"}, {"name": "tmp", "mountPath": "/tmp"}], "securityContext": SECURITY,
        }],
        "securityContext": {"fsGroup": 65532}, "volumes": [{"name": "data", "emptyDir": {}}, {"name": "tmp", "emptyDir": {}}],
        # The node that the tests kill is never this one's.
        "nodeSelector": {"kubernetes.io/hostname": "NODE"},
    }}},
}
SERVICE = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "minio", "namespace": SPACE}, "spec": {"selector": LABELS, "ports": [{"port": 9000}]}}


class Server:
    """The server on the first node, and a client of it."""

    def __init__(self):
        self.node = sorted(n["metadata"]["name"] for n in k.get("nodes") if not any(t["key"] == "node-role.kubernetes.io/control-plane" for t in n["spec"].get("taints", [])))[0]
        k.apply(k.namespace(SPACE), json.loads(json.dumps(DEPLOYMENT).replace('"NODE"', f'"{self.node}"')), SERVICE)
        k.kubectl("rollout", "status", "deployment/minio", "-n", SPACE, "--timeout=120s")
        self.reach = k.Reach("minio", SPACE, 9000)
        # A request that hangs or is put off is asked again by us, so that what is wrong is known and a new connection is tried.
        self.connections = urllib3.PoolManager(timeout=10, retries=False)
        self.client = Minio(self.reach.url.removeprefix("http://"), KEY, SECRET, secure=False, http_client=self.connections)
        self.refusal = None
        try:
            wait_until(self.bucket_made, 180, "a bucket in MinIO", 0.5)
        except TimeoutError as error:
            said = k.kubectl("logs", "deployment/minio", "-n", SPACE, "--tail=40")
            raise TimeoutError(f"{error}: {self.refusal!r}; its log ends with\n{said}\n{shutil.disk_usage('/')}") from None

    def bucket_made(self) -> bool:
        try:
            if not self.client.bucket_exists(BUCKET):
                self.client.make_bucket(BUCKET)
            return True
        except Exception as error:  # the server says in several ways that it is still starting
            self.refusal = error
            self.connections.clear()  # a connection may lead to another than the server: it is made anew
            return False

    def objects(self) -> dict:
        """Everything in the bucket by name, each with its `size` and `last_modified`."""
        return {o.object_name: o for o in self.client.list_objects(BUCKET, recursive=True)}

    @staticmethod
    def destination(prefix: str) -> dict:
        """The `destination` of a VectorCollection's snapshots."""
        return {"s3": {"bucket": BUCKET, "prefix": prefix, "region": "us-east-1", "endpoint": f"http://minio.{SPACE}.svc:9000", "forcePathStyle": True,
                       "credentials": {"type": "Secret", "secretRef": {"name": "s3"}}}}


def secret(namespace: str) -> dict:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s3", "namespace": namespace}, "stringData": {"access-key-id": KEY, "secret-access-key": SECRET}}
