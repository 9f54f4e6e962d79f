//! Logging in over SSH: what is tried, in which order, and what to say when nothing was accepted.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use russh::client::{Handle, Handler, KeyboardInteractiveAuthResponse};
use russh::keys::agent::AgentIdentity;
use russh::keys::agent::client::AgentClient;
use russh::keys::{HashAlg, PrivateKey, PrivateKeyWithHashAlg, load_secret_key};

use super::SshOptions;
use crate::store::home;

/// Why nobody was let in.
pub(super) struct Failure {
    pub(super) reason: String,
    pub(super) hint: Option<String>,
}

/// What has been tried, for the message when nothing was accepted.
#[derive(Default)]
struct Tried {
    attempts: Vec<String>,
    hint: Option<&'static str>,
}

/// Tries the given key, the agent, the usual keys where none is given, and the password.
pub(super) async fn authenticate<H: Handler>(
    handle: &mut Handle<H>,
    user: &str,
    (key_file, password): (Option<&Path>, Option<&str>),
    options: &SshOptions,
) -> Result<(), Failure> {
    let mut tried = Tried::default();
    match attempt(handle, user, (key_file, password), options, &mut tried).await {
        Ok(true) => Ok(()),
        Ok(false) => Err(failure(user, &tried, None)),
        Err(error) => Err(failure(user, &tried, Some(&error.to_string()))),
    }
}

fn failure(user: &str, tried: &Tried, error: Option<&str>) -> Failure {
    let what = if tried.attempts.is_empty() {
        "there is no key, no agent and no password to try".to_owned()
    } else {
        format!("tried {}", tried.attempts.join(", "))
    };
    let end = error.map(|e| format!("; then the connection failed: {e}")).unwrap_or_default();
    Failure {
        reason: format!("login as `{user}` was refused: {what}{end}"),
        hint: Some(
            tried
                .hint
                .unwrap_or(
                    "add your public key to the user's ~/.ssh/authorized_keys there, or set `ansible_user`, \
                     `ansible_ssh_private_key_file` or `ansible_password`",
                )
                .to_owned(),
        ),
    }
}

async fn attempt<H: Handler>(
    handle: &mut Handle<H>,
    user: &str,
    (key_file, password): (Option<&Path>, Option<&str>),
    options: &SshOptions,
    tried: &mut Tried,
) -> Result<bool, russh::Error> {
    if !options.no_keys && with_keys(handle, user, key_file, options, tried).await? {
        return Ok(true);
    }
    let Some(password) = password else { return Ok(false) };
    if !options.no_password {
        if handle.authenticate_password(user, password).await?.success() {
            return Ok(true);
        }
        tried.attempts.push("the password".to_owned());
    }
    if options.no_questions {
        return Ok(false);
    }
    with_keyboard(handle, user, password, tried).await
}

