#!/bin/sh
# service-images.sh [OUT_DIR [NAME...]]: container images for PostgreSQL, Redis, the registry and MariaDB, made of Debian
# packages. Without names it makes the first three, which a lab needs where its inventory says nothing else.
#
# Leaves NAME.tar (a link to NAME-RECIPE.tar) in OUT_DIR for each, as `docker load` and `podman load` take it. An image
# holds what its service opens and nothing else (its binaries, the libraries that they link, busybox as the shell),
# because an emulated guest pays for every byte and file that it unpacks.
#
# postgresql-15  localhost/quaylab/postgresql:15  user 26, port 5432, data in /var/lib/pgsql/data, POSTGRESQL_USER, _PASSWORD,
#                                                 _DATABASE, and optionally POSTGRESQL_ADMIN_PASSWORD (the sclorg contract)
# redis-7        localhost/quaylab/redis:7        user 1001, port 6379, data in /var/lib/redis/data, REDIS_PASSWORD
# registry-2     localhost/quaylab/registry:2     user 1000, port 5000, data in /var/lib/registry, /etc/docker-registry/config.yml,
#                                                 and any of its settings as REGISTRY_... variables
# mariadb-1011   localhost/quaylab/mariadb:10.11  user 27, port 3306, data in /var/lib/mysql/data, MYSQL_USER, _PASSWORD,
#                                                 _DATABASE and MYSQL_ROOT_PASSWORD (the sclorg contract)
set -eu
me=service-images.sh
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
. "$here/lib.sh"
out=${1:-/var/cache/quaylab/images}

release=bookworm
case $# in
0 | 1) names='postgresql-15 redis-7 registry-2' ;;
*)
    shift
    names=$*
    ;;
esac
packages=busybox-static,libc-bin
for name in $names; do
    case $name in
    postgresql-15) packages=$packages,postgresql-15,tzdata ;;
    redis-7) packages=$packages,redis-server ;;
    registry-2) packages=$packages,docker-registry ;;
    mariadb-1011) packages=$packages,mariadb-server-core,mariadb-client-core ;;
    *) die "there is no image $name" "there are postgresql-15, redis-7, registry-2 and mariadb-1011" ;;
    esac
done
recipe=$(recipe_hash "$here/service-images.sh")

complete() {
    for name in $names; do
        [ -f "$out/$name-$recipe.tar" ] && [ "$(readlink "$out/$name.tar" 2>/dev/null)" = "$name-$recipe.tar" ] || return 1
    done
}
if complete; then
    say "service images: in $out there are $names ($recipe) already"
    exit 0
fi
# shellcheck disable=SC2086
become_root "$here/service-images.sh" "$out" $names
for tool in mmdebstrap flock tar; do
    have "$tool" || die "$tool is missing" "scripts/setup.sh lab installs what this needs"
done
# shellcheck disable=SC2086
own_mounts "$here/service-images.sh" "$out" $names
open_workshop "$out"
if complete; then
    say "service images: in $out there are $names ($recipe) by now"
    exit 0
fi
tree=$work/tree
pg=/usr/lib/postgresql/15

# bring IMAGE PATH...: copies files of the tree with every library that they link.
bring() {
    bring_to=$work/$1
    shift
    for file; do
        [ -e "$tree$file" ] || [ -L "$tree$file" ] || die "the packages have no $file"
        mkdir -p "$bring_to$(dirname "$file")"
        # A link would lead out of the tree or to a file that is not copied: the content counts.
        cp -L --preserve=mode "$tree$(resolve "$file")" "$bring_to$file"
        chroot "$tree" /lib64/ld-linux-x86-64.so.2 --list "$file" 2>/dev/null |
            sed -n 's/.* => \(\/[^ ]*\) .*/\1/p; s/^[[:space:]]*\(\/lib64[^ ]*\) (.*/\1/p' |
            while read -r library; do
                [ -e "$bring_to$library" ] && continue
                mkdir -p "$bring_to$(dirname "$library")"
                cp -L --preserve=mode "$tree$(resolve "$library")" "$bring_to$library"
            done
    done
}
# resolve PATH: where a link of the tree leads to, inside the tree.
resolve() { chroot "$tree" /bin/busybox readlink -f "$1"; }

