/// A service's address as the target sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    Tcp {
        host: String,
        port: u16,
    },
    Unix {
        path: String,
    },
    /// The standard input and output of a program on the target (`docker system dial-stdio`).
    Program {
        argv: Vec<String>,
    },
}
