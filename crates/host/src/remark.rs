use std::fmt;

/// What was noticed about a host on the way, and a person may want to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remark {
    /// Its login files print something, which no program may do where programs talk; it is left out of every answer.
    LoginSaid(String),
    /// It keeps what programs are sent from them, so that each request is a command line of its own.
    NoInput,
}

impl Remark {
    /// How many `-v` it takes to see it.
    pub fn verbosity(&self) -> u8 {
        match self {
            Self::LoginSaid(_) => 3,
            Self::NoInput => 1,
        }
    }
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LoginSaid(text) => write!(f, "the login said: {}", text.trim_end()),
            Self::NoInput => f.write_str(
                "no persistent shell: the host keeps their input from programs, so that each request is a command line of its own",
            ),
        }
    }
}
