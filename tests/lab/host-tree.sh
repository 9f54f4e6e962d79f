#!/bin/sh
# test-host.sh [OUT_DIR]: the tree that the tests' lab hosts stand on: Debian with systemd, sshd and docker.io, made of
# packages from the machine's own mirror. Leaves OUT_DIR/tree-RECIPE; where the recipe (this file) has not changed,
# nothing is done. Prints the tree's path on its last line.
set -eu
me=test-host.sh
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
. "$here/../../scripts/lib.sh"
out=${1:-/var/cache/quaylab/test-host}

release=bookworm
packages=systemd-sysv,dbus,openssh-server,docker.io,iptables,iproute2,procps,sudo,netbase,ca-certificates
tree=$out/tree-$(recipe_hash "$here/test-host.sh")
if [ -d "$tree" ]; then
    say "$tree"
    exit 0
fi
become_root "$here/test-host.sh" "$out"
for tool in mmdebstrap flock; do
    have "$tool" || die "$tool is missing" "scripts/setup.sh lab installs what this needs"
done
own_mounts "$here/test-host.sh" "$out"
open_workshop "$out"
if [ -d "$tree" ]; then
    say "$tree"
    exit 0
fi

cat >"$work/customize.sh" <<'HOOK'
set -eu
root=$1
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
# With cgroup v1 the controllers come read-only into a container, and the container engine must write there.
put /etc/systemd/system/docker.service.d/lab.conf <<'X'
[Service]
ExecStartPre=-/bin/sh -c '[ -e /sys/fs/cgroup/cgroup.controllers ] || for d in memory cpu cpuacct cpuset devices pids freezer blkio; do mount -o remount,bind,rw /sys/fs/cgroup/$d; done'
X
printf '127.0.0.1 localhost\n' | put /etc/hosts
put /etc/resolv.conf </dev/null
put /etc/machine-id </dev/null
sed -i 's/^#\?UseDNS.*/UseDNS no/' "$root/etc/ssh/sshd_config"
chroot "$root" useradd --create-home --shell /bin/bash debian
printf 'debian ALL=(ALL) NOPASSWD: ALL\n' | put /etc/sudoers.d/debian
chroot "$root" systemctl -q enable ssh.service lab-address.service
# The engine is the role's to start.
chroot "$root" systemctl -q disable docker.service docker.socket containerd.service
chroot "$root" systemctl -q mask systemd-udevd.service systemd-networkd.service systemd-resolved.service \
    getty.target console-getty.service apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer fstrim.timer \
    dpkg-db-backup.timer systemd-logind.service
rm -f "$root"/etc/ssh/ssh_host_*_key* "$root"/etc/apt/apt.conf.d/99mmdebstrap "$root"/var/log/*.log
HOOK

debootstrap_into "$work/tree" "$release" --variant=minbase --include="$packages" \
    --dpkgopt=force-unsafe-io \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    --dpkgopt='path-exclude=/usr/share/doc/*' \
    --customize-hook="sh '$work/customize.sh' \"\$1\""
find "$out" -maxdepth 1 -name 'tree-*' -exec rm -rf --one-file-system -- {} +
mv "$work/tree" "$tree"
say "$tree"
