use std::collections::BTreeSet;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio_util::sync::CancellationToken;

use super::bundle_needs::{LabNeeds, Packing, archive_for};
use super::common::VaultArgs;
use super::ends::{self, Signals};
use super::lab::Lab;
use super::program::Program;
use super::say::{say, show, show_json};
use super::{here, tell};
use crate::bundle::{
    BundleError, BundleName, GuestPlaced, Hosts, Kind, Manifest, Member, Places, Setting, Use, Watch, load,
    read_manifest, roles_in, write,
};
use crate::diag::Diagnostic;
use crate::host::quote;
use crate::inventory::Inventory;
use crate::lab::default_cache_dir;
use crate::report::{bytes, table, visible};
use crate::store::{NoHome, data_home};

/// Options of `quaylab bundle`.
#[derive(Debug, Args)]
pub(super) struct BundleArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Pack what a lab needs, and what is named besides, into one file.
    Create(CreateArgs),
    /// Unpack a bundle, and say how a run uses it.
    Load(LoadArgs),
    /// Show what a bundle holds.
    Ls {
        file: PathBuf,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Args)]
struct CreateArgs {
    /// The lab's inventory: the archives of images and the guest images that it names go in, and the roles beside it.
    #[arg(short, long, value_name = "SOURCE")]
    inventory: Vec<String>,
    /// The bundle to write.
    #[arg(short, long, value_name = "FILE")]
    out: PathBuf,
    /// The bundle's name; by default the lab's, else that of the file.
    #[arg(long)]
    name: Option<String>,
    /// An archive of a container image (docker save), for this variable such as `redis_image_archive` of all hosts.
    #[arg(long, value_name = "[VARIABLE=]FILE")]
    image: Vec<String>,
    /// The guest image of all hosts: http, https, file or a path.
    #[arg(long, value_name = "URI")]
    guest: Option<String>,
    /// A folder with .deb or .rpm files.
    #[arg(long, value_name = "FOLDER")]
    packages: Vec<PathBuf>,
    /// A role's folder.
    #[arg(long, value_name = "FOLDER")]
    role: Vec<PathBuf>,
    #[command(flatten)]
    vault: VaultArgs,
}

#[derive(Debug, Args)]
struct LoadArgs {
    file: PathBuf,
    /// The folder that it becomes; by default one with the bundle's name in ~/.local/share/quaylab/bundles.
    #[arg(long, value_name = "FOLDER")]
    into: Option<PathBuf>,
}

/// Packs and unpacks bundles.
pub(super) fn run(args: &BundleArgs) -> Result<ExitCode> {
    let done = match &args.what {
        What::Create(args) => create(args),
        What::Load(args) => loaded(args),
        What::Ls { file, json } => list(file, *json),
    };
    match done {
        Err(error) if matches!(error.downcast_ref(), Some(BundleError::Stopped)) => {
            tell("stopped: nothing was made of it");
            Ok(ends::code(Program::Quaylab))
        }
        other => other.map(|()| ExitCode::SUCCESS),
    }
}

