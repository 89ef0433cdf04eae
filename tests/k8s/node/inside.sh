#!/usr/bin/env bash
# A whole Kubernetes with one real node, as the first process of namespaces of its own: etcd, API server, controllers,
# scheduler, containerd, kubelet, kube-proxy, CoreDNS. When this process ends, all of it ends, and nothing stays mounted.
# usage (root): unshare --mount --net --pid --uts --ipc --fork --mount-proc --propagation private inside.sh FOLDER IMAGE.tar...
# Writes FOLDER/kubeconfig, and FOLDER/ready when the node is. The machine's own network and settings stay as they are.
set -euo pipefail
folder=${1:?folder}; shift
address=10.88.0.1 pods=10.88.0.0/16 services=10.96.0.0/16
cd "$folder"
# Folder names go into sockets, which may have 108 characters: everything short is under /run.
mount --make-rshared /
hostname node
mount -t tmpfs tmpfs /run
mkdir -p /run/lock
# The kubelet insists on some of the machine's settings: it is shown files that have them, the machine keeps its own.
for each in vm/overcommit_memory=1 vm/panic_on_oom=0 kernel/panic=10 kernel/panic_on_oops=1 kernel/keys/root_maxkeys=1000000 kernel/keys/root_maxbytes=25000000; do
  file=/run/sysctl-$(basename "${each%=*}")
  echo "${each#*=}" >"$file"
  mount --bind "$file" "/proc/sys/${each%=*}"
done
for each in /var/lib/kubelet /var/lib/cni /var/log/pods /var/log/containers /etc/cni; do
  mkdir -p "$each" "$folder/root$each"
  mount --bind "$folder/root$each" "$each"
done
mount --make-rshared /var/lib/kubelet
ip link set lo up
ip link add cni0 type bridge
ip addr add $address/16 dev cni0
ip link set cni0 up
ip route add default via $address dev cni0
echo 1 >/proc/sys/net/ipv4/ip_forward

begin() { # name of a program, its arguments
  local name=$1
  "$@" >"$folder/$name.log" 2>&1 &
}
wait_for() { # whose log to show, a command that succeeds some day
  local name=$1
  shift
  for _ in $(seq 600); do
    "$@" >/dev/null 2>&1 && return 0
    sleep 0.2
  done
  echo "$name does not come up:"
  tail -n 20 "$folder/$name.log"
  exit 1
}

openssl genrsa -out sa.key 2048 2>/dev/null
openssl rsa -in sa.key -pubout -out sa.pub 2>/dev/null
token=$(openssl rand -hex 16)
(umask 077 && echo "$token,admin,1,\"system:masters\"" >tokens.csv)
begin etcd --data-dir "$folder/etcd" --unsafe-no-fsync --log-level warn
begin kube-apiserver --etcd-servers http://127.0.0.1:2379 --bind-address 0.0.0.0 --advertise-address $address --secure-port 6443 \
  --cert-dir "$folder/certs" --service-account-issuer https://kubernetes.default.svc --service-account-key-file sa.pub \
  --service-account-signing-key-file sa.key --service-cluster-ip-range $services --authorization-mode RBAC \
  --token-auth-file tokens.csv --allow-privileged --kubelet-preferred-address-types InternalIP
cat >kubeconfig <<EOF
apiVersion: v1
kind: Config
clusters: [{name: node, cluster: {server: "https://localhost:6443", certificate-authority: $folder/certs/apiserver.crt}}]
users: [{name: node, user: {token: $token}}]
contexts: [{name: node, context: {cluster: node, user: node}}]
current-context: node
EOF
chmod 600 kubeconfig
export KUBECONFIG=$folder/kubeconfig

cat >containerd.toml <<EOF
version = 3
root = "$folder/containerd"
state = "/run/containerd"
disabled_plugins = ["io.containerd.nri.v1.nri"]
[grpc]
  address = "/run/containerd/containerd.sock"
[plugins.'io.containerd.cri.v1.images']
  snapshotter = "overlayfs"
  [plugins.'io.containerd.cri.v1.images'.pinned_images]
    sandbox = "localhost/pause:1"
