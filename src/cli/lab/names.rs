use crate::diag::{Diagnostic, closest};
use crate::inventory::Inventory;

/// The first label of a host's name: what its VM is called.
pub(super) fn short(host: &str) -> &str {
    host.split('.').next().unwrap_or(host)
}

/// The host of the inventory that a person means by its full or its short name.
pub(in crate::cli) fn meant(inventory: &Inventory, given: &str) -> Result<String, Diagnostic> {
    let hosts: Vec<&str> = inventory.hosts().collect();
    if hosts.contains(&given) {
        return Ok(given.to_owned());
    }
    let by_short: Vec<&str> = hosts.iter().copied().filter(|host| short(host) == given).collect();
    match by_short.as_slice() {
        [one] => Ok((*one).to_owned()),
        [] => {
            let known = hosts.iter().flat_map(|host| [*host, short(host)]);
            let near = closest(given, known).map(|name| format!("did you mean {name}?"));
            let all = format!("the inventory has {}", hosts.join(", "));
            Err(Diagnostic::new(format!("the inventory has no host {given:?}")).hint(near.unwrap_or(all)))
        }
        several => Err(Diagnostic::new(format!("{given:?} is short for more than one host"))
            .hint(format!("name one of {}", several.join(", ")))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_and_slips_are_understood() {
        let hosts = "quay.a.lan,db.a.lan,db.b.lan,";
        let (inventory, _) = Inventory::load(&[hosts.to_owned()]).expect("hosts");
        assert_eq!(meant(&inventory, "quay").as_deref(), Ok("quay.a.lan"));
        assert_eq!(meant(&inventory, "db.b.lan").as_deref(), Ok("db.b.lan"));
        for (given, hint) in [
            ("qauy", "did you mean quay?"),
            ("quay.a.lam", "did you mean quay.a.lan?"),
            ("db", "name one of db.a.lan, db.b.lan"),
            ("nothing-like-it", "the inventory has quay.a.lan, db.a.lan, db.b.lan"),
        ] {
            assert_eq!(meant(&inventory, given).expect_err("refused").hint.as_deref(), Some(hint), "{given}");
        }
    }
}
