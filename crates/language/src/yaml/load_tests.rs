use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::value::Value;

fn one(text: &str) -> Node {
    load_one(&SourceFile::new("t.yml", text)).map_or_else(|e| panic!("{e}"), |(node, _)| node)
}

fn error(text: &str) -> String {
    load(&SourceFile::new("t.yml", text)).err().map_or_else(|| "no error".to_owned(), |e| e.to_string())
}

#[test]
fn loads_what_ansible_loads() {
    for (text, expected) in [
        ("a: yes\nb: \"yes\"\nc: 0644\nd:\n", json!({"a": true, "b": "yes", "c": 420, "d": null})),
        ("- 1\n- [a, 'b']\n- {x: 1.5}\n", json!([1, ["a", "b"], {"x": 1.5}])),
        ("a: &x {p: 1}\nb: *x\n", json!({"a": {"p": 1}, "b": {"p": 1}})),
        ("a: &x {p: 1, q: 1}\nb:\n  q: 2\n  <<: *x\n", json!({"a": {"p": 1, "q": 1}, "b": {"p": 1, "q": 2}})),
        (
            "l: [&x {p: 1}, &y {p: 2, q: 2}]\nb: {<<: [*x, *y]}",
            json!({"l": [{"p": 1}, {"p": 2, "q": 2}], "b": {"p": 1, "q": 2}}),
        ),
        ("a: |\n  one\n  two\nb: >-\n  one\n  two\n", json!({"a": "one\ntwo\n", "b": "one two"})),
        ("a: !!str 1\nb: !!int \"7\"\nc: !!set {x, y}\n", json!({"a": "1", "b": 7, "c": ["x", "y"]})),
        ("on: 1\n1: 2\n", json!({"True": 1, "1": 2})),
        ("{\"a\": 1e3, \"b\": \"\\ud83d\\ude00\"}", json!({"a": 1000.0, "b": "😀"})),
        ("a: \"{{ x }}\"", json!({"a": "{{ x }}"})),
        ("", json!(null)),
        ("# only a comment\n", json!(null)),
        ("\u{feff}a: 1\n", json!({"a": 1})),
    ] {
        assert_eq!(one(text).to_value(), expected, "{text}");
    }
}

#[test]
fn tags_keep_their_meaning() {
    let node = one(
        "v: !vault |\n  $ANSIBLE_VAULT;1.1;AES256\n  6162\nu: !unsafe '{{ x }}'\nl: !unsafe ['{{ y }}']\n",
    );
    let map = node.as_map().unwrap();
    assert_eq!(map.get("v").unwrap().kind, Kind::Vault("$ANSIBLE_VAULT;1.1;AES256\n6162\n".into()));
    assert_eq!(map.get("u").unwrap().kind, Kind::Unsafe("{{ x }}".into()));
    assert_eq!(map.get("l").unwrap().as_seq().unwrap()[0].kind, Kind::Unsafe("{{ y }}".into()));
}

#[test]
fn every_node_knows_its_place() {
    let node = one("- name: é thing\n  when: [a, bb]\n  empty:\n");
    let task = node.as_seq().unwrap()[0].as_map().unwrap();
    let place = |n: &Node| (n.origin.line, n.origin.column, n.origin.width);
    assert_eq!(place(task.get("name").unwrap()), (1, 9, 7));
    assert_eq!(place(task.entry("when").unwrap().0), (2, 3, 4));
    assert_eq!(place(&task.get("when").unwrap().as_seq().unwrap()[1]), (2, 13, 2));
    assert_eq!(place(task.get("empty").unwrap()), (3, 3, 5));
}

