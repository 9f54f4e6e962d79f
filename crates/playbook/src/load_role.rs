//! Roles: where they are, what they hold, what they depend on.

use std::path::PathBuf;
use std::sync::Arc;

use indexmap::IndexMap;

use super::entries::Reading;
use super::keywords::{list, variables};
use super::loader::{Loader, MAX_DEPTH};
use super::role::{EntryPoint, LoadedRole};
use super::written::{known_text, mapping};
use super::{ArgumentSpec, Block, Entry, Folder, Keywords, Role, RoleUse};
use crate::diag::{Diagnostic, Origin};
use crate::value::truth;
use crate::vars::{Layers, Level};
use crate::yaml::{self, Mapping, Node};

impl Loader {
    fn find_role(&self, playbook: &Folder, name: &str) -> Option<Folder> {
        let mut places = vec![playbook.join("roles").join(name)];
        places.extend(self.roles_path.iter().map(|p| Folder::Disk(p.join(name))));
        places.push(playbook.join(name));
        if name.starts_with('/') {
            places.insert(0, Folder::Disk(PathBuf::from(name)));
        }
        let short = name.strip_prefix("quaylab.lab.").unwrap_or(name);
        places.push(Folder::Embedded(format!("roles/{short}")));
        places.into_iter().find(Folder::exists)
    }

    pub(super) fn load_role(
        &self,
        playbook: &Folder,
        usage: &RoleUse,
        entry: &EntryPoint,
        once: bool,
        depth: usize,
    ) -> Result<LoadedRole, Diagnostic> {
        if depth > MAX_DEPTH {
            return Err(Diagnostic::new(format!("role {} depends on itself", usage.name)).at(&usage.origin));
        }
        let folder = self.find_role(playbook, &usage.name).ok_or_else(|| {
            let mut places: Vec<String> = vec![playbook.join("roles").name()];
            places.extend(self.roles_path.iter().map(|p| p.display().to_string()));
            Diagnostic::new(format!("the role {:?} was not found", usage.name))
                .at(&usage.origin)
                .note(format!("looked in {} and among quaylab's own roles", places.join(", ")))
        })?;
        let file = |sub: &str, name: &str| self.role_file(&folder, sub, name);
        let vars_of = |sub: &str, name: &str| {
            file(sub, name)?.map_or_else(|| Ok(IndexMap::new()), |node| variables(&node))
        };
        let meta = file("meta", "main")?;
        let said = |key: &str| meta.as_ref().and_then(Node::as_map).and_then(|m| m.get(key));
        let repeats = said("allow_duplicates").and_then(|n| truth(&n.to_value())).unwrap_or(false);
        let role = Arc::new(Role {
            once: (once && !repeats).then(|| identity(usage)),
            name: usage.name.clone(),
            folder: folder.clone(),
            defaults: vars_of("defaults", &entry.defaults)?,
            vars: vars_of("vars", &entry.vars)?,
            params: usage.params.clone(),
            spec: self.argument_spec(&folder, &entry.tasks)?,
        });
        let this = self
            .knowing(Level::RoleDefaults, &role.defaults)
            .knowing(Level::Role, &role.vars)
            .knowing(Level::RoleParams, &role.params);
        let mut handlers = Vec::new();
        let mut roles = Vec::new();
        let mut tasks = Vec::new();
        for item in said("dependencies").map(list).unwrap_or_default() {
            let dependency = self.load_role(
                playbook,
                &role_use(&item, &self.known)?,
                &EntryPoint::default(),
                true,
                depth + 1,
            )?;
            handlers.extend(dependency.handlers);
            roles.extend(dependency.roles);
            tasks.push(Entry::Block(dependency.block));
        }
        if let Some(node) = file("handlers", &entry.handlers)? {
            handlers.extend(this.handlers(&node, playbook, &folder.join("handlers"), Some(&role))?);
        }
        let own = match file("tasks", &entry.tasks)? {
            Some(node) => {
                let mut reading = Reading {
                    playbook,
                    folder: folder.join("tasks"),
                    handlers: &mut handlers,
                    roles: &mut roles,
                    depth: depth + 1,
                };
                this.entries(&node, &mut reading)?
            }
            None if entry.tasks == "main" => Vec::new(),
            None => {
                return Err(Diagnostic::new(format!("role {} has no tasks/{}.yml", usage.name, entry.tasks))
                    .at(&usage.origin));
            }
        };
        tasks.push(Entry::Block(Arc::new(Block {
            origin: usage.origin.clone(),
            keywords: Arc::default(),
            tasks: own,
            rescue: Vec::new(),
            always: Vec::new(),
            role: Some(Arc::clone(&role)),
        })));
        roles.push(role);
        let block = Arc::new(Block {
            origin: usage.origin.clone(),
            keywords: Arc::new(usage.keywords.clone()),
            tasks,
            rescue: Vec::new(),
            always: Vec::new(),
            role: None,
        });
        Ok(LoadedRole { block, handlers, roles })
    }

