use std::path::Path;

use futures_util::StreamExt;
use tokio::io::AsyncWriteExt;

use super::LabError;
use super::image::amount;

/// Brings what is at a URL into a file, going on where an earlier try broke off: where it is known to be the same file
/// still, by what the server called it then, or where the whole is `checked` afterwards.
pub(super) async fn download(
    uri: &str,
    part: &Path,
    checked: bool,
    progress: &(dyn Fn(&str) + Send + Sync),
) -> Result<(), LabError> {
    install_tls_provider();
    let what = || format!("downloading {}", uri);
    let bad = |e: reqwest::Error| LabError::failed(what(), chain(&e));
    let have = tokio::fs::metadata(part).await.map_or(0, |m| m.len());
    let client = reqwest::Client::builder().build().map_err(bad)?;
    let mut request = client.get(uri);
    let mut label = part.as_os_str().to_owned();
    label.push(".label");
    let same = tokio::fs::read_to_string(&label).await.ok().filter(|l| !l.is_empty());
    if have > 0 && (checked || same.is_some()) {
        request = request.header("Range", format!("bytes={have}-"));
        if let Some(same) = same {
            request = request.header("If-Range", same);
        }
    }
    let response = request.send().await.map_err(bad)?;
    let status = response.status();
    let resumed = status.as_u16() == 206;
    // The part may already be whole; its digest tells.
    if status.as_u16() == 416 && have > 0 {
        return Ok(());
    }
    if !status.is_success() {
        return Err(LabError::failed(what(), format!("the server answered {status}"))
            .with_hint("is image_uri right, and does it need a login?"));
    }
    let header = |name: &str| response.headers().get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
    // A weak tag may not be asked for by range.
    let name = header("etag").filter(|tag| !tag.starts_with("W/")).or_else(|| header("last-modified"));
    tokio::fs::write(&label, name.unwrap_or_default()).await.map_err(LabError::io(what()))?;
    let mut done = if resumed { have } else { 0 };
    let total = response.content_length().map(|rest| rest + done);
    let mut file = tokio::fs::OpenOptions::new()
        .create(true)
        .write(true)
        .append(resumed)
        .truncate(!resumed)
        .open(part)
        .await
        .map_err(LabError::io(what()))?;
    let mut stream = response.bytes_stream();
    let mut told = std::time::Instant::now();
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|e| bad(e).with_hint("run again: it goes on where it broke off"))?;
        file.write_all(&chunk).await.map_err(LabError::io(what()))?;
        done += chunk.len() as u64;
        if told.elapsed().as_millis() > 500 {
            told = std::time::Instant::now();
            progress(&format!("downloading: {}", amount(done, total)));
        }
    }
    file.sync_all().await.map_err(LabError::io(what()))?;
    let _not_needed = tokio::fs::remove_file(&label).await;
    Ok(())
}

/// A small text, such as a list of checksums.
pub(super) async fn fetch_text(uri: &str) -> Result<String, LabError> {
    install_tls_provider();
    let bad = |e: reqwest::Error| LabError::failed(format!("reading {uri}"), chain(&e));
    let client = reqwest::Client::builder().build().map_err(bad)?;
    let response = client.get(uri).send().await.map_err(bad)?;
    if !response.status().is_success() {
        return Err(LabError::failed(
            format!("reading {uri}"),
            format!("the server answered {}", response.status()),
        ));
    }
    response.text().await.map_err(bad)
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

/// Gives rustls its cryptography, once for the process.
fn install_tls_provider() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    // Another part of the program may have installed one already, which serves as well.
    ONCE.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
}