[plugins.'io.containerd.cri.v1.runtime']
  restrict_oom_score_adj = true
  [plugins.'io.containerd.cri.v1.runtime'.cni]
    bin_dirs = ["/usr/lib/cni"]
    conf_dir = "/etc/cni/net.d"
  [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
      BinaryName = "/usr/sbin/runc"
      SystemdCgroup = false
EOF
mkdir -p /etc/cni/net.d
cat >/etc/cni/net.d/10-pods.conflist <<EOF
{"cniVersion": "1.0.0", "name": "pods", "plugins": [
  {"type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": false, "hairpinMode": true,
   "ipam": {"type": "host-local", "ranges": [[{"subnet": "$pods", "gateway": "$address"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}]}
EOF
begin containerd --config "$folder/containerd.toml" --log-level warn
images() { ctr --address /run/containerd/containerd.sock --namespace k8s.io "$@"; }
wait_for containerd images version
for each in "$@"; do images images import "$each" >/dev/null; done
# The same image under a second name, for an upgrade that changes nothing else.
images images tag localhost/streamflow:one localhost/streamflow:two >/dev/null

wait_for kube-apiserver kubectl get --raw /readyz
begin kube-controller-manager --kubeconfig kubeconfig --leader-elect=false --service-account-private-key-file sa.key \
  --root-ca-file certs/apiserver.crt --bind-address 127.0.0.1
begin kube-scheduler --kubeconfig kubeconfig --leader-elect=false --bind-address 127.0.0.1
cat >kubelet.yaml <<EOF
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
failCgroupV1: false
cgroupDriver: cgroupfs
cgroupsPerQOS: false
enforceNodeAllocatable: []
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
authentication: {anonymous: {enabled: true}, webhook: {enabled: false}} # reachable from this network namespace only
authorization: {mode: AlwaysAllow}
clusterDNS: [$address]
clusterDomain: cluster.local
failSwapOn: false
evictionHard: {memory.available: 100Mi, nodefs.available: 1%, imagefs.available: 1%, nodefs.inodesFree: 0%}
makeIPTablesUtilChains: false
nodeStatusUpdateFrequency: 4s
EOF
begin kubelet --config kubelet.yaml --kubeconfig kubeconfig --hostname-override node --node-ip $address \
  --node-labels topology.kubernetes.io/zone=zone-a,topology.kubernetes.io/region=here --root-dir /var/lib/kubelet \
  --cert-dir "$folder/kubelet-certs" -v 2
cat >kube-proxy.yaml <<EOF
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: iptables
clusterCIDR: $pods
clientConnection: {kubeconfig: $folder/kubeconfig}
hostnameOverride: node
conntrack: {maxPerCore: 0, min: 0}
nodeIPOverride: ["$address"]
EOF
begin kube-proxy --config kube-proxy.yaml
cat >Corefile <<EOF
.:53 {
  bind $address
  errors
  kubernetes cluster.local {
    kubeconfig $folder/kubeconfig
    ttl 1
  }
}
EOF
begin coredns -conf Corefile
wait_for kubelet kubectl wait --for=condition=Ready node/node --timeout=1s
for number in $(seq 0 7); do
  mkdir -p "volumes/$number"
  cat <<EOF
---
apiVersion: v1
kind: PersistentVolume
metadata: {name: local-$number}
spec:
  capacity: {storage: 10Gi}
  accessModes: [ReadWriteOnce]
  persistentVolumeReclaimPolicy: Retain
  storageClassName: standard
  local: {path: $folder/volumes/$number} # not hostPath: fsGroup is for these only
  nodeAffinity: {required: {nodeSelectorTerms: [{matchExpressions: [{key: kubernetes.io/hostname, operator: In, values: [node]}]}]}}
EOF
done | kubectl apply -f - >/dev/null
kubectl apply -f - >/dev/null <<EOF
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: standard, annotations: {storageclass.kubernetes.io/is-default-class: "true"}}
provisioner: kubernetes.io/no-provisioner
volumeBindingMode: WaitForFirstConsumer
EOF
wait_for kube-controller-manager kubectl -n default get serviceaccount default
touch ready
while :; do # whoever is orphaned becomes ours
  wait -n || true
  sleep 1
done
