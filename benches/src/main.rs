//! `corelog-bench`: measures the device, the store and the broker, and writes a report.

use clap::Parser;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    if let Some(arguments) = corelog_benches::broker_process::as_broker() {
        return corelog_server::command_line::main(arguments);
    }
    match corelog_benches::cli::Arguments::parse().execute() {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("corelog-bench: {error:#}");
            std::process::ExitCode::FAILURE
        }
    }
}
