/// The name with its tag or digest.
pub(crate) fn reference(name: &str, tag: &str) -> String {
    let last = name.rsplit('/').next().unwrap_or(name);
    if last.contains(':') || name.contains('@') { name.to_owned() } else { format!("{name}:{tag}") }
}

/// The registry that an image name means.
pub(crate) fn registry_of(reference: &str) -> &str {
    match reference.split_once('/') {
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => host,
        _ => "docker.io",
    }
}

/// Docker leaves `docker.io/` and `library/` out of names.
pub(crate) fn same_name(a: &str, b: &str) -> bool {
    fn short(name: &str) -> &str {
        let name = name.strip_prefix("docker.io/").unwrap_or(name);
        name.strip_prefix("library/").unwrap_or(name)
    }
    short(a) == short(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_get_a_tag_unless_they_have_one() {
        for (name, expected, registry) in [
            ("redis", "redis:latest", "docker.io"),
            ("quay.io/projectquay/quay:v3", "quay.io/projectquay/quay:v3", "quay.io"),
            ("localhost:5000/a", "localhost:5000/a:latest", "localhost:5000"),
            ("a/b@sha256:0", "a/b@sha256:0", "docker.io"),
        ] {
            assert_eq!(reference(name, "latest"), expected);
            assert_eq!(registry_of(name), registry, "{name}");
        }
    }
}
