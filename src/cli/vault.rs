//! `quaylab vault`, under ansible-vault's names: encrypts, decrypts, shows and edits files, encrypts texts.

use std::fs;
use std::io::{IsTerminal as _, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result};
use clap::{Args, Parser, Subcommand};
use zeroize::Zeroizing;

use super::common::VaultArgs;
use super::say::show_exactly;
use super::{ask, here, tell};
use crate::diag::Diagnostic;
use crate::settings::Settings;
use crate::store::write_closed;
use crate::vault::{DEFAULT_ID, Envelope, Key, Source, Vault, VaultError, is_encrypted};

/// What ansible-vault takes.
#[derive(Debug, Parser)]
#[command(disable_version_flag = true, about = "Encryption and decryption of Ansible's data files.")]
pub(super) struct VaultCli {
    #[command(subcommand)]
    pub(super) command: VaultCommand,
}

#[derive(Debug, Subcommand)]
pub(super) enum VaultCommand {
    /// Make a new encrypted file in an editor.
    Create {
        file: PathBuf,
        /// Open the editor without a terminal too.
        #[arg(long)]
        skip_tty_check: bool,
        #[command(flatten)]
        keys: EncryptArgs,
    },
    /// Decrypt files.
    Decrypt {
        files: Vec<PathBuf>,
        #[command(flatten)]
        output: OutputArgs,
        #[command(flatten)]
        keys: KeyArgs,
    },
    /// Change an encrypted file in an editor.
    Edit {
        files: Vec<PathBuf>,
        #[command(flatten)]
        keys: EncryptArgs,
    },
    /// Show an encrypted file.
    View {
        files: Vec<PathBuf>,
        #[command(flatten)]
        keys: KeyArgs,
    },
    /// Encrypt files.
    Encrypt {
        files: Vec<PathBuf>,
        #[command(flatten)]
        output: OutputArgs,
        #[command(flatten)]
        keys: EncryptArgs,
    },
    /// Encrypt texts, as YAML to paste into a file of variables.
    #[command(name = "encrypt_string", alias = "encrypt-string")]
    EncryptString(StringArgs),
    /// Encrypt files with another password.
    Rekey {
        files: Vec<PathBuf>,
        /// File that holds the new password.
        #[arg(long, value_name = "FILE", conflicts_with = "new_vault_id")]
        new_vault_password_file: Option<PathBuf>,
        /// The new password: LABEL@SOURCE.
        #[arg(long, value_name = "LABEL@SOURCE")]
        new_vault_id: Option<String>,
        #[command(flatten)]
        keys: EncryptArgs,
    },
}

#[derive(Debug, Args)]
pub(super) struct KeyArgs {
    #[command(flatten)]
    vault: VaultArgs,
    /// Tell more.
    #[arg(short, long, action = clap::ArgAction::Count)]
    verbose: u8,
}

#[derive(Debug, Args)]
pub(super) struct EncryptArgs {
    #[command(flatten)]
    keys: KeyArgs,
    /// Which of several labels to encrypt with.
    #[arg(long, value_name = "LABEL")]
    encrypt_vault_id: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct OutputArgs {
    /// Where the result goes; `-` is standard output.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct StringArgs {
    /// The texts; `-` is standard input.
    texts: Vec<String>,
    /// Ask for the text.
    #[arg(short, long)]
    prompt: bool,
    /// Show what is typed.
    #[arg(long)]
    show_input: bool,
    /// The variable's name; once for each text.
    #[arg(short, long)]
    name: Vec<String>,
    /// The variable's name for the text from standard input.
    #[arg(long, value_name = "NAME")]
    stdin_name: Option<String>,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    keys: EncryptArgs,
}

/// Does what is asked for.
pub(super) fn run(command: &VaultCommand) -> Result<ExitCode> {
    let settings = here::settings()?;
    match command {
        VaultCommand::Create { file, skip_tty_check, keys } => {
            create(file, *skip_tty_check, keys, &settings)?;
        }
        VaultCommand::Decrypt { files, output, keys } => decrypt(files, output, keys, &settings)?,
        VaultCommand::Edit { files, keys } => {
            let vault = keys.keys.vault(&settings)?;
            files.iter().try_for_each(|file| edit(file, &vault, &settings))?;
        }
        VaultCommand::View { files, keys } => view(files, &keys.vault(&settings)?)?,
        VaultCommand::Encrypt { files, output, keys } => encrypt(files, output, keys, &settings)?,
        VaultCommand::EncryptString(args) => encrypt_string(args, &settings)?,
        VaultCommand::Rekey { files, new_vault_password_file, new_vault_id, keys } => {
            let vault = keys.keys.vault(&settings)?;
            let new = new_key(new_vault_password_file.as_deref(), new_vault_id.as_deref(), keys, &settings)?;
            files.iter().try_for_each(|file| rekey(file, &vault, &new, &settings))?;
            done("Rekey successful");
        }
    }
    Ok(ExitCode::SUCCESS)
}

impl KeyArgs {
    fn sources(&self, settings: &Settings) -> Result<Vec<Source>> {
        let sources = self.vault.sources(settings)?;
        // Without a password nothing can be done here, so it is asked for.
        Ok(if sources.is_empty() { vec![Source::prompt()] } else { sources })
    }

