#!/bin/sh
# quickstart.sh [ARGUMENT...]: from a fresh machine to a lab that answers. Arguments go to `quaylab run`.
set -eu
me=quickstart.sh
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
. "$here/lib.sh"
cd "$here/.."
images=/var/cache/quaylab/images
program=${CARGO_TARGET_DIR:-target}/release/quaylab
logs=$(mktemp -d)
trap 'rm -rf -- "$logs"' EXIT
trap 'kill "$image_pid" 2>/dev/null; exit 130' INT TERM
image_pid=
rows=''

# timed NAME COMMAND...: runs it and keeps a row for the table at the end.
timed() {
    timed_name=$1 timed_start=$(date +%s)
    shift
    "$@"
    rows="$rows$(printf '  %-32s %4d s' "$timed_name" $(($(date +%s) - timed_start)))
"
}

make_images() {
    image_start=$(date +%s)
    as_root scripts/guest-image.sh "$images" && as_root scripts/service-images.sh "$images" || return 1
    echo $(($(date +%s) - image_start)) >"$logs/images.seconds"
}
join_images() {
    if wait "$image_pid"; then cat "$logs/images"; else
        cat "$logs/images" >&2
        die "the images could not be made" "the lines above say why; 'make image' tries again"
    fi
}

timed 'packages' scripts/setup.sh lab
# The images are mostly waiting for the mirror and for dpkg, the build is mostly one core at its end: side by side.
make_images >"$logs/images" 2>&1 &
image_pid=$!
timed 'build' scripts/cargo.sh build --release --locked
timed 'images (rest, after the build)' join_images
image_pid=
timed 'quaylab run' as_root "$program" run -i inventories/quickstart.inv "$@"

say ''
say 'Where the time went:'
printf '%s' "$rows"
say "  (the images took $(cat "$logs/images.seconds") s side by side with the build)"
printf '  %-32s %4d s\n' 'together' $(($(date +%s) - stage_first))
