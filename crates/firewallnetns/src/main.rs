//! Real environment and standard streams into the library; the only exit.
fn main() {}
