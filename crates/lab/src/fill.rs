use std::io::Write;
use std::path::Path;

use tokio::io::AsyncReadExt as _;

use super::cache_folder::prepare_folder;
use super::convert::{LIMITS, convert_to_raw};
use super::image::amount;
use super::volume::{EXTENT, volume_xml};
use super::{
    Element, Hypervisor, LabError, Ledger, Lvm, MadeKind, Mark, SourceImage, Tags, VolumeFormat, VolumeNow,
    VolumeSpec, host_dir,
};
use crate::host::{Script, Shell, arrived, quote};

/// Makes volumes and puts bytes into them, and remembers what each holds once all of it is there.
#[derive(Debug, Clone)]
pub struct Filler {
    pub hypervisor: Hypervisor,
    pub ledger: Ledger,
    /// The VM that the volumes are for.
    host: String,
}

/// Whose a volume is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owner {
    /// This lab made it; the digest is that of what it was filled with, once that was finished.
    Us {
        source: Option<String>,
    },
    Somebody,
}

impl Owner {
    fn source(self) -> Option<String> {
        match self {
            Self::Us { source } => source,
            Self::Somebody => None,
        }
    }
}

impl Filler {
    pub fn new(hypervisor: &Hypervisor, ledger: Ledger, host: &str) -> Self {
        Self { hypervisor: hypervisor.clone(), ledger, host: host.to_owned() }
    }

    /// Notes what a volume holds; how it was made stays noted.
    async fn remember(&self, full: &str, source: &str) -> Result<(), LabError> {
        let format = self.ledger.get(MadeKind::Volume, full).await?.and_then(|made| made.format);
        self.ledger.put_volume(full, Some(source), format).await
    }

    /// A volume as libvirt has it now.
    pub async fn volume(&self, pool: &str, name: &str) -> Result<Option<VolumeNow>, LabError> {
        let (pool, name) = (pool.to_owned(), name.to_owned());
        self.hypervisor.call(move |d| d.volume(&pool, &name)).await
    }

    /// LVM and the volume group, where that is what a pool stands on.
    pub async fn group(&self, pool: &str) -> Result<Option<(Lvm, String)>, LabError> {
        let name = pool.to_owned();
        let Some(defined) = self.hypervisor.call(move |d| d.pool(&name)).await? else { return Ok(None) };
        let pool = Element::parse(&defined.xml)?;
        if pool.get("type") != Some("logical") {
            return Ok(None);
        }
        let group =
            pool.path_text("source/name").or_else(|| pool.path_text("name")).unwrap_or_default().to_owned();
        Ok(self.hypervisor.lvm().await.map(|lvm| (lvm, group)))
    }

    /// Who made a volume that is there. A logical volume's tags decide alone: the name may have gone to another's.
    pub async fn owner(&self, pool: &str, name: &str) -> Result<Owner, LabError> {
        if let Some((lvm, group)) = self.group(pool).await?
            && let Some(volume) = lvm.volume(&group, name).await?
        {
            return Ok(if volume.tags.is_of(self.ledger.lab()) {
                Owner::Us { source: volume.tags.image }
            } else {
                Owner::Somebody
            });
        }
        Ok(match self.ledger.get(MadeKind::Volume, &format!("{pool}/{name}")).await? {
            Some(made) => Owner::Us { source: made.source },
            None => Owner::Somebody,
        })
    }

    /// Makes a volume. It is remembered before it is there, so that a run that breaks off can be cleaned up after.
    pub async fn create(&self, pool: &str, name: &str, xml: String) -> Result<(), LabError> {
        let full = format!("{pool}/{name}");
        let format = Element::parse(&xml)?.path_attr("target/format", "type").and_then(VolumeFormat::of);
        self.ledger.put_volume(&full, None, format).await?;
        let made = if let Some((lvm, group)) = self.group(pool).await? {
            self.create_logical(&lvm, pool, &group, name, &xml).await
        } else {
            let pool = pool.to_owned();
            self.hypervisor.call(move |d| d.create_volume(&pool, &xml)).await
        };
        if made.is_err() && matches!(self.volume(pool, name).await, Ok(None)) {
            self.ledger.remove(MadeKind::Volume, &full).await?;
        }
        made
    }

