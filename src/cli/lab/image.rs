use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;

use super::{Held, WaitArgs, labs_home};
use crate::cli::plan::confirmed;
use crate::cli::say::{say, show, show_json};
use crate::diag::{Diagnostic, closest};
use crate::lab::{CachedImage, cached_images, default_cache_dir, users_of_images};
use crate::report::{bytes, span, table};

/// Where the quickstart keeps what it builds.
const BUILT: &str = "/var/cache/quaylab/images";

/// Options of `quaylab image`.
#[derive(Debug, Args)]
pub(in crate::cli) struct ImageArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List the images that were fetched or built, and which labs use each.
    Ls {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Remove images by their names or the start of their digests.
    Rm {
        #[arg(required = true)]
        images: Vec<String>,
        /// Also where a lab stands on it: its next run fetches it again.
        #[arg(short, long)]
        force: bool,
        #[command(flatten)]
        wait: WaitArgs,
    },
    /// Remove the images that no lab stands on, and downloads that broke off.
    Prune {
        /// Do not ask.
        #[arg(short, long)]
        yes: bool,
        #[command(flatten)]
        wait: WaitArgs,
    },
    /// Build a guest image from a distribution's packages.
    Build {
        distribution: Distribution,
        /// The folder for it.
        #[arg(long, value_name = "FOLDER", default_value = BUILT)]
        out: PathBuf,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Distribution {
    Debian,
}

/// Looks after images.
pub(in crate::cli) fn run(args: &ImageArgs) -> Result<ExitCode> {
    match &args.what {
        What::Ls { json } => list(*json),
        What::Rm { images, force, wait } => remove(images, *force, *wait),
        What::Prune { yes, wait } => prune(*yes, *wait),
        What::Build { distribution: Distribution::Debian, out } => build(out),
    }
}

/// The images with the labs that stand on each.
fn images() -> Result<Vec<(CachedImage, Vec<String>)>> {
    let users = users_of_images(&labs_home()?)?;
    let mut all = Vec::new();
    for folder in [default_cache_dir(), PathBuf::from(BUILT)] {
        for image in cached_images(&folder)? {
            let labs =
                image.digest.as_ref().and_then(|digest| users.get(digest)).cloned().unwrap_or_default();
            all.push((image, labs));
        }
    }
    Ok(all)
}

fn list(as_json: bool) -> Result<ExitCode> {
    let all = images()?;
    if as_json {
        let shown: Vec<_> = all
            .iter()
            .map(|(image, labs)| {
                json!({
                    "name": image.name, "path": image.path, "bytes": image.bytes, "digest": image.digest,
                    "modified": image.modified, "complete": image.complete, "labs": labs,
                })
            })
            .collect();
        show_json(&shown)?;
    } else if all.is_empty() {
        say(&format!("there are no images in {} nor in {BUILT}", default_cache_dir().display()));
    } else {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
        show(&render(&all, now))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn render(all: &[(CachedImage, Vec<String>)], now: u64) -> String {
    let rows: Vec<Vec<String>> = all
        .iter()
        .map(|(image, labs)| {
            let digest = image.digest.as_deref().map_or("-", |d| d.rsplit(':').next().unwrap_or(d));
            vec![
                image.name.clone(),
                bytes(image.bytes),
                digest.get(..12).unwrap_or(digest).to_owned(),
                format!("{} ago", span(now.saturating_sub(image.modified))),
                match (image.complete, labs.is_empty()) {
                    (false, _) => "broke off".into(),
                    (true, true) => "-".into(),
                    (true, false) => labs.join(", "),
                },
            ]
        })
        .collect();
    table(&["image", "size", "digest", "from", "labs"], &rows)
}

fn remove(given: &[String], force: bool, wait: WaitArgs) -> Result<ExitCode> {
    // A run may be about to use what no lab stands on yet.
    let _all = Held::all("quaylab image rm", wait)?;
    let all = images()?;
    let mut chosen = Vec::new();
    for name in given {
        let named = |(image, _): &&(CachedImage, Vec<String>)| {
            let digest = image.digest.as_deref().unwrap_or_default();
            image.name == *name
                || image.path == Path::new(name)
                || (name.len() >= 6
                    && digest
                        .rsplit(':')
                        .next()
                        .is_some_and(|hex| hex.starts_with(name.trim_start_matches("sha256:"))))
        };
        let found: Vec<_> = all.iter().filter(named).collect();
        if found.is_empty() {
            let near = closest(name, all.iter().map(|(image, _)| image.name.as_str()));
            return Err(Diagnostic::new(format!("there is no image {name:?}"))
                .hint(near.map_or_else(
                    || "quaylab image ls lists them".to_owned(),
                    |near| format!("did you mean {near}?"),
                ))
                .into());
        }
        chosen.extend(found);
    }
    if let Some((image, labs)) = chosen.iter().find(|(_, labs)| !labs.is_empty() && !force) {
        return Err(Diagnostic::new(format!(
            "the image {} is what the lab {} stands on",
            image.name,
            labs.join(", ")
        ))
        .note("its next run would fetch it again, or fail where that cannot be done")
        .hint("destroy the lab first, or give --force")
        .into());
    }
    for (image, _) in chosen {
        image.remove()?;
        say(&format!("removed {}", image.path.display()));
    }
    Ok(ExitCode::SUCCESS)
}

fn prune(yes: bool, wait: WaitArgs) -> Result<ExitCode> {
    let _all = Held::all("quaylab image prune", wait)?;
    let unused: Vec<CachedImage> = images()?
        .into_iter()
        .filter(|(_, labs)| labs.is_empty())
        .map(|(image, _)| image)
        .filter(|image| !image.is_being_fetched())
        .collect();
    if unused.is_empty() {
        say("every image is one that a lab stands on");
        return Ok(ExitCode::SUCCESS);
    }
    for image in &unused {
        say(&format!("  {}  ({})", image.path.display(), bytes(image.bytes)));
    }
    if !yes && !confirmed("remove all of this?", "--yes")? {
        say("nothing was removed");
        return Ok(ExitCode::SUCCESS);
    }
    let mut freed = 0;
    for image in unused {
        image.remove()?;
        freed += image.bytes;
    }
    say(&format!("{} are free again", bytes(freed)));
    Ok(ExitCode::SUCCESS)
}

/// The recipe and what it shares with others, as `make image` runs them.
const SCRIPTS: [(&str, &str); 2] = [
    ("guest-image.sh", include_str!("../../../scripts/guest-image.sh")),
    ("lib.sh", include_str!("../../../scripts/lib.sh")),
];

fn build(out: &Path) -> Result<ExitCode> {
    let out = std::path::absolute(out)?;
    let folder = tempfile::tempdir().context("cannot make a folder for the recipe")?;
    for (name, text) in SCRIPTS {
        std::fs::write(folder.path().join(name), text).with_context(|| format!("cannot write {name}"))?;
    }
    let script = folder.path().join("guest-image.sh");
    // It runs itself again in a mount namespace of its own.
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755))?;
    let mut command = if rustix::process::geteuid().is_root() {
        Command::new(&script)
    } else {
        let mut sudo = Command::new("sudo");
        sudo.arg("--").arg(&script);
        sudo
    };
    let status = command.arg(&out).status().context("cannot run the recipe")?;
    if !status.success() {
        bail!("the image was not built; the lines above say why");
    }
    let image = out.join("debian-12.qcow2");
    say(&format!("use it with image_uri=file://{}", image.display()));
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_sees_which_images_are_needed() {
        let image = |name: &str, complete, digest: Option<&str>| CachedImage {
            name: name.into(),
            path: format!("/c/{name}").into(),
            bytes: 454 << 20,
            modified: 1_000,
            digest: digest.map(str::to_owned),
            complete,
        };
        let all = [
            (image("debian-12.qcow2", true, Some("sha256:0123456789abcdef0123")), vec!["quay".to_owned()]),
            (image("half.qcow2", false, None), Vec::new()),
        ];
        insta::assert_snapshot!(render(&all, 8_200), @r"
        image            size     digest        from           labs
        debian-12.qcow2  454 MiB  0123456789ab  2 h 0 min ago  quay
        half.qcow2       454 MiB  -             2 h 0 min ago  broke off
        ");
    }
}
