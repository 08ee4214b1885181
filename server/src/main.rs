//! The binary `corelog`: a broker, and the tools that look into its data directory.

#![forbid(unsafe_code)]

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    corelog_server::command_line::main(std::env::args_os())
}
