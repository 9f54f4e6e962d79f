use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags};
use tempfile::TempDir;

use super::read::unpack;
use super::write::MANIFEST;
use super::{BundleError, Kind, Manifest, Member, Watch, variables};
use crate::lab::{note_digest, noted_digest};

/// The variables' file in the folder that a bundle becomes.
const VARIABLES: &str = "bundle.yml";

/// Where a bundle's files go.
#[derive(Debug, Clone)]
pub struct Places {
    /// Everything but guest images; absolute.
    pub folder: PathBuf,
    /// Guest images.
    pub cache: PathBuf,
}

/// What became of a guest image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GuestPlaced {
    New,
    /// The cache has it already.
    Known,
}

/// What was loaded.
#[derive(Debug)]
pub struct Loaded {
    pub folder: PathBuf,
    /// The file for `-e @FILE`.
    pub variables: PathBuf,
    /// Whether an earlier one of this folder went.
    pub replaced: bool,
    /// Guest images by their places.
    pub guests: Vec<(PathBuf, GuestPlaced)>,
}

/// Unpacks a bundle, checks all of it, and only then puts it where it belongs.
pub fn load(
    file: &Path,
    manifest: &Manifest,
    places: &Places,
    watch: &dyn Watch,
) -> Result<Loaded, BundleError> {
    let replaced = may_become(&places.folder)?;
    let guests = guests(manifest, places)?;
    let is_new = |member: &Member| {
        !guests.iter().any(|(of, _, placed)| *placed == GuestPlaced::Known && of.path == member.path)
    };
    room(manifest, places, &is_new)?;

    let parent = places.folder.parent().unwrap_or(Path::new("/"));
    let mut parents = Made::default();
    parents.make(parent)?;
    let half = TempDir::with_prefix_in(".loading-", parent).map_err(BundleError::io("writing", parent))?;
    let new = half.path().join("new");
    std::fs::create_dir(&new).map_err(BundleError::io("writing", &new))?;
    let half_cache = if guests.iter().any(|(_, _, placed)| *placed == GuestPlaced::New) {
        parents.make(&places.cache)?;
        let folder = TempDir::with_prefix_in(".loading-", &places.cache);
        Some(folder.map_err(BundleError::io("writing", &places.cache))?)
    } else {
        None
    };
    let place = |member: &Member| match (member.path.kind(), &half_cache) {
        (Kind::Guest, Some(folder)) => is_new(member).then(|| folder.path().join(member.path.below())),
        (Kind::Guest, None) => None,
        _ => Some(new.join(&member.path)),
    };
    unpack(file, manifest, &place, watch)?;

    let text = variables(manifest, &places.folder, &places.cache);
    let mut list = serde_json::to_vec_pretty(manifest)
        .map_err(|e| BundleError::io("writing", &places.folder)(e.into()))?;
    list.push(b'\n');
    for (name, text) in [(VARIABLES, text.as_bytes()), (MANIFEST, &list)] {
        let path = new.join(name);
        std::fs::write(&path, text).map_err(BundleError::io("writing", &path))?;
    }
    let mut moved = Made::default();
    if let Some(folder) = &half_cache {
        for (member, ..) in guests.iter().filter(|(_, _, placed)| *placed == GuestPlaced::New) {
            let image = folder.path().join(member.path.below());
            note_digest(&image, &format!("sha256:{}", known_as(member)))
                .map_err(|e| BundleError::refused(e.to_string(), "look after the cache's folder"))?;
        }
        settle(folder.path())?;
    }
    settle(&new)?;
    if let Some(folder) = &half_cache {
        for entry in std::fs::read_dir(folder.path()).map_err(BundleError::io("reading", folder.path()))? {
            let entry = entry.map_err(BundleError::io("reading", folder.path()))?;
            moved.rename(&entry.path(), &places.cache.join(entry.file_name()))?;
        }
    }
    put(&new, &places.folder, half.path(), replaced)?;
    moved.keep();
    parents.keep();
    Ok(Loaded {
        variables: places.folder.join(VARIABLES),
        folder: places.folder.clone(),
        replaced,
        guests: guests.into_iter().map(|(_, target, placed)| (target, placed)).collect(),
    })
}

/// The digest that the cache knows a guest image by.
fn known_as(member: &Member) -> &str {
    member.came_as.as_ref().unwrap_or(&member.sha256).as_str()
}

