"""What the stand-in for Quay checks before it starts: its configuration, its database, its Redis, its storage."""

import base64, os, re, socket, sys, urllib.parse

import psycopg2
import yaml
from storage import DRIVERS, StorageError

# Outside a container, `standin.py CONFIG PORT`: another file, another port, any user, any folder.
CONFIG = sys.argv[1] if len(sys.argv) > 2 else "/conf/stack/config.yaml"
CONTAINED = len(sys.argv) <= 2
REQUIRED = """PREFERRED_URL_SCHEME SERVER_HOSTNAME DB_URI AUTHENTICATION_TYPE DISTRIBUTED_STORAGE_CONFIG BUILDLOGS_REDIS
USER_EVENTS_REDIS DISTRIBUTED_STORAGE_PREFERENCE DEFAULT_TAG_EXPIRATION TAG_EXPIRATION_OPTIONS SECRET_KEY
DATABASE_SECRET_KEY SETUP_COMPLETE""".split()
DURATION = re.compile(r"^[0-9]+(w|m|d|h|s)$")


class Refused(Exception):
    """Why this does not start."""


def read_config():
    try:
        with open(CONFIG) as file:
            config = yaml.safe_load(file)
    except OSError as error:
        raise Refused(f"{CONFIG} cannot be read: {error.strerror}")
    if not isinstance(config, dict):
        raise Refused(f"{CONFIG} is no mapping")
    missing = [key for key in REQUIRED if key not in config]
    if missing:
        raise Refused(f"{', '.join(missing)} is required")
    return config


def check_values(config):
    if config["SETUP_COMPLETE"] is not True:
        raise Refused("SETUP_COMPLETE must be true")
    if config.get("TESTING", True) is not False:
        raise Refused("TESTING must be false; its default is true")
    scheme = config["PREFERRED_URL_SCHEME"]
    if scheme not in ("http", "https"):
        raise Refused("PREFERRED_URL_SCHEME must be http or https")
    name = str(config["SERVER_HOSTNAME"])
    host = name.split(":")[0]
    if not re.fullmatch(r"[A-Za-z0-9.-]+(:[0-9]+)?", name) or ("." not in host and host != "localhost"):
        raise Refused("SERVER_HOSTNAME must be a valid hostname with a dot in it")
    if scheme == "https" and not config.get("EXTERNAL_TLS_TERMINATION"):
        for file in ("ssl.cert", "ssl.key"):
            if not os.path.exists(os.path.join(os.path.dirname(CONFIG), file)):
                raise Refused(f"{file} is required for https")
    if config.get("FEATURE_MAILING", True) and "MAIL_SERVER" not in config:
        raise Refused("MAIL_SERVER is required, because FEATURE_MAILING is true by default")
    for value in [config["DEFAULT_TAG_EXPIRATION"], *config["TAG_EXPIRATION_OPTIONS"]]:
        if not DURATION.match(str(value)):
            raise Refused(f"{value!r} is no duration")
    if config["DEFAULT_TAG_EXPIRATION"] not in config["TAG_EXPIRATION_OPTIONS"]:
        raise Refused("DEFAULT_TAG_EXPIRATION must be one of TAG_EXPIRATION_OPTIONS")
    arguments = config.get("DB_CONNECTION_ARGS")
    if arguments is not None and not {"threadlocals", "autorollback"} <= arguments.keys():
        raise Refused("DB_CONNECTION_ARGS needs threadlocals and autorollback")
    check_storage(config)
    if config.get("FEATURE_SECURITY_SCANNER"):
        check_scanner(config)


def check_scanner(config):
    endpoint = config.get("SECURITY_SCANNER_V4_ENDPOINT")
    if not endpoint and not config.get("SECURITY_SCANNER_ENDPOINT"):
        raise Refused("At least one of SECURITY_SCANNER_ENDPOINT,SECURITY_SCANNER_V4_ENDPOINT must be present")
    if not re.match(r"https?://.", endpoint or ""):
        raise Refused("SECURITY_SCANNER_V4_ENDPOINT must be of type URL")
    try:
        base64.b64decode(config.get("SECURITY_SCANNER_V4_PSK", ""))
    except ValueError as error:
        raise Refused(f"SECURITY_SCANNER_V4_PSK: {error}")


