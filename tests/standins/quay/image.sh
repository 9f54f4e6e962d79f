#!/bin/sh
# image.sh [OUT_DIR]: a container image of the tests' stand-in for Quay, made of Debian packages. Leaves
# OUT_DIR/quay-standin-RECIPE.tar, as `docker load` takes it, and prints its path on its last line. It is no Quay.
#
#   localhost/quaylab-test/quay-standin:3  user 1001, port 8080, configuration in /conf/stack, images in /datastorage
set -eu
me=image.sh
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
. "$here/../../../scripts/lib.sh"
out=${1:-/var/cache/quaylab/images}

release=bookworm
recipe=$(recipe_hash "$here/image.sh" "$here/standin.py" "$here/content.py")
archive=$out/quay-standin-$recipe.tar
if [ -f "$archive" ]; then
    say "$archive"
    exit 0
fi
become_root "$here/image.sh" "$out"
for tool in mmdebstrap tar; do
    have "$tool" || die "$tool is missing" "scripts/setup.sh lab installs what this needs"
done
own_mounts "$here/image.sh" "$out"
open_workshop "$out/quay-standin"

# `extract`: the packages are unpacked, not configured; no script of theirs runs. It needs only Python, YAML and libpq.
debootstrap_into "$work/tree" "$release" --variant=extract --include=python3-minimal,python3-yaml,python3-psycopg2
tree=$work/tree
image=$work/image
version=$(basename "$(readlink "$tree/usr/bin/python3")")
mkdir -p "$image/usr/bin" "$image/usr/lib/python3" "$image/etc" "$image/tmp" "$image/quay-registry/conf/stack" "$image/datastorage"
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
cp "$here/standin.py" "$here/content.py" "$image/quay-registry/"
# As in Quay's image.
ln -s /quay-registry/conf "$image/conf"
printf 'root:x:0:0:root:/:/bin/sh\nquay:x:1001:0::/:/bin/sh\n' >"$image/etc/passwd"
printf 'root:x:0:\n' >"$image/etc/group"
chmod 1777 "$image/tmp"

layer=$work/layer.tar
tar -C "$image" --sort=name --numeric-owner --owner=0 --group=0 --mtime=@1 --format=gnu -cf "$layer" .
id=$(sha256sum <"$layer" | cut -d' ' -f1)
mkdir -p "$work/pack/$id"
mv "$layer" "$work/pack/$id/layer.tar"
printf '{"architecture":"amd64","os":"linux","created":"1970-01-01T00:00:01Z","config":{"User":"1001","Env":["PATH=/usr/bin"],"Entrypoint":["/usr/bin/python3","-BIu","/quay-registry/standin.py"],"ExposedPorts":{"8080/tcp":{}},"Labels":{"description":"a stand-in for Quay, for tests"}},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]},"history":[{"created":"1970-01-01T00:00:01Z"}]}' "$id" >"$work/config"
config=$(sha256sum <"$work/config" | cut -d' ' -f1)
mv "$work/config" "$work/pack/$config.json"
printf '[{"Config":"%s.json","RepoTags":["localhost/quaylab-test/quay-standin:3"],"Layers":["%s/layer.tar"]}]' "$config" "$id" >"$work/pack/manifest.json"
tar -C "$work/pack" --sort=name --numeric-owner --owner=0 --group=0 --mtime=@1 --format=gnu -cf "$work/archive" .
chmod 644 "$work/archive"
find "$out" -maxdepth 1 -name 'quay-standin-*.tar' -delete
mv "$work/archive" "$archive"
say "$archive"
