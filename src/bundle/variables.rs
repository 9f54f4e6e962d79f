use std::collections::BTreeMap;
use std::path::Path;

use super::{Hosts, Kind, Manifest, MemberPath, Push, Setting};

/// The variables that make a run use what was loaded, as a file for `-e @FILE`. `folder` is where it lies, `cache`
/// where guest images do.
pub fn variables(manifest: &Manifest, folder: &Path, cache: &Path) -> String {
    let place = |path: &MemberPath| match path.kind() {
        Kind::Guest => text(&cache.join(path.below()).to_string_lossy()),
        _ => text(&folder.join(path).to_string_lossy()),
    };
    let mut lines = vec![
        "# What makes a run use this bundle: quaylab run -i INVENTORY -e @THIS-FILE".to_owned(),
        format!("quaylab_bundle: {}", text(&folder.to_string_lossy())),
    ];
    if manifest.of(Kind::Package).next().is_some() {
        let packages = folder.join(Kind::Package.folder());
        lines.push(format!("quaylab_bundle_packages: {}", text(&packages.to_string_lossy())));
    }
    let mut all: BTreeMap<&str, Given> = BTreeMap::new();
    let mut give = |variable, hosts, value: String, otherwise| {
        all.entry(variable).or_insert_with(|| Given { otherwise, ..Given::default() }).add(hosts, &value);
    };
    for used in &manifest.uses {
        match &used.setting {
            Setting::Archive { variable, member } => {
                give(variable, &used.hosts, place(member), " | default('')");
            }
            Setting::Guest { member } => {
                give("image_uri", &used.hosts, place(member), "");
                let digest = manifest.of(Kind::Guest).find(|m| m.path == *member).map(|m| &m.sha256);
                if let Some(digest) = digest {
                    let checksum = text(&format!("sha256:{digest}"));
                    give("image_checksum", &used.hosts, checksum, " | default(omit)");
                }
            }
            Setting::Pushes(pushes) => {
                let items: Vec<String> = pushes.iter().map(|push| item(push, &place)).collect();
                give("quay_images", &used.hosts, format!("[{}]", items.join(", ")), " | default([])");
            }
        }
    }
    for (variable, given) in all {
        given.write(variable, &mut lines);
    }
    lines.join("\n") + "\n"
}

/// What a variable is for which hosts.
#[derive(Default)]
struct Given {
    everywhere: Option<String>,
    by_host: BTreeMap<String, String>,
    /// What it is for hosts that are not named.
    otherwise: &'static str,
}

impl Given {
    fn add(&mut self, hosts: &Hosts, value: &str) {
        match hosts {
            Hosts::All => self.everywhere = Some(value.to_owned()),
            Hosts::Named(names) => {
                self.by_host.extend(names.iter().map(|name| (name.clone(), value.to_owned())));
            }
        }
    }

    fn write(self, variable: &str, lines: &mut Vec<String>) {
        if let Some(value) = self.everywhere {
            lines.push(format!("{variable}: {value}"));
            return;
        }
        lines.push(format!("quaylab_bundle_{variable}:"));
        lines.extend(self.by_host.iter().map(|(host, value)| format!("  {}: {value}", text(host))));
        let otherwise = self.otherwise;
        lines.push(format!(
            "{variable}: \"{{{{ quaylab_bundle_{variable}[inventory_hostname]{otherwise} }}}}\""
        ));
    }
}

fn item(push: &Push, place: &impl Fn(&MemberPath) -> String) -> String {
    let mut fields: Vec<String> =
        push.fields.iter().map(|(name, value)| format!("{name}: {}", text(value))).collect();
    fields.extend(push.archive.iter().map(|path| format!("archive: {}", place(path))));
    format!("{{{}}}", fields.join(", "))
}

/// A text as YAML has it, never a template.
fn text(value: &str) -> String {
    let quoted = serde_json::Value::from(value).to_string();
    let template = ["{{", "{%", "{#"].iter().any(|mark| value.contains(mark));
    if template { format!("!unsafe {quoted}") } else { quoted }
}

#[cfg(test)]
mod tests {
    use super::super::{BundleName, Member, Sha256Hex, Use};
    use super::*;

    fn member(path: &str) -> Member {
        Member {
            path: MemberPath::parse(path).expect("a path"),
            bytes: 1,
            sha256: Sha256Hex::parse(&"0".repeat(64)).expect("a digest"),
            executable: false,
            holds: Vec::new(),
            came_as: None,
        }
    }

    fn of(paths: &[&str], uses: Vec<(Hosts, Setting)>) -> String {
        let uses = uses.into_iter().map(|(hosts, setting)| Use { hosts, setting }).collect();
        let name = BundleName::parse("quay").expect("a name");
        let manifest = Manifest::new(name, paths.iter().map(|p| member(p)).collect(), uses);
        manifest.check().expect("whole");
        variables(&manifest, Path::new("/data/quay"), Path::new("/cache"))
    }

    fn path(text: &str) -> MemberPath {
        MemberPath::parse(text).expect("a path")
    }

    #[test]
    fn one_value_for_all_stands_as_it_is() {
        let archive =
            Setting::Archive { variable: "redis_image_archive".into(), member: path("images/r{{.tar") };
        let guest = Setting::Guest { member: path("guests/0-d.qcow2") };
        let push = Push {
            fields: BTreeMap::from([("name".into(), "a/b:1".into()), ("source".into(), "x\"y".into())]),
            archive: Some(path("images/r{{.tar")),
        };
        let text = of(
            &["images/r{{.tar", "guests/0-d.qcow2", "packages/a.deb"],
            vec![
                (Hosts::All, archive),
                (Hosts::All, guest),
                (
                    Hosts::All,
                    Setting::Pushes(vec![push, Push { fields: BTreeMap::default(), archive: None }]),
                ),
            ],
        );
        insta::assert_snapshot!(text, @r#"
        # What makes a run use this bundle: quaylab run -i INVENTORY -e @THIS-FILE
        quaylab_bundle: "/data/quay"
        quaylab_bundle_packages: "/data/quay/packages"
        image_checksum: "sha256:0000000000000000000000000000000000000000000000000000000000000000"
        image_uri: "/cache/0-d.qcow2"
        quay_images: [{name: "a/b:1", source: "x\"y", archive: !unsafe "/data/quay/images/r{{.tar"}, {}]
        redis_image_archive: !unsafe "/data/quay/images/r{{.tar"
        "#);
    }

    #[test]
    fn hosts_that_differ_have_their_own() {
        let named = |hosts: &[&str], member: &str| {
            let hosts = Hosts::Named(hosts.iter().map(|h| (*h).to_owned()).collect());
            let variable = "redis_image_archive".to_owned();
            (hosts, Setting::Archive { variable, member: path(member) })
        };
        let text = of(
            &["images/a.tar", "images/b.tar"],
            vec![named(&["x", "z"], "images/a.tar"), named(&["y"], "images/b.tar")],
        );
        insta::assert_snapshot!(text, @r#"
        # What makes a run use this bundle: quaylab run -i INVENTORY -e @THIS-FILE
        quaylab_bundle: "/data/quay"
        quaylab_bundle_redis_image_archive:
          "x": "/data/quay/images/a.tar"
          "y": "/data/quay/images/b.tar"
          "z": "/data/quay/images/a.tar"
        redis_image_archive: "{{ quaylab_bundle_redis_image_archive[inventory_hostname] | default('') }}"
        "#);
    }
}
