//! The way to a host: what is asked of SSH is done or refused, and no secret goes to who stands on the way.

use super::server::{Act, Server};
use super::{BOUND, ECHO, UNREACHABLE, run};

const BAD_INPUT: i32 = 5;

fn host(port: u16, arguments: &str) -> String {
    format!(
        "[lab]\nbad ansible_host=127.0.0.1 ansible_port={port} ansible_user=x ansible_password=pw ansible_timeout=3 \
         ansible_ssh_common_args='-o StrictHostKeyChecking=no {arguments}'\n"
    )
}

#[test]
fn what_cannot_be_obeyed_is_refused_before_anything_is_dialled() {
    let server = Server::start(Act::LoginRefuses);
    let settings = |line: &str| format!("[ssh_connection]\nssh_args = {line}\n");
    for (arguments, settings, named) in [
        ("-o ProxyCommand=\"nc %h %p\"", String::new(), "ProxyCommand"),
        ("-o ForwardAgent=yes", String::new(), "ForwardAgent"),
        ("-o Prxyjump=gw", String::new(), "Prxyjump"),
        ("", settings("-o ProxyCommand=nc"), "ProxyCommand"),
        ("", settings("-o Ciphers=none-at-all"), "Ciphers"),
        ("-l other", String::new(), "user"),
    ] {
        let ran = run(&host(server.port, arguments), ECHO, &settings, BOUND);
        let is_said = ran.said.contains(named) && ran.said.contains("hint:") && ran.said.contains("bad");
        assert!(is_said, "{arguments} {settings}: {}", ran.said);
        assert!(ran.code == Some(BAD_INPUT) || named == "user" && ran.code == Some(2), "{}", ran.said);
    }
    assert!(server.passwords.lock().unwrap().is_empty());
}

#[test]
fn a_jump_host_is_not_offered_the_password_of_the_host_behind_it() {
    let jump = Server::start(Act::LoginRefuses);
    let arguments = format!("-Jx@127.0.0.1:{}", jump.port);
    let ran = run(&host(1, &arguments), ECHO, "", BOUND);
    assert_eq!(ran.code, Some(UNREACHABLE), "{}", ran.said);
    assert!(ran.said.contains("is not offered to a jump host"), "{}", ran.said);
    assert!(jump.passwords.lock().unwrap().is_empty());
    // The host itself is.
    let ran = run(&host(jump.port, ""), ECHO, "", BOUND);
    assert_eq!(ran.code, Some(UNREACHABLE), "{}", ran.said);
    assert_eq!(*jump.passwords.lock().unwrap(), ["pw"]);
}
