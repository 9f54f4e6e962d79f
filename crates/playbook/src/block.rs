use std::sync::Arc;

use super::{Keywords, Role, Task};
use crate::diag::Origin;

/// What stands in a list of tasks.
#[derive(Debug, Clone)]
pub enum Entry {
    Task(Arc<Task>),
    Block(Arc<Block>),
}

/// Tasks that share keywords, and what happens when one of them fails.
#[derive(Debug, Clone)]
pub struct Block {
    pub origin: Origin,
    pub keywords: Arc<Keywords>,
    pub tasks: Vec<Entry>,
    pub rescue: Vec<Entry>,
    pub always: Vec<Entry>,
    /// Set where the block is a role's (or an `import_role`'s) task list.
    pub role: Option<Arc<Role>>,
}
