//! The `sprag` binary.

fn main() -> impl std::process::Termination {
    sprag::main()
}
