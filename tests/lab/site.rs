//! A lab as its user sees it: an inventory, and a folder that is the home for what quaylab keeps.

use super::nspawn::{Host, Lab};
use super::run::Run;

pub(crate) struct Site<'a> {
    lab: &'a Lab,
    pub(crate) folder: tempfile::TempDir,
}

impl<'a> Site<'a> {
    /// `hosts` are lines of the group `lab`, `variables` is what the inventory says of all of them besides.
    pub(crate) fn new(lab: &'a Lab, hosts: &str, variables: &str) -> Self {
        let site = Self { lab, folder: tempfile::tempdir().expect("a folder") };
        site.write(
            "lab.inv",
            &format!(
                "[lab]\n{hosts}[lab:vars]\n\
                 ansible_user=debian\n\
                 ansible_become=true\n\
                 ansible_ssh_private_key_file={}\n\
                 ansible_ssh_common_args='-o StrictHostKeyChecking=accept-new'\n\
                 docker_storage_optional=true\n{variables}",
                lab.key().display()
            ),
        );
        site
    }

    /// A file beside the inventory.
    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.folder.path().join(name), text).expect("a file");
    }

    /// `quaylab run` on the inventory: the product's own playbook, unless the options name another.
    pub(crate) fn run(&self, options: &[&str]) -> Run {
        self.quaylab(&[&["run", "-i", "lab.inv"], options].concat())
    }

    pub(crate) fn quaylab(&self, words: &[&str]) -> Run {
        let program = self.lab.command(env!("CARGO_BIN_EXE_quaylab"));
        Run::by(program, self.folder.path(), words)
    }

    /// What a command says that root runs on a host; it must succeed.
    pub(crate) fn on(&self, host: Host, command: &str) -> String {
        let done = self.lab.on(host.1, command);
        let said = String::from_utf8_lossy(&done.stdout).trim().to_owned();
        assert!(done.status.success(), "{command}: {said}{}", String::from_utf8_lossy(&done.stderr));
        said
    }
}
