"""What Clair says of an image, asked as Quay asks it."""

import base64, hashlib, hmac, json, sys, time, urllib.error, urllib.parse, urllib.request


def ask(config, method, path, body=None):
    encode = lambda data: base64.urlsafe_b64encode(data).rstrip(b"=").decode()
    claims = {"iss": "quay", "exp": int(time.time()) + 300}
    text = ".".join(encode(json.dumps(part).encode()) for part in ({"alg": "HS256", "typ": "JWT"}, claims))
    key = base64.b64decode(config.get("SECURITY_SCANNER_V4_PSK", ""))
    token = f"{text}.{encode(hmac.new(key, text.encode(), hashlib.sha256).digest())}"
    url = urllib.parse.urljoin(config["SECURITY_SCANNER_V4_ENDPOINT"], path)
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Authorization": f"Bearer {token}"}, method=method)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def look(store, repository, digest, manifest):
    """Clair fetches the layers under the name that clients know Quay by."""
    config = store.config
    access = [{"type": "repository", "name": repository, "actions": ["pull"]}]
    token = store.sign({"sub": None, "access": access, "exp": time.time() + 60})
    base = f"{config.get('PREFERRED_URL_SCHEME', 'http')}://{config['SERVER_HOSTNAME']}/v2/{repository}/blobs"
    headers = {"Accept": ["application/gzip"], "Authorization": [f"Bearer {token}"]}
    layers = [{"hash": layer["digest"], "uri": f"{base}/{layer['digest']}", "headers": headers}
              for layer in json.loads(manifest).get("layers", [])]
    try:
        ask(config, "POST", "/indexer/api/v1/index_report", {"hash": digest, "layers": layers})
        report = ask(config, "GET", f"/matcher/api/v1/vulnerability_report/{digest}")
    except (OSError, ValueError) as error:
        said = error.read().decode() if isinstance(error, urllib.error.HTTPError) else ""
        print(f"security scanner: {error} {said}", file=sys.stderr, flush=True)
        return 200, {"status": "queued", "data": None}
    found = report["vulnerabilities"]
    return 200, {"status": "scanned", "data": {"Layer": {"Name": digest, "Features": list(found.values())}}}
