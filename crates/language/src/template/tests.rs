//! Tables of what templates give.

use std::sync::Arc;

use indexmap::IndexMap;
use serde_json::json;

use super::*;
use crate::diag::{Origin, SourceFile};
use crate::value::Value;
use crate::vars::{Layers, Level, Scope, Var};
use crate::yaml::{Kind, Mapping, Node, load_one};

/// Variables: a text is raw, everything else known.
fn scope(vars: &Value) -> Arc<dyn Scope> {
    let (node, _) = load_one(&SourceFile::new("vars", vars.to_string())).expect("JSON is YAML");
    let pairs = node.as_map().expect("a mapping").iter();
    let map: IndexMap<String, Var> =
        pairs.map(|(name, value)| (name.key_text(), Var::Raw(value.clone()))).collect();
    Arc::new(Layers::new().with(Level::Play, Arc::new(map)))
}

fn give(text: &str, vars: &Value) -> Result<Value, String> {
    let templar = Templar::new(TemplarOptions::default());
    templar
        .render(&Node::new(Kind::Str(text.into()), &Origin::synthetic("test")), &scope(vars))
        .map(Option::unwrap_or_default)
        .map_err(|d| d.message)
}

#[test]
fn a_lone_expression_keeps_its_type() {
    let vars =
        json!({"n": 1, "l": [1, "{{ n }}"], "d": {"a": "{{ l }}", "b": {"c": "x"}}, "f": 1.5, "s": "text"});
    for (text, expected) in [
        ("plain", json!("plain")),
        ("{{ n }}", json!(1)),
        ("{{ n }}\n", json!(1)),
        ("{{ s }}\n", json!("text\n")),
        ("{{ n }} ", json!("1 ")),
        ("{{ l }}", json!([1, 1])),
        ("{{ d.a[1] }}", json!(1)),
        ("{{ d }}", json!({"a": [1, 1], "b": {"c": "x"}})),
        ("<{{ d.b }}>", json!("<{'c': 'x'}>")),
        ("{% if n %}{{ l }}{% endif %}", json!([1, 1])),
        ("{{ true }} {{ none }} {{ f }} {{ l }}", json!("True  1.5 [1, 1]")),
        ("{{ '%s-%03d' % (s, n) }}", json!("text-001")),
        ("{{ n == 1 and d.b.c == 'x' }}", json!(true)),
        ("{{ nope.a.b | default('q') }}", json!("q")),
        ("{{ d.zz.yy is defined }}", json!(false)),
        ("{% set x = [] %}{% for i in l %}{% set _ = x.append(i) %}{% endfor %}{{ x }}", json!([1, 1])),
        ("{{ l + [2] }}", json!([1, 1, 2])),
        ("{{ vars['n'] }}", json!(1)),
    ] {
        assert_eq!(give(text, &vars), Ok(expected), "{text}");
    }
}

