#!/bin/sh
# setup.sh [build|lab|test]: installs what is missing for building, for a lab (which includes building), or for the
# tests (which include both). Debian 12 or newer by apt; Fedora and RHEL 9 or newer by dnf. One line per group.
set -eu
me=setup.sh
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
. "$here/lib.sh"
wanted=${1:-lab}
case $wanted in build | lab | test) ;; *) die "unknown group '$wanted'" "use build, lab or test" ;; esac
rust_minimum=1.89
log=$(mktemp)
trap 'rm -f -- "$log"' EXIT

if have apt-get; then packager=apt; elif have dnf; then packager=dnf; else
    die "neither apt-get nor dnf is here" "install by hand what scripts/setup.sh lists"
fi

# packages GROUP: what it is called here.
packages() {
    case $packager-$1 in
    apt-build) echo gcc libc6-dev make pkg-config libvirt-dev git ca-certificates curl ;;
    dnf-build) echo gcc make pkgconf-pkg-config libvirt-devel git ca-certificates ;;
    apt-lab) echo libvirt-daemon-system libvirt-clients qemu-system-x86 qemu-utils dnsmasq-base mmdebstrap lvm2 slirp4netns \
        iproute2 zstd e2fsprogs fdisk grub-pc-bin grub-common openssh-client ;;
    dnf-lab) echo libvirt-daemon libvirt-daemon-driver-qemu libvirt-daemon-config-network libvirt-daemon-driver-storage \
        libvirt-client qemu-kvm qemu-img dnsmasq lvm2 slirp4netns iproute zstd e2fsprogs util-linux openssh-clients ;;
    apt-test) echo openssh-server systemd-container python3-venv postgresql redis-server docker-registry docker.io busybox-static ksh openssl xz-utils zstd genisoimage cpio ovmf \
        mariadb-server faketime python3-psycopg2 python3-yaml xfsprogs ;;
    dnf-test) echo openssh-server systemd-container python3 postgresql-server redis podman ;;
    esac
}
# Where the distribution has them: what makes the guest image from Debian's packages.
optional() { case $packager-$1 in apt-test) echo ceph-mon ceph-mgr ceph-osd ceph-common radosgw vagrant vagrant-libvirt ;; dnf-test) echo busybox cpio libfaketime edk2-ovmf genisoimage xfsprogs ;; dnf-lab) echo mmdebstrap debian-keyring grub2-pc-modules grub2-tools-extra ;; esac; }

missing() {
    for package; do
        case $packager in
        apt) [ "$(dpkg-query -W -f='${db:Status-Abbrev}' "$package" 2>/dev/null)" = 'ii ' ] ;;
        dnf) rpm -q --quiet --whatprovides "$package" ;;
        esac || echo "$package"
    done
}

apt_get() { as_root env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 -q -y "$@"; }

# A qemu-utils from another suite than the qemu-system-x86 that can be had keeps it from being installed: both must
# come from one source. Prints qemu-utils=VERSION where that is so.
qemu_utils_beside() {
    system=$(apt-cache policy qemu-system-x86 | sed -n 's/^ *Candidate: //p')
    installed=$(dpkg-query -W -f='${Version}' qemu-utils 2>/dev/null || true)
    [ -n "$installed" ] && [ -n "$system" ] || return 0
    [ "${installed%%+*}" != "${system%%+*}" ] || return 0
    beside=$(apt-cache madison qemu-utils | awk -v wanted="${system%%+*}" '{ split($3, part, "+"); if (part[1] == wanted) { print $3; exit } }')
    [ -z "$beside" ] || echo "qemu-utils=$beside"
}

# with_services_kept COMMAND...: installing starts no service that did not run: Debian asks policy-rc.d, which is put
# back as it was, also after Ctrl-C.
with_services_kept() {
    policy=/usr/sbin/policy-rc.d
    if [ "$packager" = dnf ] || [ -e "$policy" ]; then "$@"; return; fi
    trap 'as_root rm -f "$policy"; rm -f -- "$log"' EXIT
    trap 'exit 130' INT TERM
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
    as_root chmod 755 "$policy"
    kept=0
    "$@" || kept=$?
    as_root rm -f "$policy"
    trap 'rm -f -- "$log"' EXIT
    return "$kept"
}

install_packages() {
    case $packager in
    apt)
        # The lists may be old or absent: asked again only if the first try fails.
        apt_get install --no-install-recommends --allow-downgrades "$@" || { apt_get update && apt_get install --no-install-recommends --allow-downgrades "$@"; }
        ;;
    dnf) as_root dnf -q -y install "$@" ;;
    esac
}

group() {
    # shellcheck disable=SC2046 # words are wanted
    needed=$(missing $(packages "$1"))
    extra=$(missing $(optional "$1"))
    if [ -z "$needed$extra" ]; then
        say "packages for $1: all there"
        return 0
    fi
    start=$(date +%s)
    if [ "$packager" = apt ]; then
        [ -n "$(find /var/lib/apt/lists -maxdepth 1 -name '*_Packages*' 2>/dev/null | head -n 1)" ] || quiet "$log" apt_get update ||
            die "apt-get update failed"
        case " $(echo $needed) " in *' qemu-system-x86 '*) needed="$needed $(qemu_utils_beside)" ;; esac
    fi
    # shellcheck disable=SC2086 # words are wanted
    [ -z "$needed" ] || quiet "$log" with_services_kept install_packages $needed ||
        die "the packages for $1 could not be installed" "the end of the log is above; is the machine's mirror reachable?"
    for package in $extra; do
        quiet "$log" install_packages "$package" 2>/dev/null ||
            say "note: $package is not to be had here; what needs it says so (no guest image is made: image_uri must name one; a test is skipped)"
    done
    say "packages for $1: installed $(echo $needed $extra | wc -w) in $(($(date +%s) - start)) s"
}

new_enough() {
    found=$("$@" --version 2>/dev/null | awk '{ print $2 }')
    [ -n "$found" ] && [ "$(printf '%s\n%s\n' "$rust_minimum" "$found" | sort -V | head -n 1)" = "$rust_minimum" ]
}

rust() {
    PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin
    if new_enough cargo; then
        say "rust: cargo $found is there"
        return 0
    fi
    start=$(date +%s)
    if have rustup; then
        quiet "$log" rustup toolchain install stable --profile minimal -c clippy -c rustfmt && quiet "$log" rustup default stable ||
            die "rustup could not install a toolchain"
    elif quiet "$log" install_packages rustup 2>/dev/null; then
        if have rustup-init && ! have rustup; then
            quiet "$log" rustup-init -y --no-modify-path --profile minimal -c clippy -c rustfmt
        else
            quiet "$log" rustup default stable
        fi || die "rustup could not install a toolchain"
    else
        # Neither a new cargo nor rustup among the distribution's packages: the project's own installer.
        installer=$(mktemp)
        quiet "$log" curl --proto '=https' --tlsv1.2 -sSf -o "$installer" https://sh.rustup.rs &&
            quiet "$log" sh "$installer" -y --no-modify-path --profile minimal -c clippy -c rustfmt ||
            die "no Rust toolchain could be installed" "install Rust $rust_minimum or newer by hand, then run this again"
        rm -f -- "$installer"
    fi
    new_enough cargo || die "the toolchain that was installed is older than $rust_minimum" "rustup update stable"
    say "rust: cargo $found installed in $(($(date +%s) - start)) s"
}

group build
rust
case $wanted in lab | test) group lab ;; esac
case $wanted in test) group test ;; esac
