"""What the stand-in for Quay checks before it starts, as Quay does: its configuration, its certificate, its database, its Redis,
its storage. It refuses what the start of the real one refuses, and no more."""

import base64, os, re, socket, ssl, urllib.parse

import check_logins, check_storage
from storage import StorageError, opened
from version import since

DURATION = re.compile(r"[0-9]+(w|m|d|h|s)")
REQUIRED = "SERVER_HOSTNAME DB_URI DISTRIBUTED_STORAGE_CONFIG BUILDLOGS_REDIS USER_EVENTS_REDIS DATABASE_SECRET_KEY".split()
# What holds true or false, of which the start says so. The others it takes as they come.
FLAGS = """FEATURE_REPO_MIRROR FEATURE_PROXY_CACHE FEATURE_MAILING FEATURE_USER_INITIALIZE FEATURE_USER_CREATION FEATURE_DIRECT_LOGIN
FEATURE_ANONYMOUS_ACCESS FEATURE_STORAGE_REPLICATION FEATURE_SECURITY_SCANNER FEATURE_QUOTA_MANAGEMENT FEATURE_ACTION_LOG_ROTATION
FEATURE_BUILD_SUPPORT FEATURE_SUPER_USERS FEATURE_INVITE_ONLY_USER_CREATION EXTERNAL_TLS_TERMINATION""".split()
LINKS = ("TERMS_OF_SERVICE_URL", "PRIVACY_POLICY_URL", "SECURITY_URL", "ABOUT_URL")
# What Go's parser of addresses takes in the name and password of a user.
USERINFO = r"(?:[A-Za-z0-9\-._~!$&'()*+,;=]|%[0-9A-Fa-f]{2})"
DATABASE = rf"postgresql://({USERINFO}+)(?::((?:{USERINFO}|:)*))?@([^:/@]+)(?::([0-9]+))?/([^?]+)(?:\?(.*))?"


class Refused(Exception):
    """Why this does not start."""


def read_yaml(text):
    """A key that is written twice is refused, and so is a tab."""
    import yaml

    class Loader(yaml.SafeLoader):
        pass

    def mapping(loader, node):
        keys = [loader.construct_object(key) for key, _ in node.value]
        twice = next((key for number, key in enumerate(keys) if key in keys[:number]), None)
        if twice is not None:
            raise Refused(f"config.yaml: mapping key {twice!r} already defined")
        loader.flatten_mapping(node)
        return loader.construct_mapping(node, deep=True)

    Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, mapping)
    try:
        return yaml.load(text, Loader)
    except yaml.YAMLError as error:
        raise Refused(f"config.yaml is no YAML: {error}")


def read_config(path):
    try:
        with open(path) as file:
            text = file.read()
    except OSError as error:
        raise Refused(f"{path} cannot be read: {error.strerror}")
    if text.startswith("{"):
        # JSON is YAML as well, and read without a module for it.
        import json

        config = json.loads(text)
    else:
        config = read_yaml(text)
    if not isinstance(config, dict):
        raise Refused(f"{path} is no mapping")
    return config


def check(config, folder):
    """Ends with the first thing that is wrong with a configuration by itself."""
    for fault in [*_required(config), *_address(config, folder), *_database_uri(config), *_redis(config), *_values(config),
                  *check_logins.faults(config, folder), *check_storage.faults(config, folder), *_scanner(config)]:
        raise Refused(fault)


def _required(config):
    for key in REQUIRED:
        if config.get(key) is None:
            yield f"{key} is required"


def _is_host(name):
    host = name.split(":")[0]
    # A single word is refused since 3.18.
    return bool(re.fullmatch(r"[A-Za-z0-9.-]+(:[0-9]+)?", name)) and (
        "." in host or host == "localhost" or not since("3.18"))


