#!/bin/sh
# image.sh quay|clair [OUT_DIR]: container images of the tests' stand-ins for Quay and for Clair, made of Debian packages.
# Leaves OUT_DIR/quay-standin-RECIPE.tar and OUT_DIR/clair-standin-RECIPE.tar, as `docker load` takes them, and prints the
# path of the one that was asked for on its last line. They are no Quay and no Clair.
#
#   localhost/quaylab-test/quay-standin:3   user 1001, port 8080, configuration in /conf/stack, images in /datastorage
#   localhost/quaylab-test/clair-standin:4  user 65534, ports 6060 and 8089, configuration where CLAIR_CONF says
set -eu
me=image.sh
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
. "$here/../../scripts/lib.sh"
wanted=${1:-}
case $wanted in quay | clair) ;; *) die "there is no stand-in '$wanted'" "name quay or clair" ;; esac
out=${2:-/var/cache/quaylab/images}

release=bookworm
recipe=$(recipe_hash "$here/image.sh" "$here"/quay/*.py "$here"/clair/*.py)
archive=$out/$wanted-standin-$recipe.tar
if [ -f "$archive" ]; then
    say "$archive"
    exit 0
fi
become_root "$here/image.sh" "$wanted" "$out"
for tool in mmdebstrap tar; do
    have "$tool" || die "$tool is missing" "scripts/setup.sh lab installs what this needs"
done
own_mounts "$here/image.sh" "$wanted" "$out"
open_workshop "$out/standins"
if [ -f "$archive" ]; then
    say "$archive"
    exit 0
fi

# `extract`: the packages are unpacked, not configured; no script of theirs runs. It needs only Python, YAML and libpq.
debootstrap_into "$work/tree" "$release" --variant=extract --include=python3-minimal,python3-yaml,python3-psycopg2
tree=$work/tree
image=$work/image
version=$(basename "$(readlink "$tree/usr/bin/python3")")
mkdir -p "$image/usr/bin" "$image/usr/lib/python3" "$image/etc" "$image/tmp" "$image/quay-registry/conf/stack" "$image/datastorage" \
    "$image/clair-standin"
cp -L "$tree/usr/bin/$version" "$image/usr/bin/python3"
cp -r "$tree/usr/lib/$version" "$image/usr/lib/"
cp -r "$tree/usr/lib/python3/dist-packages" "$image/usr/lib/python3/"
find "$image/usr/lib" \( -name test -o -name tests -o -name __pycache__ -o -name idlelib -o -name lib2to3 -o -name 'config-*' \) -prune -exec rm -rf {} +
# Every library that the interpreter and its extensions link, by the names that the loader looks for.
find "$image/usr" -type f \( -name '*.so' -o -name python3 \) | while read -r file; do
    chroot "$tree" /lib64/ld-linux-x86-64.so.2 --list "$(echo "${file#"$image"}" | sed "s|^/usr/bin/python3$|/usr/bin/$version|")" 2>/dev/null |
        sed -n 's/.* => \(\/[^ ]*\) .*/\1/p; s/^[[:space:]]*\(\/lib64[^ ]*\) (.*/\1/p'
done | sort -u | while read -r library; do
    mkdir -p "$image$(dirname "$library")"
    cp "$(chroot "$tree" /usr/bin/realpath "$library" 2>/dev/null | sed "s|^|$tree|")" "$image$library" 2>/dev/null ||
        cp -L "$tree$library" "$image$library"
done
cp "$here"/quay/*.py "$image/quay-registry/"
cp "$here"/clair/*.py "$image/clair-standin/"
# As in Quay's image.
ln -s /quay-registry/conf "$image/conf"
printf 'root:x:0:0:root:/:/bin/sh\nquay:x:1001:0::/:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n' >"$image/etc/passwd"
printf 'root:x:0:\nnobody:x:65534:\n' >"$image/etc/group"
chmod 1777 "$image/tmp"

layer=$work/layer.tar
tar -C "$image" --sort=name --numeric-owner --owner=0 --group=0 --mtime=@1 --format=gnu -cf "$layer" .
id=$(sha256sum <"$layer" | cut -d' ' -f1)
mkdir -p "$work/pack/$id"
mv "$layer" "$work/pack/$id/layer.tar"

# pack NAME REPOSITORY:TAG USER PROGRAM PORTS: an image of that layer.
pack() {
    printf '{"architecture":"amd64","os":"linux","created":"1970-01-01T00:00:01Z","config":{"User":"%s","Env":["PATH=/usr/bin"],"Entrypoint":["/usr/bin/python3","-BIu","%s"],"ExposedPorts":{%s},"Labels":{"description":"a stand-in for %s, for tests"}},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]},"history":[{"created":"1970-01-01T00:00:01Z"}]}' \
        "$3" "$4" "$5" "$1" "$id" >"$work/config"
    config=$(sha256sum <"$work/config" | cut -d' ' -f1)
    rm -f "$work"/pack/*.json
    mv "$work/config" "$work/pack/$config.json"
    printf '[{"Config":"%s.json","RepoTags":["%s"],"Layers":["%s/layer.tar"]}]' "$config" "$2" "$id" >"$work/pack/manifest.json"
    tar -C "$work/pack" --sort=name --numeric-owner --owner=0 --group=0 --mtime=@1 --format=gnu -cf "$work/archive" .
    chmod 644 "$work/archive"
    mv "$work/archive" "$out/$1-standin-$recipe.tar"
}
# Those of an older recipe may still be in use somewhere.
find "$out" -maxdepth 1 \( -name 'quay-standin-*.tar' -o -name 'clair-standin-*.tar' \) -mtime +7 -delete
pack clair localhost/quaylab-test/clair-standin:4 65534 /clair-standin/standin.py '"6060/tcp":{},"8089/tcp":{}'
pack quay localhost/quaylab-test/quay-standin:3 1001 /quay-registry/standin.py '"8080/tcp":{}'
say "$archive"
