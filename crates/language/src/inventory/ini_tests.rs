use super::*;

fn load(text: &str) -> (Result<Graph, Diagnostic>, Vec<Diagnostic>) {
    let (mut graph, mut warnings) = (Graph::new(), Vec::new());
    let file = SourceFile::new("quay.inv", text);
    let read = read(&file, Path::new("quay.inv"), &mut graph, &mut warnings);
    graph.settle();
    (read.map(|()| graph), warnings)
}

fn error(text: &str) -> String {
    load(text).0.err().map_or_else(|| "no error".to_owned(), |error| error.to_string())
}

fn warning(text: &str) -> String {
    let (read, warnings) = load(text);
    read.unwrap_or_else(|error| panic!("{error}"));
    warnings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

#[test]
fn bad_sections_are_explained() {
    insta::assert_snapshot!(error("[lab:var]\nx=1\n"), @r"
    unknown kind of section: var
     --> quay.inv:1:6
      |
    1 | [lab:var]
      |      ^^^
      hint: did you mean [lab:vars]?
    ");
    insta::assert_snapshot!(error("[lab:settings]\nx=1\n"), @r"
    unknown kind of section: settings
     --> quay.inv:1:6
      |
    1 | [lab:settings]
      |      ^^^^^^^^
      hint: a section is [group], [group:children] or [group:vars]
    ");
    insta::assert_snapshot!(error("[my lab]\nquay\n"), @r"
    this is no section header
     --> quay.inv:1:1
      |
    1 | [my lab]
      | ^^^^^^^^
      = a group's name holds no blanks, colons or brackets
      hint: a section is [group], [group:children] or [group:vars]
    ");
    insta::assert_snapshot!(error("[lab\nquay\n"), @r"
    the section header has no closing bracket
     --> quay.inv:1:1
      |
    1 | [lab
      | ^^^^
      hint: a section is [group], [group:children] or [group:vars]
    ");
    insta::assert_snapshot!(error("[lab]\nquay\n[lba:vars]\nx=1\n"), @r"
    variables for a group that is not declared: lba
     --> quay.inv:3:2
      |
    3 | [lba:vars]
      |  ^^^
      hint: did you mean lab?
    ");
    insta::assert_snapshot!(error("[site:children]\nlab\nhypervisr\n[lab]\n[hypervisor]\n"), @r"
    a group that is not declared: hypervisr
     --> quay.inv:3:1
      |
    3 | hypervisr
      | ^^^^^^^^^
      hint: did you mean hypervisor?
    ");
    insta::assert_snapshot!(error("[site:children]\nlab x=1\n[lab]\n"), @r"
    a line here is the name of one group
     --> quay.inv:2:1
      |
    2 | lab x=1
      | ^^^^^^^
      = this line is in [site:children]
      hint: put hosts under [site] and variables under [site:vars]
    ");
    insta::assert_snapshot!(error("[a:children]\nb\n[b:children]\na\n"), @r"
    the group a cannot be a child of b
     --> quay.inv:4:1
      |
    4 | a
      | ^
      = b is already inside a: the groups would go round in a circle
      hint: take one of the two out of the other's children
    ");
    insta::assert_snapshot!(error("[a:children]\na\n[a]\n"), @r"
    the group a cannot be its own child
     --> quay.inv:2:1
      |
    2 | a
      | ^
    ");
}

#[test]
fn bad_hosts_are_explained() {
    insta::assert_snapshot!(error("[lab]\nquay[1:\n"), @r"
    the range has no closing bracket
     --> quay.inv:2:1
      |
    2 | quay[1:
      | ^^^^^^^
      hint: a range is [01:50], [a:f] or [1:9:2]
    ");
    insta::assert_snapshot!(error("[lab]\nquay[01:100]\n"), @r"
    01 and 100 have different lengths, and leading zeros ask for equal ones
     --> quay.inv:2:1
      |
    2 | quay[01:100]
      | ^^^^^^^^^^^^
      hint: a range is [01:50], [a:f] or [1:9:2]
    ");
    insta::assert_snapshot!(error("[lab]\nquay[1]\n"), @r"
    a range is [first:last] or [first:last:step], not [1]
     --> quay.inv:2:1
      |
    2 | quay[1]
      | ^^^^^^^
      hint: a range is [01:50], [a:f] or [1:9:2]
    ");
    insta::assert_snapshot!(error("[lab]\nquay[a:5]\n"), @r"
    a and 5 are neither two numbers nor two letters
     --> quay.inv:2:1
      |
    2 | quay[a:5]
      | ^^^^^^^^^
      hint: a range is [01:50], [a:f] or [1:9:2]
    ");
    insta::assert_snapshot!(error("[lab]\nquay color\n"), @r"
    a host's variable needs a value: name=value
     --> quay.inv:2:6
      |
    2 | quay color
      |      ^^^^^
      hint: give every host a line of its own
    ");
    insta::assert_snapshot!(error("[lab]\nquay color = red\n"), @r"
    a host's variable needs a value: name=value
     --> quay.inv:2:6
      |
    2 | quay color = red
      |      ^^^^^
      hint: put no blanks around the equals sign
    ");
    insta::assert_snapshot!(error("[lab]\nquay color={{ main_color }}\n"), @r"
    a host's variable needs a value: name=value
     --> quay.inv:2:15
      |
    2 | quay color={{ main_color }}
      |               ^^^^^^^^^^
      hint: quote a value with blanks: name='{{ other }}'
    ");
    insta::assert_snapshot!(error("[lab]\nquay\tcolor='red\n"), @r"
    the quote is not closed
     --> quay.inv:2:12
      |
    2 | quay	color='red
      |     	      ^
      hint: close it, or put a backslash before a quote that is meant as it stands
    ");
    insta::assert_snapshot!(error("[lab]\nquay color=red\\\n"), @r"
    nothing follows the backslash
     --> quay.inv:2:15
      |
    2 | quay color=red\
      |               ^
      hint: write two for one: \\
    ");
    insta::assert_snapshot!(error("[lab]\nquay:\n"), @r"
    a port is missing after the colon
     --> quay.inv:2:1
      |
    2 | quay:
      | ^^^^^
      = a name that ends with a colon is a YAML inventory's
      hint: write host:22, or give the file the ending .yml
    ");
    insta::assert_snapshot!(error("---\nlab:\n"), @r"
    this looks like YAML in an INI inventory
     --> quay.inv:1:1
      |
    1 | ---
      | ^^^
      hint: give the file the ending .yml
    ");
}

#[test]
fn bad_variables_are_explained() {
    insta::assert_snapshot!(error("[lab]\n[lab:vars]\nquay\n"), @r"
    a variable needs a value: name=value
     --> quay.inv:3:1
      |
    3 | quay
      | ^^^^
      = this line is in [lab:vars]
      hint: put hosts under [lab]
    ");
    insta::assert_snapshot!(error("[lab]\n[lab:vars]\n\tcolor: red\n"), @r"
    a variable needs a value: name=value
     --> quay.inv:3:2
      |
    3 | 	color: red
      | 	^^^^^^^^^^
      = this line is in [lab:vars]
      hint: write color=red
    ");
    insta::assert_snapshot!(error("[lab]\n[lab:vars]\nansible_group_priority=high\n"), @r#"
    ansible_group_priority is an integer, not "high"
     --> quay.inv:3:24
      |
    3 | ansible_group_priority=high
      |                        ^^^^
    "#);
}

#[test]
fn doubtful_input_is_a_warning() {
    insta::assert_snapshot!(warning("[my-lab]\nquay\n"), @r#"
    the group's name "my-lab" is no name for a variable
     --> quay.inv:1:2
      |
    1 | [my-lab]
      |  ^^^^^^
      hint: use letters, digits and underscores, and start with a letter
    "#);
    insta::assert_snapshot!(warning("[lab]\nquay max-size=1\n"), @r#"
    "max-size" is no name for a variable
     --> quay.inv:2:6
      |
    2 | quay max-size=1
      |      ^^^^^^^^
      hint: use letters, digits and underscores, and start with a letter
    "#);
    insta::assert_snapshot!(warning("[lab]\nquay\ncolor=red\n"), @r#"
    a host called "color=red"
     --> quay.inv:3:1
      |
    3 | color=red
      | ^^^^^^^^^
      hint: if this is a variable, put it under [lab:vars]
    "#);
    insta::assert_snapshot!(warning("[lab]\nquay[9:1]\n"), @r"
    the range counts down and stands for no host
     --> quay.inv:2:1
      |
    2 | quay[9:1]
      | ^^^^^^^^^
      hint: put the smaller number first
    ");
}

#[test]
fn values_point_into_the_inventory() {
    let (graph, _) = load("[lab]\nquay  size='2' ram=\"[1, 2]\"\n[lab:vars]\n  disk = {'size': 10}\n");
    let graph = graph.unwrap_or_else(|error| panic!("{error}"));
    let place = |node: &Node| (node.origin.line, node.origin.column, node.origin.width);
    let vars = &graph.hosts["quay"].vars;
    assert_eq!(place(&vars["size"]), (2, 12, 3));
    assert_eq!(place(&vars["ram"].as_seq().unwrap()[1]), (2, 25, 1));
    let disk = &graph.groups["lab"].vars["disk"];
    assert_eq!(place(disk), (4, 10, 12));
    assert_eq!(place(disk.as_map().unwrap().get("size").unwrap()), (4, 19, 2));
}

mod arbitrary {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn text_does_not_make_it_panic(text in "([a-c\\[\\]:='\"#; \\t{}0-9,.!\\\\-]{0,20}\n){0,8}") {
            let _ = load(&text);
        }

        #[test]
        fn inventories_do_not_make_it_panic(
            text in "((\\[[a-c](:(vars|children))?\\]|[a-c]|h\\[0?[0-9]:[0-9]{1,2}\\]|x=[a-z0-9'\\[]{0,3})\n){0,12}"
        ) {
            let _ = load(&text);
        }
    }
}
