use anyhow::Result;
use clap::Args;

use crate::cli::common::VaultArgs;
use crate::cli::here;
use crate::diag::Diagnostic;
use crate::inventory::Inventory;
use crate::settings::Settings;

/// What to try where none is given.
pub(in crate::cli) const NAME_IT: &str = "name the lab's inventory with -i";

/// Which lab a command is about.
#[derive(Debug, Args)]
pub(in crate::cli) struct LabArgs {
    /// The lab's inventory.
    #[arg(short, long, value_name = "SOURCE")]
    inventory: Vec<String>,
    #[command(flatten)]
    vault: VaultArgs,
}

impl LabArgs {
    /// Reads the inventory that is named, or that of the settings, and opens what is encrypted there.
    pub(super) fn read(&self) -> Result<Inventory> {
        self.read_or(NAME_IT)
    }

    /// The same, with what else a user may do who has named none.
    pub(super) fn read_or(&self, hint: &str) -> Result<Inventory> {
        let settings = here::settings()?;
        let sources = named(&self.inventory, &settings, hint)?;
        Ok(Inventory::load_with(sources, &*self.vault.vault(&settings)?)?.0)
    }
}

/// The inventory that is named, or that of the settings; the hint is for who has neither.
pub(in crate::cli) fn named<'a>(
    given: &'a [String],
    settings: &'a Settings,
    hint: &str,
) -> Result<&'a [String]> {
    let sources = if given.is_empty() { &settings.inventory } else { given };
    if sources.is_empty() {
        return Err(Diagnostic::new("no inventory is given").hint(hint).into());
    }
    Ok(sources)
}
