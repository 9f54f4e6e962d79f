//! `quaylab inventory`: what an inventory means, as `ansible-inventory` prints it.

use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::{ArgGroup, Args};

use crate::cli::common::VaultArgs;
use crate::cli::here;
use crate::cli::say::{show, tell};
use crate::diag::Diagnostic;
use crate::inventory::{self, Inventory};

/// Shows what an inventory means.
#[derive(Debug, Clone, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own on the command line")]
#[command(group(ArgGroup::new("what").required(true).args(["list", "host", "graph"])))]
pub struct InventoryArgs {
    /// Inventory file or directory, or hosts with commas between them; may be given more than once.
    #[arg(short, long, value_name = "SRC", env = "ANSIBLE_INVENTORY", required = true)]
    pub inventory: Vec<String>,
    /// Print all groups, and all hosts with their variables.
    #[arg(long)]
    pub list: bool,
    /// Print one host's variables.
    #[arg(long, value_name = "NAME")]
    pub host: Option<String>,
    /// Print the groups as a tree.
    #[arg(long)]
    pub graph: bool,
    /// Show variables in the tree.
    #[arg(long, conflicts_with_all = ["list", "host"])]
    pub vars: bool,
    /// Print YAML instead of JSON.
    #[arg(short, long)]
    pub yaml: bool,
    /// Show only the hosts of this pattern.
    #[arg(short, long, value_name = "PATTERN")]
    pub limit: Option<String>,
    #[command(flatten)]
    vault: VaultArgs,
    /// The group at the root of the tree.
    #[arg(value_name = "GROUP", conflicts_with_all = ["list", "host"])]
    pub group: Option<String>,
}

/// Prints what was asked for; warnings go to standard error.
pub fn run(args: &InventoryArgs) -> Result<ExitCode> {
    let vault = args.vault.vault(&here::settings()?)?;
    let (inventory, mut warnings) = Inventory::load_with(&args.inventory, &vault)?;
    let text = if let Some(name) = &args.host {
        let (hosts, more) = inventory.select(name)?;
        warnings.extend(more);
        let [host] = hosts.as_slice() else {
            warn(&warnings);
            bail!(
                Diagnostic::new(format!("--host takes one host, and {name:?} names {}", hosts.len()))
                    .hint("quaylab inventory --graph shows which hosts there are")
            );
        };
        write(&inventory::render_host(&inventory, host), args.yaml)?
    } else if args.graph {
        let group = args.group.as_deref().unwrap_or("all");
        inventory::render_graph(&inventory, group, args.vars).ok_or_else(|| {
            let groups = inventory.groups();
            let near = crate::diag::closest(group, groups.iter().map(|(name, _)| name.as_str()));
            Diagnostic::new(format!("there is no group {group}"))
                .hint_opt(near.map(|near| format!("did you mean {near}?")))
        })?
    } else {
        let (hosts, more) = inventory.select_limited("all", args.limit.as_deref())?;
        warnings.extend(more);
        let value = if args.yaml {
            inventory::render_yaml(&inventory, &hosts)
        } else {
            inventory::render_list(&inventory, &hosts)
        };
        write(&value, args.yaml)?
    };
    warn(&warnings);
    show(&(text + "\n"))?;
    Ok(ExitCode::SUCCESS)
}

fn write(value: &crate::value::Value, yaml: bool) -> Result<String> {
    Ok(if yaml { serde_yaml::to_string(value)?.trim_end().to_owned() } else { inventory::json_text(value) })
}

fn warn(warnings: &[Diagnostic]) {
    for warning in warnings {
        tell(&format!("[WARNING]: {warning}"));
    }
}

#[cfg(test)]
mod tests {
    use clap::Command;

    use super::*;

    #[test]
    fn one_output_is_asked_for() {
        let command = || InventoryArgs::augment_args(Command::new("inventory"));
        command().debug_assert();
        for (arguments, fits) in [
            (vec!["-i", "a,", "--list"], true),
            (vec!["-i", "a,", "-i", "b,", "--graph", "web", "--vars"], true),
            (vec!["-i", "a,", "--host", "a", "--yaml"], true),
            (vec!["-i", "a,"], false),
            (vec!["-i", "a,", "--list", "--graph"], false),
            (vec!["-i", "a,", "--list", "--vars"], false),
        ] {
            let given = std::iter::once("inventory").chain(arguments.iter().copied());
            assert_eq!(command().try_get_matches_from(given).is_ok(), fits, "{arguments:?}");
        }
    }
}
