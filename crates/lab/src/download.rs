use std::path::Path;
use std::time::Duration;

use futures_util::StreamExt;
use reqwest::redirect::{Attempt, Policy};
use tokio::io::{AsyncSeekExt as _, AsyncWriteExt as _};

use super::LabError;
use super::cache_folder::{open_part, replace};
use super::image::{amount, with_suffix};
use super::room::{check_room, room_in};

/// The most that an image's file may be.
const LONGEST: u64 = 1 << 40;

/// The most that a list of checksums may be.
const LONGEST_TEXT: usize = 16 << 20;

/// How often a server may send a request elsewhere.
const MOST_REDIRECTS: usize = 10;

/// How long a server may take to answer at all, and may then be silent.
const CONNECT: Duration = Duration::from_secs(30);
const SILENCE: Duration = Duration::from_secs(60);

/// How long it may take to hear whether a server has a file.
const PATIENCE: Duration = Duration::from_secs(10);

/// After so many bytes it is looked whether there is room for more.
const LOOK: u64 = 64 << 20;

/// What asks servers for files.
fn client() -> Result<reqwest::Client, reqwest::Error> {
    install_tls_provider();
    reqwest::Client::builder()
        .redirect(Policy::custom(followed))
        .connect_timeout(CONNECT)
        .read_timeout(SILENCE)
        .build()
}

/// Who asked by https is never sent on by http, where anybody on the way could answer.
fn followed(attempt: Attempt<'_>) -> reqwest::redirect::Action {
    let secure = attempt.previous().iter().any(|url| url.scheme() == "https");
    if secure && attempt.url().scheme() != "https" {
        let mut to = attempt.url().clone();
        to.set_query(None);
        return attempt
            .error(format!("https may not lead to {to}: on its way anybody could replace what comes"));
    }
    if attempt.previous().len() > MOST_REDIRECTS {
        return attempt.error("it was sent on too often");
    }
    attempt.follow()
}

/// What a server answers when it is asked whether it has a file, within ten seconds.
pub(super) async fn answer(uri: &str) -> Result<u16, LabError> {
    let bad = |e: reqwest::Error| LabError::failed(format!("asking for {uri}"), chain(&e));
    let request = client().map_err(bad)?.head(uri).timeout(PATIENCE);
    Ok(request.send().await.map_err(bad)?.status().as_u16())
}

/// Brings what is at a URL into a file, going on where an earlier try broke off: where it is known to be the same file
/// still, by what the server called it then, or where the whole is `checked` afterwards. `early` judges the first bytes.
pub(super) async fn download(
    uri: &str,
    part: &Path,
    checked: bool,
    early: &(dyn Fn(&Path) -> Result<(), LabError> + Send + Sync),
    progress: &(dyn Fn(&str) + Send + Sync),
) -> Result<(), LabError> {
    let what = || format!("downloading {uri}");
    let bad = |e: reqwest::Error| LabError::failed(what(), chain(&e));
    let folder = part.parent().unwrap_or(Path::new("."));
    let file = open_part(part).map_err(LabError::io(format!("opening {}", part.display())))?;
    let have = file.metadata().map_err(LabError::io(what()))?.len();
    let mut file = tokio::fs::File::from_std(file);
    let mut request = client().map_err(bad)?.get(uri);
    let label = with_suffix(part, ".label");
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
    replace(&label, &name.unwrap_or_default())?;
    let mut done = if resumed { have } else { 0 };
    let total = response.content_length().map(|rest| rest.saturating_add(done));
    file.set_len(done).await.map_err(LabError::io(what()))?;
    file.seek(std::io::SeekFrom::Start(done)).await.map_err(LabError::io(what()))?;
    if let Some(total) = total {
        fits(&what(), total, done, folder)?;
    }
    let mut stream = response.bytes_stream();
    let mut told = std::time::Instant::now();
    let (mut look, mut judged) = (done, false);
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|e| bad(e).with_hint("run again: it goes on where it broke off"))?;
        file.write_all(&chunk).await.map_err(LabError::io(what()))?;
        done += chunk.len() as u64;
        if done >= look {
            look = done.saturating_add(LOOK);
            fits(&what(), done, done, folder)?;
            check_room(&what(), folder)?;
        }
        if !judged && done >= super::image_content::HEAD as u64 {
            judged = true;
            file.flush().await.map_err(LabError::io(what()))?;
            early(part)?;
        }
        if told.elapsed().as_millis() > 500 {
            told = std::time::Instant::now();
            progress(&format!("downloading: {}", amount(done, total)));
        }
    }
    file.sync_all().await.map_err(LabError::io(what()))?;
    let _not_needed = tokio::fs::remove_file(&label).await;
    Ok(())
}

/// Refuses what is too large for any image, or for the folder.
fn fits(what: &str, total: u64, have: u64, folder: &Path) -> Result<(), LabError> {
    if total > LONGEST {
        return Err(LabError::failed(
            what,
            format!("it has more than {} GiB, which no image has", LONGEST >> 30),
        )
        .with_hint("is image_uri right?"));
    }
    match room_in(folder) {
        Some(room) if total.saturating_sub(have) > room => Err(LabError::failed(
            what,
            format!(
                "{} MiB are to come, and {} has room for {} MiB",
                total.saturating_sub(have).div_ceil(1 << 20),
                folder.display(),
                room >> 20
            ),
        )
        .with_hint(
            "make room (quaylab image prune), or choose another folder with XDG_CACHE_HOME or cache_dir",
        )),
        _ => Ok(()),
    }
}

/// A small text, such as a list of checksums.
pub(super) async fn fetch_text(uri: &str) -> Result<String, LabError> {
    let what = || format!("reading {uri}");
    let bad = |e: reqwest::Error| LabError::failed(what(), chain(&e));
    let response = client().map_err(bad)?.get(uri).send().await.map_err(bad)?;
    if !response.status().is_success() {
        return Err(LabError::failed(what(), format!("the server answered {}", response.status())));
    }
    let mut text = Vec::new();
    let mut stream = response.bytes_stream();
    while let Some(chunk) = stream.next().await {
        text.extend_from_slice(&chunk.map_err(bad)?);
        if text.len() > LONGEST_TEXT {
            return Err(LabError::failed(what(), format!("it is longer than {} MiB", LONGEST_TEXT >> 20))
                .with_hint("is it a list of checksums?"));
        }
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// The same of a file on this machine.
pub(super) fn read_text(path: &Path) -> Result<String, LabError> {
    use std::io::Read as _;
    let what = || format!("reading {}", path.display());
    let file = super::image_content::open_plain(path).map_err(LabError::io(what()))?;
    let mut text = Vec::new();
    file.take(LONGEST_TEXT as u64 + 1).read_to_end(&mut text).map_err(LabError::io(what()))?;
    if text.len() > LONGEST_TEXT {
        return Err(LabError::failed(what(), format!("it is longer than {} MiB", LONGEST_TEXT >> 20))
            .with_hint("is it a list of checksums?"));
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
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
