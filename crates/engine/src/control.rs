use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::event::Event;
use super::play::PlayRun;
use crate::diag::SourceFile;
use crate::modules::{Controller, FileKind, ModuleError};
use crate::playbook::{Folder, Role, Task};
use crate::vars::Scope;

/// What a module asks of the controller, answered for one task on one host.
pub(super) struct TaskController {
    pub play: Arc<PlayRun>,
    pub task: Arc<Task>,
    pub role: Option<Arc<Role>>,
    pub scope: Arc<dyn Scope>,
    pub host: String,
    /// The task does not run yet: what it will ask is guessed.
    pub guessing: bool,
    /// Nothing is told of how far it has come: it is a guess, or `no_log` hides it.
    pub silent: bool,
}

impl TaskController {
    /// Where a file is looked for, in Ansible's order.
    fn places(&self, kind: FileKind) -> Vec<Folder> {
        let sub = match kind {
            FileKind::Files => "files",
            FileKind::Templates => "templates",
        };
        let mut places = Vec::new();
        if let Some(role) = &self.role {
            places.extend([role.folder.join(sub), role.folder.clone()]);
        }
        for folder in [&self.task.folder, &self.play.play.folder] {
            places.extend([folder.join(sub), folder.clone()]);
        }
        places
    }

    fn find(&self, kind: FileKind, name: &str) -> Result<(Folder, String), ModuleError> {
        if let Some(absolute) = absolute(name) {
            let file = absolute.to_string_lossy().trim_start_matches('/').to_owned();
            return Ok((Folder::Disk(PathBuf::from("/")), file));
        }
        let places = self.places(kind);
        let exists = |f: &&Folder| f.read(name).is_some() || f.path().is_some_and(|p| p.join(name).exists());
        places.iter().find(exists).map(|f| (f.clone(), name.to_owned())).ok_or_else(|| {
            let mut looked: Vec<String> = places.iter().map(|f| f.describe(name)).collect();
            looked.dedup();
            ModuleError::failed(format!(
                "could not find {name:?} on the controller; looked for {}",
                looked.join(", ")
            ))
        })
    }
}

fn absolute(name: &str) -> Option<PathBuf> {
    Some(crate::store::expanded(name)).filter(|path| path.is_absolute())
}

#[async_trait::async_trait]
impl Controller for TaskController {
    fn load(&self, kind: FileKind, name: &str) -> Result<(String, Vec<u8>), ModuleError> {
        let (folder, file) = self.find(kind, name)?;
        let full = folder.describe(&file);
        match folder.read(&file) {
            Some(Ok(bytes)) => Ok((full, bytes)),
            Some(Err(e)) => Err(ModuleError::failed(format!("cannot read {full} on the controller: {e}"))),
            None => Err(ModuleError::failed(format!("there is no file {full} on the controller"))),
        }
    }

    fn locate(&self, kind: FileKind, name: &str) -> Result<PathBuf, ModuleError> {
        let (folder, file) = self.find(kind, name)?;
        let path = folder.path().map(|p| p.join(&file));
        path.filter(|p| p.exists()).ok_or_else(|| {
            ModuleError::failed(format!("there is no file {} on the controller", folder.describe(&file)))
        })
    }

    fn open(&self, bytes: Vec<u8>) -> Result<Vec<u8>, ModuleError> {
        self.play.run.options.vault.open_bytes(bytes).map_err(|e| {
            let failed = ModuleError::failed(e.to_string());
            match e.hint() {
                Some(hint) => failed.hint(hint),
                None => failed,
            }
        })
    }

    fn render(&self, name: &str, text: &str) -> Result<String, ModuleError> {
        let search: Vec<PathBuf> =
            self.places(FileKind::Templates).iter().filter_map(Folder::path).map(Path::to_owned).collect();
        let templar = &self.play.run.templar;
        templar
            .render_file(&SourceFile::new(name, text), &search, &self.scope)
            .map_err(|e| ModuleError::failed(e.to_string()))
    }

    fn is_guessing(&self) -> bool {
        self.guessing
    }

    fn progress(&self, message: &str) {
        if self.silent {
            return;
        }
        self.play.run.emit(Event::Progress { host: self.host.clone(), message: message.to_owned() });
    }

    fn state_dir(&self) -> &Path {
        &self.play.run.options.state_dir
    }

    fn lab(&self) -> &str {
        &self.play.run.options.lab
    }
}
