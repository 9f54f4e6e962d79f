use std::net::IpAddr;

/// `inventory_hostname_short`: the first label of a host's name. An address has no short form.
pub fn short_name(host: &str) -> &str {
    if host.parse::<IpAddr>().is_ok() { host } else { host.split('.').next().unwrap_or(host) }
}

#[cfg(test)]
mod tests {
    use super::short_name;

    #[test]
    fn only_names_are_shortened() {
        for (host, short) in [
            ("quay.quaylab.lan", "quay"),
            ("quay", "quay"),
            ("10.77.1.21", "10.77.1.21"),
            ("fd00::1", "fd00::1"),
            ("10.77.1.example", "10"),
        ] {
            assert_eq!(short_name(host), short);
        }
    }
}
