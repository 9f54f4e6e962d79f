//! What of this machine a lab uses, and as what it goes into a bundle.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::Result;
use indexmap::IndexMap;

use super::lab::HostVars;
use crate::bundle::{
    BundleError, HostSays, Hosts, Kind, MemberPath, Need, Push, Setting, Sha256Hex, Source, Use, files_below,
    needs,
};
use crate::diag::{Diagnostic, Origin, closest};
use crate::inventory::Inventory;
use crate::lab::{GuestSpec, ImageRequest, SourceImage, default_cache_dir};
use crate::modules::archived_names;
use crate::playbook::{EntryPoint, Folder, Keywords, Loader, Playbook, RoleUse};
use crate::value::plain;

/// What a lab's inventory says.
pub(super) struct LabNeeds {
    pub(super) needs: Vec<Need>,
    /// Images without an archive, by the variables that name them: a run that uses them pulls them.
    pub(super) pulled: Vec<String>,
    inventory: Inventory,
}

impl LabNeeds {
    /// Asks every host's variables, without those that were given by hand.
    pub(super) fn read(
        inventory: Inventory,
        roles_path: Vec<PathBuf>,
        by_hand: &BTreeSet<String>,
    ) -> Result<Self> {
        let loader = Loader::new(roles_path);
        let folder = Folder::Embedded("playbooks".into());
        let mut playbook = loader.playbook(&folder, "quaylab.yml")?;
        // Which registry it is shows in a run: its role is included there.
        let quay = RoleUse {
            name: "quay".into(),
            origin: Origin::synthetic("bundle"),
            keywords: Keywords::default(),
            params: IndexMap::new(),
        };
        let included = loader.role(&folder, &quay, &EntryPoint::default())?.roles;
        if let Some(play) = playbook.plays.last_mut() {
            play.roles.extend(included);
        }
        let members = |group: &str| {
            let groups = inventory.groups().into_iter().find(|(name, _)| name == group);
            groups.map(|(_, hosts)| hosts).unwrap_or_default()
        };
        let hypervisors = members("hypervisor");
        let mut all = Vec::new();
        for host in inventory.hosts() {
            let aside = hypervisors.iter().any(|h| h == host);
            all.push(says(&inventory, &playbook, host, by_hand, hypervisors.is_empty(), aside)?);
        }
        let pulled = pulled(&all, by_hand);
        Ok(Self { needs: needs(&all)?, pulled, inventory })
    }

    /// Where a variable is set, for messages.
    fn origin(&self, variable: &str, hosts: &Hosts) -> Option<Origin> {
        let named = match hosts {
            Hosts::All => None,
            Hosts::Named(names) => Some(names),
        };
        let mut wanted =
            self.inventory.hosts().filter(|host| named.is_none_or(|n| n.iter().any(|h| h == host)));
        wanted.find_map(|host| self.inventory.host_var(host, variable).map(|node| node.origin))
    }
}

fn says(
    inventory: &Inventory,
    playbook: &Playbook,
    host: &str,
    by_hand: &BTreeSet<String>,
    no_hypervisor: bool,
    aside: bool,
) -> Result<HostSays> {
    let vars = HostVars::new(inventory, playbook, host);
    let own = inventory.host_vars(host);
    let defaults = playbook.plays.iter().flat_map(|play| &play.roles).flat_map(|role| role.defaults.keys());
    let names: BTreeSet<&String> = own
        .keys()
        .chain(defaults)
        .filter(|name| HostSays::is_wanted(name) && !by_hand.contains(*name))
        .collect();
    let made = !no_hypervisor && !aside && GuestSpec::is_made(&vars)?;
    let mut says = HostSays { host: host.to_owned(), aside, ..HostSays::default() };
    for name in names {
        if !made && name.starts_with("image_") {
            continue;
        }
        let value = vars.get(name).map_err(|e| {
            let e = own.get(name).map_or(e.clone(), |node| e.at_least(&node.origin));
            e.note(format!("{name} of {host} cannot be known before a run"))
                .hint(format!("give it by hand: --image {name}=FILE"))
        })?;
        says.variables.extend(value.map(|value| (name.clone(), value)));
    }
    Ok(says)
}

/// The images that no host has an archive of.
fn pulled(hosts: &[HostSays], by_hand: &BTreeSet<String>) -> Vec<String> {
    let mut all = BTreeMap::new();
    for (name, value) in hosts.iter().filter(|says| !says.aside).flat_map(|says| &says.variables) {
        if let Some(image) = name.strip_suffix("_archive").filter(|_| !by_hand.contains(name)) {
            *all.entry(image.to_owned()).or_insert(true) &= plain(value).is_empty();
        }
    }
    all.into_iter().filter(|(_, empty)| *empty).map(|(image, _)| image).collect()
}

