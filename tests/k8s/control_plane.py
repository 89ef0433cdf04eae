"""A real Kubernetes control plane on the loopback address: etcd, API server, controllers, scheduler; kwok plays the nodes.

Pods are scheduled, bound to volumes and reported ready without running anything: kwok-stages.yaml says how. Takes some 5 s
to start and 0.7 GiB. No kubelet, so no container, probe or network policy is real here.
"""

import json
import secrets
import signal
import subprocess
from pathlib import Path
from typing import Any

from tests.k8s.cluster import Cluster
from tests.k8s.toolbox import CONTROL_PLANE
from tests.ports import free_ports

_STAGES = Path(__file__).parent / "kwok-stages.yaml"
_NODES, _VOLUMES = 3, 24


class ControlPlane(Cluster):
    """A running control plane."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, (*CONTROL_PLANE, "helm"))
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """Start everything; AssertionError with the end of a log when something does not come up."""
        store, peer, api, controllers, scheduler, kwok = free_ports(6)
        self._write_keys(api)
        self._spawn(
            "etcd", f"--data-dir={self.folder / 'etcd'}", "--unsafe-no-fsync", "--log-level=warn",
            f"--listen-client-urls=http://127.0.0.1:{store}", f"--advertise-client-urls=http://127.0.0.1:{store}",
            f"--listen-peer-urls=http://127.0.0.1:{peer}", f"--initial-advertise-peer-urls=http://127.0.0.1:{peer}",
            f"--initial-cluster=default=http://127.0.0.1:{peer}",
        )  # fmt: skip
        self._spawn(
            "kube-apiserver", f"--etcd-servers=http://127.0.0.1:{store}", "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1", f"--secure-port={api}", f"--cert-dir={self.folder / 'certs'}",
            "--service-account-issuer=https://kubernetes.default.svc", "--service-account-key-file=sa.pub",
            "--service-account-signing-key-file=sa.key", "--service-cluster-ip-range=10.96.0.0/16",
            "--authorization-mode=RBAC", "--token-auth-file=tokens.csv", "--endpoint-reconciler-type=none",
        )  # fmt: skip
        self.wait(lambda: self.answers("get", "--raw", "/readyz"), "kube-apiserver")
        config = f"--kubeconfig={self.kubeconfig}"
        local = ("--leader-elect=false", "--bind-address=127.0.0.1")
        self._spawn(
            "kube-controller-manager", config, *local, f"--secure-port={controllers}", "--concurrent-statefulset-syncs=5",
            "--service-account-private-key-file=sa.key", "--root-ca-file=certs/apiserver.crt",
        )  # fmt: skip
        self._spawn("kube-scheduler", config, *local, f"--secure-port={scheduler}")
        self._spawn(
            "kwok", config, "--manage-all-nodes=true", "--node-lease-duration-seconds=40", f"--config={_STAGES}",
            f"--server-address=127.0.0.1:{kwok}", "--cidr=10.0.0.1/16",
        )  # fmt: skip
        self.apply(*_nodes(), *_volumes())
        self.wait(lambda: self.answers("-n", "default", "get", "serviceaccount", "default"), "kube-controller-manager")

    def stop(self) -> None:
        """End every process that was started, the store last: the others wait for it when it is gone."""
        for process in reversed(self._processes):
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _spawn(self, program: str, *arguments: str) -> None:
        with (self.folder / f"{program}.log").open("wb") as log:
            command = [self._programs[program], *arguments]
            self._processes.append(subprocess.Popen(command, cwd=self.folder, stdout=log, stderr=log))

    def _write_keys(self, port: int) -> None:
        for command in (["genrsa", "-out", "sa.key", "2048"], ["rsa", "-in", "sa.key", "-pubout", "-out", "sa.pub"]):
            subprocess.run(["openssl", *command], cwd=self.folder, check=True, capture_output=True)
        token = secrets.token_hex(16)
        (self.folder / "tokens.csv").write_text(f'{token},admin,1,"system:masters"\n')
        cluster = {
            "server": f"https://127.0.0.1:{port}",
            "certificate-authority": str(self.folder / "certs" / "apiserver.crt"),
        }
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": "test", "user": {"token": token}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
            "current-context": "test",
        }
        self.kubeconfig.write_text(json.dumps(config))
        self.kubeconfig.chmod(0o600)


def _nodes() -> list[dict[str, Any]]:
    room = {"cpu": "16", "memory": "64Gi", "pods": "110", "ephemeral-storage": "100Gi"}
    return [
        {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {
                "name": f"node-{number}",
                "labels": {
                    "kubernetes.io/hostname": f"node-{number}",
                    "kubernetes.io/os": "linux",
                    "topology.kubernetes.io/zone": f"zone-{number}",
                },
            },
            "status": {"capacity": room, "allocatable": room},
        }
        for number in range(_NODES)
    ]


def _volumes() -> list[dict[str, Any]]:
    """Volumes that the real controller binds claims to, and their class."""
    kind = {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": "standard", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
        "provisioner": "kubernetes.io/no-provisioner",
        "volumeBindingMode": "WaitForFirstConsumer",
    }
    volumes = [
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": f"volume-{number}"},
            "spec": {
                "capacity": {"storage": "10Gi"},
                "accessModes": ["ReadWriteOnce"],
                "persistentVolumeReclaimPolicy": "Retain",
                "storageClassName": "standard",
                "hostPath": {"path": f"/nowhere/{number}"},
            },
        }
        for number in range(_VOLUMES)
    ]
    return [kind, *volumes]
