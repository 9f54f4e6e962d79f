use std::path::Path;

use bollard::Docker;
use bollard::errors::Error;
use bollard::query_parameters::ImportImageOptionsBuilder;
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use tokio_util::io::ReaderStream;

use crate::engine;
use crate::host::{Endpoint, Script};
use crate::{ModuleError, RemotePath, TaskContext};

pub(crate) async fn load_from_controller(
    cx: &TaskContext,
    docker: &Docker,
    path: &Path,
) -> Result<String, ModuleError> {
    let problem = |e: std::io::Error| ModuleError::failed(format!("{}: {e}", path.display()));
    let file = tokio::fs::File::open(path).await.map_err(problem)?;
    let total = file.metadata().await.map_err(problem)?.len();
    cx.controller.progress(&format!("loading {} ({} MB)", path.display(), total / 1_000_000));
    load(docker, ReaderStream::with_capacity(file, 256 * 1024)).await
}

pub(crate) async fn load_from_target(
    cx: &TaskContext,
    docker: &Docker,
    path: &RemotePath,
) -> Result<String, ModuleError> {
    let there = cx.shell.run(&Script::argv(["test", "-r", path.as_str()])).await?;
    if !there.ok() {
        return Err(ModuleError::failed(format!("{path} cannot be read on {}", cx.host))
            .hint("load_path is on the target; for a file on the controller use archive"));
    }
    let endpoint = Endpoint::Program { argv: vec!["cat".into(), path.as_str().into()] };
    let stream = cx.shell.dial(&endpoint).await?;
    load(docker, ReaderStream::with_capacity(stream, 256 * 1024)).await
}

/// Streams an archive into the engine; returns what the engine said.
async fn load<S>(docker: &Docker, archive: S) -> Result<String, ModuleError>
where
    S: Stream<Item = std::io::Result<Bytes>> + Send + 'static,
{
    let options = ImportImageOptionsBuilder::new().quiet(true).build();
    let mut answers = std::pin::pin!(docker.import_image_stream(options, archive, None));
    let mut said = Vec::new();
    while let Some(answer) = answers.next().await {
        let info = answer.map_err(|e: Error| engine::failure("loading the image archive", &e))?;
        said.extend(info.stream.map(|s| s.trim().to_owned()).filter(|s| !s.is_empty()));
    }
    Ok(if said.is_empty() { "the engine said nothing".into() } else { said.join(", ") })
}