/// Everything that goes into a bundle, as it is gathered.
#[derive(Default)]
pub(super) struct Packing {
    pub(super) sources: Vec<Source>,
    pub(super) uses: Vec<Use>,
    /// What a person should know of what was packed.
    pub(super) warnings: Vec<String>,
}

impl Packing {
    /// Adds what the lab needs. Guest images are fetched into the cache where they are not there yet.
    pub(super) async fn lab(
        &mut self,
        lab: &LabNeeds,
        progress: &(dyn Fn(&str) + Send + Sync),
    ) -> Result<()> {
        let guests: Vec<_> = lab.needs.iter().filter(|need| matches!(need, Need::Guest { .. })).collect();
        // An image of the net is found in the cache under its own URI; one of this machine needs a variable, and then all do.
        let by_variable =
            guests.iter().any(|need| matches!(need, Need::Guest { uri, .. } if local(uri).is_some()));
        for need in &lab.needs {
            match need {
                Need::Archive { variable, file, hosts } => {
                    let path = found(file, variable, || lab.origin(variable, hosts))?;
                    let member = self.archive(&path)?;
                    self.uses.push(archive_for(variable, hosts.clone(), member));
                }
                Need::Guest { uri, checksum, hosts } => {
                    let member =
                        self.guest(uri, checksum.clone(), progress).await.map_err(|error| {
                            match lab.origin("image_uri", hosts) {
                                Some(origin) => error.context(format!("{origin}: image_uri")),
                                None => error,
                            }
                        })?;
                    if by_variable {
                        self.uses.push(Use { hosts: hosts.clone(), setting: Setting::Guest { member } });
                    }
                }
                Need::Pushes { images, hosts } => {
                    let mut pushes = Vec::new();
                    for image in images {
                        let mut fields: BTreeMap<String, String> =
                            image.iter().map(|(name, value)| (name.clone(), plain(value))).collect();
                        let archive = match fields.remove("archive").filter(|file| !file.is_empty()) {
                            Some(file) => {
                                let origin = || lab.origin("quay_images", hosts);
                                Some(self.archive(&found(&file, "quay_images", origin)?)?)
                            }
                            None => None,
                        };
                        pushes.push(Push { fields, archive });
                    }
                    self.uses.push(Use { hosts: hosts.clone(), setting: Setting::Pushes(pushes) });
                }
            }
        }
        Ok(())
    }

    /// Adds an archive of a container image; one file is packed once.
    pub(super) fn archive(&mut self, file: &Path) -> Result<MemberPath> {
        if let Some(known) = self.known(Kind::Image, file) {
            return Ok(known);
        }
        let holds = archived_names(file).map_err(|why| {
            Diagnostic::new(why).hint("make it with docker save, or podman save --format docker-archive")
        })?;
        let name = name_of(file)?;
        let taken = |path: &MemberPath| self.sources.iter().any(|source| source.path == *path);
        let candidates = std::iter::once(name.clone()).chain((2..1000).map(|n| format!("{n}/{name}")));
        let mut paths = candidates.map(|below| MemberPath::of(Kind::Image, &below));
        let path = paths.find(|path| path.as_ref().is_ok_and(|path| !taken(path)));
        let path = path.unwrap_or_else(|| MemberPath::of(Kind::Image, &name)).map_err(unfit)?;
        self.sources.push(Source { path: path.clone(), file: file.to_owned(), holds, came_as: None });
        Ok(path)
    }

    /// Adds a guest image, checked and under the name that it has in a cache.
    pub(super) async fn guest(
        &mut self,
        uri: &str,
        checksum: Option<String>,
        progress: &(dyn Fn(&str) + Send + Sync),
    ) -> Result<MemberPath> {
        let request = ImageRequest { uri: uri.to_owned(), checksum, cache_dir: default_cache_dir() };
        self.warnings.extend(request.warning());
        let image: SourceImage = request.fetch(progress).await?;
        let digest = Sha256Hex::parse(&image.digest).map_err(unfit)?;
        let (file, name) = match local(uri) {
            // Its name says what it is, so that another one of the same name is another one.
            Some(file) => {
                let short = digest.as_str().get(..12).unwrap_or_default();
                let name = format!("{short}-{}", name_of(&file)?);
                (file, name)
            }
            None => (image.path.clone(), name_of(&image.path)?),
        };
        if let Some(known) = self.known(Kind::Guest, &file) {
            return Ok(known);
        }
        let path = MemberPath::of(Kind::Guest, &name).map_err(unfit)?;
        self.sources.push(Source { path: path.clone(), file, holds: Vec::new(), came_as: Some(digest) });
        Ok(path)
    }

