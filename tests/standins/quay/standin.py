"""A stand-in for Quay 3, for tests where Quay's own image cannot be had. It is not Quay: it holds to the contract that
a deployment sees. It reads the same config.yaml, refuses what Quay's start refuses, needs the same PostgreSQL (with
pg_trgm) and Redis, keeps images where its storage is (a folder or a bucket), has them scanned by the Clair that it
names, and gives the answers that were recorded of the real one (`check_answers.py`).

In a container it takes no arguments. Outside of one: `standin.py CONFIG PORT`. QUAY_STANDIN_VERSION is the version that
it stands in for, QUAY_STANDIN_START_SECONDS how long it answers 502 before it is up, QUAY_STANDIN_ALONE a folder in which
it keeps what otherwise PostgreSQL and Redis would."""

import os, signal, ssl, sys, threading, time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import checks, version
from check_storage import preferred
from registry import Registry
from server import Handler, Server, Site, storage_check
from storage import opened
from store import File, Postgres, Store

CONTAINED = len(sys.argv) <= 2
CONFIG, PORT = ("/conf/stack/config.yaml", 8080) if CONTAINED else (sys.argv[1], int(sys.argv[2]))
SECURE_PORT = int(os.environ.get("QUAY_STANDIN_SECURE_PORT") or 8443)
ALONE = os.environ.get("QUAY_STANDIN_ALONE")
START_SECONDS = float(os.environ.get("QUAY_STANDIN_START_SECONDS") or 1)


def listen(port, handler, files=None):
    server = Server(("" if CONTAINED else "127.0.0.1", port), handler)
    if files:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            context.load_cert_chain(*files)
        except (OSError, ssl.SSLError) as error:
            raise checks.Refused(f"ssl.cert and ssl.key cannot be used: {error}")
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=server.serve_forever, daemon=True).start()


def main():
    folder = os.path.dirname(CONFIG)
    config = checks.read_config(CONFIG)
    checks.check(config, folder)
    checks.check_storages(config)
    if not ALONE:
        checks.check_database(config)
        for key in ("BUILDLOGS_REDIS", "USER_EVENTS_REDIS"):
            checks.ping(key, config[key])
    # The first process of a container gets no default action for it.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))

    # The web server is up at once. It speaks https because there is a key, whatever the configuration says.
    Handler.site = Site(config)
    files = [os.path.join(folder, name) for name in ("ssl.cert", "ssl.key")]
    is_secure = os.path.exists(files[1])
    if is_secure:
        listen(SECURE_PORT, Handler, files)
    listen(PORT, type("Plain", (Handler,), {"sends_on": is_secure}))

    store = Store(config, File(os.path.join(ALONE, "quay.db")) if ALONE else Postgres(lambda: checks.connect(config)))
    time.sleep(START_SECONDS)
    store.prepare()
    wanted = preferred(config)
    storage = opened(*wanted) if wanted else None
    health = {"database": lambda: store.query("SELECT 1")}
    if not ALONE:
        health["redis"] = lambda: checks.ping("USER_EVENTS_REDIS", config["USER_EVENTS_REDIS"])
    if storage:
        health |= {"storage": storage_check(storage)} | ({"disk_space": storage.check} if hasattr(storage, "root") else {})
    Handler.site.open(store, Registry(store, storage), health)
    print(f"stand-in for Quay {version.NAME}: ready on {PORT}", flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    try:
        main()
    except checks.Refused as why:
        print(f"stand-in for Quay: configuration error: {why}", file=sys.stderr, flush=True)
        sys.exit(1)
