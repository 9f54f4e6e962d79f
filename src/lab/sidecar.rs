use super::{LabError, Made, MadeKind};
use crate::host::{Script, Shell, quote};

/// Where a hypervisor keeps the marks of what can carry none itself.
const ROOT: &str = "/var/lib/quaylab/marks";

/// Marks beside what they are about, on the hypervisor: a file a pool or volume, in a folder a lab. With them a lab is
/// known even where the controller's own memory of it is lost.
#[derive(Debug, Clone)]
pub(super) struct Sidecars {
    shell: Shell,
}

/// One writer or cleaner at a time: folders come and go with their files.
static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

impl Sidecars {
    pub(super) fn new(shell: Shell) -> Self {
        Self { shell }
    }

    pub(super) async fn put(&self, lab: &str, made: &Made) -> Result<(), LabError> {
        let _turn = TURN.lock().await;
        let file = place(lab, made.kind, &made.name);
        let folder = file.rsplit_once('/').map_or(ROOT, |(folder, _)| folder);
        let source = made.source.as_deref().unwrap_or("-");
        let script = format!(
            "umask 022; mkdir -p {0} && printf '%s\\n' {1} >{0}/.new && mv {0}/.new {2}",
            quote(folder),
            quote(source),
            quote(&file)
        );
        self.run(&script).await.map(drop)
    }

    pub(super) async fn remove(&self, lab: &str, kind: MadeKind, name: &str) -> Result<(), LabError> {
        let _turn = TURN.lock().await;
        let file = place(lab, kind, name);
        // Folders go as far as nothing else is in them; `cd` keeps `rmdir -p` below the machine's own.
        let within = file.trim_start_matches("/var/lib/");
        let folder = within.rsplit_once('/').map_or("", |(folder, _)| folder);
        let script =
            format!("cd /var/lib && rm -f {} && rmdir -p {} 2>/dev/null; :", quote(within), quote(folder));
        self.run(&script).await.map(drop)
    }

    /// Every mark of a lab.
    pub(super) async fn all(&self, lab: &str, uri: &str) -> Result<Vec<Made>, LabError> {
        let script = format!("cd {}/{} 2>/dev/null && grep -r . . ; :", ROOT, quote(&folder_name(lab)));
        Ok(read(&self.run(&script).await?, uri))
    }

    async fn run(&self, script: &str) -> Result<String, LabError> {
        let reply = self.shell.run(&Script::new(script)).await?;
        if reply.ok() {
            return Ok(reply.out().into_owned());
        }
        Err(LabError::failed(format!("keeping marks in {ROOT}"), reply.err().trim().to_owned()))
    }
}

fn word(kind: MadeKind) -> &'static str {
    match kind {
        MadeKind::Pool => "pool",
        MadeKind::Volume => "volume",
    }
}

/// A lab's name as one folder's.
fn folder_name(lab: &str) -> String {
    let fine = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let name: String =
        lab.chars().map(|c| if fine(c) { c.to_string() } else { format!("%{:x}", u32::from(c)) }).collect();
    if name.starts_with('.') { format!("%{name}") } else { name }
}

fn place(lab: &str, kind: MadeKind, name: &str) -> String {
    format!("{ROOT}/{}/{}/{name}", folder_name(lab), word(kind))
}

/// Lines of `./KIND/NAME:SOURCE`.
fn read(listing: &str, uri: &str) -> Vec<Made> {
    let mark = |line: &str| {
        let (path, source) = line.strip_prefix("./")?.split_once(':')?;
        let (kind, name) = path.split_once('/')?;
        let kind = match kind {
            "pool" => MadeKind::Pool,
            "volume" => MadeKind::Volume,
            _ => return None,
        };
        let source = (source != "-").then(|| source.to_owned());
        Some(Made { uri: uri.to_owned(), kind, name: name.to_owned(), source })
    };
    let mut all: Vec<Made> =
        listing.lines().filter_map(mark).filter(|m| !m.name.ends_with("/.new")).collect();
    all.sort_by(|a, b| (a.kind, &a.name).cmp(&(b.kind, &b.name)));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_read_from_a_listing() {
        let listing =
            "./volume/p/quay.qcow2:sha256:00\n./pool/p:folder\n./volume/p/b:-\n./volume/p/.new:x\nodd\n";
        let read: Vec<_> = read(listing, "u").into_iter().map(|m| (m.kind, m.name, m.source)).collect();
        assert_eq!(
            read,
            [
                (MadeKind::Pool, "p".into(), Some("folder".into())),
                (MadeKind::Volume, "p/b".into(), None),
                (MadeKind::Volume, "p/quay.qcow2".into(), Some("sha256:00".into())),
            ]
        );
    }

    #[test]
    fn a_labs_name_never_leaves_its_folder() {
        assert_eq!(folder_name("quick-start"), "quick-start");
        assert_eq!(folder_name("../x y"), "%..%2fx%20y");
        assert_eq!(place("a", MadeKind::Volume, "p/v"), "/var/lib/quaylab/marks/a/volume/p/v");
    }
}
