/// One question about files or accounts, asked the same way by many probes: those that travel together are merged into one request.
///
/// Its answer is lines of `KEY VALUE`, the same as those of the probe's own text.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Look {
    /// What stands at a path (`KEY`), and behind it if it is a link (`KEY.link`, `KEY.real`, `KEY.to`).
    Path { key: String, path: String },
    /// The deepest folder above (or at) a path that exists.
    Base { key: String, path: String },
    /// A place for a file: the path itself, or another one where a folder stands there.
    Place(Place),
    /// What a link at `path` would lead to (`src`); not told where `path` is a folder.
    Target { path: String, target: String },
    /// Who asks, and with which umask (`me`).
    Me,
    /// The number of a user (`uid`).
    User(String),
    /// The number of a group (`gid`).
    Group(String),
    /// What whoever asks may do with a path (`r`, `w`, `x`).
    Access(String),
    /// The checksum of a regular file; without `follow` not of what a link leads to.
    Sum { key: String, algorithm: &'static str, path: String, follow: bool },
    /// What kind of content a regular file has (`mime`).
    Mime { path: String, follow: bool },
    /// The content of a regular file, after the line `--`.
    Content(String),
}

/// Where a file shall go.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Place {
    /// Of all the keys.
    pub key: String,
    pub path: String,
    /// The place where `path` is a folder.
    pub below: Option<String>,
    /// Tell whether `path` is a folder (`KEY.folder`).
    pub tell_folder: bool,
    /// Tell the SHA-1 of a regular file (`KEY.sum`).
    pub sum: bool,
}

impl Look {
    /// The paths in it.
    pub(super) fn paths(&self) -> Vec<&str> {
        match self {
            Self::Path { path, .. }
            | Self::Base { path, .. }
            | Self::Access(path)
            | Self::Sum { path, .. }
            | Self::Mime { path, .. }
            | Self::Content(path) => vec![path],
            Self::Place(place) => {
                std::iter::once(&place.path).chain(&place.below).map(String::as_str).collect()
            }
            Self::Target { path, target } => vec![path, target],
            Self::Me | Self::User(_) | Self::Group(_) => Vec::new(),
        }
    }
}

/// The format of one line of `stat`: thirteen fields parted by colons, which no name of an account holds.
pub const STAT_FORMAT: &str = "%f:%u:%g:%s:%h:%i:%d:%X:%Y:%Z:%b:%U:%G";

pub(super) const STAT_FIELDS: usize = 13;
