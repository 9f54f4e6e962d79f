//! What runs in the hosts' containers: archives of images, made where they are not there yet.

use std::path::Path;
use std::process::{Command, Stdio};

use super::nspawn::made_by;
use super::skipped;

const FOLDER: &str = "/var/cache/quaylab/images";

/// The services that `scripts/service-images.sh` makes images of: role, image, archive.
const SERVICES: [(&str, &str, &str); 4] = [
    ("postgresql", "postgresql:15", "postgresql-15"),
    ("mysql", "mariadb:10.11", "mariadb-1011"),
    ("redis", "redis:7", "redis-7"),
    ("registry", "registry:2", "registry-2"),
];

/// The inventory's lines that name the images of all services; `None`, with the reason printed, where they cannot be made.
pub(crate) fn of_services() -> Option<String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/service-images.sh");
    // What a lab needs is one recipe, MariaDB another.
    for names in [&[][..], &["mariadb-1011"]] {
        let made = Command::new(&script).arg(FOLDER).args(names).stdin(Stdio::null()).output();
        let made = made.expect("the script");
        if !made.status.success() {
            let why = String::from_utf8_lossy(&made.stderr).trim().to_owned();
            skipped(&format!("the service images cannot be made: {why}"));
            return None;
        }
    }
    let line = |(role, image, archive): (&str, &str, &str)| {
        format!("{role}_image=localhost/quaylab/{image}\n{role}_image_archive={FOLDER}/{archive}.tar\n")
    };
    Some(SERVICES.map(line).concat())
}

/// The same of a stand-in, which has the version that it stands in for.
pub(crate) fn of_standin(role: &str, version: u8) -> Option<String> {
    let script = format!("tests/standins/{role}/image.sh");
    let made = made_by(&mut Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join(script)));
    let archive =
        made.map_err(|reason| skipped(&format!("the stand-in for {role} cannot be made: {reason}"))).ok()?;
    Some(format!(
        "{role}_image=localhost/quaylab-test/{role}-standin:{version}\n{role}_image_archive={}\n",
        archive.display()
    ))
}