    fn vault(&self, settings: &Settings) -> Result<Vault> {
        let sources = self.sources(settings)?;
        let keys = sources.iter().map(|s| s.key(false, &ask::vault_password));
        Ok(Vault::new(keys.collect::<Result<Vec<Key>, _>>()?))
    }
}

impl EncryptArgs {
    /// All passwords that are given, to open what is there.
    pub(super) fn vault(&self, settings: &Settings) -> Result<Vault> {
        self.keys.vault(settings)
    }

    /// The one password to encrypt with.
    fn key(&self, settings: &Settings) -> Result<Key> {
        choose(&self.keys.sources(settings)?, self.wanted(settings))
    }

    fn wanted<'a>(&'a self, settings: &'a Settings) -> Option<&'a str> {
        self.encrypt_vault_id.as_deref().or(settings.vault.encrypt_identity.as_deref())
    }
}

fn choose(sources: &[Source], wanted: Option<&str>) -> Result<Key> {
    let labels = || sources.iter().map(|s| s.id.as_str()).collect::<Vec<_>>().join(",");
    let source = match (sources, wanted) {
        (_, Some(wanted)) => sources.iter().find(|s| s.id == wanted).ok_or_else(|| {
            Diagnostic::new(format!("there is no vault password with the label {wanted:?}"))
                .note(format!("there are: {}", labels()))
        })?,
        ([only], None) => only,
        _ => {
            return Err(Diagnostic::new(format!("several vault passwords could be used: {}", labels()))
                .hint("choose one with --encrypt-vault-id")
                .into());
        }
    };
    Ok(source.key(true, &ask::vault_password)?)
}

fn new_key(file: Option<&Path>, id: Option<&str>, keys: &EncryptArgs, settings: &Settings) -> Result<Key> {
    let mut sources = Vec::new();
    sources.extend(id.map(Source::parse).transpose()?);
    sources.extend(file.map(|path| Source::file(DEFAULT_ID, path)));
    if sources.is_empty() {
        if let Some(wanted) = keys.wanted(settings) {
            return choose(&keys.keys.sources(settings)?, Some(wanted));
        }
        sources.push(Source::prompt());
    }
    choose(&sources, None)
}

fn salt(settings: &Settings) -> Option<&[u8]> {
    settings.vault.salt.as_ref().map(String::as_bytes)
}

/// Said where a person is looking.
fn done(text: &str) {
    if std::io::stdout().is_terminal() {
        tell(text);
    }
}

fn is_stream(path: &Path) -> bool {
    path == Path::new("-")
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::new());
    if is_stream(path) {
        std::io::stdin().read_to_end(&mut bytes).context("cannot read standard input")?;
    } else {
        *bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    }
    Ok(bytes)
}

/// Writes a whole file that only its owner may read, or to standard output.
fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    if is_stream(path) {
        return show_exactly(bytes);
    }
    write_closed(path, bytes).with_context(|| format!("cannot write {}", path.display()))
}

/// The same, with the owner and mode that the file had.
fn rewrite(path: &Path, bytes: &[u8]) -> Result<()> {
    let before = fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?;
    write(path, bytes)?;
    let failed = || format!("cannot give {} its mode and owner back", path.display());
    fs::set_permissions(path, fs::Permissions::from_mode(before.mode() & 0o7777)).with_context(failed)?;
    let now = fs::metadata(path).with_context(failed)?;
    if (now.uid(), now.gid()) != (before.uid(), before.gid()) {
        std::os::unix::fs::chown(path, Some(before.uid()), Some(before.gid())).with_context(failed)?;
    }
    Ok(())
}

fn inputs(files: &[PathBuf], output: &OutputArgs) -> Result<Vec<PathBuf>> {
    if output.output.is_some() && files.len() > 1 {
        return Err(Diagnostic::new("At most one input file may be used with the --output option").into());
    }
    Ok(if files.is_empty() { vec![PathBuf::from("-")] } else { files.to_vec() })
}

fn told(error: &VaultError, path: &Path) -> Diagnostic {
    Diagnostic::new(format!("{}: {error}", path.display())).hint_opt(error.hint().map(str::to_owned))
}