# base IMAGE UID USER HOME: what every image has: busybox, its user, a few folders.
base() {
    mkdir -p "$work/$1/bin" "$work/$1/etc" "$work/$1/tmp" "$work/$1/run" "$work/$1$4"
    cp "$tree/bin/busybox" "$work/$1/bin/busybox"
    for applet in sh ls cat cp mv rm mkdir chmod chown id env sleep test true head tail grep sed tar df du stat date ps kill nc wget sync; do
        ln -s busybox "$work/$1/bin/$applet"
    done
    mkdir -p "$work/$1/var"
    ln -s ../run "$work/$1/var/run"
    chmod 1777 "$work/$1/tmp"
    printf 'root:x:0:0:root:/:/bin/sh\n%s:x:%s:%s::%s:/bin/sh\n' "$3" "$2" "$2" "$4" >"$work/$1/etc/passwd"
    printf 'root:x:0:\n%s:x:%s:\n' "$3" "$2" >"$work/$1/etc/group"
    printf 'passwd: files\ngroup: files\nhosts: files dns\n' >"$work/$1/etc/nsswitch.conf"
    chown -R "$2:$2" "$work/$1$4"
}

# archive NAME REPOSITORY:TAG CONFIG: packs the tree of NAME as one layer. Same input, same bytes.
archive() {
    layer=$work/$1.layer
    tar -C "$work/$1" --sort=name --numeric-owner --mtime=@1 --format=gnu -cf "$layer" .
    layer_id=$(sha256sum <"$layer" | cut -d' ' -f1)
    pack=$work/$1.pack
    mkdir -p "$pack/$layer_id"
    mv "$layer" "$pack/$layer_id/layer.tar"
    echo 1.0 >"$pack/$layer_id/VERSION"
    printf '{"id":"%s","created":"1970-01-01T00:00:01Z","os":"linux"}' "$layer_id" >"$pack/$layer_id/json"
    printf '{"architecture":"amd64","os":"linux","created":"1970-01-01T00:00:01Z","config":%s,"rootfs":{"type":"layers","diff_ids":["sha256:%s"]},"history":[{"created":"1970-01-01T00:00:01Z","created_by":"scripts/service-images.sh %s"}]}' \
        "$3" "$layer_id" "$recipe" >"$work/config"
    config_id=$(sha256sum <"$work/config" | cut -d' ' -f1)
    mv "$work/config" "$pack/$config_id.json"
    printf '[{"Config":"%s.json","RepoTags":["%s"],"Layers":["%s/layer.tar"]}]' "$config_id" "$2" "$layer_id" >"$pack/manifest.json"
    printf '{"%s":{"%s":"%s"}}' "${2%:*}" "${2##*:}" "$layer_id" >"$pack/repositories"
    tar -C "$pack" --sort=name --numeric-owner --owner=0 --group=0 --mtime=@1 --format=gnu -cf "$work/$1-$recipe.tar" .
    chmod 644 "$work/$1-$recipe.tar"
}

stage packages
# `extract`: the packages are unpacked, not configured; no script of theirs runs.
debootstrap_into "$tree" "$release" --variant=extract \
    --include="$packages"

make_postgresql_15() {
stage postgresql
base postgresql-15 26 postgres /var/lib/pgsql
mkdir -p "$work/postgresql-15/var/lib/pgsql/data" "$work/postgresql-15/run/postgresql"
chmod 700 "$work/postgresql-15/var/lib/pgsql/data"
chown 26:26 "$work/postgresql-15/var/lib/pgsql/data" "$work/postgresql-15/run/postgresql"
bring postgresql-15 $pg/bin/postgres $pg/bin/initdb $pg/bin/pg_ctl $pg/bin/psql $pg/bin/pg_isready \
    $pg/bin/pg_dump $pg/bin/pg_restore /usr/bin/locale
# Not the just-in-time compiler (100 MB of LLVM), and of contrib what a registry may ask for.
extensions='plpgsql pg_trgm pgcrypto pg_stat_statements citext uuid-ossp'
for library in plpgsql pg_trgm pgcrypto pg_stat_statements citext uuid-ossp dict_snowball libpqwalreceiver pgoutput; do
    bring postgresql-15 "$pg/lib/$library.so"
done
for conversion in "$tree$pg"/lib/*_and_*.so; do
    bring postgresql-15 "${conversion#"$tree"}"
done
share=/usr/share/postgresql/15
mkdir -p "$work/postgresql-15$share/extension"
for entry in "$tree$share"/*; do
    case ${entry##*/} in
    extension | man | locale) ;;
    *) cp -rL "$entry" "$work/postgresql-15$share/" ;;
    esac