    async fn create_logical(
        &self,
        lvm: &Lvm,
        pool: &str,
        group: &str,
        name: &str,
        xml: &str,
    ) -> Result<(), LabError> {
        let capacity = Element::parse(xml)?.path_text("capacity").and_then(|c| c.parse().ok()).unwrap_or(0);
        let tags = Tags::of(&Mark::new(self.ledger.lab()), Some(&self.host));
        lvm.create(group, name, capacity, &tags).await?;
        self.refresh(pool).await
    }

    /// Lets a volume grow; `vm` is the running VM and its disk that are told.
    pub async fn grow(
        &self,
        pool: &str,
        name: &str,
        bytes: u64,
        vm: Option<(String, String)>,
    ) -> Result<(), LabError> {
        if let Some((lvm, group)) = self.group(pool).await? {
            lvm.extend(&group, name, bytes).await?;
            self.refresh(pool).await?;
        } else if vm.is_none() {
            self.still_as_made(pool, name).await?;
            let (pool, name) = (pool.to_owned(), name.to_owned());
            return self.hypervisor.call(move |d| d.resize_volume(&pool, &name, bytes)).await;
        }
        let Some((vm, disk)) = vm else { return Ok(()) };
        // A logical volume has whole extents, and its guest is told of exactly what is there.
        let now = self.volume(pool, name).await?.map_or(0, |v| v.capacity);
        let bytes = bytes.max(now);
        self.hypervisor.call(move |d| d.resize_disk(&vm, &disk, bytes)).await?;
        self.refresh(pool).await
    }

    /// Refuses a raw volume at whose start its guest wrote another format's header: libvirt would take it for that.
    async fn still_as_made(&self, pool: &str, name: &str) -> Result<(), LabError> {
        let full = format!("{pool}/{name}");
        let made = self.ledger.get(MadeKind::Volume, &full).await?.and_then(|made| made.format);
        let found = self.volume(pool, name).await?.and_then(|volume| volume.format);
        match (made, found.as_deref()) {
            (Some(VolumeFormat::Raw), Some(other)) if !["raw", "unknown", "iso"].contains(&other) => {
                Err(LabError::failed(
                    format!("volume {full}"),
                    format!(
                        "it was made as a raw disk, and begins as {other} does by now: its guest wrote that"
                    ),
                )
                .with_hint(
                    "libvirt would not resize the disk but what its guest made up; look into the guest first",
                ))
            }
            _ => Ok(()),
        }
    }

    async fn refresh(&self, pool: &str) -> Result<(), LabError> {
        let pool = pool.to_owned();
        self.hypervisor.call(move |d| d.refresh_pool(&pool)).await
    }

    async fn upload(
        &self,
        pool: &str,
        name: &str,
        file: &Path,
        progress: &(dyn Fn(&str) + Send + Sync),
    ) -> Result<(), LabError> {
        let total =
            std::fs::metadata(file).map_err(LabError::io(format!("reading {}", file.display())))?.len();
        let (pool, name, file) = (pool.to_owned(), name.to_owned(), file.to_owned());
        let (tell, mut told) = tokio::sync::watch::channel(0_u64);
        let upload = self
            .hypervisor
            .call(move |d| d.upload(&pool, &name, &file, &mut |done| tell.send_modify(|d| *d = done)));
        tokio::pin!(upload);
        let mut last = std::time::Instant::now();
        loop {
            tokio::select! {
                result = &mut upload => return result,
                changed = told.changed() => {
                    if changed.is_err() {
                        return upload.await;
                    }
                    let done = *told.borrow_and_update();
                    if last.elapsed().as_millis() > 500 {
                        last = std::time::Instant::now();
                        progress(&format!("uploading: {}", amount(done, Some(total))));
                    }
                }
            }
        }
    }