fn sealed_text(path: &Path) -> Result<String> {
    let bytes = read(path)?;
    if !is_encrypted(&bytes) {
        return Err(Diagnostic::new(format!("{}: input is not vault encrypted data", path.display())).into());
    }
    String::from_utf8(bytes.to_vec())
        .map_err(|_| told(&VaultError::Damaged("it is not UTF-8".into()), path).into())
}

/// The text of an encrypted file.
pub(super) fn open(path: &Path, vault: &Vault) -> Result<Zeroizing<String>> {
    let plain = vault.open(&sealed_text(path)?).map_err(|e| told(&e, path))?;
    let text = String::from_utf8(plain.to_vec());
    Ok(Zeroizing::new(text.map_err(|_| {
        Diagnostic::new(format!("{}: what is encrypted here is not UTF-8 text", path.display()))
    })?))
}

/// Writes a text as an encrypted file, which only its owner may read.
pub(super) fn seal(path: &Path, text: &str, keys: &EncryptArgs, settings: &Settings) -> Result<()> {
    let sealed = keys.key(settings)?.seal(text.as_bytes(), salt(settings))?;
    write(path, sealed.as_bytes())
}

fn encrypt(files: &[PathBuf], output: &OutputArgs, keys: &EncryptArgs, settings: &Settings) -> Result<()> {
    let inputs = inputs(files, output)?;
    let key = keys.key(settings)?;
    for path in &inputs {
        let plain = read(path)?;
        if is_encrypted(&plain) {
            return Err(Diagnostic::new(format!("{}: input is already encrypted", path.display())).into());
        }
        let sealed = key.seal(&plain, salt(settings))?;
        write(output.output.as_ref().unwrap_or(path), sealed.as_bytes())?;
    }
    done("Encryption successful");
    Ok(())
}

fn decrypt(files: &[PathBuf], output: &OutputArgs, keys: &KeyArgs, settings: &Settings) -> Result<()> {
    let inputs = inputs(files, output)?;
    let vault = keys.vault(settings)?;
    for path in &inputs {
        let plain = vault.open(&sealed_text(path)?).map_err(|e| told(&e, path))?;
        write(output.output.as_ref().unwrap_or(path), &plain)?;
    }
    done("Decryption successful");
    Ok(())
}

fn view(files: &[PathBuf], vault: &Vault) -> Result<()> {
    for path in files {
        let plain = vault.open(&sealed_text(path)?).map_err(|e| told(&e, path))?;
        if !page(&String::from_utf8_lossy(&plain)) {
            show_exactly(&plain)?;
            if !plain.ends_with(b"\n") {
                show_exactly(b"\n")?;
            }
        }
    }
    Ok(())
}

/// Shows a text in the pager; `false` where there is no terminal or no pager.
fn page(text: &str) -> bool {
    if !std::io::stdout().is_terminal() {
        return false;
    }
    let pager = std::env::var("PAGER").ok().filter(|p| !p.is_empty()).unwrap_or_else(|| "less".into());
    let Ok(words) = split(&pager) else { return false };
    let Some((program, arguments)) = words.split_first() else { return false };
    let started = Command::new(program)
        .args(arguments)
        .env("LESS", std::env::var("LESS").unwrap_or_else(|_| "FRX".into()))
        .stdin(std::process::Stdio::piped())
        .spawn();
    let Ok(mut child) = started else { return false };
    if let Some(mut input) = child.stdin.take() {
        // A pager that is left early does not read on.
        let _left = input.write_all(text.as_bytes());
    }
    child.wait().is_ok()
}

fn split(line: &str) -> Result<Vec<String>> {
    shlex::split(line).with_context(|| format!("{line:?} has a quote that is not closed"))
}

/// What a person makes of a text in `$VISUAL` or `$EDITOR`. The file is readable by its owner only, and overwritten at the end.
fn edited(text: &[u8], like: &Path) -> Result<Zeroizing<Vec<u8>>> {
    let folder = tempfile::tempdir().context("cannot make a folder for the editor")?;
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700))
        .context("cannot close the folder")?;
    let ending = like.extension().map(|e| format!(".{}", e.to_string_lossy())).unwrap_or_default();
    let path = folder.path().join(format!("vault{ending}"));
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    options.open(&path).and_then(|mut f| f.write_all(text)).context("cannot write for the editor")?;
    let editor = ["VISUAL", "EDITOR"]
        .iter()
        .find_map(|name| std::env::var(name).ok().filter(|v| !v.is_empty()))
        .unwrap_or_else(|| "vi".into());
    let words = split(&editor)?;
    let (program, arguments) = words.split_first().context("the editor's name is empty")?;
    let status = Command::new(program)
        .args(arguments)
        .arg(&path)
        .status()
        .with_context(|| format!("cannot start the editor {program}"));
    let after = fs::read(&path).map(Zeroizing::new);
    if let Ok(length) = fs::metadata(&path).map(|m| m.len()) {
        let _gone = fs::write(&path, vec![0; usize::try_from(length).unwrap_or(0)]);
    }
    let status = status?;
    if !status.success() {
        return Err(
            Diagnostic::new(format!("the editor {program} ended with {status}; nothing is changed")).into()
        );
    }
    after.context("the editor left no file")
}

