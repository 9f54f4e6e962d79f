//! Tables of what templates give.

use std::sync::Arc;

use indexmap::IndexMap;
use serde_json::json;

use super::*;
use crate::diag::{Origin, SourceFile};
use crate::value::Value;
use crate::vars::{Layers, Level, Scope, Var};
use crate::yaml::{Kind, Mapping, Node};

/// Variables: a text is raw, everything else known.
fn scope(vars: &Value) -> Arc<dyn Scope> {
    let origin = Origin::synthetic("vars");
    let map: IndexMap<String, Var> = vars
        .as_object()
        .expect("a mapping")
        .iter()
        .map(|(name, value)| (name.clone(), Var::Raw(Node::from_value(value, &origin))))
        .collect();
    Arc::new(Layers::new().with(Level::Play, Arc::new(map)))
}

fn give(text: &str, vars: &Value) -> Result<Value, String> {
    let templar = Templar::new(TemplarOptions::default());
    templar.render_str(text, &Origin::synthetic("test"), &scope(vars)).map_err(|d| d.message)
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
        .render_str("a {{ image_url }}", &origin, &scope(&json!({"image_uri": 1})))
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
    let all = Kind::Seq(vec![
        Node::str("t", &origin),
        Node::str("s != 'text'", &origin),
        Node::str("nope", &origin),
    ]);
    assert_eq!(hold(all), Ok(false));
    assert!(hold(Kind::Str("s".into())).expect_err("a text").contains("neither true nor false"));
    assert!(hold(Kind::Str("nope".into())).is_err());
}

#[test]
fn nodes_are_rendered_deeply() {
    let origin = Origin::synthetic("args");
    let text = |s: &str| Node::str(s, &origin);
    let map = Mapping(vec![
        (text("{{ k }}"), text("{{ n }}")),
        (text("list"), Node::new(Kind::Seq(vec![text("{{ omit }}"), text("a")]), &origin)),
        (text("gone"), text("{{ nope | default(omit) }}")),
        (text("raw"), Node::new(Kind::Unsafe("{{ n }}".into()), &origin)),
    ]);
    let templar = Templar::new(TemplarOptions::default());
    let vars = scope(&json!({"k": "key", "n": 5}));
    let value = templar.render(&Node::new(Kind::Map(map), &origin), &vars).expect("rendered");
    assert_eq!(value, json!({"key": 5, "list": ["a"], "raw": "{{ n }}"}));
    assert_eq!(templar.render(&text("{{ omit }}"), &vars), Ok(json!(OMIT)));
    assert_eq!(templar.lookup("n", &vars), Ok(Some(json!(5))));
    assert_eq!(templar.lookup("m", &vars), Ok(None));
    assert!(templar.render(&Node::new(Kind::Vault("x".into()), &origin), &vars).is_err());
}

#[test]
fn syntax_is_checked_without_variables() {
    let origin = Origin::synthetic("play");
    let templar = Templar::new(TemplarOptions::default());
    assert_eq!(templar.check_template("{{ a.b | default('x') }} {% if c %}{% endif %}", &origin), Ok(()));
    assert!(templar.check_template("{{ a. }}", &origin).is_err());
    assert!(templar.check_template("{% if a %}", &origin).is_err());
    assert!(templar.check_template("{{ a ", &origin).is_err());
    assert_eq!(templar.check_expression("a is defined", &origin), Ok(()));
    assert!(templar.check_expression("a ==", &origin).is_err());
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
    let give = |text: &str| templar.render_str(text, &Origin::synthetic("t"), &two).map_err(|d| d.message);
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
        templar.render_file("t.j2", text, &[dir.path().to_owned()], &vars).map_err(|d| d.message)
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
        ("{{ 1 }}\n\n", "1\n\n"),
        ("x", "x"),
        ("", ""),
    ] {
        assert_eq!(render(text), Ok(expected.into()), "{text}");
    }
    let error = templar.render_file("t.j2", "a\n{{ d.x }}\n", &[], &vars).expect_err("undefined");
    insta::assert_snapshot!(error, @r"
    object of type 'dict' has no attribute 'x'
     --> t.j2:2:6
      |
    2 | {{ d.x }}
      |      ^
      hint: did you mean 'n'?
    ");
    let error = templar.render_file("t.j2", "a\n{% if %}\n", &[], &vars).expect_err("syntax");
    assert_eq!(error.origin.map(|o| o.line), Some(2));
    assert!(error.message.starts_with("syntax error"), "{}", error.message);
}
