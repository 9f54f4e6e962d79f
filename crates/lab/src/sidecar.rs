use super::{LabError, Made, MadeKind, VolumeFormat};
use crate::host::{Script, Shell, quote};
use crate::store::FileName;

/// Where a hypervisor keeps the marks of what can carry none itself.
const ROOT: &str = "/var/lib/quaylab/marks";

/// Marks beside what they are about, on the hypervisor: a file a pool or volume, in a folder a lab. With them a lab is
/// known even where the controller's own memory of it is lost.
#[derive(Debug, Clone)]
pub(super) struct Sidecars {
    shell: Shell,
}

impl Sidecars {
    pub(super) fn new(shell: Shell) -> Self {
        Self { shell }
    }

    pub(super) async fn put(&self, lab: &str, made: &Made) -> Result<(), LabError> {
        // Whoever takes away another mark takes away folders that are empty just then: it is tried again.
        let file = place(lab, made.kind, &made.name);
        let folder = file.rsplit_once('/').map_or(ROOT, |(folder, _)| folder);
        let source = made.source.as_deref().unwrap_or("-");
        let text =
            made.format.map_or_else(|| source.to_owned(), |format| format!("{source} {}", format.word()));
        let script = format!(
            "umask 022; tries=0
until mkdir -p {0} 2>/dev/null && printf '%s\\n' {1} 2>/dev/null >{0}/.new.$$ && mv {0}/.new.$$ {2} 2>/dev/null; do
    [ \"$tries\" -lt 20 ] || {{ mkdir -p {0} && printf '%s\\n' {1} >{0}/.new.$$ && mv {0}/.new.$$ {2}; ended=$?; rm -f {0}/.new.$$; exit $ended; }}
    tries=$((tries + 1))
done",
            quote(folder),
            quote(&text),
            quote(&file)
        );
        self.run(&script).await.map(drop)
    }

    pub(super) async fn remove(&self, lab: &str, kind: MadeKind, name: &str) -> Result<(), LabError> {
        let file = place(lab, kind, name);
        // Folders go as far as nothing else is in them; `cd` keeps `rmdir -p` below the machine's own. A broken-off write's temporary goes too: one
        // that is being written is written again.
        let within = file.trim_start_matches("/var/lib/");
        let folder = within.rsplit_once('/').map_or("", |(folder, _)| folder);
        let script = format!(
            "cd /var/lib && rm -f {} {1}/.new.* && rmdir -p {1} 2>/dev/null; :",
            quote(within),
            quote(folder)
        );
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
    let parts: Vec<String> =
        name.split('/').map(|part| FileName::escaped(part).as_str().to_owned()).collect();
    format!("{ROOT}/{}/{}/{}", folder_name(lab), word(kind), parts.join("/"))
}

/// Lines of `./KIND/NAME:SOURCE`, with how a volume was made behind it.
fn read(listing: &str, uri: &str) -> Vec<Made> {
    let mark = |line: &str| {
        let (path, source) = line.strip_prefix("./")?.split_once(':')?;
        let (kind, name) = path.split_once('/')?;
        let kind = match kind {
            "pool" => MadeKind::Pool,
            "volume" => MadeKind::Volume,
            _ => return None,
        };
        let (source, format) = source.split_once(' ').unwrap_or((source, ""));
        let format = VolumeFormat::of(format);
        let source = (source != "-").then(|| source.to_owned());
        Some(Made { uri: uri.to_owned(), kind, name: name.to_owned(), source, format })
    };
    let mut all: Vec<Made> = listing
        .lines()
        .filter_map(mark)
        .filter(|m| !m.name.split('/').any(|part| part.starts_with(".new.")))
        .collect();
    all.sort_by(|a, b| (a.kind, &a.name).cmp(&(b.kind, &b.name)));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_read_from_a_listing() {
        let listing = "./volume/p/quay.qcow2:sha256:00\n./pool/p:folder\n./volume/p/b:- raw\n./volume/p/.new.12:x\n./pool/.new.7:x\nodd\n";
        let read: Vec<_> =
            read(listing, "u").into_iter().map(|m| (m.kind, m.name, m.source, m.format)).collect();
        assert_eq!(
            read,
            [
                (MadeKind::Pool, "p".into(), Some("folder".into()), None),
                (MadeKind::Volume, "p/b".into(), None, Some(VolumeFormat::Raw)),
                (MadeKind::Volume, "p/quay.qcow2".into(), Some("sha256:00".into()), None),
            ]
        );
    }

    #[test]
    fn a_labs_name_never_leaves_its_folder() {
        assert_eq!(folder_name("quick-start"), "quick-start");
        assert_eq!(folder_name("../x y"), "%..%2fx%20y");
        assert_eq!(place("a", MadeKind::Volume, "p/v"), "/var/lib/quaylab/marks/a/volume/p/v");
        assert_eq!(place("a", MadeKind::Volume, "../.."), "/var/lib/quaylab/marks/a/volume/%2e./%2e.");
    }
}
