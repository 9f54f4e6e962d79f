#!/bin/sh
# ceph-packages.sh TREE [OUT_DIR]: what Ceph needs beyond TREE (host-tree.sh makes it), as a flat repository that a lab host
# without a network can install from. Leaves OUT_DIR/ceph-TREE-RECIPE; prints its path on its last line.
set -eu
me=ceph-packages.sh
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
. "$here/../../scripts/lib.sh"
tree=$1 out=${2:-/var/cache/quaylab/packages}

release=bookworm
packages='ceph-mon ceph-mgr ceph-osd ceph-common radosgw'
made=$out/ceph-$(basename "$tree")-$(recipe_hash "$here/ceph-packages.sh")
if [ -d "$made" ]; then
    say "$made"
    exit 0
fi
become_root "$here/ceph-packages.sh" "$tree" "$out"
for tool in apt-get dpkg-deb flock; do
    have "$tool" || die "$tool is missing" "the packages are Debian's"
done
open_workshop "$out"
if [ -d "$made" ]; then
    say "$made"
    exit 0
fi

# The machine's own lists where they are of that release and fresh; else lists of its own, from the machine's mirrors.
mkdir -p "$work/lists/partial" "$work/cache/archives/partial"
lists=
apt() {
    # shellcheck disable=SC2086 # words are wanted
    env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 $lists \
        -o Dir::State::Status="$tree/var/lib/dpkg/status" -o Dir::Cache="$work/cache" -o APT::Sandbox::User=root \
        -o Acquire::Languages=none "$@"
}
# shellcheck disable=SC2086 # words are wanted
get() { apt --no-install-recommends --download-only install $packages; }
if [ "$(. /etc/os-release && echo "${VERSION_CODENAME:-}")" != "$release" ] || ! quiet "$work/apt.log" get 2>/dev/null; then
    mirror_sources "$release" "$work/sources.list"
    [ -s "$work/sources.list" ] || die "this machine has no Debian mirror"
    lists="-o Dir::Etc::SourceList=$work/sources.list -o Dir::Etc::SourceParts=/dev/null -o Dir::State::Lists=$work/lists"
    quiet "$work/apt.log" apt update && quiet "$work/apt.log" get ||
        die "apt-get failed" "the lines above say why; a mirror that cannot be reached is the usual reason"
fi

mkdir "$work/flat"
mv "$work"/cache/archives/*.deb "$work/flat"
(
    cd "$work/flat"
    sha256sum -- *.deb | while read -r sum deb; do
        dpkg-deb --field "$deb" Package Version Architecture Multi-Arch Pre-Depends Depends Provides Conflicts Breaks Replaces
        printf 'Filename: ./%s\nSize: %s\nSHA256: %s\n\n' "$deb" "$(stat -c %s "$deb")" "$sum"
    done >Packages
)
find "$out" -maxdepth 1 -name 'ceph-*' -exec rm -rf --one-file-system -- {} +
mv "$work/flat" "$made"
say "$made"
