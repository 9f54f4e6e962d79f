//! What a block device holds: what `filesystem` and `lvg` must not overwrite.

use super::sections::Sections;
use crate::host::quote;

/// A block device (or a file that stands for one) as it was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Device {
    /// As it was named.
    pub(super) given: String,
    /// Without links; empty when there is no such thing.
    pub(super) real: String,
    /// The signature: a file system, `LVM2_member`, `crypto_LUKS`, ...
    pub(super) signature: Option<String>,
    /// A partition table.
    pub(super) table: Option<String>,
    /// What has it open: a mount point, a mapper device, swap.
    pub(super) in_use: Option<String>,
}

/// The shell function `device NAME NUMBER`, which prints a device's sections.
pub(super) const DEVICE: &str = "device() {
  r=$(readlink -f -- \"$1\" 2>/dev/null); [ -b \"$r\" ] || [ -f \"$r\" ] || r=
  mark \"real$2\"; printf '%s\\n' \"$r\"
  [ -n \"$r\" ] || return 0
  mark \"blkid$2\"; blkid -p -o export -- \"$r\" 2>/dev/null || { [ $? -eq 2 ] || blkid -- \"$r\" 2>/dev/null | tr ' ' '\\n' | tr -d '\"'; }
  mark \"use$2\"
  while read -r s p x; do case $s in /*) [ \"$(readlink -f -- \"$s\" 2>/dev/null)\" = \"$r\" ] && printf 'mounted at %s\\n' \"$p\";; esac; done </proc/self/mounts
  { read -r x; while read -r s x; do [ \"$s\" = \"$r\" ] && echo 'used as swap'; done; } </proc/swaps 2>/dev/null
  for h in /sys/class/block/\"${r##*/}\"/holders/*; do [ -e \"$h\" ] && printf 'held by %s\\n' \"${h##*/}\"; done
}
";

/// The call that looks at one device.
pub(super) fn look(name: &str, number: usize) -> String {
    format!("device {} {number}\n", quote(name))
}

impl Device {
    pub(super) fn read(sections: &Sections, name: &str, number: usize) -> Self {
        let section = format!("blkid{number}");
        let field = |key: &str| {
            sections
                .lines(&section)
                .find_map(|l| l.strip_prefix(key)?.strip_prefix('='))
                .map(|v| v.trim().to_owned())
        };
        Self {
            given: name.to_owned(),
            real: sections.text(&format!("real{number}")).to_owned(),
            signature: field("TYPE"),
            table: field("PTTYPE"),
            in_use: sections.lines(&format!("use{number}")).next().map(str::to_owned),
        }
    }

    pub(super) fn exists(&self) -> bool {
        !self.real.is_empty()
    }

    /// What stands on the device, in words.
    pub(super) fn content(&self) -> Option<String> {
        match (&self.signature, &self.table) {
            (Some(signature), _) => Some(format!("a signature of {signature}")),
            (None, Some(table)) => Some(format!("a partition table ({table})")),
            (None, None) => None,
        }
    }
}

/// Bytes of a size as LVM reads it: base two whatever the letter's case, mebibytes without one.
pub(super) fn bytes(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = text[digits.len()..].to_ascii_lowercase();
    let factor: u64 = match unit.trim_end_matches("ib").trim_end_matches(|c| c == 'b' && unit.len() > 1) {
        "b" => 1,
        "s" => 512,
        "k" => 1 << 10,
        "" | "m" => 1 << 20,
        "g" => 1 << 30,
        "t" => 1 << 40,
        "p" => 1 << 50,
        "e" => 1 << 60,
        _ => return None,
    };
    if let Ok(whole) = digits.parse::<u64>() {
        return whole.checked_mul(factor);
    }
    let number: f64 = digits.parse().ok().filter(|n: &f64| n.is_finite() && *n >= 0.0)?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a fraction of a unit has no exact number of bytes anyway"
    )]
    Some((number * factor as f64) as u64)
}

#[cfg(test)]
mod tests {
    use super::super::sections::testing::answer;
    use super::*;

    #[test]
    fn sizes() {
        for (text, expected) in [
            ("512", Some(512 << 20)),
            ("10G", Some(10 << 30)),
            ("10g", Some(10 << 30)),
            ("1.5g", Some(3 << 29)),
            ("4096b", Some(4096)),
            ("2GiB", Some(2 << 30)),
            ("1x", None),
            ("", None),
            ("g", None),
            ("-1g", None),
        ] {
            assert_eq!(bytes(text), expected, "{text:?}");
        }
    }

    #[test]
    fn devices_are_read() {
        let reply = answer(&[
            ("real0", "/dev/vdb"),
            ("blkid0", "DEVNAME=/dev/vdb\nPTTYPE=gpt\n"),
            ("use0", ""),
            ("real1", "/dev/vdc"),
            ("blkid1", "TYPE=xfs\nUSAGE=filesystem"),
            ("use1", "mounted at /srv\nheld by dm-0"),
            ("real2", ""),
        ]);
        let sections = Sections::read(&reply).expect("readable");
        let device = |n| Device::read(&sections, "/dev/x", n);
        assert_eq!(device(0).content().as_deref(), Some("a partition table (gpt)"));
        assert_eq!(device(1).content().as_deref(), Some("a signature of xfs"));
        assert_eq!(device(1).in_use.as_deref(), Some("mounted at /srv"));
        assert!(!device(2).exists());
    }
}
