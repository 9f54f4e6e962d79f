# Looks at the host for the setup module: one run, sections on standard output, nothing changed.
# The words in $1 say which parts are wanted: minimal, network, hardware, virtual. $2 is the folder of local facts.
wants() { case " $1 " in *" $2 "*) return 0;; esac; return 1; }
# Small files are read by the shell itself: a fork is the dear part of this script.
show() { mark "$1"; [ -r "$2" ] && { while IFS= read -r line || [ -n "$line" ]; do printf '%s\n' "$line"; done <"$2"; } 2>/dev/null; }
show_large() { mark "$1"; [ -r "$2" ] && cat "$2" 2>/dev/null; }

if wants "$parts" minimal; then
  mark uname
  for f in ostype osrelease version; do line=; read -r line </proc/sys/kernel/$f; printf '%s\n' "$line"; done
  uname -m; line=; read -r line </proc/sys/kernel/hostname; printf '%s\n' "$line"
  mark fqdn; hostname -f 2>/dev/null || uname -n
  show os-release /etc/os-release
  show redhat-release /etc/redhat-release
  show debian-version /etc/debian_version
  show alpine-release /etc/alpine-release
  mark date; date '+%Y|%m|%d|%A|%u|%H|%M|%S|%s|%Z|%z|%V|%w'
  mark date-utc; date -u '+%Y-%m-%dT%H:%M:%S'
  mark user; id -un
  while read -r word real effective line; do
    case $word in Uid:) ruid=$real euid=$effective;; Gid:) rgid=$real egid=$effective;; esac
  done </proc/self/status
  printf '%s\n' "$euid" "$egid" "$ruid" "$rgid"; getent passwd "$euid" 2>/dev/null || grep "^$(id -un):" /etc/passwd
  mark env; env
  show comm /proc/1/comm
  mark init
  [ -d /run/systemd/system ] && echo systemd
  [ -d /run/openrc ] && echo openrc
  mark pkg; for p in dnf5 dnf yum apt-get zypper apk pacman; do has $p && echo $p; done
  mark bits; getconf LONG_BIT 2>/dev/null
  show machine-id /etc/machine-id
  show cmdline /proc/cmdline
  show resolv /etc/resolv.conf
  show fips /proc/sys/crypto/fips_enabled
  mark selinux; [ -d /sys/fs/selinux ] && { cat /sys/fs/selinux/enforce /sys/fs/selinux/policyvers 2>/dev/null; echo; grep -E '^SELINUX(TYPE)?=' /etc/selinux/config 2>/dev/null; }
  mark apparmor; [ -d /sys/kernel/security/apparmor ] && echo 1
  mark ssh-keys; cat /etc/ssh/ssh_host_*_key.pub 2>/dev/null
  for f in "$local_facts"/*.fact; do
    [ -f "$f" ] || continue
    n=${f##*/}
    mark "local:${n%.fact}"
    if [ -x "$f" ]; then "$f" 2>/dev/null </dev/null; else cat "$f"; fi
  done
fi

if wants "$parts" network; then
  mark links; ip -o link 2>/dev/null
  mark addresses; ip -o addr 2>/dev/null
  mark route4; ip -4 route get 8.8.8.8 2>/dev/null
  mark route6; ip -6 route get 2404:6800:400a:800::1012 2>/dev/null
fi

if wants "$parts" hardware; then
  show_large meminfo /proc/meminfo
  show_large cpuinfo /proc/cpuinfo
  mark nproc; nproc 2>/dev/null
  show uptime /proc/uptime
  show_large mounts /proc/mounts
  mark df; if has timeout; then timeout "$wait" df -Pk 2>/dev/null; else df -Pk 2>/dev/null; fi
  mark df-inodes; if has timeout; then timeout "$wait" df -Pi 2>/dev/null; else df -Pi 2>/dev/null; fi
  mark uuids; for f in /dev/disk/by-uuid/*; do [ -e "$f" ] && printf '%s %s\n' "${f##*/}" "$(readlink -f "$f")"; done
  for f in product_name product_version product_serial product_uuid sys_vendor bios_version bios_date board_name board_vendor chassis_vendor; do
    show "dmi:$f" /sys/class/dmi/id/$f
  done
  mark devices
  for d in /sys/block/*; do
    [ -e "$d/size" ] || continue
    n=${d##*/}
    # shellcheck disable=SC2034
    { read -r size <"$d/size"; read -r sector <"$d/queue/hw_sector_size"; read -r removable <"$d/removable"
      read -r rotational <"$d/queue/rotational"; } 2>/dev/null
    model=; vendor=
    [ -r "$d/device/model" ] && read -r model <"$d/device/model"
    [ -r "$d/device/vendor" ] && read -r vendor <"$d/device/vendor"
    printf 'disk|%s|%s|%s|%s|%s|%s|%s\n' "$n" "$size" "$sector" "$removable" "$rotational" "$model" "$vendor"
    for p in "$d/$n"*; do
      [ -e "$p/partition" ] || continue
      read -r psize <"$p/size"; read -r pstart <"$p/start"
      printf 'part|%s|%s|%s|%s\n' "$n" "${p##*/}" "$psize" "$pstart"
    done
    for h in "$d"/holders/*; do [ -e "$h" ] && printf 'holder|%s|%s\n' "$n" "${h##*/}"; done
  done
  if has lvs && [ "$(id -u)" = 0 ]; then
    o='--noheadings --nosuffix --units g --separator |'
    mark vgs; vgs $o -o vg_name,vg_size,vg_free,lv_count,pv_count 2>/dev/null
    mark lvs; lvs $o -o lv_name,lv_size,vg_name 2>/dev/null
    mark pvs; pvs $o -o pv_name,pv_size,pv_free,vg_name 2>/dev/null
  fi
fi

if wants "$parts" virtual; then
  mark virt; has systemd-detect-virt && systemd-detect-virt 2>/dev/null
  mark container
  [ -e /.dockerenv ] && echo docker
  [ -e /run/.containerenv ] && echo podman
  [ -r /run/systemd/container ] && cat /run/systemd/container
  tr '\0' '\n' </proc/1/environ 2>/dev/null | sed -n 's/^container=//p'
  mark hardware
  cat /sys/class/dmi/id/product_name /sys/class/dmi/id/sys_vendor 2>/dev/null
  [ -d /proc/xen ] && echo xen
  mark kvm; grep -q '^kvm ' /proc/modules 2>/dev/null && echo 1
fi