    /// Brings an image unchanged into a pool. Hosts that share it run side by side: the first uploads, the others find it.
    pub async fn upload_base(
        &self,
        pool: &str,
        image: &SourceImage,
        progress: &(dyn Fn(&str) + Send + Sync),
    ) -> Result<(), LabError> {
        let name = image.base_name();
        let full = format!("{pool}/{name}");
        let _turn = self.hypervisor.state().uploads.at(&full).await;
        if self.base_ready(pool, image).await? {
            return Ok(());
        }
        match (self.volume(pool, &name).await?, self.owner(pool, &name).await?) {
            (Some(_), Owner::Somebody) => {
                return Err(LabError::Conflict(format!(
                    "volume {full} exists and was not made by this lab: another lab may be uploading it; remove it when none is"
                )));
            }
            // An upload that broke off is started anew.
            (Some(_), Owner::Us { .. }) => self.remove(pool, &name).await?,
            (None, _) => {}
        }
        image.verify().await?;
        let bytes = std::fs::metadata(&image.path)
            .map_err(LabError::io(format!("reading {}", image.path.display())))?
            .len();
        // As raw: libvirt is to take the file as it is, not to make an image around it.
        self.create(pool, &name, volume_xml(&name, bytes, "raw", None)).await?;
        self.upload(pool, &name, &image.path, progress).await?;
        self.refresh(pool).await?;
        self.remember(&full, &image.digest).await
    }

    /// Whether the pool has the whole image.
    pub async fn base_ready(&self, pool: &str, image: &SourceImage) -> Result<bool, LabError> {
        let name = image.base_name();
        let known = self.owner(pool, &name).await?.source();
        Ok(self.volume(pool, &name).await?.is_some() && known.as_deref() == Some(&image.digest))
    }

    /// Fills a volume with an image, converted to raw; the digest is remembered when all of it is written.
    pub async fn convert(
        &self,
        spec: &VolumeSpec,
        image: &SourceImage,
        progress: &(dyn Fn(&str) + Send + Sync),
    ) -> Result<(), LabError> {
        let volume = self.volume(&spec.pool, &spec.name).await?.ok_or_else(|| {
            LabError::failed(
                format!("volume {}", spec.full_name()),
                "it vanished before the image was written",
            )
        })?;
        progress("converting the image");
        let device = Path::new(&volume.path);
        if self.hypervisor.is_local() && std::fs::OpenOptions::new().write(true).open(device).is_ok() {
            convert_to_raw(image, device, true).await?;
        } else if let Some(root) = self.converting_shell().await {
            self.convert_there(&root, image, &volume.path, progress).await?;
        } else {
            let folder = super::default_cache_dir();
            prepare_folder(&folder)?;
            let raw = tempfile::Builder::new()
                .suffix(".raw")
                .tempfile_in(&folder)
                .map_err(LabError::io(format!("making a file in {}", folder.display())))?;
            convert_to_raw(image, raw.path(), false).await?;
            self.upload(&spec.pool, &spec.name, raw.path(), progress).await?;
        }
        self.filled(&spec.pool, &spec.name, &image.digest).await
    }

    /// A shell on another machine that has qemu-img, as root.
    async fn converting_shell(&self) -> Option<Shell> {
        self.hypervisor.way()?;
        let root = self.hypervisor.root()?;
        let there = root.run(&Script::new("command -v qemu-img >/dev/null")).await;
        there.is_ok_and(|r| r.ok()).then_some(root)
    }

