#!/usr/bin/env bash
# Helm and a Kubernetes control plane from one Go module, so that k8s.io/* compiles once, and what checks compose files
# and alert rules. usage: build.sh FOLDER [node]; `node` builds what a real node takes besides.
# Some 15 minutes of CPU the first time, 4 more for a node; what FOLDER has already is kept.
set -euo pipefail
cd "$(dirname "$0")"
folder=${1:?folder for the binaries}
mkdir -p "$folder"
export CGO_ENABLED=0 GOFLAGS="-buildvcs=false -trimpath"
version() { go list -m -f '{{.Version}}' "$1"; }
kubernetes=$(version k8s.io/kubernetes) helm=$(version helm.sh/helm/v3)
minor=$(echo "$kubernetes" | cut -d. -f2)
base=k8s.io/component-base/version chart=helm.sh/helm/v3
flags="-s -w -X $base.gitVersion=$kubernetes -X $base.gitMajor=1 -X $base.gitMinor=$minor -X k8s.io/client-go/pkg/version.gitVersion=$kubernetes"
# Built plainly, Helm believes in Kubernetes 1.20: kubeVersion of charts and .Capabilities would be wrong.
flags="$flags -X $chart/internal/version.version=$helm -X $chart/pkg/chartutil.k8sVersionMajor=1 -X $chart/pkg/chartutil.k8sVersionMinor=$minor"
flags="$flags -X $chart/pkg/lint/rules.k8sVersionMajor=1 -X $chart/pkg/lint/rules.k8sVersionMinor=$minor"
build() { # package, name
  [ -x "$folder/$2" ] || { echo "building $2"; go build -ldflags "$flags" -o "$folder/$2" "$1"; }
}
build helm.sh/helm/v3/cmd/helm helm
build go.etcd.io/etcd/server/v3 etcd
for name in kube-apiserver kube-controller-manager kube-scheduler kubectl; do build "k8s.io/kubernetes/cmd/$name" $name; done
build sigs.k8s.io/kwok/cmd/kwok kwok
if [ "${2:-}" = node ]; then
  for name in kubelet kube-proxy; do build "k8s.io/kubernetes/cmd/$name" $name; done
fi
flags="-s -w"
(cd compose && build . compose-check)
(cd promtool && build github.com/prometheus/prometheus/cmd/promtool promtool)
[ "${2:-}" = node ] || exit 0
(cd dns && build . coredns)
for name in containerd containerd-shim-runc-v2 ctr; do
  [ -x "$folder/$name" ] || GOBIN=$folder go install -ldflags "$flags" "github.com/containerd/containerd/v2/cmd/$name@v2.4.2"
done
