use serde::Deserialize;

use super::{LabError, Mark};
use crate::host::{Reply, Script, Shell};

const LAB_TAG: &str = "quaylab:lab=";
const HOST_TAG: &str = "quaylab:host=";
const IMAGE_TAG: &str = "quaylab:image=";

/// LVM on a hypervisor, as root there.
///
/// libvirt's own LVM pools know no tags, and what carries no mark from its first moment on cannot be told from
/// somebody else's; so quaylab makes volume groups and logical volumes itself, with the mark on them.
#[derive(Debug, Clone)]
pub struct Lvm {
    shell: Shell,
}

/// What the tags of a volume group or a logical volume say.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tags {
    pub lab: Option<String>,
    /// The VM that it was made for.
    pub host: Option<String>,
    /// The digest of the image that it was filled with, once all of it is there.
    pub image: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogicalVolume {
    pub group: String,
    pub name: String,
    pub bytes: u64,
    pub tags: Tags,
}

impl Tags {
    pub fn of(mark: &Mark, host: Option<&str>) -> Self {
        Self { lab: Some(mark.lab.clone()), host: host.map(str::to_owned), image: None }
    }

    pub fn is_of(&self, lab: &str) -> bool {
        self.lab.as_deref() == Some(lab)
    }

    fn read(list: &str) -> Self {
        let value = |name: &str| list.split(',').find_map(|t| t.trim().strip_prefix(name)).map(unescaped);
        Self { lab: value(LAB_TAG), host: value(HOST_TAG), image: value(IMAGE_TAG) }
    }

    /// The options of LVM's commands that set them.
    pub(super) fn arguments(&self) -> Vec<String> {
        let tag = |name: &str, value: &Option<String>| {
            value.as_ref().map(|v| ["--addtag".to_owned(), format!("{name}{}", escaped(v))])
        };
        [tag(LAB_TAG, &self.lab), tag(HOST_TAG, &self.host), tag(IMAGE_TAG, &self.image)]
            .into_iter()
            .flatten()
            .flatten()
            .collect()
    }
}

/// LVM's tags hold few characters; others are written as `#` and two digits.
fn escaped(text: &str) -> String {
    text.bytes()
        .map(|b| {
            if b.is_ascii_alphanumeric() || b"_.-:".contains(&b) {
                char::from(b).to_string()
            } else {
                format!("#{b:02x}")
            }
        })
        .collect()
}

fn unescaped(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('#') {
        bytes.extend_from_slice(before.as_bytes());
        if let Some(byte) = after.get(..2).and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            bytes.push(byte);
            rest = &after[2..];
        } else {
            bytes.push(b'#');
            rest = after;
        }
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8_lossy(&bytes).into_owned()
}

/// `--reportformat json`: `{"report": [{"vg": [...]}]}`.
#[derive(Debug, Deserialize)]
struct Answer {
    report: Vec<Report>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Report {
    vg: Vec<VgRow>,
    lv: Vec<LvRow>,
}

#[derive(Debug, Deserialize)]
struct VgRow {
    vg_name: String,
    vg_tags: String,
}

#[derive(Debug, Deserialize)]
struct LvRow {
    vg_name: String,
    lv_name: String,
    lv_size: String,
    lv_tags: String,
}

impl Lvm {
    pub(super) fn new(shell: Shell) -> Self {
        Self { shell }
    }

    /// The volume groups, with their tags. None where LVM is not installed.
    pub async fn groups(&self) -> Result<Vec<(String, Tags)>, LabError> {
        let rows = self.report(&["vgs", "-o", "vg_name,vg_tags"]).await?;
        Ok(rows.into_iter().flat_map(|r| r.vg).map(|r| (r.vg_name, Tags::read(&r.vg_tags))).collect())
    }

    /// All logical volumes.
    pub async fn volumes(&self) -> Result<Vec<LogicalVolume>, LabError> {
        let rows = self.report(&["lvs", "-o", "vg_name,lv_name,lv_size,lv_tags"]).await?;
        Ok(rows
            .into_iter()
            .flat_map(|r| r.lv)
            .map(|r| LogicalVolume {
                group: r.vg_name,
                name: r.lv_name,
                bytes: r.lv_size.parse().unwrap_or(0),
                tags: Tags::read(&r.lv_tags),
            })
            .collect())
    }

    pub async fn volume(&self, group: &str, name: &str) -> Result<Option<LogicalVolume>, LabError> {
        Ok(self.volumes().await?.into_iter().find(|v| v.group == group && v.name == name))
    }

    /// Makes a volume group on a device that holds nothing.
    pub async fn create_group(&self, name: &str, device: &str, tags: &Tags) -> Result<(), LabError> {
        let what = format!("making the volume group {name} on {device}");
        let look = self.run(&what, &["wipefs", "--noheadings", "--output", "TYPE", device]).await?;
        let found: Vec<String> = look.out().split_whitespace().map(str::to_owned).collect();
        if !found.is_empty() {
            return Err(LabError::failed(what, format!("the device holds something: {}", found.join(", "))).with_hint(format!(
                "a volume group is only made on a device that holds nothing: look with `lsblk -f {device}`, and if what is there may go, `wipefs -a {device}`"
            )));
        }
        let mut command = vec!["vgcreate".to_owned()];
        command.extend(tags.arguments());
        command.extend([name.to_owned(), device.to_owned()]);
        self.run(&what, &command).await.map(drop)
    }