    /// Sends the image as it is, which is small, and has the hypervisor write it out, which is large.
    async fn convert_there(
        &self,
        root: &Shell,
        image: &SourceImage,
        device: &str,
        progress: &(dyn Fn(&str) + Send + Sync),
    ) -> Result<(), LabError> {
        let what = format!("converting {} on the hypervisor", image.path.display());
        image.verify().await?;
        let reading = || LabError::io(format!("reading {}", image.path.display()));
        let file = tokio::fs::File::open(&image.path).await.map_err(reading())?;
        let size = file.metadata().await.map_err(reading())?.len();
        progress("sending the image to the hypervisor");
        // One script: whatever ends it, the copy goes.
        let script = format!(
            "copy=$(mktemp /var/tmp/quaylab-image.XXXXXX) || exit 1
trap 'rm -f \"$copy\"' EXIT
trap 'exit 1' HUP INT TERM PIPE
cat >\"$copy\" || exit
{}{{ {LIMITS}; }} 2>/dev/null
qemu-img convert -n -f {} -O raw \"$copy\" {}",
            arrived("\"$copy\"", size),
            image.format.word(),
            quote(device)
        );
        let reply = root.pipe(&Script::new(script), &mut file.take(size)).await?;
        if reply.ok() { Ok(()) } else { Err(LabError::failed(what, reply.err().trim().to_owned())) }
    }

    /// Writes a host's seed image into its volume, made anew so that it has the image's size.
    pub async fn write_seed(
        &self,
        host: &str,
        state_dir: &Path,
        pool: &str,
        name: &str,
        seed: &super::Seed,
    ) -> Result<(), LabError> {
        let bytes = seed.image()?;
        let folder = host_dir(state_dir, host);
        let writing = || format!("writing the seed in {}", folder.display());
        std::fs::create_dir_all(&folder).map_err(LabError::io(writing()))?;
        // In the state folder, which only its owner can read: the seed holds the host key.
        let mut file = tempfile::NamedTempFile::new_in(&folder).map_err(LabError::io(writing()))?;
        file.write_all(&bytes).and_then(|()| file.flush()).map_err(LabError::io(writing()))?;
        self.put_file(pool, name, file.path(), &|_| {}).await?;
        self.filled(pool, name, &seed.digest()).await
    }

    /// Puts a file into a volume of its size, made anew where it has another one.
    pub async fn put_file(
        &self,
        pool: &str,
        name: &str,
        file: &Path,
        progress: &(dyn Fn(&str) + Send + Sync),
    ) -> Result<(), LabError> {
        let full = format!("{pool}/{name}");
        let room =
            std::fs::metadata(file).map_err(LabError::io(format!("reading {}", file.display())))?.len();
        match (self.volume(pool, name).await?, self.owner(pool, name).await?) {
            (Some(_), Owner::Somebody) => {
                return Err(LabError::Conflict(format!(
                    "volume {full} exists and was not made by this lab, so it is not written over"
                )));
            }
            (Some(volume), Owner::Us { .. }) if (room..room + EXTENT).contains(&volume.capacity) => {}
            (Some(_), Owner::Us { .. }) => {
                self.remove(pool, name).await?;
                self.create(pool, name, volume_xml(name, room, "raw", None)).await?;
            }
            (None, _) => self.create(pool, name, volume_xml(name, room, "raw", None)).await?,
        }
        self.upload(pool, name, file, progress).await
    }

    /// Removes a volume of this lab and forgets it; one that is not there is well.
    pub async fn remove(&self, pool: &str, name: &str) -> Result<(), LabError> {
        if self.volume(pool, name).await?.is_some() {
            let (at, volume) = (pool.to_owned(), name.to_owned());
            self.hypervisor.call(move |d| d.delete_volume(&at, &volume)).await?;
        }
        self.ledger.remove(MadeKind::Volume, &format!("{pool}/{name}")).await
    }

    /// Notes that a volume holds all of what it was filled from, so that it is never filled again.
    pub async fn filled(&self, pool: &str, name: &str, digest: &str) -> Result<(), LabError> {
        if let Some((lvm, group)) = self.group(pool).await? {
            lvm.mark_filled(&group, name, digest).await?;
        }
        self.remember(&format!("{pool}/{name}"), digest).await
    }
}
