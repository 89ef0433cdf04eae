#!/usr/bin/env bash
# Helm and a Kubernetes control plane from one Go module, so that k8s.io/* compiles once. usage: build.sh FOLDER
# Some 10 minutes of CPU the first time; what FOLDER has already is kept.
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
