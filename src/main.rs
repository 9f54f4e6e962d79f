//! Parses arguments, calls `cli`, turns errors into exit codes; nothing else.

fn main() -> std::process::ExitCode {
    quaylab::cli::main()
}