fn create(args: &CreateArgs) -> Result<()> {
    let settings = here::settings()?;
    let named = if args.inventory.is_empty() { &settings.inventory } else { &args.inventory };
    let nothing = args.image.is_empty() && args.packages.is_empty() && args.role.is_empty();
    if named.is_empty() && nothing && args.guest.is_none() {
        return Err(Diagnostic::new("no inventory is given")
            .hint("name the lab's inventory with -i, or what shall be packed with --image, --guest, --packages, --role")
            .into());
    }
    if args.out.is_dir() {
        return Err(Diagnostic::new(format!("{} is a folder", args.out.display()))
            .hint("--out names the bundle's file")
            .into());
    }
    let given: Vec<(Option<&str>, PathBuf)> = args.image.iter().map(|text| image(text)).collect();
    let mut by_hand: BTreeSet<String> =
        given.iter().filter_map(|(variable, _)| variable.map(str::to_owned)).collect();
    if args.guest.is_some() {
        by_hand.extend(["image_uri".to_owned(), "image_checksum".to_owned()]);
    }
    let mut roles_path = settings.roles_path.clone();
    roles_path.extend(here::roles());
    let lab = if named.is_empty() {
        None
    } else {
        let vault = args.vault.vault(&settings)?;
        let (inventory, warnings) = Inventory::load_with(named, &vault)?;
        for warning in &warnings {
            tell(&format!("[WARNING]: {warning}"));
        }
        let name = Lab::of(&inventory)?.name.to_string();
        Some((name, LabNeeds::read(inventory, roles_path.clone(), &by_hand)?))
    };
    let name = name(args, lab.as_ref().map(|(name, _)| name.as_str()))?;
    let out = std::path::absolute(&args.out)?;
    let watching = Arc::new(Watching::default());
    let manifest = while_watched(&watching, async {
        let gathered = async {
            let mut packing = Packing::default();
            for (variable, file) in &given {
                let member = packing.archive(file)?;
                packing.uses.extend(variable.map(|variable| archive_for(variable, Hosts::All, member)));
            }
            let progress = |text: &str| watching.say(text);
            if let Some(uri) = &args.guest {
                let member = packing.guest(uri, None, &progress).await?;
                packing.uses.push(Use { hosts: Hosts::All, setting: Setting::Guest { member } });
            }
            for folder in &args.packages {
                packing.packages(folder, &out)?;
            }
            for folder in &args.role {
                packing.role(&role_name(folder)?, folder, &out)?;
            }
            if let Some((_, lab)) = &lab {
                packing.lab(lab, &progress).await?;
                for folder in &roles_path {
                    for (name, role) in roles_in(folder)? {
                        packing.role(&name, &role, &out)?;
                    }
                }
            }
            anyhow::Ok(packing)
        };
        let packing = tokio::select! {
            packing = gathered => packing?,
            () = watching.stop.cancelled() => return Err(BundleError::Stopped.into()),
        };
        for warning in &packing.warnings {
            tell(&format!("[WARNING]: {warning}"));
        }
        if packing.sources.is_empty() {
            return Err(Diagnostic::new("there is nothing to pack: the lab uses no file of this machine")
                .note("images without an archive are pulled by the run, and roles come with quaylab")
                .hint("docker save the images, and name the files with --image VARIABLE=FILE or in the inventory")
                .into());
        }
        let (watch, out) = (Arc::clone(&watching), out.clone());
        let write = move || write(name, packing.sources, packing.uses, &out, &*watch);
        Ok(tokio::task::spawn_blocking(write).await.context("packing broke off")??)
    })?;
    show(&render(&manifest))?;
    let size = args.out.metadata().map_or(0, |meta| meta.len());
    say(&format!("wrote {}: {} in {}", args.out.display(), bytes(manifest.bytes()), bytes(size)));
    if let Some((_, lab)) = lab.filter(|(_, lab)| !lab.pulled.is_empty()) {
        tell(&format!("not in it, and pulled by a run that uses them: {}", lab.pulled.join(", ")));
    }
    Ok(())
}

/// `VARIABLE=FILE`, or a file alone.
fn image(text: &str) -> (Option<&str>, PathBuf) {
    match text.split_once('=') {
        Some((variable, file)) if variable.ends_with("_image_archive") && !variable.contains('/') => {
            (Some(variable), crate::store::expanded(file))
        }
        _ => (None, crate::store::expanded(text)),
    }
}

fn name(args: &CreateArgs, lab: Option<&str>) -> Result<BundleName> {
    let stem = args.out.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let stem = stem.split('.').next().unwrap_or_default();
    let name = args.name.as_deref().or(lab).unwrap_or(stem);
    Ok(BundleName::parse(name).map_err(|why| Diagnostic::new(why).hint("choose another with --name"))?)
}