#[test]
fn the_last_duplicate_wins_with_a_warning() {
    let loaded = load(&SourceFile::new("t.yml", "a: 1\nb: 2\na: 3\n")).unwrap();
    assert_eq!(loaded.documents[0].to_value(), json!({"a": 3, "b": 2}));
    insta::assert_snapshot!(loaded.warnings[0], @r"
    the key a is written twice
     --> t.yml:3:1
      |
    3 | a: 3
      | ^
      = first at t.yml:1:1
      = the last one is used
    ");
}

#[test]
fn several_documents() {
    let loaded = load(&SourceFile::new("t.yml", "a: 1\n---\nb: &x 2\n---\n- 3\n")).unwrap();
    assert_eq!(loaded.documents.len(), 3);
    insta::assert_snapshot!(load_one(&SourceFile::new("t.yml", "a: 1\n---\nb: 2\n")).unwrap_err(), @r"
    a second document where one was expected
     --> t.yml:3:1
      |
    3 | b: 2
      | ^
      hint: remove the `---` between them, or put them into two files
    ");
}

#[test]
fn classic_mistakes_get_a_hint() {
    insta::assert_snapshot!(error("a:\n\tb: 1\n"), @r"
    this is not YAML: tabs disallowed within this context (block indentation)
     --> t.yml:2:2
      |
    2 | 	b: 1
      | 	^
      hint: indent with spaces: YAML takes no tabs there
    ");
    insta::assert_snapshot!(error("- name: x\n  path: {{ dir }}/file\n"), @r#"
    a value that starts with a template has to be quoted
     --> t.yml:2:10
      |
    2 |   path: {{ dir }}/file
      |          ^^
      = without quotes, YAML reads `{{` as a mapping inside a mapping
      hint: write key: "{{ name }}"
    "#);
    insta::assert_snapshot!(error("- name: x\n  path: {{ dir }}\n"), @r#"
    a value that starts with a template has to be quoted
     --> t.yml:2:10
      |
    2 |   path: {{ dir }}
      |          ^^
      = without quotes, YAML reads `{{` as a mapping inside a mapping
      hint: write key: "{{ name }}"
    "#);
    insta::assert_snapshot!(error("name: install: docker\n"), @r"
    this is not YAML: mapping values are not allowed in this context
     --> t.yml:1:14
      |
    1 | name: install: docker
      |              ^
      hint: quote a value that holds a colon and a space, and give keys of one mapping one indentation
    ");
    insta::assert_snapshot!(error("cmd: \"a\" b\n"), @r#"
    this is not YAML: invalid trailing content after double-quoted scalar
     --> t.yml:1:10
      |
    1 | cmd: "a" b
      |          ^
      hint: quote the whole value, not a part of it: key: '"first" second'
    "#);
    insta::assert_snapshot!(error("a: \"b\nc: d\n"), @r#"
    this is not YAML: invalid indentation in quoted scalar
     --> t.yml:1:4
      |
    1 | a: "b
      |    ^
      hint: the quote is not closed
    "#);
    insta::assert_snapshot!(error("a: @b\n"), @r"
    this is not YAML: unexpected character: `@'
     --> t.yml:1:4
      |
    1 | a: @b
      |    ^
      hint: quote a value that starts with %, @ or `
    ");
    insta::assert_snapshot!(error("a: !valt b\n"), @r"
    unknown tag !valt
     --> t.yml:1:4
      |
    1 | a: !valt b
      |    ^^^^^^^
      hint: did you mean !vault?
    ");
    insta::assert_snapshot!(error("a: *b\n"), @r"
    this is not YAML: while parsing node, found unknown anchor
     --> t.yml:1:4
      |
    1 | a: *b
      |    ^
      hint: quote a value that starts with *: it is an alias otherwise
    ");
    insta::assert_snapshot!(error("a: &x [*x]\n"), @r"
    an alias to what it is itself a part of
     --> t.yml:1:8
      |
    1 | a: &x [*x]
      |        ^^
    ");
    insta::assert_snapshot!(error("a: 1\n  b: 2\n"), @r"
    this is not YAML: mapping values are not allowed in this context
     --> t.yml:2:4
      |
    2 |   b: 2
      |    ^
      hint: quote a value that holds a colon and a space, and give keys of one mapping one indentation
    ");
}

#[test]
fn blow_ups_are_refused() {
    let deep = format!("{}{}", "[".repeat(2000), "]".repeat(2000));
    assert!(error(&deep).contains("deep") || error(&deep).contains("recursion"), "{}", error(&deep));
    let mut laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..10 {
        let last = format!("*a{}", level - 1);
        laughs.extend(["a", &level.to_string(), ": &a", &level.to_string(), " ["]);
        laughs.extend([[last.as_str(); 10].join(", ").as_str(), "]\n"]);
    }
    assert!(error(&laughs).contains("aliases in this file"), "{}", error(&laughs));
    let long = format!("a: &a {}\nb: [{}]\n", "x".repeat(1_000_000), "*a,".repeat(1000));
    assert!(error(&long).contains("aliases in this file"), "long texts are more than one node");
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((any::<String>(), inner), 0..6)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "[ -~\\n\\t\\u{80}-\\u{ffff}]{0,80}") {
        let _ = load(&SourceFile::new("t.yml", text));
    }

    #[test]
    fn no_yaml_like_text_makes_it_panic(text in "[ab:\\-\\[\\]{}&*!|>'\"#%?,\\n\\t <~0.]{0,60}") {
        let _ = load(&SourceFile::new("t.yml", text));
    }

    #[test]
    fn json_loads_back_equal(value in json_value()) {
        let text = serde_json::to_string(&value).unwrap();
        prop_assert_eq!(one(&text).to_value(), value.clone());
        let text = serde_json::to_string_pretty(&value).unwrap();
        prop_assert_eq!(one(&text).to_value(), value);
    }
}
