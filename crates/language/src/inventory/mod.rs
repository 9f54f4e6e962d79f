//! Inventories: Ansible's INI and YAML files, the group graph, patterns, and the variables beside them.

mod address;
mod extra;
mod files;
mod graph;
mod ini;
mod layer;
mod layers;
mod literal;
mod number;
mod pattern;
mod piece;
mod python;
mod range;
mod render;
mod script;
mod short_name;
mod source;
mod structured;
mod words;

pub use extra::parse_extra_vars;
pub use files::VarsBeside;
pub use layers::{Inventory, VarMap};
pub use render::{json_text, render_graph, render_host, render_list, render_yaml};
pub use short_name::short_name;
