use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use super::room::check_room;
use super::unpack::short;
use super::{LabError, SourceImage};

/// What `qemu-img` gets at most, in the words of any shell: memory in KiB, and seconds of a processor. A limit that is lower
/// already stays.
pub(super) const LIMITS: &str = "ulimit -c 0; ulimit -v 4194304; ulimit -t 14400";

/// How long a conversion may take in all.
const LONGEST: Duration = Duration::from_secs(6 * 3600);

/// How often it is looked whether there is still room for it.
const LOOK: Duration = Duration::from_secs(1);

/// Converts an image to raw, into a new file or over the start of a device. QEMU is told the format of both, so that it
/// guesses nothing; that the image names no other file was looked at before.
pub(super) async fn convert_to_raw(image: &SourceImage, to: &Path, to_exists: bool) -> Result<(), LabError> {
    image.verify().await?;
    let mut args = vec!["convert", "-f", image.format.word(), "-O", "raw"];
    if to_exists {
        args.push("-n");
    }
    qemu_img(&args, &[&image.path, to], to.parent().unwrap_or(to)).await
}

/// Runs qemu-img within limits, as long as there is room in the folder that it writes to.
async fn qemu_img(args: &[&str], paths: &[&Path], folder: &Path) -> Result<(), LabError> {
    let what = || format!("qemu-img {}", args.first().unwrap_or(&""));
    let mut child = tokio::process::Command::new("sh")
        .args(["-c", &format!("{{ {LIMITS}; }} 2>/dev/null; exec qemu-img \"$@\""), "qemu-img"])
        .args(args)
        .args(paths)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(LabError::io(what()))?;
    let stderr = child.stderr.take();
    let began = Instant::now();
    let watch = async {
        loop {
            tokio::time::sleep(LOOK).await;
            if let Err(error) = check_room(&what(), folder) {
                return error;
            }
            if began.elapsed() > LONGEST {
                return LabError::failed(what(), format!("it has not ended after {} s", LONGEST.as_secs()))
                    .with_hint("is the disk stalled? look at the machine's log");
            }
        }
    };
    let (said, status) = tokio::select! {
        error = watch => return Err(error),
        ended = async { tokio::join!(short(stderr), child.wait()) } => ended,
    };
    let status = status.map_err(LabError::io(what()))?;
    match status.code() {
        Some(0) => Ok(()),
        Some(127) => Err(LabError::failed("starting qemu-img", said.trim().to_owned())
            .with_hint("install qemu-utils (qemu-img on RHEL)")),
        Some(_) => Err(LabError::failed(what(), said.trim().to_owned())),
        None => Err(LabError::failed(what(), format!("{status}: {}", said.trim()))
            .with_hint("it may have met the limits of memory and time that quaylab sets; is the image sound? `qemu-img check` tells")),
    }
}
