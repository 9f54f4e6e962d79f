# What the scripts share: talking, timing, becoming root, locks, the cache, and the machine's own Debian mirror.
# Sourced by the others; POSIX sh. Each script sets `me` before it sources this.

say() { printf '%s\n' "$*"; }
die() {
    printf '%s: %s\n' "${me:-quaylab}" "$1" >&2
    [ -z "${2:-}" ] || printf '  hint: %s\n' "$2" >&2
    exit 1
}
have() { command -v "$1" >/dev/null 2>&1; }

# A user's PATH may lack the folders of the system tools that are called by name here.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

# Runs the rest of the script as root: at once, or through sudo. Usage: become_root "$0" "$@"
become_root() {
    [ "$(id -u)" = 0 ] && return 0
    have sudo || die "this needs root and there is no sudo" "run it as root"
    exec sudo -- "$@"
}

# as_root COMMAND...: one command as root.
as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo -- "$@"; fi
}

# stage NAME closes the stage before it; stages_line prints every stage with the seconds that it took.
stage_name='' stage_start=0 stage_list='' stage_first=$(date +%s)
stage() {
    stage_now=$(date +%s)
    [ -z "$stage_name" ] || stage_list="$stage_list${stage_list:+ · }$stage_name $((stage_now - stage_start)) s"
    stage_name=$1 stage_start=$stage_now
}
stages_line() {
    stage ''
    say "$1: $stage_list · together $(($(date +%s) - stage_first)) s"
}

# quiet LOG COMMAND...: no output unless it fails, then the end of the log.
quiet() {
    quiet_log=$1
    shift
    if "$@" >"$quiet_log" 2>&1 </dev/null; then return 0; fi
    tail -n 30 "$quiet_log" >&2
    return 1
}

# recipe_hash FILE...: twelve digits that change when a file of the recipe changes.
recipe_hash() { cat -- "$@" | sha256sum | cut -c1-12; }

# open_workshop DIR: locks DIR, clears what an interrupted build left, and sets `work` to a fresh folder in it
# that goes when the script ends. The lock is held by file descriptor 9 until then.
open_workshop() {
    mkdir -p -- "$1"
    exec 9>"$1/.lock"
    flock -n 9 || { say "waiting for another build in $1"; flock 9; }
    find "$1" -maxdepth 1 -name '.build.*' -exec rm -rf --one-file-system -- {} +
    work=$(mktemp -d "$1/.build.XXXXXX")
    chmod 755 "$work"
    trap 'rm -rf --one-file-system -- "$work"' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
}

# own_mounts "$0" "$@": runs the script again in a mount namespace of its own, so that mounts of an interrupted
# build die with it.
own_mounts() {
    [ "${QUAYLAB_OWN_MOUNTS:-}" = 1 ] && return 0
    QUAYLAB_OWN_MOUNTS=1 exec unshare --mount --propagation private -- "$@"
}

# mirror_sources RELEASE FILE: writes the apt sources for a Debian release, from the mirrors that this machine
# itself uses. An empty file means that it uses none (not a Debian machine): then mmdebstrap's default counts.
mirror_sources() {
    : >"$2"
    have apt-get && [ -e /etc/debian_version ] || return 0
    apt-get indextargets --format '$(ORIGIN)|$(LABEL)|$(COMPONENT)|$(RELEASE)|$(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
        awk -F'|' -v release="$1" '
            $1 != "Debian" || $3 != "main" { next }
            $2 == "Debian-Security" { suite = release "-security" }
            $2 == "Debian" && $4 ~ /-updates$/ { suite = release "-updates" }
            $2 == "Debian" && $4 !~ /-/ { suite = release }
            suite != "" && !seen[suite]++ { print "deb", $5, suite, "main" }
            { suite = "" }' >"$2"
    grep -q " $1 main" "$2" || die "this machine's apt sources name no Debian mirror" \
        "run 'apt-get update', and check /etc/apt/sources.list and /etc/apt/sources.list.d"
}

# apt_options FILE: what this machine's apt needs to reach its mirrors: proxies, timeouts, certificates.
apt_options() {
    { apt-config dump 2>/dev/null || true; } | grep -E '^Acquire::(http|https|ftp|Retries)(:|::| )' >"$1" || true
}

# debootstrap_into ROOT RELEASE MMDEBSTRAP_OPTION...: a tree from the machine's mirrors.
debootstrap_into() {
    boot_root=$1 boot_release=$2
    shift 2
    mirror_sources "$boot_release" "$work/sources.list"
    apt_options "$work/apt.conf"
    set -- --mode=root --components=main --aptopt="$work/apt.conf" "$@" "$boot_release" "$boot_root"
    [ ! -s "$work/sources.list" ] || set -- "$@" "$work/sources.list"
    quiet "$work/mmdebstrap.log" mmdebstrap "$@" ||
        die "mmdebstrap could not build the tree" "the lines above say why; a mirror that cannot be reached is the usual reason"
}
