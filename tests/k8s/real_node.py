"""A Kubernetes with a real node on this machine: containers of the product's own image, built from its Dockerfile.

Everything runs in namespaces of its own (node/inside.sh); the machine keeps its network and settings. `start` puts the
calling thread, and what it starts from then on, into the node's network: Services, pods and a Kafka started there reach
each other. Needs root, the right to make namespaces, packages of Debian and programs of `make k8s-node-tools`.
"""

import ctypes
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.k8s.cluster import Cluster
from tests.k8s.toolbox import BUILT, CONTROL_PLANE, ROOT

#: Address of the node as pods see it; what runs on the node and binds all addresses is reached there.
ADDRESS = "10.88.0.1"
IMAGE = "localhost/streamflow"
_START_S = 180.0
_INSIDE = Path(__file__).parent / "node" / "inside.sh"
_NEW_NETWORK = 0x40000000  # CLONE_NEWNET
_PROGRAMS = (
    *(name for name in CONTROL_PLANE if name != "kwok"),
    *("helm", "kubelet", "kube-proxy", "containerd", "containerd-shim-runc-v2", "ctr", "coredns"),
    *("runc", "iptables", "conntrack", "buildah", "debootstrap"),
)


def build_images() -> list[Path]:
    """The product's image as streamflow:one, and the one that holds pods' namespaces. Kept, steps that are unchanged too."""
    folder = Path(os.environ.get("STREAMFLOW_K8S_IMAGES", ROOT / ".streamflow" / "k8s-images"))
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "build.log"
    with log.open("wb") as file:
        done = subprocess.run([_INSIDE.with_name("image.sh"), folder, "one"], stdout=file, stderr=file, timeout=1_800)
    assert done.returncode == 0, log.read_text()[-3_000:]
    return [folder / "streamflow.tar", folder / "pause.tar"]


class RealNode(Cluster):
    """A running node with its control plane."""

    def __init__(self, folder: Path, images: list[Path]) -> None:
        if os.geteuid() or subprocess.run(["unshare", "-mnp", "--fork", "true"], capture_output=True).returncode:
            pytest.skip("NOTHING RUNS ON A REAL NODE: it takes root, and the right to make namespaces")
        super().__init__(folder, _PROGRAMS)
        self._images = images
        self._outer: subprocess.Popen[bytes] | None = None
        self._home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)

    def start(self) -> None:
        """Start everything, and enter its network; AssertionError with the log when it does not come up."""
        parts = ("--mount", "--net", "--pid", "--uts", "--ipc", "--fork", "--mount-proc", "--propagation=private")
        path = f"{BUILT}{os.pathsep}{os.environ['PATH']}{os.pathsep}/usr/sbin{os.pathsep}/sbin"
        with (self.folder / "node.log").open("wb") as log:
            self._outer = subprocess.Popen(
                ["unshare", *parts, _INSIDE, self.folder, *self._images],
                stdout=log,
                stderr=log,
                env={**os.environ, "PATH": path},
            )
        deadline = time.monotonic() + _START_S
        while not (self.folder / "ready").exists():
            text = (self.folder / "node.log").read_text()[-3_000:]
            assert self._outer.poll() is None, text
            assert time.monotonic() < deadline, text
            time.sleep(0.1)
        with open(f"/proc/{self._first()}/ns/net", "rb") as network:
            _enter(network.fileno())

    def stop(self) -> None:
        """Leave its network, and end every process of it; its mounts, addresses and cgroups go with them."""
        _enter(self._home)
        os.close(self._home)
        if self._outer is not None:
            first = self._first()
            if first:
                os.kill(first, signal.SIGKILL)
            self._outer.wait(60)
        for path in Path("/sys/fs/cgroup").glob("*/k8s.io"):
            for each in sorted(path.rglob("*/"), key=lambda each: -len(each.parts)):
                each.rmdir()
            path.rmdir()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _first(self) -> int:
        """The process that is number 1 inside, 0 when it is gone."""
        assert self._outer is not None
        children = Path(f"/proc/{self._outer.pid}/task/{self._outer.pid}/children")
        numbers = children.read_text().split() if children.exists() else []
        return int(numbers[0]) if numbers else 0


def _enter(network: int) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    if library.setns(network, _NEW_NETWORK):
        raise OSError(ctypes.get_errno(), "setns")
