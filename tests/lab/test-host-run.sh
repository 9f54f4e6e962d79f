#!/bin/sh
# test-host-run.sh TREE KEY NAME=ADDRESS...: lab hosts, as long as standard input is open.
# Runs as the first process of network, mount and PID namespaces of its own (tests/lab/nspawn.rs makes them): whatever
# happens to the test, hosts, bridge, addresses and mounts end with it. Only the cgroups must be cleared by hand.
#
# Each NAME is a systemd-nspawn machine over an overlay of TREE, on a bridge at 10.77.0.1/16, with KEY (a public key)
# for root and for debian. Prints "up" once all are started.
set -eu
tree=$1 key=$2
shift 2
cgroups=/sys/fs/cgroup
group=quaylab-test-$(od -An -N4 -tx4 /dev/urandom | tr -d ' ')

ip link set lo up
ip link add br0 type bridge
ip address add 10.77.0.1/16 dev br0
ip link set br0 up

# The machine's own disk, not its memory: container images are unpacked here.
store=$(mktemp -d /var/tmp/quaylab-test.XXXXXX)
# Podman's services want control groups of version 2, be there controllers in them or not.
if [ -e "$tree/usr/bin/podman" ]; then data=/var/lib/containers wants_unified=1; else data=/var/lib/docker wants_unified=; fi
if [ -e $cgroups/cgroup.controllers ]; then
    unified=1 controllers=$cgroups
else
    unified=0 controllers=$(for c in systemd unified memory cpu,cpuacct cpu cpuacct cpuset devices pids freezer blkio; do
        [ ! -d "$cgroups/$c" ] || [ -L "$cgroups/$c" ] || echo "$cgroups/$c"
    done)
fi

finish() {
    trap '' TERM INT HUP
    # SIGTERM: the machine shuts down in order; SIGKILL would leave its init behind.
    # shellcheck disable=SC2086
    [ -z "${pids:-}" ] || kill -TERM $pids 2>/dev/null || true
    for pid in ${pids:-}; do
        for _ in $(seq 100); do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
    done
    # Everything else in this PID namespace.
    kill -KILL -1 2>/dev/null || true
    sleep 0.2
    for controller in $controllers; do
        find "$controller/$group" -depth -type d -exec rmdir {} + 2>/dev/null || true
    done
    for mounted in "$store"/*/root; do umount -l "$mounted" 2>/dev/null || true; done
    rm -rf --one-file-system -- "$store"
}
trap finish EXIT
trap 'exit 143' TERM INT HUP

pids=
for host; do
    name=${host%%=*} address=${host#*=}
    mkdir -p "$store/$name/upper" "$store/$name/work" "$store/$name/root" "$store/$name/docker"
    mount -t overlay quaylab-test -o "lowerdir=$tree,upperdir=$store/$name/upper,workdir=$store/$name/work" "$store/$name/root"
    root=$store/$name/root
    echo "$name" >"$root/etc/hostname"
    printf 'ADDRESS=%s/16\nGATEWAY=10.77.0.1\n' "$address" >"$root/etc/lab-address"
    printf '127.0.0.1 localhost\n%s %s\n' "$address" "$name" >"$root/etc/hosts"
    for home in root home/debian; do
        mkdir -p "$root/$home/.ssh"
        cp "$key" "$root/$home/.ssh/authorized_keys"
        chown -R --reference="$root/$home" "$root/$home/.ssh"
        chmod 700 "$root/$home/.ssh"
        chmod 600 "$root/$home/.ssh/authorized_keys"
    done
    ssh-keygen -q -t ed25519 -N '' -f "$root/etc/ssh/ssh_host_ed25519_key"
    for controller in $controllers; do mkdir -p "$controller/$group/$name"; done
    # A cpuset that has no CPU takes no process.
    if [ $unified = 0 ] && [ -d $cgroups/cpuset ]; then
        for set in "$group" "$group/$name"; do
            for f in cpus mems; do cat "$cgroups/cpuset/cpuset.$f" >"$cgroups/cpuset/$set/cpuset.$f"; done
        done
    fi
    # shellcheck disable=SC3028
    (
        me=$(exec sh -c 'echo $PPID')
        for controller in $controllers; do echo "$me" >"$controller/$group/$name/cgroup.procs" 2>/dev/null || true; done
        # The engine in the host keeps its data on a real folder: an overlay cannot hold another's upper folder.
        exec env SYSTEMD_NSPAWN_API_VFS_WRITABLE=network SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=${wants_unified:-$unified} \
            systemd-nspawn -q --register=no --keep-unit --machine="$name" --directory="$root" --boot \
            --network-bridge=br0 --resolv-conf=off --link-journal=no \
            --capability=all --system-call-filter='add_key keyctl bpf' --bind="$store/$name/docker:$data" \
            >"$store/$name/boot.log" 2>&1 </dev/null
    ) &
    pids="$pids $!"
done
echo "up $store"
# The test holds the other end.
read -r _ || true
