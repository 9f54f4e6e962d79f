//! Tests of paths on the machine that runs the playbook.

use std::path::Path;

use minijinja::{Error, Value};

use super::super::call::{Call, Native};

pub(super) const TESTS: &[(&str, Native)] = &[
    ("exists", |c| on(c, Path::exists)),
    ("file", |c| on(c, Path::is_file)),
    ("is_file", |c| on(c, Path::is_file)),
    ("directory", |c| on(c, Path::is_dir)),
    ("is_dir", |c| on(c, Path::is_dir)),
    ("link", |c| on(c, Path::is_symlink)),
    ("is_link", |c| on(c, Path::is_symlink)),
    ("link_exists", |c| on(c, |p| p.symlink_metadata().is_ok())),
    ("abs", |c| on(c, Path::is_absolute)),
    ("is_abs", |c| on(c, Path::is_absolute)),
    ("same_file", same_file),
    ("is_same_file", same_file),
    ("mount", |c| on(c, is_mount)),
    ("is_mount", |c| on(c, is_mount)),
];

fn on(call: &Call<'_, '_, '_>, holds: impl Fn(&Path) -> bool) -> Result<Value, Error> {
    Ok(Value::from(holds(Path::new(&call.input_text()?))))
}

fn is_mount(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let (Ok(own), Ok(parent)) = (path.symlink_metadata(), path.join("..").metadata()) else { return false };
    own.dev() != parent.dev() || own.ino() == parent.ino()
}

fn same_file(call: &mut Call<'_, '_, '_>) -> Result<Value, Error> {
    use std::os::unix::fs::MetadataExt;
    let (a, b) = (call.input_text()?, call.need_text(1, "other")?);
    let same = match (Path::new(&a).metadata(), Path::new(&b).metadata()) {
        (Ok(a), Ok(b)) => a.dev() == b.dev() && a.ino() == b.ino(),
        _ => false,
    };
    Ok(Value::from(same))
}