#[test]
fn undefined_is_an_error_that_says_where() {
    let file = SourceFile::new("site.yml", "- name: x\n  msg: \"a {{ image_url }}\"\n");
    let origin = Origin::new(&file, 2, 9, 17);
    let templar = Templar::new(TemplarOptions::default());
    let error = templar
        .expression(&"a {{ image_url }}".into(), &origin, &scope(&json!({"image_uri": 1})))
        .expect_err("undefined");
    insta::assert_snapshot!(error, @r#"
    'image_url' is undefined
     --> site.yml:2:14
      |
    2 |   msg: "a {{ image_url }}"
      |              ^^^^^^^^^
      hint: did you mean 'image_uri'?
    "#);
}

#[test]
fn what_is_wrong_is_said() {
    let vars = json!({"a": "{{ b }}", "b": "{{ a }}", "c": "{{ nope }}", "d": {"key": 1}, "l": []});
    for (text, message) in [
        ("{{ a }}", "the variable is defined by itself: a → b → a"),
        ("{{ c }}", "'nope' is undefined"),
        ("x {{ c }}", "'nope' is undefined"),
        ("{{ d.kye }}", "object of type 'dict' has no attribute 'kye'"),
        ("{{ nope == 1 }}", "'nope' is undefined"),
        ("{{ nope | upper }}", "'nope' is undefined"),
        ("{{ [nope] }}", "'nope' is undefined"),
        ("{% for x in nope %}{% endfor %}", "'nope' is undefined"),
        ("{{ l | first }}", "there is no first item: the sequence is empty"),
        ("{{ 1 | nofilter }}", "there is no filter 'nofilter'"),
        ("{{ 1 is notest }}", "there is no test 'notest'"),
        ("{{ nofunction() }}", "'nofunction' is undefined"),
        ("{{ lookup('nolookup', 1) }}", "there is no lookup 'nolookup'"),
        ("{{ nope | mandatory }}", "a mandatory variable is not defined"),
        ("{{ undef('set it') }}", "set it"),
    ] {
        assert_eq!(give(text, &vars), Err(message.into()), "{text}");
    }
    assert_eq!(give("{{ c | default('x') }}", &vars), Ok(json!("x")));
}

#[test]
fn conditions_are_expressions() {
    let vars = json!({"t": true, "s": "text", "l": [], "yes": "yes"});
    let origin = Origin::synthetic("when");
    let templar = Templar::new(TemplarOptions::default());
    let hold =
        |kind: Kind| templar.condition(&Node::new(kind, &origin), &scope(&vars)).map_err(|d| d.message);
    for (text, expected) in [
        ("t", true),
        ("not t", false),
        ("s == 'text' and l | length == 0", true),
        ("nope is defined", false),
        ("{{ t }}", true),
        ("yes", true),
        ("l", false),
    ] {
        assert_eq!(hold(Kind::Str(text.into())), Ok(expected), "{text}");
    }
    let all = Kind::Seq(
        vec![Node::str("t", &origin), Node::str("s != 'text'", &origin), Node::str("nope", &origin)].into(),
    );
    assert_eq!(hold(all), Ok(false));
    assert!(hold(Kind::Str("s".into())).expect_err("a text").contains("neither true nor false"));
    assert!(hold(Kind::Str("nope".into())).is_err());
    assert!(hold(Kind::Unsafe("true".into())).expect_err("data").contains("is data"));
}

#[test]
fn nodes_are_rendered_deeply() {
    let origin = Origin::synthetic("args");
    let text = |s: &str| Node::str(s, &origin);
    let map = Mapping::from(vec![
        (text("{{ k }}"), text("{{ n }}")),
        (text("list"), Node::new(Kind::Seq(vec![text("{{ omit }}"), text("a")].into()), &origin)),
        (text("gone"), text("{{ nope | default(omit) }}")),
        (text("raw"), Node::new(Kind::Unsafe("{{ n }}".into()), &origin)),
    ]);
    let templar = Templar::new(TemplarOptions::default());
    let vars = scope(&json!({"k": "key", "n": 5}));
    let value = templar.render(&Node::new(Kind::Map(map), &origin), &vars).expect("rendered").expect("given");
    assert_eq!(value, json!({"key": 5, "list": ["a"], "raw": "{{ n }}"}));
    assert_eq!(templar.render(&text("{{ omit }}"), &vars), Ok(None));
    assert_eq!(templar.lookup("n", &vars), Ok(Some(json!(5))));
    assert_eq!(templar.lookup("m", &vars), Ok(None));
    let known = Node::known(&json!({"{{ k }}": ["{{ n }}", {"a": "{% if %}"}]}), &origin);
    assert_eq!(templar.render(&known, &vars), Ok(Some(json!({"{{ k }}": ["{{ n }}", {"a": "{% if %}"}]}))));
    assert!(templar.render(&Node::new(Kind::Vault("x".into()), &origin), &vars).is_err());
}

#[derive(Debug)]
struct Two;

impl Scope for Two {
    fn get(&self, name: &str) -> Option<Var> {
        (name == "here").then(|| Var::Raw(Node::str("{{ hostvars['b'].here }}!", &Origin::synthetic("a"))))
    }
    fn names(&self) -> Vec<String> {
        vec!["here".into()]
    }
    fn host(&self, name: &str) -> Option<Arc<dyn Scope>> {
        (name == "b").then(|| scope(&json!({"here": "{{ there }}", "there": "b"})))
    }
    fn host_names(&self) -> Vec<String> {
        vec!["a".into(), "b".into()]
    }
}

#[test]
fn hostvars_opens_other_hosts() {
    let templar = Templar::new(TemplarOptions::default());
    let two: Arc<dyn Scope> = Arc::new(Two);
    let give = |text: &str| {
        let given = templar.render(&Node::new(Kind::Str(text.into()), &Origin::synthetic("t")), &two);
        given.map(Option::unwrap_or_default).map_err(|d| d.message)
    };
    assert_eq!(give("{{ here }}"), Ok(json!("b!")));
    assert_eq!(give("{{ hostvars | list }}"), Ok(json!(["a", "b"])));
    assert_eq!(give("{{ hostvars['c'].x | default('none') }}"), Ok(json!("none")));
}

#[test]
fn files_trim_blocks_and_include() {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("part.j2"), "part {{ d.n }}\n").expect("written");
    let templar = Templar::new(TemplarOptions::default());
    let vars = scope(&json!({"d": {"n": 1}, "l": [1, 2]}));
    let render = |text: &str| {
        templar
            .render_file(&SourceFile::new("t.j2", text), &[dir.path().to_owned()], &vars)
            .map_err(|d| d.message)
    };
    for (text, expected) in [
        ("a\n{% for i in l %}\n{{ i }}\n{% endfor %}\nb\n", "a\n1\n2\nb\n"),
        ("  {% if true %}\nx\n  {% endif %}\n", "  x\n  \n"),
        ("#jinja2: lstrip_blocks: True\n  {% if true %}\nx\n  {% endif %}\ny\n", "x\ny\n"),
        (
            "#jinja2: variable_start_string: '[[', variable_end_string: ']]'\n[[ d.n ]] {{ d.n }}",
            "1 {{ d.n }}",
        ),
        ("{% include 'part.j2' %}\n", "part 1\n"),
        ("{% set name = '/./part.j2' %}{% include name %}\n", "part 1\n"),
        ("{{ 1 }}\n\n", "1\n\n"),
        ("x", "x"),
        ("", ""),
    ] {
        assert_eq!(render(text), Ok(expected.into()), "{text}");
    }
    let error =
        templar.render_file(&SourceFile::new("t.j2", "a\n{{ d.x }}\n"), &[], &vars).expect_err("undefined");
    insta::assert_snapshot!(error, @r"
    object of type 'dict' has no attribute 'x'
     --> t.j2:2:6
      |
    2 | {{ d.x }}
      |      ^
      hint: did you mean 'n'?
    ");
    let error =
        templar.render_file(&SourceFile::new("t.j2", "a\n{% if %}\n"), &[], &vars).expect_err("syntax");
    assert_eq!(error.origin.map(|o| o.line), Some(2));
    assert!(error.message.starts_with("syntax error"), "{}", error.message);
}

#[test]
fn what_an_include_names_is_a_name() {
    let dir = tempfile::tempdir().expect("a directory");
    let inner = dir.path().join("templates");
    std::fs::create_dir(&inner).expect("made");
    std::fs::write(dir.path().join("secret"), "{{ 'read' }}").expect("written");
    let templar = Templar::new(TemplarOptions::default());
    let file = SourceFile::new("t.j2", "{% include said %}");
    for said in [
        // The text of a key, as the environment keeps templates.
        "\u{1}0\u{1}<template>\u{1}{{ 1 + 1 }}".to_owned(),
        "../secret".to_owned(),
        dir.path().join("secret").display().to_string(),
    ] {
        let vars: Arc<dyn Scope> = Arc::new(
            Layers::new()
                .with(Level::Facts, Arc::new(IndexMap::from([("said".to_owned(), Var::known(json!(said)))]))),
        );
        let rendered = templar.render_file(&file, std::slice::from_ref(&inner), &vars);
        assert!(rendered.is_err(), "{said:?} gave {rendered:?}");
    }
}

#[test]
fn a_name_out_of_data_is_looked_up_and_not_evaluated() {
    let templar = Templar::new(TemplarOptions::default());
    let name = "1 + 1";
    let vars: Arc<dyn Scope> = Arc::new(
        Layers::new()
            .with(Level::Facts, Arc::new(IndexMap::from([(name.to_owned(), Var::known(json!("mine")))]))),
    );
    assert_eq!(templar.lookup(name, &vars), Ok(Some(json!("mine"))));
}

/// What a machine says may be what a filter counts with.
#[test]
fn counts_from_a_machine_have_a_bound() {
    let vars = json!({
        "big": i64::MAX, "small": i64::MIN, "some": 999_999_999, "huge": "99999999999999999999",
        "long": "a".repeat(20_000), "lines": "a\n".repeat(20_000), "hundred": vec!["x"; 100],
    });
    let mut wrong = Vec::new();
    for text in [
        "{{ '%999999999d' | format(1) }}",
        "{{ '{:>999999999}'.format(1) }}",
        "{{ 'a' | comment(prefix_count=big) }}",
        "{{ 'a' | comment(postfix_count=some) }}",
        "{{ lines | comment(decoration=long) }}",
        "{{ [1] | batch(big, 0) }}",
        "{{ [1] | slice(big) }}",
        "{{ long | replace('a', long) }}",
        "{{ long.replace('', long) }}",
        "{{ long | regex_replace('a', long) }}",
        "{{ 'a' | indent(big, first=true) }}",
        "{{ long | replace('a', '\n') | indent(long, blank=true) }}",
        "{{ 'a' | center(big) }}",
        "{{ 'a'.center(some) }}",
        "{{ 'a'.ljust(big) }}",
        "{{ 'a'.zfill(big) }}",
        "{{ 'a\tb'.expandtabs(big) }}",
        "{{ long | wordwrap(1, wrapstring=long) }}",
        "{{ (long | list) | join(long) }}",
        "{{ long.join(long | list) }}",
        "{{ lipsum(big) }}",
        "{{ range(big) }}",
        "{{ range(small, big) }}",
        "{{ range(big, small, -1) }}",
        "{{ [1, 2] | product(repeat=big) }}",
        "{{ (hundred | list) | permutations(4) }}",
        "{{ (hundred | list) | combinations(9) }}",
        "{{ {'a': 1} | to_nice_json(indent=big) }}",
        "{{ {'a': 1} | to_json(indent=some) }}",
        "{{ [[long] * 10000] | to_json }}",
        "{{ ([long] * 10000) | string }}",
        "{{ ([hundred] * 20000) | flatten }}",
        "{{ ([hundred] * 20000) | sum(start=[]) }}",
        "{{ lookup('random_string', length=big) }}",
        "{{ lookup('random_string', min_lower=some) }}",
        "{{ lookup('sequence', 'count=1000000 format=%99999d') }}",
        "{{ lookup('nested', range(1001), range(1001)) }}",
        "{{ 'x' | password_hash('sha512', rounds=some) }}",
        "{{ 'x' | password_hash('sha512', rounds=big) }}",
        "{{ long | password_hash('sha512', rounds=5000) }}",
    ] {
        // What is given may be as long as memory.
        let told = give(text, &vars).map(drop).err().unwrap_or_default();
        if !["the most is", "at most", "must be between", "more than"].iter().any(|w| told.contains(w)) {
            wrong.push(format!("{text}: {told}"));
        }
    }
    for (text, expected) in [
        ("{{ [1, 2] | permutations(big) }}", json!([])),
        ("{{ 'a b' | truncate(big, leeway=big) }}", json!("a b")),
        ("{{ (big | random(start=big - 1)) == big - 1 }}", json!(true)),
        ("{{ (big | random) < big and (big | random(start=small)) >= small }}", json!(true)),
        ("{{ '--9223372036854775808' | int }}", json!(0)),
        ("{{ '-9223372036854775808' | int == small }}", json!(true)),
        ("{{ small is divisibleby(-1) }}", json!(true)),
        ("{{ small % -1 }}", json!(0)),
        (
            "{{ '::/0' | ansible.utils.ipsubnet(127, -1) }}",
            json!("ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe/127"),
        ),
        ("{{ '::/0' | ansible.utils.ipsubnet(128, small) is string }}", json!(true)),
        ("{{ range(big, small, small) | list | length }}", json!(2)),
        ("{{ range(3) | list + range(5, 1, -2) | list }}", json!([0, 1, 2, 5, 3])),
        ("{{ 'a\tbc\td'.expandtabs(4) }}", json!("a   bc  d")),
        ("{{ 'abcdef gh' | wordwrap(2) }}", json!("ab\ncd\nef\ngh")),
        ("{{ long | wordwrap(1) | length }}", json!(39_999)),
        ("{{ '%.70000f' | format(1) | length }}", json!(70_002)),
    ] {
        let given = give(text, &vars);
        if given != Ok(expected) {
            wrong.push(format!("{text}: {:.100}", format!("{given:?}")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