def _address(config, folder):
    scheme = config.get("PREFERRED_URL_SCHEME", "http")
    if scheme not in ("http", "https"):
        yield "PREFERRED_URL_SCHEME must be http or https"
    name = str(config.get("SERVER_HOSTNAME") or "localhost")
    if not _is_host(name):
        yield "SERVER_HOSTNAME must be a valid hostname with a dot in it"
    mirror = config.get("REPO_MIRROR_SERVER_HOSTNAME")
    if mirror is not None and not _is_host(str(mirror)):
        yield "REPO_MIRROR_SERVER_HOSTNAME must be a valid hostname with a dot in it"
    files = [os.path.join(folder, file) for file in ("ssl.cert", "ssl.key")]
    if scheme == "https" and not config.get("EXTERNAL_TLS_TERMINATION"):
        yield from (f"{os.path.basename(file)} is required for https" for file in files if not os.path.exists(file))
        if all(map(os.path.exists, files)):
            yield from _certificate(files, name.split(":")[0])


def _certificate(files, host):
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(*files)
    except (OSError, ssl.SSLError) as error:
        yield f"ssl.cert and ssl.key cannot be used: {error}"
        return
    try:
        names = ssl._ssl._test_decode_cert(files[0]).get("subjectAltName", ())
    except (AttributeError, ssl.SSLError, ValueError):
        return
    covers = lambda name: name.lower() == host.lower() or (name.startswith("*.") and host.partition(".")[2].lower() == name[2:].lower())
    if not any(covers(name) for _, name in names):
        yield f"ssl.cert is valid for {', '.join(n for _, n in names) or 'no name'}, not {host}"


def _database_uri(config):
    uri = str(config.get("DB_URI"))
    scheme = uri.partition("://")[0]
    if scheme == "sqlite":
        yield "DB_URI: SQLite is no database for this"
    elif scheme not in ("postgresql", "mysql+pymysql"):
        yield f"You must use a valid scheme in DB_URI, not {scheme}"
    elif not re.fullmatch(DATABASE.replace("postgresql", r"(?:postgresql|mysql\+pymysql)"), uri):
        yield f"parse DB_URI: net/url: invalid userinfo, or no {scheme}://USER:PASSWORD@HOST:PORT/DATABASE"
    elif not re.fullmatch(f"{DATABASE}", uri):
        yield "this stand-in speaks to PostgreSQL only"


def _redis(config):
    for key in ("BUILDLOGS_REDIS", "USER_EVENTS_REDIS", "PULL_METRICS_REDIS"):
        held = config.get(key)
        if held is None:
            continue
        if not isinstance(held, dict) or not isinstance(held.get("host"), str):
            yield f"{key} needs a host"
            continue
        # The client takes more words than these; only these have a type.
        if not isinstance(held.get("port"), int) and key != "PULL_METRICS_REDIS":
            yield f"{key}.port must be of type integer"
        if "password" in held and not isinstance(held["password"], str):
            yield f"{key}.password must be of type string"
        if not re.fullmatch(r"[A-Za-z0-9._-]+|[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*", held["host"]):
            yield f"Could not connect to Redis with the values of {key}: no such host {held['host']}"