fn create(file: &Path, skip_check: bool, keys: &EncryptArgs, settings: &Settings) -> Result<()> {
    if !std::io::stdout().is_terminal() && !skip_check {
        return Err(Diagnostic::new("not a tty, editor cannot be opened").into());
    }
    if file.exists() {
        return Err(Diagnostic::new(format!("{} exists, please use 'edit' instead", file.display())).into());
    }
    let key = keys.key(settings)?;
    if let Some(folder) = file.parent().filter(|p| !p.as_os_str().is_empty()) {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    let text = edited(b"", file)?;
    write(file, key.seal(&text, salt(settings))?.as_bytes())
}

fn edit(file: &Path, vault: &Vault, settings: &Settings) -> Result<()> {
    let sealed = sealed_text(file)?;
    let label = Envelope::parse(&sealed).map_err(|e| told(&e, file))?.label;
    let (plain, key) = vault.open_with(&sealed).map_err(|e| told(&e, file))?;
    let key = key.context("the password that fitted is not known")?;
    let text = edited(&plain, file)?;
    if text == plain {
        return Ok(());
    }
    rewrite(file, key.seal_as(&text, label.as_deref(), salt(settings))?.as_bytes())
}

fn rekey(file: &Path, vault: &Vault, new: &Key, settings: &Settings) -> Result<()> {
    let plain = vault.open(&sealed_text(file)?).map_err(|e| told(&e, file))?;
    rewrite(file, new.seal(&plain, salt(settings))?.as_bytes())
}

/// A text to encrypt, where it came from, and the variable that it is for.
type Piece = (Zeroizing<Vec<u8>>, &'static str, Option<String>);

fn encrypt_string(args: &StringArgs, settings: &Settings) -> Result<()> {
    let from_stdin = args.texts.iter().any(|t| t == "-")
        || args.stdin_name.is_some()
        || args.texts.is_empty() && !args.prompt;
    if args.prompt && from_stdin {
        return Err(
            Diagnostic::new("The --prompt option is not supported if also reading input from stdin").into()
        );
    }
    let key = args.keys.key(settings)?;
    let pieces = pieces(args, from_stdin)?;
    let several = pieces.len() > 1;
    let mut out = String::new();
    for (index, (plain, source, name)) in pieces.iter().enumerate() {
        let number = index + 1;
        if several {
            tell(&match name {
                Some(name) => {
                    format!(
                        "# The encrypted version of variable (\"{name}\", the string #{number} from {source})."
                    )
                }
                None => format!("# The encrypted version of the string #{number} from {source}.)"),
            });
        }
        let sealed = key.seal(plain, salt(settings))?;
        let head = name.as_ref().map(|n| format!("{n}: ")).unwrap_or_default();
        out.push_str(&format!("{head}!vault |\n"));
        for line in sealed.lines() {
            out.push_str(&format!("          {line}\n"));
        }
    }
    write(args.output.output.as_deref().unwrap_or(Path::new("-")), out.as_bytes())?;
    done("Encryption successful");
    Ok(())
}

fn pieces(args: &StringArgs, from_stdin: bool) -> Result<Vec<Piece>> {
    let mut pieces: Vec<Piece> = Vec::new();
    let empty = |source: &str| Diagnostic::new(format!("the text from {source} is empty, not encrypting"));
    if args.prompt {
        let name = ask::plain("Variable name (enter for no name): ")?;
        let text = if args.show_input {
            ask::plain("String to encrypt: ")?
        } else {
            ask::secret("String to encrypt (hidden): ")?
        };
        if text.is_empty() {
            return Err(empty("the prompt").into());
        }
        let name = Some(name).filter(|n| !n.is_empty());
        pieces.push((Zeroizing::new(text.into_bytes()), "the interactive prompt", name));
    }
    if from_stdin {
        if std::io::stdout().is_terminal() {
            tell(
                "Reading plaintext input from stdin. (ctrl-d to end input, twice if your content does not already have a newline)",
            );
        }
        let text = read(Path::new("-"))?;
        if text.is_empty() {
            return Err(empty("stdin").into());
        }
        pieces.push((text, "stdin", args.stdin_name.clone()));
    }
    let mut names = args.name.iter();
    for text in args.texts.iter().filter(|t| *t != "-") {
        if text.is_empty() {
            return Err(empty("the command line args").into());
        }
        pieces.push((
            Zeroizing::new(text.clone().into_bytes()),
            "the command line args",
            names.next().cloned(),
        ));
    }
    Ok(pieces)
}