def check_storage(config):
    locations = config["DISTRIBUTED_STORAGE_CONFIG"]
    if not locations:
        raise Refused("DISTRIBUTED_STORAGE_CONFIG needs a location")
    for name in [*config["DISTRIBUTED_STORAGE_PREFERENCE"], *config.get("DISTRIBUTED_STORAGE_DEFAULT_LOCATIONS", [])]:
        if name not in locations:
            raise Refused(f"DISTRIBUTED_STORAGE_CONFIG has no location {name}")
    for name, (driver, parameters) in locations.items():
        kind = DRIVERS.get(driver)
        if not kind:
            raise Refused(f"this stand-in has no storage driver {driver}")
        unknown, missing = parameters.keys() - kind.NEEDS - kind.TAKES, kind.NEEDS - parameters.keys()
        if unknown or missing:
            raise Refused(f"{driver} needs {', '.join(sorted(kind.NEEDS))}, not {', '.join(sorted(unknown)) or 'less'}")
        if driver == "LocalStorage" and CONTAINED and not on_own_mount(parameters["storage_path"]):
            raise Refused(f"{parameters['storage_path']} is on no mount of its own")
        try:
            kind(**parameters).check()
        except (OSError, StorageError) as error:
            raise Refused(f"Could not access storage {name}: {error}")


def on_own_mount(path):
    with open("/proc/self/mountinfo") as file:
        points = [line.split()[4] for line in file]
    return any(point != "/" and (path + "/").startswith(point.rstrip("/") + "/") for point in points)


def database(config):
    match = re.fullmatch(r"postgresql(?:\+psycopg2)?://([^:@/]+):([^@/]*)@([^:/]+)(?::([0-9]+))?/([^?]+)", config["DB_URI"])
    if not match:
        raise Refused("DB_URI must be postgresql://USER:PASSWORD@HOST:PORT/DATABASE; special characters percent-encoded")
    user, password, host, port, name = match.groups()
    decode = urllib.parse.unquote
    return psycopg2.connect(host=host, port=port or 5432, user=decode(user), password=decode(password),
                            dbname=decode(name), connect_timeout=5)


def check_database(config):
    try:
        with database(config) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM pg_extension WHERE extname = 'pg_trgm'")
            if cursor.fetchone()[0] == 0:
                raise Refused("Could not find the extension pg_trgm in the database of DB_URI; it must be created there")
            cursor.execute("""
                CREATE TABLE IF NOT EXISTS standin_user (name text PRIMARY KEY, email text, salt bytea, hash bytea);
                CREATE TABLE IF NOT EXISTS standin_token (hash text PRIMARY KEY, name text);
                CREATE TABLE IF NOT EXISTS standin_repository (name text PRIMARY KEY, public boolean);
                CREATE TABLE IF NOT EXISTS standin_object (name text PRIMARY KEY, data text);""")
    except psycopg2.Error as error:
        raise Refused(f"Could not connect to the database of DB_URI: {str(error).strip()}")


def ping(key, settings):
    if "host" not in settings:
        raise Refused(f"{key} needs a host")
    where = (settings["host"], int(settings.get("port", 6379)))
    words = [["AUTH", str(settings["password"])]] if settings.get("password") else []
    try:
        with socket.create_connection(where, timeout=5) as connection:
            for word in [*words, ["PING"]]:
                parts = [f"*{len(word)}\r\n"] + [f"${len(w.encode())}\r\n{w}\r\n" for w in word]
                connection.sendall("".join(parts).encode())
                answer = connection.recv(4096).decode().strip()
                if answer not in ("+OK", "+PONG"):
                    raise Refused(f"Could not connect to Redis with the values of {key}: {answer.lstrip('-')}")
    except OSError as error:
        raise Refused(f"Could not connect to Redis with the values of {key}: {error}")