/// Whether there is a bundle's folder already; refuses what is somebody else's.
fn may_become(folder: &Path) -> Result<bool, BundleError> {
    let entries = match std::fs::read_dir(folder) {
        Ok(mut entries) => entries.next(),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        Err(e) => return Err(BundleError::io("reading", folder)(e)),
    };
    if entries.is_none() {
        return Ok(false);
    }
    if folder.join(MANIFEST).is_file() {
        return Ok(true);
    }
    Err(BundleError::refused(
        format!("{} is there, and no bundle was loaded into it", folder.display()),
        "name a folder that is empty or not there yet with --into",
    ))
}

type GuestOf<'a> = (&'a Member, PathBuf, GuestPlaced);

/// Where guest images go. One that VMs may stand on is never replaced by another.
fn guests<'a>(manifest: &'a Manifest, places: &Places) -> Result<Vec<GuestOf<'a>>, BundleError> {
    let mut all = Vec::new();
    for member in manifest.of(Kind::Guest) {
        let target = places.cache.join(member.path.below());
        let becomes = match target.metadata() {
            Err(_) => GuestPlaced::New,
            Ok(meta) if meta.len() == member.bytes && noted(&target) == Some(known_as(member).to_owned()) => {
                GuestPlaced::Known
            }
            Ok(_) => {
                return Err(BundleError::refused(
                    format!("{} is there already, and is another image", target.display()),
                    "VMs may stand on it; where none does, remove it with quaylab image rm",
                ));
            }
        };
        all.push((member, target, becomes));
    }
    Ok(all)
}

fn noted(image: &Path) -> Option<String> {
    noted_digest(image).map(|digest| digest.trim_start_matches("sha256:").to_owned())
}

/// Says so before anything is written where there is no room for it.
fn room(manifest: &Manifest, places: &Places, is_new: &dyn Fn(&Member) -> bool) -> Result<(), BundleError> {
    let mut needed: Vec<(PathBuf, u64, u64)> = Vec::new();
    for member in manifest.members.iter().filter(|member| is_new(member)) {
        let place = if member.path.kind() == Kind::Guest { &places.cache } else { &places.folder };
        let Some(there) = place.ancestors().find(|folder| folder.is_dir()) else { continue };
        let Ok(stat) = rustix::fs::statvfs(there) else { continue };
        match needed.iter_mut().find(|(folder, ..)| folder == there) {
            Some((_, bytes, _)) => *bytes = bytes.saturating_add(member.bytes),
            None => {
                needed.push((there.to_owned(), member.bytes, stat.f_bavail.saturating_mul(stat.f_frsize)));
            }
        }
    }
    match needed.into_iter().find(|(_, needed, free)| needed > free) {
        Some((folder, needed, free)) => Err(BundleError::Room { folder, free, needed }),
        None => Ok(()),
    }
}

/// Has everything on the disk before it gets its name.
fn settle(folder: &Path) -> Result<(), BundleError> {
    let opened = std::fs::File::open(folder).map_err(BundleError::io("writing", folder))?;
    rustix::fs::syncfs(opened).map_err(|e| BundleError::io("writing", folder)(e.into()))
}

/// Gives the new folder its name in one step. What had it before ends up below `aside`, which goes.
fn put(new: &Path, folder: &Path, aside: &Path, replaced: bool) -> Result<(), BundleError> {
    let writing = || BundleError::io("writing", folder);
    if !replaced {
        return std::fs::rename(new, folder).map_err(writing());
    }
    if rustix::fs::renameat_with(CWD, new, CWD, folder, RenameFlags::EXCHANGE).is_ok() {
        return Ok(());
    }
    // Not every file system can do that.
    let old = aside.join("old");
    std::fs::rename(folder, &old).map_err(writing())?;
    std::fs::rename(new, folder).map_err(|e| {
        let _back = std::fs::rename(&old, folder);
        writing()(e)
    })
}

/// What was made on the way; removed again unless it is kept.
#[derive(Default)]
struct Made {
    folders: Vec<PathBuf>,
    files: Vec<PathBuf>,
}

impl Made {
    /// Makes a folder and those above it that are missing.
    fn make(&mut self, folder: &Path) -> Result<(), BundleError> {
        self.folders.extend(folder.ancestors().take_while(|above| !above.exists()).map(Path::to_owned));
        std::fs::create_dir_all(folder).map_err(BundleError::io("making", folder))
    }

    fn rename(&mut self, from: &Path, to: &Path) -> Result<(), BundleError> {
        std::fs::rename(from, to).map_err(BundleError::io("writing", to))?;
        self.files.push(to.to_owned());
        Ok(())
    }

    fn keep(mut self) {
        self.folders.clear();
        self.files.clear();
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        for file in &self.files {
            let _gone = std::fs::remove_file(file);
        }
        // Deepest first within each call; one that somebody uses by now is not empty.
        for folder in &self.folders {
            let _kept = std::fs::remove_dir(folder);
        }
    }
}
