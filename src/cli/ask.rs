//! Questions to the person at the terminal.

use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::sync::Arc;

use anyhow::{Context as _, Result};

use super::say::tell;
use super::{ends, program};
use crate::engine::{Ask, Question, Step, StepAnswer};
use crate::report::visible;
use crate::vault::VaultError;

/// Asks for a secret; without a terminal it is the next line of standard input.
pub(super) fn secret(prompt: &str) -> Result<String> {
    // From here on a signal ends the program with the terminal's echo restored.
    ends::listen(program::called());
    // Only without a terminal is standard input read: after Ctrl-D nothing is asked a second time.
    let typed = if std::fs::File::open("/dev/tty").is_ok() {
        rpassword::prompt_password(visible(prompt))
    } else {
        line(prompt)
    };
    typed.context("cannot read the password from the terminal")
}

/// Asks for something that may be seen.
pub(super) fn plain(prompt: &str) -> Result<String> {
    line(prompt).context("cannot read from the terminal")
}

fn line(prompt: &str) -> std::io::Result<String> {
    let mut out = std::io::stderr();
    out.write_all(visible(prompt).as_bytes())?;
    out.flush()?;
    let mut typed = String::new();
    std::io::stdin().lock().read_line(&mut typed)?;
    Ok(typed.trim_end_matches(['\n', '\r']).to_owned())
}

/// Asks for a vault password; a new one is asked for twice.
pub(super) fn vault_password(prompt: &str, new: bool) -> Result<String, VaultError> {
    let read = |prompt: &str| secret(prompt).map_err(|e| VaultError::Source(format!("{e:#}")));
    let password = read(prompt)?;
    if new && password != read(&format!("Confirm {}", lower_first(prompt)))? {
        return Err(VaultError::Source("the two vault passwords are not the same".into()));
    }
    Ok(password)
}

fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|c| c.to_lowercase().chain(chars).collect()).unwrap_or_default()
}

/// How `vars_prompt` is answered.
pub(super) fn prompts() -> Ask {
    Arc::new(|question: &Question| {
        if !std::io::stdin().is_terminal() {
            return question.default.clone().ok_or_else(|| {
                format!("{} is asked for, and there is no terminal to answer on", question.variable)
            });
        }
        loop {
            let answer = answer(question).map_err(|e| e.to_string())?;
            if !question.confirm
                || answer
                    == self::answer(&Question {
                        text: format!("confirm {}", question.text),
                        ..question.clone()
                    })
                    .map_err(|e| e.to_string())?
            {
                return Ok(answer);
            }
            tell("***** VALUES ENTERED DO NOT MATCH ****");
        }
    })
}

fn answer(question: &Question) -> std::io::Result<String> {
    let default = question
        .default
        .as_ref()
        .filter(|_| !question.private)
        .map(|d| format!(" [{d}]"))
        .unwrap_or_default();
    let prompt = format!("{}{default}: ", question.text);
    let typed = if question.private { rpassword::prompt_password(visible(&prompt))? } else { line(&prompt)? };
    Ok(if typed.is_empty() { question.default.clone().unwrap_or_default() } else { typed })
}

/// `--step`: every task is asked for. Without an answer nothing is run.
pub(super) fn step() -> Step {
    Arc::new(|task: &str| {
        let typed = line(&format!("Perform task: {task} (N)o/(y)es/(c)ontinue: ")).unwrap_or_default();
        match typed.trim().to_ascii_lowercase().as_str() {
            "y" | "yes" => StepAnswer::Run,
            "c" | "continue" => StepAnswer::Continue,
            _ => StepAnswer::Skip,
        }
    })
}
