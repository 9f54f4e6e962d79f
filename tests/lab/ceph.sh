#!/bin/sh
# ceph.sh FOLDER MON_PORT GATEWAY_PORT: a one-node Ceph (mon, mgr, osd in memory, radosgw) on loopback, made of the
# distribution's packages, as long as standard input is open. Everything is below FOLDER; prints "up" once the
# gateway answers.
set -eu
d=$1 mon=$2 gateway=$3
export PATH="$PATH:/usr/sbin"
mkdir -p "$d/mon" "$d/mgr" "$d/osd" "$d/rgw" "$d/run" "$d/log"
fsid=$(cat /proc/sys/kernel/random/uuid)
cat >"$d/ceph.conf" <<X
[global]
fsid = $fsid
mon host = [v2:127.0.0.1:$mon]
mon initial members = a
ms bind msgr1 = false
public network = 127.0.0.0/8
cluster network = 127.0.0.0/8
auth cluster required = cephx
auth service required = cephx
auth client required = cephx
keyring = $d/keyring
run dir = $d/run
admin socket = $d/run/\$name.asok
pid file = $d/run/\$name.pid
log file = $d/log/\$name.log
crash dir = $d/run
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 1
osd pool default pgp num = 1
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon allow pool size one = true
mon warn on pool no redundancy = false
mon data avail crit = 1
mon data avail warn = 1
auth allow insecure global id reclaim = false
[mon.a]
mon data = $d/mon
[mgr.a]
mgr data = $d/mgr
mgr initial modules =
[osd.0]
osd data = $d/osd
osd objectstore = memstore
memstore device bytes = 1073741824
osd class load list = *
osd class default list = *
[client.rgw.a]
rgw frontends = beast endpoint=127.0.0.1:$gateway
rgw data = $d/rgw
rgw dns name = localhost
X
finish() {
    trap '' TERM INT HUP
    for file in "$d"/run/*.pid; do [ ! -f "$file" ] || kill "$(cat "$file")" 2>/dev/null || true; done
    for file in "$d"/run/*.pid; do
        [ -f "$file" ] || continue
        pid=$(cat "$file")
        for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do kill -0 "$pid" 2>/dev/null || break; sleep 0.2; done
        kill -KILL "$pid" 2>/dev/null || true
    done
}
trap finish EXIT
trap 'exit 143' TERM INT HUP
cd "$d"
c="-c $d/ceph.conf"
key() { ceph-authtool keyring --gen-key -n "$@" >/dev/null; }
ceph-authtool -C keyring --gen-key -n mon. --cap mon 'allow *' >/dev/null
key client.admin --cap mon 'allow *' --cap osd 'allow *' --cap mgr 'allow *' --cap mds 'allow *'
key mgr.a --cap mon 'allow profile mgr' --cap osd 'allow *' --cap mds 'allow *'
key osd.0 --cap mon 'allow profile osd' --cap osd 'allow *' --cap mgr 'allow profile osd'
key client.rgw.a --cap mon 'allow rw' --cap osd 'allow rwx' --cap mgr 'allow rw'
monmaptool --create --fsid "$fsid" --addv a "[v2:127.0.0.1:$mon]" monmap >/dev/null
# shellcheck disable=SC2086
{
    ceph-mon $c -i a --mkfs --monmap monmap --keyring keyring
    ceph-mon $c -i a
    ceph $c --connect-timeout 30 mon stat >/dev/null
    ceph-mgr $c -i a
    uuid=$(cat /proc/sys/kernel/random/uuid)
    ceph $c osd new "$uuid" 0 >/dev/null 2>&1
    ceph-osd $c -i 0 --mkfs --osd-uuid "$uuid" >/dev/null 2>&1
    ceph-osd $c -i 0 >/dev/null 2>&1
    for _ in $(seq 200); do ceph $c osd stat 2>/dev/null | grep -q '1 up' && break; sleep 0.3; done
    radosgw $c -n client.rgw.a >/dev/null 2>&1
}
for _ in $(seq 300); do curl -fs -o /dev/null "http://127.0.0.1:$gateway/" && break; sleep 0.3; done
echo up
read -r _ || true