def _values(config):
    for key in FLAGS:
        if config.get(key) is not None and not isinstance(config[key], bool):
            yield f"{key} must be of type boolean"
    if config.get("FEATURE_MAILING") and not config.get("MAIL_SERVER"):
        yield "MAIL_SERVER is required, because FEATURE_MAILING is true"
    default, options = config.get("DEFAULT_TAG_EXPIRATION"), config.get("TAG_EXPIRATION_OPTIONS")
    if default is not None and not DURATION.fullmatch(str(default)):
        yield f"DEFAULT_TAG_EXPIRATION must match the pattern {DURATION.pattern}"
    if default is not None and options is not None and default not in options:
        yield "DEFAULT_TAG_EXPIRATION must be one of TAG_EXPIRATION_OPTIONS"
    for key in ("SESSION_TIMEOUT", "FRESH_LOGIN_TIMEOUT"):
        if config.get(key) is not None and not DURATION.fullmatch(str(config[key])):
            yield f"{key} must match the pattern {DURATION.pattern}"
    if config.get("FEATURE_ACTION_LOG_ROTATION") and not config.get("ACTION_LOG_ARCHIVE_LOCATION"):
        yield "ACTION_LOG_ARCHIVE_LOCATION is required with FEATURE_ACTION_LOG_ROTATION"
    policy = config.get("DEFAULT_NAMESPACE_AUTOPRUNE_POLICY")
    if policy and policy.get("method") not in ("number_of_tags", "creation_date"):
        yield "DEFAULT_NAMESPACE_AUTOPRUNE_POLICY: method must be number_of_tags or creation_date"
    if config.get("FOOTER_LINKS") and not set(LINKS) <= config["FOOTER_LINKS"].keys():
        yield f"FOOTER_LINKS needs {', '.join(LINKS)}"


def _scanner(config):
    if not config.get("FEATURE_SECURITY_SCANNER"):
        return
    endpoint = config.get("SECURITY_SCANNER_V4_ENDPOINT")
    if not endpoint and not config.get("SECURITY_SCANNER_ENDPOINT"):
        yield "At least one of SECURITY_SCANNER_ENDPOINT,SECURITY_SCANNER_V4_ENDPOINT must be present"
    elif endpoint and not re.match(r"https?://.", endpoint):
        yield "SECURITY_SCANNER_V4_ENDPOINT must be of type URL"
    try:
        base64.b64decode(config.get("SECURITY_SCANNER_V4_PSK", ""), validate=True)
    except ValueError as error:
        yield f"SECURITY_SCANNER_V4_PSK: {error}"


# --- what it is told to use ---------------------------------------------------------------------------------------


def connect(config):
    """A connection to the database of DB_URI."""
    import psycopg2

    user, password, host, port, name, _ = re.fullmatch(DATABASE, config["DB_URI"]).groups()
    decode = urllib.parse.unquote
    arguments = config.get("DB_CONNECTION_ARGS") or {}
    more = {key: value for key, value in arguments.items() if key in ("sslmode", "sslrootcert", "connect_timeout")}
    return psycopg2.connect(host=host, port=port or 5432, user=decode(user), password=decode(password or ""),
                            dbname=decode(name), **{"connect_timeout": 5, **more})


def check_database(config):
    import psycopg2

    try:
        with connect(config) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM pg_extension WHERE extname = 'pg_trgm'")
            if cursor.fetchone()[0] == 0:
                raise Refused("Could not find the extension pg_trgm in the database of DB_URI; it must be created there")
        connection.close()
    except psycopg2.Error as error:
        raise Refused(f"Could not connect to the database of DB_URI: {str(error).strip()}")


def ping(key, settings):
    user, password = settings.get("username"), settings.get("password")
    words = [["AUTH", *([user] if user else []), password]] if password else []
    try:
        connection = socket.create_connection((settings["host"], settings["port"]), timeout=5)
        if settings.get("ssl"):
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            connection = context.wrap_socket(connection)
        with connection:
            for word in [*words, ["PING"]]:
                parts = [f"*{len(word)}\r\n"] + [f"${len(w.encode())}\r\n{w}\r\n" for w in word]
                connection.sendall("".join(parts).encode())
                answer = connection.recv(4096).decode().strip()
                if answer not in ("+OK", "+PONG"):
                    raise Refused(f"Could not connect to Redis with the values of {key}: {answer.lstrip('-')}")
    except OSError as error:
        raise Refused(f"Could not connect to Redis with the values of {key}: {error}")


def check_storages(config):
    for name, (driver, settings) in config["DISTRIBUTED_STORAGE_CONFIG"].items():
        try:
            opened(driver, settings).check()
        except (OSError, StorageError) as error:
            raise Refused(f"Could not access storage {name}: {error}")
