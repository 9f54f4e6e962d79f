use std::io::Write;
use std::path::Path;

use super::image::{amount, convert_to_raw};
use super::volume::volume_xml;
use super::{Hypervisor, LabError, Made, MadeKind, Registry, SourceImage, VolumeSpec, host_dir};

/// Puts bytes into volumes, and remembers what each holds once all of it is there.
#[derive(Debug, Clone)]
pub struct Filler {
    pub hypervisor: Hypervisor,
    pub registry: Registry,
}

impl Filler {
    pub fn new(hypervisor: &Hypervisor, state_dir: &Path) -> Self {
        Self { hypervisor: hypervisor.clone(), registry: Registry::new(state_dir) }
    }

    fn remember(&self, full: &str, source: Option<&str>) -> Result<(), LabError> {
        self.registry.put(Made {
            uri: self.hypervisor.uri().to_owned(),
            kind: MadeKind::Volume,
            name: full.to_owned(),
            source: source.map(str::to_owned),
        })
    }

    /// What a volume was filled from, if this lab made it; the outer `None` is a volume of someone else.
    pub fn source(&self, full: &str) -> Result<Option<Option<String>>, LabError> {
        Ok(self.registry.get(self.hypervisor.uri(), MadeKind::Volume, full)?.map(|made| made.source))
    }

    /// Makes a volume. It is remembered before it is there, so that a run that breaks off can be cleaned up after.
    pub async fn create(&self, pool: &str, name: &str, xml: String) -> Result<(), LabError> {
        let full = format!("{pool}/{name}");
        self.remember(&full, None)?;
        let (to_pool, named) = (pool.to_owned(), name.to_owned());
        let made = self.hypervisor.call(move |d| d.create_volume(&to_pool, &xml)).await;
        if made.is_err() {
            let there = {
                let (pool, name) = (pool.to_owned(), named);
                self.hypervisor.call(move |d| d.volume(&pool, &name)).await
            };
            if matches!(there, Ok(None)) {
                self.registry.remove(self.hypervisor.uri(), MadeKind::Volume, &full)?;
            }
        }
        made
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
        static ONE_AT_A_TIME: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
        let _turn = ONE_AT_A_TIME.lock().await;
        let name = image.base_name();
        let full = format!("{pool}/{name}");
        if self.base_ready(pool, image).await? {
            return Ok(());
        }
        let there = {
            let (pool, name) = (pool.to_owned(), name.clone());
            self.hypervisor.call(move |d| d.volume(&pool, &name)).await?
        };
        match (there, self.source(&full)?) {
            (Some(_), None) => {
                return Err(LabError::Conflict(format!(
                    "volume {full} exists and was not made by this lab: another lab may be uploading it; remove it when none is"
                )));
            }
            // An upload that broke off is started anew.
            (Some(_), Some(_)) => {
                let (pool, name) = (pool.to_owned(), name.clone());
                self.hypervisor.call(move |d| d.delete_volume(&pool, &name)).await?;
            }
            (None, _) => {}
        }
        let bytes = std::fs::metadata(&image.path)
            .map_err(LabError::io(format!("reading {}", image.path.display())))?
            .len();
        // As raw: libvirt is to take the file as it is, not to make an image around it.
        self.create(pool, &name, volume_xml(&name, bytes, "raw", None)).await?;
        self.upload(pool, &name, &image.path, progress).await?;
        let refreshed = pool.to_owned();
        self.hypervisor.call(move |d| d.refresh_pool(&refreshed)).await?;
        self.remember(&full, Some(&image.digest))
    }

    /// Whether the pool has the whole image.
    pub async fn base_ready(&self, pool: &str, image: &SourceImage) -> Result<bool, LabError> {
        let name = image.base_name();
        let known = self.source(&format!("{pool}/{name}"))?.flatten();
        let pool = pool.to_owned();
        let there = self.hypervisor.call(move |d| d.volume(&pool, &name)).await?.is_some();
        Ok(there && known.as_deref() == Some(&image.digest))
    }

    /// Fills a volume with an image, converted to raw; the digest is remembered when all of it is written.
    pub async fn convert(
        &self,
        spec: &VolumeSpec,
        image: &SourceImage,
        progress: &(dyn Fn(&str) + Send + Sync),
    ) -> Result<(), LabError> {
        let (pool, name) = (spec.pool.clone(), spec.name.clone());
        let volume = self.hypervisor.call(move |d| d.volume(&pool, &name)).await?.ok_or_else(|| {
            LabError::failed(
                format!("volume {}", spec.full_name()),
                "it vanished before the image was written",
            )
        })?;
        progress("converting the image");
        let device = Path::new(&volume.path);
        if self.hypervisor.is_local() && std::fs::OpenOptions::new().write(true).open(device).is_ok() {
            convert_to_raw(image, device, true).await?;
        } else {
            let folder = super::default_cache_dir();
            std::fs::create_dir_all(&folder)
                .map_err(LabError::io(format!("making {}", folder.display())))?;
            let raw = tempfile::Builder::new()
                .suffix(".raw")
                .tempfile_in(&folder)
                .map_err(LabError::io(format!("making a file in {}", folder.display())))?;
            convert_to_raw(image, raw.path(), false).await?;
            self.upload(&spec.pool, &spec.name, raw.path(), progress).await?;
        }
        self.remember(&spec.full_name(), Some(&image.digest))
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
        let full = format!("{pool}/{name}");
        let there = {
            let (pool, name) = (pool.to_owned(), name.to_owned());
            self.hypervisor.call(move |d| d.volume(&pool, &name)).await?
        };
        match (&there, self.source(&full)?) {
            (Some(_), None) => {
                return Err(LabError::Conflict(format!(
                    "volume {full} exists and was not made by this lab, so the seed is not written over it"
                )));
            }
            (Some(volume), Some(_)) if volume.capacity == bytes.len() as u64 => {}
            (Some(_), Some(_)) => {
                let (from, old) = (pool.to_owned(), name.to_owned());
                self.hypervisor.call(move |d| d.delete_volume(&from, &old)).await?;
                self.create(pool, name, volume_xml(name, bytes.len() as u64, "raw", None)).await?;
            }
            (None, _) => self.create(pool, name, volume_xml(name, bytes.len() as u64, "raw", None)).await?,
        }
        self.upload(pool, name, file.path(), &|_| {}).await?;
        self.remember(&full, Some(&seed.digest()))
    }
}