fn role_name(folder: &Path) -> Result<String> {
    let whole = folder.canonicalize().with_context(|| format!("cannot read {}", folder.display()))?;
    let name = whole.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let parent = whole.parent().unwrap_or(&whole);
    if roles_in(parent)?.iter().any(|(role, _)| *role == name) {
        return Ok(name);
    }
    Err(Diagnostic::new(format!("{} is no role", folder.display()))
        .note("it has none of tasks, defaults, handlers, vars, meta, templates, files")
        .hint("name the folder of one role; --role may be given several times")
        .into())
}

fn loaded(args: &LoadArgs) -> Result<()> {
    let manifest = read_manifest(&args.file)?;
    let folder = if let Some(folder) = &args.into {
        folder.clone()
    } else {
        let home = data_home().map_err(|e| Diagnostic::new(e.to_string()).hint(NoHome::HINT))?;
        home.join("quaylab/bundles").join(manifest.name.as_str())
    };
    let folder = folder.canonicalize().or_else(|_| std::path::absolute(&folder))?;
    let places = Places { folder, cache: default_cache_dir() };
    let watching = Arc::new(Watching::default());
    let done = while_watched(&watching, async {
        let (watch, file, manifest) = (Arc::clone(&watching), args.file.clone(), manifest.clone());
        let load = move || load(&file, &manifest, &places, &*watch);
        Ok(tokio::task::spawn_blocking(load).await.context("unpacking broke off")??)
    })?;
    let how = if done.replaced { "loaded again" } else { "loaded" };
    let count = manifest.members.len();
    say(&format!("{how} {}: {count} files, {}", manifest.name, bytes(manifest.bytes())));
    say(&format!("  {}", done.folder.display()));
    for (image, placed) in &done.guests {
        let known = if *placed == GuestPlaced::Known { "  (was there already)" } else { "" };
        say(&format!("  {}{known}", image.display()));
    }
    let roles = done.folder.join(Kind::Role.folder());
    let roles = if manifest.of(Kind::Role).next().is_some() {
        format!("ANSIBLE_ROLES_PATH={} ", quote(&roles.to_string_lossy()))
    } else {
        String::new()
    };
    let variables = quote(&format!("@{}", done.variables.display()));
    say(&format!("use it:\n  {roles}quaylab run -i INVENTORY -e {variables}"));
    Ok(())
}

fn list(file: &Path, json: bool) -> Result<()> {
    let manifest = read_manifest(file)?;
    if json { show_json(&manifest) } else { show(&render(&manifest)) }
}

/// A line for each image and package, and one for each role.
fn render(manifest: &Manifest) -> String {
    let mut rows: Vec<Vec<String>> = Vec::new();
    let mut role: Option<(&str, usize, u64)> = None;
    let row =
        |kind: &str, name: &str, size: u64, holds: String| vec![kind.into(), name.into(), bytes(size), holds];
    let files = |(name, count, size): (&str, usize, u64)| row("role", name, size, format!("{count} files"));
    for member in &manifest.members {
        let below = member.path.below();
        match member.path.kind() {
            Kind::Role => {
                let name = below.split('/').next().unwrap_or_default();
                match &mut role {
                    Some((known, count, size)) if *known == name => {
                        *count += 1;
                        *size += member.bytes;
                    }
                    _ => rows.extend(role.replace((name, 1, member.bytes)).map(files)),
                }
            }
            Kind::Image => rows.push(row("image", below, member.bytes, member.holds.join(", "))),
            Kind::Guest => rows.push(row("guest image", below, member.bytes, guest(member))),
            Kind::Package => rows.push(row("package", below, member.bytes, "-".into())),
        }
    }
    rows.extend(role.map(files));
    table(&["what", "name", "size", "holds"], &rows)
}