done
for extension in $extensions; do
    cp "$tree$share/extension/$extension.control" "$tree$share/extension/$extension--"*.sql "$work/postgresql-15$share/extension/"
done
# UTC only: the log and the clock of a lab; zones by name are 600 files more.
mkdir -p "$work/postgresql-15/usr/share/zoneinfo/Etc" "$work/postgresql-15/usr/lib/locale"
cp -L "$tree/usr/share/zoneinfo/Etc/UTC" "$work/postgresql-15/usr/share/zoneinfo/Etc/UTC"
cp -L "$tree/usr/share/zoneinfo/Etc/UTC" "$work/postgresql-15/usr/share/zoneinfo/UTC"
cp -L "$tree/usr/share/zoneinfo/Etc/GMT" "$work/postgresql-15/usr/share/zoneinfo/GMT"
cp -r "$tree/usr/lib/locale/C.utf8" "$work/postgresql-15/usr/lib/locale/"
mkdir -p "$work/postgresql-15/usr/bin"
cat >"$work/postgresql-15/usr/bin/run-postgresql" <<'RUN'
#!/bin/sh
# Makes the database cluster once, with the user and the database that the environment names; then runs the server.
# With arguments, runs those instead.
set -eu
[ $# -eq 0 ] || exec "$@"
umask 077

fail() { echo "postgresql: $1" >&2; exit 1; }
literal() { printf "'%s'" "$(printf %s "$1" | sed "s/'/''/g")"; }
name() { printf '"%s"' "$(printf %s "$1" | sed 's/"/""/g')"; }

if [ ! -d "$PGDATA" ]; then
    [ -n "${POSTGRESQL_USER:-}" ] && [ -n "${POSTGRESQL_PASSWORD:-}" ] && [ -n "${POSTGRESQL_DATABASE:-}" ] ||
        fail "POSTGRESQL_USER, POSTGRESQL_PASSWORD and POSTGRESQL_DATABASE must be set for an empty data folder"
    [ "$POSTGRESQL_USER" != postgres ] || fail "POSTGRESQL_USER must not be postgres, which is the administrator"
    [ -w "${PGDATA%/*}" ] || fail "${PGDATA%/*} cannot be written by user $(id -u): give the folder to it"
    # Made beside its place and renamed when it is whole: a first start that was cut short begins anew.
    new=$PGDATA.new
    rm -rf "$new"
    initdb -D "$new" -U postgres -E UTF8 --locale=C.UTF-8 --auth-local=trust --auth-host=scram-sha-256 \
        --no-sync --no-instructions >/dev/null
    echo 'host all all all scram-sha-256' >>"$new/pg_hba.conf"
    cat >>"$new/postgresql.conf" <<CONF
listen_addresses = '*'
jit = off
log_timezone = 'UTC'
timezone = 'UTC'
unix_socket_directories = '/run/postgresql'
CONF
    # Single-user mode: no server to start, wait for and stop. One statement a line.
    {
        printf 'CREATE ROLE %s LOGIN PASSWORD %s;\n' "$(name "$POSTGRESQL_USER")" "$(literal "$POSTGRESQL_PASSWORD")"
        printf 'CREATE DATABASE %s OWNER %s;\n' "$(name "$POSTGRESQL_DATABASE")" "$(name "$POSTGRESQL_USER")"
        [ -z "${POSTGRESQL_ADMIN_PASSWORD:-}" ] ||
            printf 'ALTER ROLE postgres PASSWORD %s;\n' "$(literal "$POSTGRESQL_ADMIN_PASSWORD")"
    } | postgres --single -D "$new" -c exit_on_error=on postgres >/dev/null
    sync
    mv "$new" "$PGDATA"
fi
unset POSTGRESQL_PASSWORD POSTGRESQL_ADMIN_PASSWORD
exec postgres
RUN
chmod 755 "$work/postgresql-15/usr/bin/run-postgresql"
archive postgresql-15 localhost/quaylab/postgresql:15 '{"User":"26","Env":["PATH=/usr/lib/postgresql/15/bin:/usr/bin:/bin","PGDATA=/var/lib/pgsql/data/userdata","PGUSER=postgres","LANG=C.UTF-8"],"Entrypoint":["/usr/bin/run-postgresql"],"ExposedPorts":{"5432/tcp":{}},"Volumes":{"/var/lib/pgsql/data":{}},"WorkingDir":"/var/lib/pgsql","StopSignal":"SIGINT"}'
}

make_redis_7() {
stage redis
base redis-7 1001 redis /var/lib/redis
mkdir -p "$work/redis-7/var/lib/redis/data" "$work/redis-7/usr/bin"
chown 1001:1001 "$work/redis-7/var/lib/redis/data"
bring redis-7 /usr/bin/redis-server /usr/bin/redis-cli
cat >"$work/redis-7/usr/bin/run-redis" <<'RUN'
#!/bin/sh
# Runs the server on the data folder; REDIS_PASSWORD is asked of every client. With arguments, runs those instead.
set -eu
[ $# -eq 0 ] || exec "$@"
umask 077
[ -w /var/lib/redis/data ] || { echo "redis: /var/lib/redis/data cannot be written by user $(id -u)" >&2; exit 1; }
{
    printf 'bind * -::*\nport 6379\ndir /var/lib/redis/data\nappendonly yes\nsave 900 1 300 10 60 10000\n'
    if [ -n "${REDIS_PASSWORD:-}" ]; then
        printf 'requirepass "%s"\n' "$(printf %s "$REDIS_PASSWORD" | sed 's/[\\"]/\\&/g')"
    else
        echo 'protected-mode no'
    fi
} >/tmp/redis.conf
unset REDIS_PASSWORD
exec redis-server /tmp/redis.conf
RUN
chmod 755 "$work/redis-7/usr/bin/run-redis"
archive redis-7 localhost/quaylab/redis:7 '{"User":"1001","Env":["PATH=/usr/bin:/bin"],"Entrypoint":["/usr/bin/run-redis"],"ExposedPorts":{"6379/tcp":{}},"Volumes":{"/var/lib/redis/data":{}},"WorkingDir":"/var/lib/redis/data"}'
}

make_registry_2() {
stage registry
base registry-2 1000 registry /var/lib/registry
mkdir -p "$work/registry-2/etc/docker-registry"
bring registry-2 /usr/bin/docker-registry
cat >"$work/registry-2/etc/docker-registry/config.yml" <<'CONF'
version: 0.1
log:
  level: info
storage:
  filesystem:
    rootdirectory: /var/lib/registry
  delete:
    enabled: true
http:
  addr: :5000
CONF
archive registry-2 localhost/quaylab/registry:2 '{"User":"1000","Env":["PATH=/usr/bin:/bin"],"Entrypoint":["/usr/bin/docker-registry"],"Cmd":["serve","/etc/docker-registry/config.yml"],"ExposedPorts":{"5000/tcp":{}},"Volumes":{"/var/lib/registry":{}},"WorkingDir":"/var/lib/registry"}'
}

make_mariadb_1011() {
stage mariadb
base mariadb-1011 27 mysql /var/lib/mysql
mkdir -p "$work/mariadb-1011/var/lib/mysql/data" "$work/mariadb-1011/run/mysqld" "$work/mariadb-1011/usr/share/mysql"
chmod 700 "$work/mariadb-1011/var/lib/mysql/data"
chown 27:27 "$work/mariadb-1011/var/lib/mysql/data" "$work/mariadb-1011/run/mysqld"
bring mariadb-1011 /usr/sbin/mariadbd /usr/bin/mariadb
share=/usr/share/mysql
cp -r "$tree$share/english" "$tree$share/charsets" "$work/mariadb-1011$share/"
for part in mysql_system_tables mysql_performance_tables mysql_system_tables_data; do
    cp "$tree$share/$part.sql" "$work/mariadb-1011$share/"
done
cat >"$work/mariadb-1011/usr/bin/run-mysqld" <<'RUN'
#!/bin/sh
# Makes the system tables once, with the user and the database that the environment names; then runs the server.
# With arguments, runs those instead.
set -eu
[ $# -eq 0 ] || exec "$@"
umask 077

fail() { echo "mariadb: $1" >&2; exit 1; }
literal() { printf "'%s'" "$(printf %s "$1" | sed "s/\\\\/\\\\\\\\/g; s/'/''/g")"; }
name() { printf '`%s`' "$(printf %s "$1" | sed 's/`/``/g')"; }

data=/var/lib/mysql/data
server="mariadbd --no-defaults --lc-messages-dir=/usr/share/mysql --skip-log-bin --tmpdir=/tmp"
[ -w $data ] || fail "$data cannot be written by user $(id -u): give the folder to it"
if [ ! -d $data/mysql ]; then
    [ -n "${MYSQL_USER:-}" ] && [ -n "${MYSQL_PASSWORD:-}" ] && [ -n "${MYSQL_DATABASE:-}" ] ||
        fail "MYSQL_USER, MYSQL_PASSWORD and MYSQL_DATABASE must be set for an empty data folder"
    [ "$MYSQL_USER" != root ] || fail "MYSQL_USER must not be root, which is the administrator"
    # Made beside its place and moved when it is whole: a first start that was cut short begins anew.
    new=$data/.new
    [ -d $new ] || [ -z "$(ls -A $data | grep -vx lost+found)" ] || fail "$data holds something that is no server's data"
    rm -rf $new
    mkdir $new
    # Without a server to start, wait for and stop.
    {
        echo 'CREATE DATABASE mysql;'
        echo 'USE mysql;'
        cat /usr/share/mysql/mysql_system_tables.sql /usr/share/mysql/mysql_performance_tables.sql \
            /usr/share/mysql/mysql_system_tables_data.sql
        echo "DELETE FROM global_priv WHERE User = '';"
        echo 'FLUSH PRIVILEGES;'
        printf 'CREATE DATABASE %s;\n' "$(name "$MYSQL_DATABASE")"
        printf "CREATE USER %s@'%%' IDENTIFIED BY %s;\n" "$(literal "$MYSQL_USER")" "$(literal "$MYSQL_PASSWORD")"
        printf "GRANT ALL ON %s.* TO %s@'%%';\n" "$(name "$MYSQL_DATABASE")" "$(literal "$MYSQL_USER")"
        if [ -n "${MYSQL_ROOT_PASSWORD:-}" ]; then
            printf "CREATE USER root@'%%' IDENTIFIED BY %s;\n" "$(literal "$MYSQL_ROOT_PASSWORD")"
            echo "GRANT ALL ON *.* TO root@'%' WITH GRANT OPTION;"
        fi
    } | $server --datadir=$new --bootstrap >/tmp/made 2>&1 || {
        grep -v Note /tmp/made >&2
        fail "the system tables could not be made"
    }
    sync
    # What says that all is there comes last.
    for part in $new/*; do
        [ "$part" != $new/mysql ] || continue
        rm -rf "$data/${part##*/}"
        mv "$part" $data/
    done
    mv $new/mysql $data/
    rm -rf $new
fi
unset MYSQL_PASSWORD MYSQL_ROOT_PASSWORD
# Without the last option each login waits for a name server that may not answer.
exec $server --datadir=$data --port=3306 --bind-address='*' --socket=/run/mysqld/mysqld.sock --pid-file=/run/mysqld/mysqld.pid --skip-name-resolve
RUN
chmod 755 "$work/mariadb-1011/usr/bin/run-mysqld"
archive mariadb-1011 localhost/quaylab/mariadb:10.11 '{"User":"27","Env":["PATH=/usr/sbin:/usr/bin:/bin"],"Entrypoint":["/usr/bin/run-mysqld"],"ExposedPorts":{"3306/tcp":{}},"Volumes":{"/var/lib/mysql/data":{}},"WorkingDir":"/var/lib/mysql"}'
}

for name in $names; do
    "make_$(echo "$name" | tr - _)"
done

stage files
sizes=
for name in $names; do
    mv -f "$work/$name-$recipe.tar" "$out/"
    sizes="$sizes${sizes:+, }$name $(du -m "$out/$name-$recipe.tar" | cut -f1) MB"
done
for name in $names; do
    ln -sfn "$name-$recipe.tar" "$out/$name.tar"
done
stages_line "service images: $sizes"
