//! Reaching a place on a target although others may change what lies on the way: shell functions for steps.
//!
//! A folder is *ours* where only root and the user of the shell may change it and each folder above it: nobody else can put a
//! link there, so steps work in it by path, as anybody would. In any other one, somebody may exchange a name between any two
//! programs. There a step goes to the folder by itself (`cd` holds on to the folder, whatever becomes of its name), asks the
//! kernel where it has come to, and does its work in a folder of its own that nobody else may enter; only a rename, which
//! follows nothing, leads out of it. `ln` gives a file that is there already a second name in it, which nobody can exchange.
//!
//! A link is followed if root or the user of the shell made it. One of somebody else's may lead only to what is that user's
//! too: who may write in one's own folder must not have others write elsewhere.

use super::shell_protocol::Nonce;
use super::{Link, quote};

/// The functions. `walk` finds where a path really leads, link by link, and in `$l` who made the links and who owns the folders they are in.
/// `reach` does that for all of a path, `beside` for all but its last name. `go` goes to a folder by its real path, or nowhere. `hide` goes
/// into a folder that nobody else may enter: the place is `../$b` from there. `put` gives what is in it a name in the folder, whatever has
/// that name; not every `mv` knows `-T`. `pin` holds on to the file at the place (`$o`) by a hard link. A file system without hard links
/// gives none; where it has them and root gets none, a folder has just come in the file's place, and the step is refused.
///
/// What they leave in variables:
/// `r` the real path (empty for `/`), `p` its folder, `b` its name, `shared` whether that folder is not ours (`sticky`: but nobody can take
/// away there what is ours).
const FUNCTIONS: &str = r#"nl='
'
walk() {
  q=$1/ x=0
  while [ "$q" ]; do
    n=${q%%/*} q=${q#*/}
    case $n in ''|.) continue;; ..) r=${r%/*}; continue;; esac
    if [ -L "$r/$n" ]; then
      x=$((x+1)); [ $x -le 40 ] || { echo "$1 leads through too many links" >&2; return 1; }
      k=$(readlink -- "$r/$n" && echo .) && l="$l $(stat -c %u -- "$r/$n" "${r:-/}")" || return
      k=${k%??}
      case $k in /*) r=;; esac
      q=$k/$q
    else r=$r/$n; fi
  done
}
judge() {
  p=${r%/*} b=${r##*/} shared= via= u=
  [ -d "$p/" ] || { echo "the folder ${p:-/} does not exist" >&2; return 1; }
  set --; o=$p
  while set -- "${o:-/}" "$@"; [ "$o" ]; do o=${o%/*}; done
  s=$(stat -c '%u %f' -- "$@") || return
  for w in $s; do
    if [ ! "$u" ]; then u=$w; continue; fi
    [ "$u" = 0 ] || [ -O "$1" ] || shared=1
    case $((0x$w & 0xf212)) in 16384|16896) ;; 16898|16912|16914) [ $# -gt 1 ] || shared=${shared:-sticky};; *) shared=1;; esac
    u=; shift
  done
  for w in $l; do
    [ "$w" = 0 ] || [ "$w" = "${me:=$(id -u)}" ] || { via="$via $w" shared=1; }
  done
}
reach() { r= l=; walk "$1" && judge; }
beside() { r= l=; case $1 in */*) walk "${1%/*}";; esac && r=$r/${1##*/} && judge; }
go() {
  cd -P -- "${1:-/}" || return
  [ "$(env pwd -P; echo .)" = "${1:-/}$nl." ] || { echo "${1:-/} is being moved by somebody else" >&2; return 1; }
  [ ! "$via" ] || o=$(stat -c %u .) || return
  for w in $via; do
    [ "$w" = "$o" ] || { echo "a link that leads to $r was made by the user $w, who does not own what it leads to: it is not followed" >&2; return 1; }
  done
}
hide() {
  h=$PWD
  go "$p" || return
  (umask 077; mkdir "./.quaylab.$z") && cd -P "./.quaylab.$z" || return
  o=$(stat -c %f .) && [ -O . ] && [ $((0x$o & 0xf1ff)) = 16832 ] && [ "$(env pwd -P)" = "$p/.quaylab.$z" ] ||
    { cd /; rmdir "$p/.quaylab.$z" 2>/dev/null; echo "$p is being changed by somebody else" >&2; return 1; }
  trap 'rm -rf ./*; cd ..; rmdir "./.quaylab.$z" 2>/dev/null' EXIT
  trap 'exit 143' HUP INT TERM PIPE
}
put() {
  if mv -fT -- "$1" ./put 2>/dev/null; then mv -fT -- ./put "../$2"
  else [ ! -d "../$2" ] && mv -f -- "$1" "../$2"; fi
}
pin() {
  o=./old
  [ -e ./old ] || [ -L ./old ] || ln -- "../$b" ./old 2>/dev/null || {
    if [ "${me:=$(id -u)}" = 0 ] && : >./link && ln ./link ./linked 2>/dev/null; then
      rm -f ./link ./linked; echo "$r is being changed by somebody else" >&2; return 1
    fi
    rm -f ./link; o=../$b
  }
  set -- $(stat -c '%h %u' -- "$o" ..) || return
  [ $# = 4 ] || return 1
  h=1; [ ! -e /proc/sys/fs/protected_hardlinks ] || read -r h </proc/sys/fs/protected_hardlinks
  [ "$h" != 0 ] || [ "$1" -le 2 ] || [ "$2" = "$4" ] ||
    { echo "$r has other names, may be elsewhere, and is not of the owner of its folder: it is left alone" >&2; return 1; }
}
"#;

/// The functions for a script that puts a tree together elsewhere first; after [`at`].
///
/// `shelter`: makes the folder `$w`, which nobody else may enter and whose path stays, and has it removed at the end.
///
/// `stage`: has a folder in the folder `$r` be the current one, where nobody else may enter; what is made in its `./new` is moved to `$r`
/// by `merge "" "$r"`, folder by folder. Names are replaced, links among them; none is followed. `$older`: `skip` leaves alone what is
/// there, `newer` what is not older. `$links`, of a link where a folder shall be: `refuse` ends, `keep` goes where it leads if it is to be
/// followed. Descriptor 9 holds on to `./new`; not every shell hands it to programs unasked.
pub const TREE: &str = r#"shelter() {
  for w in "${TMPDIR:-/tmp}" /tmp /var/tmp "$HOME"; do
    w=$(reach "$w/x" 2>/dev/null && [ "$shared" != 1 ] && mktemp -d "$p/quaylab.XXXXXXXX") && break
  done
  [ "$w" ] || { echo "no folder for temporary files: others may change \$TMPDIR, /tmp, /var/tmp and the home folder" >&2; return 1; }
  trap 'rm -rf "$w"' EXIT
  trap 'exit 143' HUP INT TERM PIPE
}
stage() {
  p=$r; hide || return
  trap 'chmod -R u+rwx ./new "$w" 2>/dev/null; rm -rf ./*; cd ..; rmdir "./.quaylab.$z" 2>/dev/null; [ ! "$w" ] || rm -rf "$w"' EXIT
  mkdir ./new && exec 9<./new
}
w= older= links=refuse
merge() (
  e=$1 d=$2
  go "$d" || exit
  via=
  set --
  for n in "/proc/self/fd/9$e"/* "/proc/self/fd/9$e"/.[!.]* "/proc/self/fd/9$e"/..?*; do
    [ -e "$n" ] || [ -L "$n" ] || continue
    b=${n##*/}
    if [ -d "$n" ] && [ ! -L "$n" ]; then
      if [ -d "./$b" ] && [ ! -L "./$b" ]; then
        s=$(stat -c '%u:%g %a' -- "$n" 9<&9) || exit
        [ "$older" ] || [ "$(stat -c '%u:%g %a' -- "./$b")" = "$s" ] ||
          (go "$d/$b" && { chown -- "${s% *}" . 2>/dev/null; chmod -- "${s#* }" .; }) || exit
        merge "$e/$b" "$d/$b" || exit
      elif [ "$links" = keep ] && [ -d "./$b" ]; then (c=$e/$b; reach "$d/$b" && merge "$c" "$r") || exit
      elif [ "$links" = refuse ] && [ -d "./$b" ]; then echo "$d/$b is a link, not a folder" >&2; exit 1
      elif [ "$older" ] && { [ -e "./$b" ] || [ -L "./$b" ]; }; then continue
      else { [ ! -e "./$b" ] && [ ! -L "./$b" ] || rm -f -- "./$b"; } && mv -f -- "$n" ./ 9<&9 || exit; fi
    elif [ -d "./$b" ] && [ ! -L "./$b" ]; then echo "$d/$b is a directory" >&2; exit 1
    elif [ "$older" ] && { [ -e "./$b" ] || [ -L "./$b" ]; } && { [ "$older" = skip ] || [ ! "$n" -nt "./$b" ]; }; then continue
    else
      set -- "$@" "$n"
      [ $# -lt 500 ] || { mv -f -- "$@" ./ 9<&9 || exit; set --; }
    fi
  done
  [ $# = 0 ] || mv -f -- "$@" ./ 9<&9
)
"#;

/// A script that works in the folder `$w`, see [`TREE`].
pub fn sheltered(work: &str) -> String {
    format!("{FUNCTIONS}{TREE}shelter || exit\n{work}")
}

/// Lines that make the folder at the path that was reached, after [`at`]. Where others may change the folder above, it is made where nobody
/// else can reach it.
pub fn make_directory(mode: Option<u32>, ownership: &str) -> String {
    let own = |place: &str| {
        if ownership.is_empty() {
            String::new()
        } else {
            format!(" && chown -- {} {place}", quote(ownership))
        }
    };
    let (make, fix, set) = match mode {
        // A folder may take the setgid bit of the one above it.
        Some(mode) => (
            format!("mkdir -m {mode:04o}"),
            format!(" && {{ [ ! -g \"$r\" ] || chmod {mode:04o} -- \"$r\"; }}"),
            format!(" && chmod {mode:04o} ./new"),
        ),
        None => ("mkdir".to_owned(), String::new(), String::new()),
    };
    format!(
        "if [ \"$shared\" ]; then hide && mkdir ./new{}{set} && put ./new \"$b\"\nelse {make} -- \"$r\"{fix}{}; fi",
        own("./new"),
        own("\"$r\"")
    )
}

/// A script that reaches a path and then works at it.
pub fn at(path: &str, link: Link, work: &str) -> String {
    let reach = match link {
        Link::Followed => "reach",
        Link::Itself => "beside",
    };
    format!("{FUNCTIONS}z={}\n{reach} {} || exit\n{work}", Nonce::random().as_str(), quote(path))
}
