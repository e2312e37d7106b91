//! The `attache` command; [`attache::cli`] is what it does.

/// Keeps the large buffers of bodies instead of giving them back to the system after each request.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    attache::cli::main()
}