    fn role_file(&self, role: &Folder, sub: &str, name: &str) -> Result<Option<Node>, Diagnostic> {
        let folder = role.join(sub);
        let exact =
            name.rsplit_once('.').is_some_and(|(_, ending)| ["yml", "yaml", "json"].contains(&ending));
        let names = if exact {
            vec![name.to_owned()]
        } else {
            vec![format!("{name}.yml"), format!("{name}.yaml"), name.to_owned()]
        };
        for name in names {
            if folder.read(&name).is_some() {
                let (node, warnings) = yaml::load_one(&self.source(&folder, &name)?)?;
                self.warn(warnings);
                return Ok(Some(node));
            }
        }
        Ok(None)
    }

    fn argument_spec(&self, role: &Folder, entry: &str) -> Result<Option<ArgumentSpec>, Diagnostic> {
        let Some(node) = self.role_file(role, "meta", "argument_specs")? else { return Ok(None) };
        let entry = entry.split('.').next().unwrap_or(entry);
        let spec = node
            .as_map()
            .and_then(|m| m.get("argument_specs"))
            .and_then(Node::as_map)
            .and_then(|m| m.get(entry));
        spec.map(|spec| {
            ArgumentSpec::parse(&spec.to_value()).map_err(|e| Diagnostic::new(e).at(&spec.origin))
        })
        .transpose()
    }
}

/// The arguments of `import_role` and `include_role`, which must be known texts.
pub fn role_arguments(
    args: &Mapping,
    origin: &Origin,
    params: IndexMap<String, Node>,
    known: &Layers,
) -> Result<(RoleUse, EntryPoint), Diagnostic> {
    let name = args
        .get("name")
        .or_else(|| args.get("role"))
        .ok_or_else(|| Diagnostic::new("the role's name is missing").at(origin))?;
    let text = |key: &str| args.get(key).map(|n| known_text(n, key, known)).transpose();
    let main = || "main".to_owned();
    let entry = EntryPoint {
        tasks: text("tasks_from")?.unwrap_or_else(main),
        vars: text("vars_from")?.unwrap_or_else(main),
        defaults: text("defaults_from")?.unwrap_or_else(main),
        handlers: text("handlers_from")?.unwrap_or_else(main),
    };
    let name = known_text(name, "the role's name", known)?;
    Ok((RoleUse { name, origin: origin.clone(), keywords: Keywords::default(), params }, entry))
}

pub(super) fn role_use(node: &Node, known: &Layers) -> Result<RoleUse, Diagnostic> {
    if node.as_str().is_some() {
        return Ok(RoleUse {
            name: known_text(node, "role", known)?,
            origin: node.origin.clone(),
            keywords: Keywords::default(),
            params: IndexMap::new(),
        });
    }
    let map = mapping(node, "a role")?;
    let (name_key, name) = map.entry("role").or_else(|| map.entry("name")).ok_or_else(|| {
        Diagnostic::new("the role's name is missing").at(&node.origin).hint("write `- role: NAME`")
    })?;
    let mut keywords = Keywords::default();
    let mut params = IndexMap::new();
    for (key, value) in map.iter() {
        if std::ptr::eq(key, name_key) {
            continue;
        }
        let key = key.key_text();
        if key == "vars" {
            params.extend(variables(value)?);
        } else if !keywords.take(&key, value)? {
            params.insert(key, value.clone());
        }
    }
    Ok(RoleUse { name: known_text(name, "role", known)?, origin: node.origin.clone(), keywords, params })
}

/// What tells two uses of one role apart: a role runs again only where one of these differs.
fn identity(usage: &RoleUse) -> String {
    let params: Vec<_> = usage.params.iter().map(|(name, node)| (name, node.to_value())).collect();
    let written = |nodes: &[Node]| nodes.iter().map(Node::to_value).collect::<Vec<_>>();
    let keywords = (written(&usage.keywords.when), written(&usage.keywords.tags));
    serde_json::json!([usage.name, params, keywords]).to_string()
}