fn guest(member: &Member) -> String {
    let digest = member.came_as.as_ref().unwrap_or(&member.sha256).as_str();
    format!("sha256:{}…", digest.get(..12).unwrap_or(digest))
}

/// A bar on a terminal, and whether Ctrl-C was pressed.
struct Watching {
    bar: Option<ProgressBar>,
    stop: CancellationToken,
}

impl Default for Watching {
    fn default() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
            let style = "{spinner:.cyan} {bar:24.cyan/dim} {bytes}/{total_bytes} {wide_msg} {elapsed:.dim}";
            if let Ok(style) = ProgressStyle::with_template(style) {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        Self { bar, stop: CancellationToken::new() }
    }
}

impl Watching {
    fn say(&self, text: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(visible(text).into_owned());
        }
    }
}

impl Watch for Watching {
    fn at(&self, doing: &str, done: u64, total: u64) {
        if let Some(bar) = &self.bar {
            bar.set_length(total);
            bar.set_position(done);
            if bar.message() != doing {
                bar.set_message(visible(doing).into_owned());
            }
        }
    }

    fn stopped(&self) -> bool {
        self.stop.is_cancelled()
    }
}

/// Waits for work that looks at `watching` now and then. The first signal lets it tidy up, the second ends it.
fn while_watched<T>(watching: &Watching, work: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let done = runtime.block_on(async {
        let mut signals = Signals::take()?;
        let stop = watching.stop.clone();
        // On a thread of its own: some of the work does not wait, but reads.
        let listening = tokio::spawn(async move {
            loop {
                let heard = signals.next().await;
                if stop.is_cancelled() {
                    std::process::exit(i32::from(heard.code(Program::Quaylab)));
                }
                tell("stopping; once more to leave at once");
                stop.cancel();
            }
        });
        let done = work.await;
        listening.abort();
        done
    });
    if let Some(bar) = &watching.bar {
        bar.finish_and_clear();
    }
    runtime.shutdown_timeout(Duration::from_secs(2));
    done
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::{MemberPath, Sha256Hex};

    #[test]
    fn a_person_sees_what_is_inside() {
        let member = |path: &str, bytes, holds: &[&str]| Member {
            path: MemberPath::parse(path).expect("a path"),
            bytes,
            sha256: Sha256Hex::parse(&"0123456789abcdef".repeat(4)).expect("a digest"),
            executable: false,
            holds: holds.iter().map(|h| (*h).to_owned()).collect(),
            came_as: None,
        };
        let members = vec![
            member("images/redis-7.tar", 40 << 20, &["localhost/quaylab/redis:7"]),
            member("guests/0123-debian-12.qcow2", 454 << 20, &[]),
            member("packages/a_1_amd64.deb", 12_000, &[]),
            member("roles/mine/tasks/main.yml", 100, &[]),
            member("roles/mine/defaults/main.yml", 100, &[]),
            member("roles/other/tasks/main.yml", 7, &[]),
        ];
        let manifest = Manifest::new(BundleName::parse("quay").expect("a name"), members, Vec::new());
        insta::assert_snapshot!(render(&manifest), @r"
        what         name                  size      holds
        guest image  0123-debian-12.qcow2  454 MiB   sha256:0123456789ab…
        image        redis-7.tar           40 MiB    localhost/quaylab/redis:7
        package      a_1_amd64.deb         11.7 KiB  -
        role         mine                  200 B     2 files
        role         other                 7 B       1 files
        ");
    }

    #[test]
    fn an_image_may_be_for_a_variable() {
        for (text, variable, file) in [
            ("redis_image_archive=/r.tar", Some("redis_image_archive"), "/r.tar"),
            ("/a=b/r.tar", None, "/a=b/r.tar"),
            ("/x_image_archive=r.tar", None, "/x_image_archive=r.tar"),
            ("r.tar", None, "r.tar"),
        ] {
            assert_eq!(image(text), (variable, PathBuf::from(file)), "{text}");
        }
    }
}