async fn with_keys<H: Handler>(
    handle: &mut Handle<H>,
    user: &str,
    key_file: Option<&Path>,
    options: &SshOptions,
    tried: &mut Tried,
) -> Result<bool, russh::Error> {
    let given: Vec<&Path> = key_file.into_iter().chain(options.keys.iter().map(PathBuf::as_path)).collect();
    for path in &given {
        let path = crate::store::expanded(path);
        if with_file(handle, user, &path, true, tried).await? {
            return Ok(true);
        }
    }
    if !options.keys_only && with_agent(handle, user, tried).await? {
        return Ok(true);
    }
    if given.is_empty() {
        for path in usual_files() {
            if with_file(handle, user, &path, false, tried).await? {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

fn usual_files() -> Vec<PathBuf> {
    let Some(folder) = home().map(|h| h.join(".ssh")) else { return Vec::new() };
    ["id_ed25519", "id_ecdsa", "id_rsa"].iter().map(|n| folder.join(n)).filter(|p| p.exists()).collect()
}

async fn with_file<H: Handler>(
    handle: &mut Handle<H>,
    user: &str,
    path: &Path,
    given: bool,
    tried: &mut Tried,
) -> Result<bool, russh::Error> {
    let shown = path.display();
    match load_secret_key(path, None) {
        Ok(key) => {
            let accepted = with_key(handle, user, key).await?;
            if !accepted {
                tried.attempts.push(format!("the key {shown}"));
            }
            Ok(accepted)
        }
        Err(error) => {
            let encrypted = is_encrypted(path, &error);
            if encrypted {
                tried.attempts.push(format!("the key {shown} (encrypted, so it was passed over)"));
                if given {
                    tried.hint = Some(
                        "add the encrypted key to an agent (ssh-agent, ssh-add), or give a key without a passphrase",
                    );
                }
            } else {
                tried.attempts.push(format!("the key {shown} (cannot be read: {error})"));
                if given {
                    tried.hint = Some("correct `ansible_ssh_private_key_file` or `--private-key`");
                }
            }
            Ok(false)
        }
    }
}

fn is_encrypted(path: &Path, error: &russh::keys::Error) -> bool {
    matches!(error, russh::keys::Error::KeyIsEncrypted)
        || std::fs::read_to_string(path).is_ok_and(|text| {
            text.contains("ENCRYPTED") || PrivateKey::from_openssh(&text).is_ok_and(|key| key.is_encrypted())
        })
}

async fn with_key<H: Handler>(
    handle: &mut Handle<H>,
    user: &str,
    key: PrivateKey,
) -> Result<bool, russh::Error> {
    let hash = rsa_hash(handle, key.algorithm().is_rsa()).await?;
    let key = PrivateKeyWithHashAlg::new(Arc::new(key), hash);
    Ok(handle.authenticate_publickey(user, key).await?.success())
}

/// Asked only for RSA, since the answer may take a second to come.
async fn rsa_hash<H: Handler>(handle: &Handle<H>, is_rsa: bool) -> Result<Option<HashAlg>, russh::Error> {
    if !is_rsa {
        return Ok(None);
    }
    Ok(handle.best_supported_rsa_hash().await?.unwrap_or(Some(HashAlg::Sha256)))
}

async fn with_agent<H: Handler>(
    handle: &mut Handle<H>,
    user: &str,
    tried: &mut Tried,
) -> Result<bool, russh::Error> {
    if std::env::var_os("SSH_AUTH_SOCK").is_none_or(|v| v.is_empty()) {
        return Ok(false);
    }
    let mut agent = match AgentClient::connect_env().await {
        Ok(agent) => agent,
        Err(error) => {
            tried.attempts.push(format!("the agent (not reachable: {error})"));
            return Ok(false);
        }
    };
    let identities = match agent.request_identities().await {
        Ok(identities) => identities,
        Err(error) => {
            tried.attempts.push(format!("the agent (gives no keys: {error})"));
            return Ok(false);
        }
    };
    let count = identities.len();
    for identity in identities {
        let AgentIdentity::PublicKey { key, .. } = identity else { continue };
        let hash = rsa_hash(handle, key.algorithm().is_rsa()).await?;
        match handle.authenticate_publickey_with(user, key, hash, &mut agent).await {
            Ok(result) if result.success() => return Ok(true),
            _ => {}
        }
        if handle.is_closed() {
            tried.hint = Some(
                "the server closed after too many keys of the agent: set `ansible_ssh_private_key_file`",
            );
            break;
        }
    }
    tried.attempts.push(format!("the agent's {count} keys"));
    Ok(false)
}

/// Answers every hidden question with the password, as `ssh` under sshpass does.
async fn with_keyboard<H: Handler>(
    handle: &mut Handle<H>,
    user: &str,
    password: &str,
    tried: &mut Tried,
) -> Result<bool, russh::Error> {
    let mut response = handle.authenticate_keyboard_interactive_start(user, None).await?;
    // A server that goes on asking is not let go on for ever.
    for _ in 0..4 {
        match response {
            KeyboardInteractiveAuthResponse::Success => return Ok(true),
            KeyboardInteractiveAuthResponse::Failure { .. } => break,
            KeyboardInteractiveAuthResponse::InfoRequest { prompts, .. } => {
                let answers = prompts
                    .iter()
                    .map(|p| if p.echo { String::new() } else { password.to_owned() })
                    .collect();
                response = handle.authenticate_keyboard_interactive_respond(answers).await?;
            }
        }
    }
    tried.attempts.push("the password as an answer to the server's questions".to_owned());
    Ok(false)
}