    /// Adds a folder of packages as it is, with what makes it a repository.
    pub(super) fn packages(&mut self, folder: &Path, out: &Path) -> Result<()> {
        let files = files_below(folder, out)?;
        let package = |name: &str| {
            let ending = Path::new(name).extension().and_then(|e| e.to_str());
            ending.is_some_and(|e| e.eq_ignore_ascii_case("deb") || e.eq_ignore_ascii_case("rpm"))
        };
        if !files.iter().any(|(name, _)| package(name)) {
            return Err(Diagnostic::new(format!("{} holds no package", folder.display()))
                .hint("--packages takes a folder with .deb or .rpm files in it")
                .into());
        }
        self.tree(Kind::Package, "", files)
    }

    /// Adds a role under its folder's name, unless one of that name is there.
    pub(super) fn role(&mut self, name: &str, folder: &Path, out: &Path) -> Result<()> {
        let below = format!("{name}/");
        let there =
            |source: &Source| source.path.kind() == Kind::Role && source.path.below().starts_with(&below);
        if self.sources.iter().any(there) {
            return Ok(());
        }
        self.tree(Kind::Role, &below, files_below(folder, out)?)
    }

    fn tree(&mut self, kind: Kind, below: &str, files: Vec<(String, PathBuf)>) -> Result<()> {
        for (name, file) in files {
            let path = MemberPath::of(kind, &format!("{below}{name}")).map_err(unfit)?;
            if let Some(other) = self.sources.iter().find(|source| source.path == path) {
                let (one, other) = (file.display(), other.file.display());
                return Err(Diagnostic::new(format!(
                    "{one} and {other} would be the same file of the bundle"
                ))
                .hint("rename one of them, or put them into folders of their own")
                .into());
            }
            self.sources.push(Source { path, file, holds: Vec::new(), came_as: None });
        }
        Ok(())
    }

    fn known(&self, kind: Kind, file: &Path) -> Option<MemberPath> {
        let same = |source: &&Source| {
            source.path.kind() == kind
                && (source.file == file || source.file.canonicalize().ok() == file.canonicalize().ok())
        };
        self.sources.iter().find(same).map(|source| source.path.clone())
    }
}

pub(super) fn archive_for(variable: &str, hosts: Hosts, member: MemberPath) -> Use {
    Use { hosts, setting: Setting::Archive { variable: variable.to_owned(), member } }
}

/// The file that a variable names, as a run finds it from where it is started.
fn found(file: &str, variable: &str, origin: impl FnOnce() -> Option<Origin>) -> Result<PathBuf> {
    let path = crate::store::expanded(file);
    if path.is_file() {
        return Ok(path);
    }
    let error = Diagnostic::new(format!("there is no file {file}, which {variable} names"));
    let error = match origin() {
        Some(origin) => error.at(&origin),
        None => error,
    };
    let names =
        std::fs::read_dir(path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new(".")));
    let names: Vec<String> =
        names.into_iter().flatten().flatten().map(|e| e.file_name().to_string_lossy().into_owned()).collect();
    let near = path.file_name().and_then(|name| closest(name.to_str()?, names.iter().map(String::as_str)));
    Err(error
        .hint(near.map_or_else(
            || "make it with docker save, or take the variable out: then a run pulls the image".to_owned(),
            |near| format!("did you mean {near}?"),
        ))
        .into())
}

/// The path of an image that is on this machine.
fn local(uri: &str) -> Option<PathBuf> {
    match uri.split_once("://") {
        None => Some(PathBuf::from(uri)),
        Some(("file", path)) => Some(PathBuf::from(path.strip_prefix("localhost").unwrap_or(path))),
        Some(_) => None,
    }
}

fn name_of(file: &Path) -> Result<String> {
    let name = file.file_name().and_then(|name| name.to_str()).map(str::to_owned);
    name.ok_or_else(|| {
        let error = format!("{} has no name that a bundle can hold", file.display());
        BundleError::Refused { what: error, hint: "rename it, with letters of UTF-8 only".into() }.into()
    })
}

fn unfit(why: String) -> BundleError {
    BundleError::Refused { what: why, hint: "rename it".into() }
}
