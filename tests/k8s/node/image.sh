#!/usr/bin/env bash
# Images without a daemon and without a registry: Debian's Python as the base, the product's own Dockerfile on it, and
# what holds a pod's namespaces. usage: image.sh FOLDER TAG...   Root. Gives FOLDER/streamflow.tar, FOLDER/pause.tar.
# Some 2 minutes the first time; the base and unchanged steps of the Dockerfile are kept in FOLDER.
set -euo pipefail
folder=$(readlink -f "${1:?folder}"); shift
root=$(readlink -f "$(dirname "$0")/../../..")
mkdir -p "$folder"
export BUILDAH_ISOLATION=chroot STORAGE_DRIVER=overlay PATH=$PATH:/usr/sbin:/sbin
build() { buildah --root "$folder/storage" --runroot "$folder/runroot" "$@"; }

if ! build images -q localhost/python:3.11 >/dev/null 2>&1; then
  [ -e "$folder/rootfs/.whole" ] || {
    rm -rf "$folder/rootfs"
    debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates bookworm "$folder/rootfs" http://deb.debian.org/debian
    ln -s python3 "$folder/rootfs/usr/bin/python"
    rm -rf "$folder"/rootfs/var/cache/apt/archives/*.deb "$folder"/rootfs/var/lib/apt/lists/*
    touch "$folder/rootfs/.whole"
  }
  made=$(build from scratch)
  cp -a "$folder/rootfs/." "$(build mount "$made")/"
  build umount "$made" >/dev/null
  build config --env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin --cmd python3 "$made"
  build commit -q --rm "$made" localhost/python:3.11
fi

tags=() names=()
for tag in "$@"; do tags+=(--tag "localhost/streamflow:$tag"); names+=("localhost/streamflow:$tag"); done
# The machine's certificates: where a registry of packages is reached through a proxy that has one of its own.
build bud --layers --pull-never --volume /etc/ssl/certs:/etc/ssl/certs:ro --build-arg BASE=localhost/python:3.11 \
  "${tags[@]}" --file "$root/Dockerfile" "$root"
rm -f "$folder/streamflow.tar"
build push -q "${names[0]}" "docker-archive:$folder/streamflow.tar:${names[0]}"

if [ ! -e "$folder/pause.tar" ]; then
  (cd "$root/tests/k8s/tools/pause" && CGO_ENABLED=0 go build -buildvcs=false -trimpath -o "$folder/pause" .)
  made=$(build from scratch)
  build copy -q "$made" "$folder/pause" /pause
  build config --entrypoint '["/pause"]' --user 65535:65535 "$made"
  build commit -q --rm "$made" localhost/pause:1
  build push -q localhost/pause:1 "docker-archive:$folder/pause.tar:localhost/pause:1"
fi
