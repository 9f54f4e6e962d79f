use super::*;
use crate::diag::SourceFile;

fn error(text: &str) -> String {
    let (document, _) =
        crate::yaml::load_one(&SourceFile::new("hosts.yml", text)).unwrap_or_else(|e| panic!("{e}"));
    let mut warnings = Vec::new();
    match read(&document, Path::new("hosts.yml"), &mut Graph::new(), &mut warnings) {
        Ok(()) => warnings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn mistakes_are_explained() {
    insta::assert_snapshot!(error("- web\n"), @r"
    an inventory is a mapping of groups, not a list
     --> hosts.yml:1:1
      |
    1 | - web
      | ^
    ");
    insta::assert_snapshot!(error("plugin: libvirt\n"), @r"
    this configures an inventory plugin, and plugins are not run
     --> hosts.yml:1:1
      |
    1 | plugin: libvirt
      | ^^^^^^
      hint: write the plugin's result into a file: ansible-inventory --list --yaml
    ");
    insta::assert_snapshot!(error("web:\n  hosts:\n    - web1\n"), @r"
    hosts of the group web is a mapping, not a list
     --> hosts.yml:3:5
      |
    3 |     - web1
      |     ^
      hint: write `name:` instead of `- name`
    ");
    insta::assert_snapshot!(error("web:\n  host:\n    web1:\n"), @r#"
    "host" in the group web is ignored
     --> hosts.yml:2:3
      |
    2 |   host:
      |   ^^^^
      = only hosts, children and vars are read
      hint: did you mean hosts?
    "#);
    insta::assert_snapshot!(error("web:\n  hosts:\n    1:\n"), @r"
    a host's name is a text, not a number
     --> hosts.yml:3:5
      |
    3 |     1:
      |     ^
      hint: quote it
    ");
    insta::assert_snapshot!(error("web:\n  hosts:\n    web1: up\n"), @r"
    the variables of web1 are a mapping, not a string
     --> hosts.yml:3:11
      |
    3 |     web1: up
      |           ^^
      hint: write name: value below the host, one a line
    ");
    insta::assert_snapshot!(error("web:\n  hosts:\n    \"web[1:\":\n"), @r#"
    the range has no closing bracket
     --> hosts.yml:3:5
      |
    3 |     "web[1:":
      |     ^^^^^^^^
    "#);
    insta::assert_snapshot!(error("a:\n  children:\n    b:\n      children:\n        a:\n"), @r"
    the group b cannot be a child of a
     --> hosts.yml:3:5
      |
    3 |     b:
      |     ^
      = a is already inside b: the groups would go round in a circle
      hint: take one of the two out of the other's children
    ");
    insta::assert_snapshot!(error("web: web1\n"), @r"
    the group web is a mapping, not a string
     --> hosts.yml:1:6
      |
    1 | web: web1
      |      ^^^^
      hint: a group holds hosts:, children: and vars:
    ");
}
