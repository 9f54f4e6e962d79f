#!/bin/sh
# host-tree.sh ENGINE RELEASE [OUT_DIR]: the tree that the tests' lab hosts stand on: Debian with systemd, sshd and a container
# engine (docker or podman) that waits for a role to start it, made of packages from the machine's own mirror. Leaves
# OUT_DIR/ENGINE-RELEASE-RECIPE; where the recipe (this file) has not changed, nothing is done. Prints the tree's path on its
# last line.
set -eu
me=host-tree.sh
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
. "$here/../../scripts/lib.sh"
engine=${1:-} release=${2:-} out=${3:-/var/cache/quaylab/test-host}

packages=systemd-sysv,dbus,openssh-server,iptables,iproute2,procps,sudo,netbase,ca-certificates
case $engine-$release in
docker-bookworm) packages=$packages,docker.io ;;
# trixie's knows Quadlet; bookworm's is too old for it.
podman-trixie | podman-bookworm) packages=$packages,podman,netavark,aardvark-dns,crun,nftables ;;
*) die "there is no tree $engine of '$release'" "there are docker bookworm, podman trixie and podman bookworm" ;;
esac
tree=$out/$engine-$release-$(recipe_hash "$here/host-tree.sh")
if [ -d "$tree" ]; then
    say "$tree"
    exit 0
fi
become_root "$here/host-tree.sh" "$engine" "$release" "$out"
for tool in mmdebstrap flock; do
    have "$tool" || die "$tool is missing" "scripts/setup.sh lab installs what this needs"
done
own_mounts "$here/host-tree.sh" "$engine" "$release" "$out"
open_workshop "$out"
if [ -d "$tree" ]; then
    say "$tree"
    exit 0
fi

cat >"$work/customize.sh" <<'HOOK'
set -eu
root=${1:?} engine=${2:?}
put() { mkdir -p "$(dirname "$root$1")"; cat >"$root$1"; }

# The address that the test chose for this host, on the interface that the container's manager made.
put /etc/systemd/system/lab-address.service <<X
[Unit]
DefaultDependencies=no
Before=network.target ssh.service
[Service]
Type=oneshot
RemainAfterExit=yes
EnvironmentFile=/etc/lab-address
ExecStart=/usr/sbin/ip address add \${ADDRESS} dev host0
ExecStart=/usr/sbin/ip link set host0 up
ExecStart=/usr/sbin/ip route add default via \${GATEWAY}
[Install]
WantedBy=multi-user.target
X
case $engine in
docker)
    # With cgroup v1 the controllers come read-only into a container, and the container engine must write there.
    put /etc/systemd/system/docker.service.d/lab.conf <<'X'
[Service]
ExecStartPre=-/bin/sh -c '[ -e /sys/fs/cgroup/cgroup.controllers ] || for d in memory cpu cpuacct cpuset devices pids freezer blkio; do mount -o remount,bind,rw /sys/fs/cgroup/$d; done'
X
    units='docker.service docker.socket containerd.service'
    ;;
podman)
    # A machine whose controllers are all of version 1 leaves the host control groups of version 2 without any; nor may it let
    # anybody raise limits.
    put /etc/containers/containers.conf.d/lab.conf <<'X'
[containers]
default_ulimits = ["nofile=20000:20000"]
pids_limit = 0
X
    units='podman.socket podman.service podman-auto-update.timer podman-restart.service'
    ;;
esac
printf '127.0.0.1 localhost\n' | put /etc/hosts
put /etc/resolv.conf </dev/null
put /etc/machine-id </dev/null
sed -i 's/^#\?UseDNS.*/UseDNS no/' "$root/etc/ssh/sshd_config"
chroot "$root" useradd --create-home --shell /bin/bash debian
printf 'debian ALL=(ALL) NOPASSWD: ALL\n' | put /etc/sudoers.d/debian
chroot "$root" systemctl -q enable ssh.service lab-address.service
# shellcheck disable=SC2086 # words are wanted
chroot "$root" systemctl -q disable $units
chroot "$root" systemctl -q mask systemd-udevd.service systemd-networkd.service systemd-resolved.service \
    getty.target console-getty.service apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer fstrim.timer \
    dpkg-db-backup.timer systemd-logind.service systemd-modules-load.service
rm -f "$root"/etc/ssh/ssh_host_*_key* "$root"/etc/apt/apt.conf.d/99mmdebstrap "$root"/var/log/*.log
HOOK

debootstrap_into "$work/tree" "$release" --variant=minbase --include="$packages" \
    --dpkgopt=force-unsafe-io \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    --dpkgopt='path-exclude=/usr/share/doc/*' \
    --customize-hook="sh '$work/customize.sh' \"\$1\" $engine"
find "$out" -maxdepth 1 -name "$engine-$release-*" -exec rm -rf --one-file-system -- {} +
mv "$work/tree" "$tree"
say "$tree"