    /// Removes a volume group that is empty, and LVM's label from its devices.
    pub async fn remove_group(&self, name: &str) -> Result<(), LabError> {
        let what = format!("removing the volume group {name}");
        let devices = self.run(&what, &["vgs", "--noheadings", "-o", "pv_name", name]).await?;
        self.run(&what, &["vgchange", "-a", "n", name]).await?;
        self.run(&what, &["vgremove", name]).await?;
        for device in devices.out().split_whitespace() {
            self.run(&what, &["pvremove", device]).await?;
        }
        Ok(())
    }

    /// Takes this lab's mark off a volume group that stays.
    pub async fn release_group(&self, name: &str, lab: &str) -> Result<(), LabError> {
        let tag = format!("{LAB_TAG}{}", escaped(lab));
        self.run(&format!("volume group {name}"), &["vgchange", "--deltag", &tag, name]).await.map(drop)
    }

    /// Makes a logical volume that carries its mark from the first moment on.
    pub async fn create(&self, group: &str, name: &str, bytes: u64, tags: &Tags) -> Result<(), LabError> {
        let mut command: Vec<String> =
            ["lvcreate", "--yes", "--wipesignatures", "y", "--name", name, "--size"]
                .map(str::to_owned)
                .to_vec();
        command.push(format!("{bytes}b"));
        command.extend(tags.arguments());
        command.push(group.to_owned());
        self.run(&format!("making the logical volume {group}/{name}"), &command).await.map(drop)
    }

    pub async fn remove(&self, group: &str, name: &str) -> Result<(), LabError> {
        let full = format!("{group}/{name}");
        self.run(&format!("removing the logical volume {full}"), &["lvremove", "--yes", &full])
            .await
            .map(drop)
    }

    /// Says on a logical volume what it was filled with.
    pub async fn mark_filled(&self, group: &str, name: &str, image: &str) -> Result<(), LabError> {
        let full = format!("{group}/{name}");
        let older = self.volume(group, name).await?.and_then(|v| v.tags.image).filter(|old| old != image);
        let mut command = vec!["lvchange".to_owned()];
        command
            .extend(older.iter().flat_map(|old| ["--deltag".into(), format!("{IMAGE_TAG}{}", escaped(old))]));
        command.extend(["--addtag".into(), format!("{IMAGE_TAG}{}", escaped(image)), full.clone()]);
        self.run(&format!("logical volume {full}"), &command).await.map(drop)
    }

    /// Lets a logical volume grow to a size.
    pub async fn extend(&self, group: &str, name: &str, bytes: u64) -> Result<(), LabError> {
        let full = format!("{group}/{name}");
        let size = format!("{bytes}b");
        self.run(&format!("growing the logical volume {full}"), &["lvextend", "--size", &size, &full])
            .await
            .map(drop)
    }

    async fn report(&self, command: &[&str]) -> Result<Vec<Report>, LabError> {
        let mut words = vec![command[0]];
        words.extend(["--reportformat", "json", "--units", "b", "--nosuffix"]);
        words.extend(&command[1..]);
        let reply = self.shell.run(&Script::argv(words)).await?;
        if reply.status == 127 {
            return Ok(Vec::new());
        }
        let reply = checked("asking LVM what is there", reply)?;
        let answer: Answer = serde_json::from_slice(&reply.stdout)
            .map_err(|e| LabError::failed("reading what LVM says", e.to_string()))?;
        Ok(answer.report)
    }

    async fn run<S: AsRef<str>>(&self, what: &str, command: &[S]) -> Result<Reply, LabError> {
        checked(what, self.shell.run(&Script::argv(command)).await?)
    }
}

fn checked(what: &str, reply: Reply) -> Result<Reply, LabError> {
    if reply.ok() {
        return Ok(reply);
    }
    // LVM tells what it noticed about other things first; the reason is at the end.
    let said = reply.err().trim().lines().last().unwrap_or_default().trim().to_owned();
    let error =
        LabError::failed(what, if said.is_empty() { format!("status {}", reply.status) } else { said });
    Err(if reply.status == 127 { error.with_hint("install lvm2 on the hypervisor") } else { error })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_read_back_as_they_were_written() {
        let tags = Tags {
            lab: Some("my lab, #1".into()),
            host: Some("quay".into()),
            image: Some("sha256:00ff".into()),
        };
        let written: Vec<String> = tags.arguments().into_iter().filter(|a| a != "--addtag").collect();
        assert_eq!(
            written,
            ["quaylab:lab=my#20lab#2c#20#231", "quaylab:host=quay", "quaylab:image=sha256:00ff"]
        );
        assert_eq!(Tags::read(&format!("other,{}", written.join(","))), tags);
        assert_eq!(Tags::read("foreign,quaylab"), Tags::default());
        assert!(!Tags::default().is_of("x"));
    }

    #[test]
    fn lvms_reports_are_understood() {
        let text = r#"{"report": [{"lv": [
            {"vg_name":"virt-pool", "lv_name":"quay", "lv_size":"8388608", "lv_tags":"quaylab:lab=a"}]}]}"#;
        let answer: Answer = serde_json::from_str(text).expect("json");
        assert_eq!(answer.report[0].lv[0].lv_size, "8388608");
        assert!(answer.report[0].vg.is_empty());
    }
}
