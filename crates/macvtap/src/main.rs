//! The CNI main plugin `macvtap`.
fn main() {}
