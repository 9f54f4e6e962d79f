use super::unit_words::pair;
use crate::container::{MARK, is_secret};
use crate::host::{Script, Step, contents, quote};
use crate::{Diff, Mode, ModuleError, RemotePath, TaskContext};
use serde::Deserialize;

/// Where Quadlet looks for the units of the whole machine.
pub(super) const FOLDER: &str = "/etc/containers/systemd";

/// The mode of a new unit.
const NEW_MODE: u32 = 0o640;

/// A unit that podman's generator makes a service of.
#[derive(Debug, Clone)]
pub(super) struct Unit {
    path: RemotePath,
    mode: Option<Mode>,
    section: &'static str,
    /// Keys and values of that section, in order.
    lines: Vec<(&'static str, String)>,
    /// Lines that the user adds; they may open sections of their own.
    options: Vec<String>,
    /// What is systemd's to know.
    service: Vec<(&'static str, String)>,
    lab: Option<String>,
    /// What it makes has no labels.
    unmarked: bool,
}

/// Where a unit stands, and what its user adds to it: the arguments that all modules with `state: quadlet` share.
#[derive(Debug, Clone, Default)]
pub(super) struct Place {
    pub(super) folder: Option<String>,
    pub(super) name: String,
    pub(super) mode: Option<Mode>,
    pub(super) options: Vec<String>,
}

/// Those arguments, and the engine's address, as fields of a module's struct.
macro_rules! with_quadlet {
    ($(#[$meta:meta])* $visibility:vis struct $name:ident { $($fields:tt)* }) => {
        $(#[$meta])*
        #[derive(Debug, serde::Deserialize, schemars::JsonSchema)]
        #[serde(deny_unknown_fields)]
        $visibility struct $name {
            $($fields)*
            /// The folder of the unit; by default that of the whole machine, /etc/containers/systemd.
            quadlet_dir: Option<String>,
            /// The unit's name without its ending; by default that of what it makes, which an image must be given.
            quadlet_filename: Option<String>,
            /// The mode of the unit's file; by default that which it has, 0640 for a new one.
            quadlet_file_mode: Option<crate::Mode>,
            /// Lines that the unit gets besides; sections of their own come last.
            #[serde(default)]
            quadlet_options: Vec<String>,
            /// The engine's address as the target sees it.
            podman_host: Option<String>,
        }

        impl $name {
            fn place(&self, name: &str) -> super::unit::Place {
                super::unit::Place {
                    folder: self.quadlet_dir.clone(),
                    name: self.quadlet_filename.clone().unwrap_or_else(|| name.to_owned()),
                    mode: self.quadlet_file_mode.clone(),
                    options: self.quadlet_options.clone(),
                }
            }
        }
    };
}
pub(super) use with_quadlet;

/// A unit's file as it is.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct UnitFile {
    mode: u32,
    text: String,
}

impl Unit {
    /// An empty unit; `suffix` is what its file's name ends in.
    pub(super) fn new(place: Place, section: &'static str, suffix: &str) -> Result<Self, String> {
        let name = place.name.strip_suffix(&format!(".{suffix}")).unwrap_or(&place.name);
        if name.is_empty() || name.contains('/') {
            return Err(format!("quadlet_filename {:?} is not a file's name", place.name));
        }
        let folder = RemotePath::try_from(place.folder.unwrap_or_else(|| FOLDER.to_owned()))
            .map_err(|e| format!("quadlet_dir: {e}"))?;
        Ok(Self {
            path: folder.join(&format!("{name}.{suffix}")),
            mode: place.mode,
            section,
            lines: Vec::new(),
            options: place.options,
            service: Vec::new(),
            lab: None,
            unmarked: false,
        })
    }

    pub(super) fn add(&mut self, key: &'static str, value: impl Into<String>) {
        self.lines.push((key, value.into()));
    }

    pub(super) fn add_all(&mut self, key: &'static str, values: impl IntoIterator<Item = String>) {
        self.lines.extend(values.into_iter().map(|value| (key, value)));
    }

    pub(super) fn serve(&mut self, key: &'static str, value: impl Into<String>) {
        self.service.push((key, value.into()));
    }

    pub(super) fn unmarked(&mut self) {
        self.unmarked = true;
    }

    pub(super) fn mark(&mut self, lab: &str) {
        self.lab = (!self.unmarked).then(|| lab.to_owned());
    }

    pub(super) fn validate(&self) -> Result<(), ModuleError> {
        match self.lines.iter().chain(&self.service).find(|(_, value)| value.contains(['\n', '\0'])) {
            Some((key, value)) => Err(ModuleError::Arguments(format!(
                "{value:?} holds a line's end and cannot be the {key} of a unit"
            ))),
            None => Ok(()),
        }
    }

    pub(super) fn text(&self) -> String {
        let mut text = format!("# Written by quaylab.\n[{}]\n", self.section);
        let mark = self.lab.as_ref().map(|lab| ("Label", pair(MARK, lab)));
        for (key, value) in self.lines.iter().chain(&mark) {
            text.push_str(&format!("{key}={value}\n"));
        }
        for option in &self.options {
            text.push_str(option.trim_end());
            text.push('\n');
        }
        if !self.service.is_empty() {
            text.push_str("\n[Service]\n");
            for (key, value) in &self.service {
                text.push_str(&format!("{key}={value}\n"));
            }
        }
        text
    }

    /// The text without its secrets.
    pub(super) fn shown(&self) -> String {
        masked(&self.text(), None)
    }

    pub(super) async fn observe(&self, cx: &TaskContext) -> Result<Option<UnitFile>, ModuleError> {
        let path = quote(self.path.as_str());
        let script =
            Script::new(format!("[ -e {path} ] || exit 0; stat -L -c %a -- {path} && {}", contents(&path)));
        let reply = cx.shell.probe(&script).await?;
        if !reply.ok() {
            return Err(ModuleError::failed(format!("reading {}: {}", self.path, reply.err().trim()))
                .hint("units of the whole machine are root's: become: true"));
        }
        let out = reply.out();
        Ok(out.split_once('\n').map(|(mode, text)| UnitFile {
            mode: u32::from_str_radix(mode.trim(), 8).unwrap_or_default(),
            text: text.to_owned(),
        }))
    }

    fn mode(&self, now: Option<&UnitFile>) -> u32 {
        let is = now.map_or(NEW_MODE, |n| n.mode);
        self.mode.as_ref().map_or(is, |m| m.apply(is, false))
    }

    /// What differs; `None` where the file is as it shall be.
    pub(super) fn difference(&self, now: Option<&UnitFile>) -> Option<Diff> {
        let (text, mode) = (self.text(), self.mode(now));
        let header = |mode: u32| format!("{} (mode {mode:04o})", self.path);
        match now {
            Some(now) if now.text == text && now.mode == mode => None,
            _ => Some(Diff {
                before_header: now.map_or_else(|| self.path.to_string(), |n| header(n.mode)),
                after_header: header(mode),
                before: now.map_or_else(String::new, |n| masked(&n.text, Some(&text))),
                after: masked(&text, None),
            }),
        }
    }

    pub(super) async fn write(&self, cx: &TaskContext) -> Result<(), ModuleError> {
        let now = self.observe(cx).await?;
        let folder = Script::new(format!("umask 022 && mkdir -p -- {}", quote(self.path.parent())));
        let made = cx.shell.run(&folder).await?;
        if !made.ok() {
            return Err(ModuleError::failed(format!("making {}: {}", self.path.parent(), made.err().trim())));
        }
        let step = Step::write_file(self.path.to_string(), self.text(), Some(self.mode(now.as_ref())));
        cx.shell.apply(&step).await?;
        Ok(())
    }
}

/// Hides the values of environment variables that sound like secrets; says of those that `other` does not hold that
/// they are other ones.
fn masked(text: &str, other: Option<&str>) -> String {
    let line = |line: &str| {
        let name = line.strip_prefix("Environment=").and_then(|l| l.trim_start_matches('"').split_once('='));
        match name {
            Some((name, _)) if is_secret(name) => {
                let differs = other.is_some_and(|o| !o.lines().any(|l| l == line));
                format!("Environment={name}=********{}\n", if differs { " (other)" } else { "" })
            }
            _ => format!("{line}\n"),
        }
    };
    text.lines().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(mode: Option<Mode>) -> Unit {
        let place = Place {
            name: "redis.container".into(),
            mode,
            options: vec!["AutoUpdate=registry".into(), "[Install]\nWantedBy=multi-user.target\n".into()],
            ..Place::default()
        };
        let mut unit = Unit::new(place, "Container", "container").expect("a unit");
        unit.add("Image", "localhost/quaylab/redis:7");
        unit.add("Environment", pair("REDIS_PASSWORD", "ge heim"));
        unit.serve("Restart", "always");
        unit.mark("quaylab");
        unit
    }

    #[test]
    fn a_unit_is_written_and_its_secrets_are_not_shown() {
        let unit = unit(None);
        assert_eq!(unit.path.as_str(), "/etc/containers/systemd/redis.container");
        insta::assert_snapshot!(unit.shown(), @r"
        # Written by quaylab.
        [Container]
        Image=localhost/quaylab/redis:7
        Environment=REDIS_PASSWORD=********
        Label=quaylab.lab=quaylab
        AutoUpdate=registry
        [Install]
        WantedBy=multi-user.target

        [Service]
        Restart=always
        ");
        assert!(unit.text().contains("\nEnvironment=\"REDIS_PASSWORD=ge heim\"\n"), "{}", unit.text());
    }

    #[test]
    fn only_another_text_or_mode_is_a_difference() {
        let text = unit(None).text();
        let file = |mode: u32, text: &str| UnitFile { mode, text: text.to_owned() };
        for (asked, now, differs) in [
            (None, None, true),
            (None, Some(file(0o640, &text)), false),
            // Without a mode in the arguments the file keeps its own.
            (None, Some(file(0o600, &text)), false),
            (Some(Mode::Bits(0o600)), Some(file(0o640, &text)), true),
            (None, Some(file(0o640, "[Container]\n")), true),
        ] {
            let found = unit(asked.clone()).difference(now.as_ref());
            assert_eq!(found.is_some(), differs, "{asked:?} {now:?}");
        }
        let now = file(0o640, &text.replace("ge heim", "alt"));
        let diff = unit(None).difference(Some(&now)).expect("another password");
        assert!(diff.before.contains("REDIS_PASSWORD=******** (other)\n"), "{}", diff.before);
        assert!(!diff.before.contains("alt") && !diff.after.contains("heim"), "{diff:?}");
    }

    #[test]
    fn what_cannot_stand_in_a_unit_is_refused() {
        let mut unit = unit(None);
        unit.add("Volume", "/a\n[Service]:/b");
        assert!(unit.validate().is_err());
        let place = Place { name: "../x".into(), ..Place::default() };
        assert!(Unit::new(place, "Container", "container").is_err());
    }
}
